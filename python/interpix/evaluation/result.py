"""The result of an evaluation, as its folder has it: while it runs, after, and after it was interrupted."""

import os
from collections import Counter
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
from interpix.evaluation.folder import read_config, shard_files
from interpix.evaluation.manifests import PYARROW
from interpix.evaluation.rows import as_table, read_journal, rows_folder
from interpix.evaluation.statistics import Difference, differences
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


_DIRECTIONS = {"higher": Direction(True), "lower": Direction(False), "nearer to 0": Direction(None)}  # noqa: FBT003


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

    @cached_property
    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        names = ("method", "propagated", "control", "metric", "value", "status", "image")
        return {name: self.data.column(name).to_numpy(zero_copy_only=False) for name in names}

    @cached_property
    def _names(self) -> npt.NDArray[np.object_]:
        """Of each row, the variant's name; an image that could not be read has none."""
        method, propagated = self._columns["method"], self._columns["propagated"]
        return np.array([f"IProp({one})" if two else one for one, two in zip(method, propagated, strict=True)], object)

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """The images that have rows, sorted."""
        return tuple(sorted(set(self._columns["image"])))

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
        return tuple(name for name in dict.fromkeys(self._names) if name is not None)

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """Those of `methods` that know nothing of the model, or are plain blurs."""
        known = dict(zip(self._names, self._columns["control"], strict=True))
        return tuple(name for name in self.methods if known[name])

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics' names."""
        wanted = self.config["run"]["better"]
        return tuple(name for name in dict.fromkeys(self._columns["metric"]) if name in wanted)

    def direction(self, metric: str) -> Direction:
        """Which way a metric is read."""
        return _DIRECTIONS[self.config["run"]["better"][metric]]

    @cached_property
    def _values(self) -> dict[tuple[str, str], npt.NDArray[np.float64]]:
        place = {image: index for index, image in enumerate(self.image_ids)}
        places = np.array([place[image] for image in self._columns["image"]], np.int64)
        values = self._columns["value"].astype(np.float64)
        cells = np.array(
            [f"{name}\n{metric}" for name, metric in zip(self._names, self._columns["metric"], strict=True)]
        )
        found: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
        order = np.argsort(cells, kind="stable")
        keys, starts = np.unique(cells[order], return_index=True)
        for key, rows in zip(keys, np.split(order, starts[1:]), strict=True):
            name, metric = key.split("\n")
            column = np.full(len(self.image_ids), np.nan)
            column[places[rows]] = values[rows]
            found[name, metric] = column
        return found

    def values(self, method: str, metric: str) -> npt.NDArray[np.float64]:
        """The scores of a method by a metric, one for each of `image_ids`; NaN where there is none."""
        for name, wanted, known in (("method", method, self.methods), ("metric", metric, self.metrics)):
            if wanted not in known:
                raise bad_value(name, f"one of {', '.join(known) or 'none yet'}", repr(wanted), f"see .{name}s")
        nothing = np.full(len(self.image_ids), np.nan)
        return self._values.get((method, metric), nothing).copy()

    def summary(self, method: str, metric: str) -> Estimate:
        """The mean over images with its standard error."""
        return estimate(self.values(method, metric))

    @cached_property
    def table(self) -> Mapping[str, Mapping[str, Estimate]]:
        """The means by method, then by metric."""
        return {method: {metric: self.summary(method, metric) for metric in self.metrics} for method in self.methods}

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
        """As `controls_of` has them, by their names."""
        if method in self.controls:
            return []
        if method.startswith("IProp("):
            own = (f"blur({method.removeprefix('IProp(')}", "IProp(random)")
        else:
            own = ("random", "edges")
        return [name for name in own if name in self.controls]

    def left_out(self) -> list[str]:
        """Which scores are missing, how many, and why."""
        statuses, reasons = self._columns["status"], self.data.column("reason").to_pylist()
        counts: Counter[tuple[str, str, str]] = Counter()
        for index in np.flatnonzero(statuses != "ok"):
            what = self._columns["metric"][index] or self._names[index] or "images"
            counts[what, statuses[index], reasons[index]] += 1
        lines = []
        for (what, status, reason), count in sorted(counts.items(), key=lambda one: -one[1]):
            unit = "scores" if what in self.metrics else "images"
            lines.append(f"{what}: {count} {unit} {status}: {reason}")
        return lines

    def failed(self) -> dict[str, str]:
        """The images none of whose scores could be found, and why."""
        ids, reasons = self._columns["image"], self.data.column("reason").to_pylist()
        return {ids[index]: reasons[index] for index, name in enumerate(self._names) if name is None}

    def rows(self) -> list[dict[str, Any]]:
        """All rows, sorted by image; within one in the order of tables."""
        order = np.argsort(self._columns["image"].astype(str), kind="stable")
        rows: list[dict[str, Any]] = self.data.take(order).to_pylist()
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
        return pd.DataFrame(self.rows())

    def report(self, folder: str | os.PathLike[str] | None = None, *, overwrite: bool = False) -> Path:
        """Writes `index.html`, its pictures, and `evaluation.json`; needs matplotlib.

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
    r"""The evaluation that a folder has: of a run that is finished, was interrupted, or is going on.

    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "config.toml").write_text("hash = 'x'\n[run]\nimages = 2\n[run.better]\n[configuration]\n")
    >>> load_evaluation(folder)
    <Evaluation of 0 methods by 0 metrics over 0 of 2 images; print it for the table>

    Raises:
        ArgumentError: It has none.
        MissingDependencyError: pyarrow is not installed.
    """
    folder = read_path(out, "out")
    arrow_, parquet = require_module("pyarrow", PYARROW), require_module("pyarrow.parquet", PYARROW)
    config = read_config(folder)
    # Journals first: one that becomes a shard meanwhile is read twice, and not missed.
    journals = {path.stem: read_journal(path).rows for path in sorted(rows_folder(folder).glob("*.jsonl"))}
    tables = {path.stem: parquet.read_table(path) for path in shard_files(folder)}
    tables |= {name: as_table(rows) for name, rows in journals.items() if name not in tables}
    kept = _each_once([tables[name] for name in sorted(tables)])
    return Evaluation(folder, config, arrow_.concat_tables(kept) if kept else as_table([]))


def _each_once(tables: list[Any]) -> list[Any]:
    """The tables with the rows of each image's last attempt, from the first of them that has it.

    An image is twice there when its worker was killed after its rows were kept and before this was known.
    """
    arrow_ = require_module("pyarrow", PYARROW)
    best: dict[str, tuple[int, int]] = {}
    known = []
    for index, table in enumerate(tables):
        keys = list(zip(table.column("image").to_pylist(), table.column("attempt").to_pylist(), strict=True))
        known.append(keys)
        for image, attempt in set(keys):
            before = best.get(image)
            if before is None or attempt > before[0]:
                best[image] = (attempt, index)
    return [
        table.filter(arrow_.array([best[image] == (attempt, index) for image, attempt in keys], arrow_.bool_()))
        for index, (table, keys) in enumerate(zip(tables, known, strict=True))
    ]


def _example(image: str, method: str, value: float) -> dict[str, Any]:
    """A row, for examples."""
    names = {"image": image, "method": method, "metric": "insertion", "value": value, "status": "ok"}
    return {**names, "propagated": False, "control": False, "attempt": 0}
