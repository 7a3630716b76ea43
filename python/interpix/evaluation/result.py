"""The result of an evaluation, as its folder has it: while it runs, after, and after it was interrupted."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpix.checks import require_module
from interpix.comparison.paired import Beaten, Estimate, against_control, estimate, sentences
from interpix.errors import MissingDependencyError, bad_value
from interpix.evaluation.config import BETTER, read_config
from interpix.evaluation.folder import kept_file
from interpix.evaluation.manifests import PYARROW
from interpix.evaluation.rows import as_table, encoded, read_journal, read_shard, rows_folder, schema, shard_files
from interpix.evaluation.statistics import Difference, differences
from interpix.results.attribution import Attribution
from interpix.results.files import load_all
from interpix.results.scores import arrow, goodness
from interpix.storage import read_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Direction", "Evaluation", "load_evaluation"]


@dataclass(frozen=True)
class Direction:
    """Which way a metric is read.

    Attributes:
        higher_is_better: None: the nearer to 0, the better.
    """

    higher_is_better: bool | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Methods by metrics over many images; what `interpix.evaluate` returns and `interpix.load_evaluation` reads.

    See `evaluate`; values are those of the images, in the order of their ids:

    >>> rows = [_example("a.jpg", "rise", 0.5), _example("b.jpg", "rise", 0.75), _example("a.jpg", "moxi", 0.7)]
    >>> found = Evaluation(Path("out"), {"run": {"images": 3, "better": {"insertion": "higher"}}}, as_table(rows))
    >>> found.values("moxi", "insertion"), found.summary("rise", "insertion")
    (array([0.7, nan]), Estimate(mean=0.625, error=0.125, count=2))
    >>> print(found)
    method  insertion ↑
    rise    0.625 ± 0.12
    moxi    0.7*
    2 of 3 images

    Attributes:
        folder: Where it is kept.
        config: What `config.toml` says: `run`, how it was called; `configuration`, what rows depend on.
        data: The rows as a table of pyarrow, each image once.
    """

    folder: Path
    config: Mapping[str, Any]
    data: Any = field(repr=False)

    def _codes(self, column: str) -> tuple[npt.NDArray[np.int32], list[str]]:
        """A column of words as numbers, -1 for none, and the words in the order in which they came first."""
        return _as_codes(self.data.column(column))

    def _flags(self, column: str) -> npt.NDArray[np.bool_]:
        """A column of true and false; where there is neither, false."""
        found: npt.NDArray[np.bool_] = self.data.column(column).fill_null(fill_value=False).to_numpy()
        return found

    @cached_property
    def _variants(self) -> tuple[list[str], npt.NDArray[np.intp]]:
        """The variants' names in the order of tables, and of each row whose it is: -1 where the image has none.

        What a map is was told when it was made: a name may look like IProp of another, and be a method of one's own.
        """
        codes, methods = self._codes("method")
        pairs = np.where(codes < 0, -1, 2 * codes + self._flags("propagated"))
        there = np.flatnonzero(np.bincount(pairs[pairs >= 0], minlength=2 * len(methods)))
        named = {(one["method"], one["propagated"]): one["name"] for one in self._known}
        keys = {(methods[pair // 2], bool(pair % 2)): int(pair) for pair in there}
        order = [key for key in named if key in keys] + [key for key in keys if key not in named]
        place = np.full(2 * len(methods) + 1, -1, np.intp)  # whose last one is that of -1
        for index, key in enumerate(order):
            place[keys[key]] = index
        return [named.get(key, f"IProp({key[0]})" if key[1] else key[0]) for key in order], place[pairs]

    @property
    def _known(self) -> list[dict[str, Any]]:
        """What the run said of its variants."""
        found: list[dict[str, Any]] = self.config["run"].get("variants", [])
        return found

    @cached_property
    def _images(self) -> tuple[tuple[str, ...], npt.NDArray[np.intp]]:
        """The images that have rows, sorted, and of each row which it is of."""
        codes, words = self._codes("image")
        there = np.flatnonzero(np.bincount(codes, minlength=len(words)))
        order = sorted(there, key=words.__getitem__)
        place = np.empty(len(words), np.intp)
        place[order] = np.arange(len(order))
        return tuple(words[index] for index in order), place[codes]

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The images that have rows, sorted."""
        return self._images[0]

    @property
    def images(self) -> int:
        """How many images have rows."""
        return len(self.image_ids)

    @property
    def total(self) -> int:
        """How many images there are in the source."""
        return int(self.config["run"]["images"])

    @property
    def is_finished(self) -> bool:
        """Whether every image has rows."""
        return self.images >= self.total

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The names of methods, IProp of them and controls, in the order of tables."""
        return tuple(self._variants[0])

    @cached_property
    def origins(self) -> Mapping[str, tuple[str, bool]]:
        """By the names of `methods`: the method that each is of, and whether it is IProp of it."""
        names, places = self._variants
        (codes, methods), propagated = self._codes("method"), self._flags("propagated")
        first = {name: int(np.argmax(places == index)) for index, name in enumerate(names)}
        return {name: (methods[codes[row]], bool(propagated[row])) for name, row in first.items()}

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """Those of `methods` that know nothing of the model, or are plain blurs."""
        names, places = self._variants
        known = set(places[self._flags("control") & (places >= 0)].tolist())
        return tuple(name for index, name in enumerate(names) if index in known)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics' names."""
        there = set(self._codes("metric")[1])
        return tuple(name for name in self.config["run"]["better"] if name in there)

    def direction(self, metric: str) -> Direction:
        """Which way a metric is read."""
        return Direction(BETTER[self.config["run"]["better"][metric]])

    @cached_property
    def _values(self) -> npt.NDArray[np.float64]:
        """All scores (methods, metrics, images); NaN where there is none."""
        methods, images = self._variants[1], self._images[1]
        codes, words = self._codes("metric")
        place = np.full(len(words) + 1, -1, np.intp)  # whose last one is that of -1
        for index, word in enumerate(words):
            place[index] = self.metrics.index(word) if word in self.metrics else -1
        metrics = place[codes]
        found: npt.NDArray[np.float64] = np.full((len(self.methods), len(self.metrics), self.images), np.nan)
        whole = (methods >= 0) & (metrics >= 0)
        values = self.data.column("value").to_numpy()
        found[methods[whole], metrics[whole], images[whole]] = values[whole]
        return found

    def values(self, method: str, metric: str) -> npt.NDArray[np.float64]:
        """The scores of a method by a metric, one for each of `image_ids`; NaN where there is none."""
        for name, wanted, known in (("method", method, self.methods), ("metric", metric, self.metrics)):
            if wanted not in known:
                raise bad_value(name, f"one of {', '.join(known) or 'none yet'}", repr(wanted), f"see .{name}s")
        found = self._values[self.methods.index(method), self.metrics.index(metric)]
        return np.array(found)

    def summary(self, method: str, metric: str) -> Estimate:
        """The mean over images with its standard error."""
        return estimate(self.values(method, metric))

    @cached_property
    def table(self) -> Mapping[str, Mapping[str, Estimate]]:
        """The means by method, then by metric."""
        return {method: {metric: self.summary(method, metric) for metric in self.metrics} for method in self.methods}

    @cached_property
    def seconds(self) -> Mapping[str, Estimate]:
        """How long a map of each method took, over the images that have one; of IProp and blurs, beside its source."""
        methods, (images, taken) = self._variants[1], (self._images[1], self.data.column("seconds").to_numpy())
        found = np.full((len(self.methods), self.images), np.nan)
        # Of all metrics of an image it is the same.
        found[methods[methods >= 0], images[methods >= 0]] = taken[methods >= 0]
        return {name: estimate(row) for name, row in zip(self.methods, found, strict=True)}

    def maps(self, image: str) -> dict[str, Attribution]:
        """The maps of an image by method, where they were kept.

        Raises:
            ArgumentError: There are none of it.
        """
        path = kept_file(self.folder, "maps", image)
        if not path.exists():
            need, cure = "an image whose maps were kept", "pass maps=True (--maps) to the same run, which makes them"
            rows = [row for row in self.rows() if row["image"] == image]
            if not rows:
                raise bad_value("image", "an image of this evaluation", repr(image), "see its rows()")
            if all(row["status"] == "failed" for row in rows):
                cure = "pass retry=True (--retry) to the same run, once that is mended"
                raise bad_value("image", need, f"{image!r}, which failed: {rows[0]['reason']}", cure)
            raise bad_value("image", need, repr(image), cure)
        maps = [one for one in load_all(path) if isinstance(one, Attribution)]
        return {one.method: one for one in maps}

    def differences(self, metric: str) -> list[Difference]:
        """Every method against every other one and against IProp of it, on the same images, corrected after Holm."""
        own = [name for name in self.methods if name not in self.controls]
        return differences({name: self.values(name, metric) for name in own}, metric)

    def against_controls(self) -> list[Beaten]:
        """By how much each method beats each of its controls, by each metric."""
        found = []
        for metric in self.metrics:
            values = {name: self.values(name, metric) for name in self.methods}
            for method in self.methods:
                found += [
                    against_control(method, control, metric, values, self.direction(metric))
                    for control in self._controls_of(method)
                ]
        return found

    def _controls_of(self, method: str) -> list[str]:
        """The controls that a method must beat, as the run that made them said."""
        wanted: list[str] = next((one["against"] for one in self._known if one["name"] == method), [])
        return [name for name in wanted if name in self.controls]

    def left_out(self) -> list[str]:
        """Which scores are missing, how many, and why."""
        (names, variants), (metrics, words) = self._variants, self._codes("metric")
        (statuses, kinds), (reasons, texts) = self._codes("status"), self._codes("reason")
        missing = np.flatnonzero(statuses != (kinds.index("ok") if "ok" in kinds else -1))
        what = np.where(metrics >= 0, metrics, len(words) + np.where(variants >= 0, variants, len(names)))
        cells = np.stack([what[missing], statuses[missing], reasons[missing]], axis=1)
        found, counts = np.unique(cells, axis=0, return_counts=True)
        whats, causes = [*words, *names, "images"], [*texts, None]
        lines = [
            (-int(count), whats[one], kinds[status], causes[reason])
            for (one, status, reason), count in zip(found, counts, strict=True)
        ]
        lines.sort(key=lambda line: (line[0], *map(str, line[1:])))
        units = {True: "scores", False: "images"}
        return [f"{one}: {-count} {units[one in words]} {status}: {why}" for count, one, status, why in lines]

    def failed(self) -> dict[str, str]:
        """The images none of whose scores could be found, and why."""
        ids, reasons = self.data.column("image"), self.data.column("reason")
        rows = np.flatnonzero(self._variants[1] < 0).tolist()
        return {ids[row].as_py(): reasons[row].as_py() for row in rows}

    def _sorted(self) -> Any:
        """All rows, sorted by image, their words as text."""
        return self.data.take(np.argsort(self._images[1], kind="stable")).cast(schema())

    def rows(self) -> list[dict[str, Any]]:
        """All rows, sorted by image; within one in the order of tables."""
        rows: list[dict[str, Any]] = self._sorted().to_pylist()
        return rows

    def to_pandas(self) -> "pd.DataFrame":
        """All rows as a pandas DataFrame.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        try:
            import pandas as pd  # optional
        except ImportError as error:
            raise MissingDependencyError("rows as a DataFrame need pandas: pip install pandas") from error
        return pd.DataFrame(self._sorted().to_pandas())

    def report(self, folder: str | os.PathLike[str] | None = None, *, overwrite: bool = False) -> Path:
        """Writes `index.html`, its pictures, `evaluation.json` and `seconds.json`; needs matplotlib.

        How long maps took differs when a run is repeated; all that is in `evaluation.json` does not.

        Args:
            folder: Made if it is not there; None: that of the evaluation.
            overwrite: Replace files of these names that interpix did not write, too.

        Returns:
            The path of the page.
        """
        from interpix.evaluation_page import write_page  # matplotlib only when asked for

        return write_page(self, self.folder if folder is None else read_path(folder, "folder"), overwrite=overwrite)

    def best(self, metric: str) -> float:
        """The best mean of any method; NaN if there is none."""
        values = np.array([self.table[name][metric].mean for name in self.methods])
        if not len(values) or np.isnan(values).all():
            return float("nan")
        return float(values[np.nanargmax(goodness(values, self.direction(metric)))])

    def cells(self, method: str) -> list[str]:
        """A row of the table as text; * marks the best of a column."""
        row = self.table[method]
        return [f"{row[name]}" + ("*" if row[name].mean == self.best(name) else "") for name in self.metrics]

    def __str__(self) -> str:
        """The table as text, with standard errors, and what the controls say."""
        header = ["method", *(f"{name} {arrow(self.direction(name))}" for name in self.metrics)]
        rows = [header, *([name, *self.cells(name)] for name in self.methods)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        warned = [one for one in self.against_controls() if one.by.count > 1 and not one.is_sure]
        return "\n".join([*lines, f"{self.images} of {self.total} images", *sentences(warned)])

    def __repr__(self) -> str:
        """One line for people."""
        size = f"{len(self.methods)} methods by {len(self.metrics)} metrics over {self.images} of {self.total} images"
        return f"<Evaluation of {size}; print it for the table>"


def load_evaluation(out: str | os.PathLike[str]) -> Evaluation:
    """The evaluation that a folder has: of a run that is finished, was interrupted, or is going on.

    >>> from interpix.evaluation.config import write_config
    >>> folder = getfixture("tmp_path")
    >>> write_config(folder, {}, {"images": 2, "better": {}})
    >>> load_evaluation(folder)
    <Evaluation of 0 methods by 0 metrics over 0 of 2 images; print it for the table>

    Raises:
        ArgumentError: It has none.
        MissingDependencyError: pyarrow is not installed.
    """
    folder = read_path(out, "out")
    arrow = require_module("pyarrow", PYARROW)
    config = read_config(folder)
    # Journals first: one that becomes a shard meanwhile is read twice, and not missed.
    journals = {path.stem: read_journal(path).rows for path in sorted(rows_folder(folder).glob("*.jsonl"))}
    tables = {path.stem: read_shard(path) for path in shard_files(folder)}
    tables |= {name: encoded(as_table(rows)) for name, rows in journals.items() if name not in tables}
    if not tables:
        return Evaluation(folder, config, encoded(as_table([])))
    parts = [tables[name] for name in sorted(tables)]
    whole = arrow.concat_tables(parts).unify_dictionaries().combine_chunks()
    kept = _last_attempts(whole, np.repeat(np.arange(len(parts)), [len(one) for one in parts]))
    return Evaluation(folder, config, whole if kept.all() else whole.filter(arrow.array(kept)).combine_chunks())


def _last_attempts(rows: Any, tables: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Whether each row is of its image's last attempt, and of the first of the tables that has it.

    An image is twice there when its worker was killed after its rows were kept and before this was known.
    """
    images, words = _as_codes(rows.column("image"))
    count = int(tables.max(initial=0)) + 1
    rank = rows.column("attempt").to_numpy().astype(np.int64) * count + (count - 1 - tables)
    best = np.full(len(words), -1, np.int64)
    np.maximum.at(best, images, rank)
    kept: npt.NDArray[np.bool_] = best[images] == rank
    return kept


def _as_codes(column: Any) -> tuple[npt.NDArray[np.int32], list[str]]:
    """See `Evaluation._codes`."""
    words = column.combine_chunks()
    if not hasattr(words, "dictionary"):
        words = words.dictionary_encode()
    return words.indices.fill_null(-1).to_numpy(zero_copy_only=False), words.dictionary.to_pylist()


def _example(image: str, method: str, value: float) -> dict[str, Any]:
    """A row, for examples."""
    names = {"image": image, "method": method, "metric": "insertion", "value": value, "status": "ok"}
    return {**names, "propagated": False, "control": False, "attempt": 0}
