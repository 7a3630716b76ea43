"""The result of a comparison: scores of methods by metrics, as a table, a picture, JSON and a report."""

import html
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray
from interpix.comparison.paired import Beaten, against_control, sentences
from interpix.errors import MissingDependencyError, bad_value
from interpix.metrics.base import AnyMetric
from interpix.results.attribution import Attribution
from interpix.results.scores import ImageScore, Summary, arrow, goodness
from interpix.storage import read_path

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Entry"]


@dataclass(frozen=True, eq=False)
class Entry:
    """One method's map of one image, with its scores.

    Attributes:
        image: The image's name.
        method: The method's name.
        scores: By metric.
        seconds: What the map took; for IProp, what propagating it took.
        attribution: The map; None if only its scores were kept.
        propagates: The method that it is IProp of, made for the comparison; None: it is a method's own.
        annotation: Where the object is (H, W), kept with the map; None if there was no mask.
    """

    image: str
    method: str
    scores: Mapping[str, ImageScore]
    seconds: float
    attribution: Attribution | None
    propagates: str | None = None
    annotation: BoolArray | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods compared by metrics over images; what `interpix.compare` returns.

    >>> import numpy as np
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[1] = np.arange(24).reshape(4, 6)
    >>> own = {"green": lambda model, image, target: image[1], "flat": lambda model, image, target: image[0]}
    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> found = ix.compare(model, image, own, "roc_auc", [image[1] >= 12], propagate=False, controls=False)
    >>> found.table["green"]["roc_auc"], found.table["flat"]["roc_auc"], found.wins("green", "flat", "roc_auc")
    (1.0, 0.5, (1, 1))

    Attributes:
        entries: One for each image and method, image by image.
        metrics: By name, in the table's order.
        provenance: Model, versions, options.
        failed: Photos that could not be read, by name, and why.
        controls: The controls of each method, by its name.
    """

    entries: tuple[Entry, ...]
    metrics: Mapping[str, AnyMetric]
    provenance: Mapping[str, Any]
    failed: Mapping[str, str] = field(default_factory=dict)
    controls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in the order in which they ran; IProp( ) of each follows it."""
        return tuple(dict.fromkeys(entry.method for entry in self.entries))

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Names of the images."""
        return tuple(dict.fromkeys(entry.image for entry in self.entries))

    @cached_property
    def _by_key(self) -> dict[tuple[str, str], Entry]:
        return {(entry.image, entry.method): entry for entry in self.entries}

    def entry(self, image: str, method: str) -> Entry:
        """One method's map and scores of one image."""
        found = self._by_key.get((image, method))
        if found is None:
            images, methods = ", ".join(self.images), ", ".join(self.methods)
            raise bad_value("image", f"one of {images} with one of {methods}", (image, method), "see .images, .methods")
        return found

    def summary(self, method: str, metric: str) -> Summary:
        """A metric of a method over all images: value, curve, how many were left out and why."""
        self._check(method, metric)
        scores = [entry.scores[metric] for entry in self.entries if entry.method == method]
        return self.metrics[metric].aggregate(scores)

    def wins(self, method: str, other: str, metric: str) -> tuple[int, int]:
        """On how many images a method is better than another, and how many both have different scores of."""
        self._check(method, metric)
        self._check(other, metric)
        pairs = [
            [self.entry(image, one).scores[metric].value for one in (method, other)]
            for image in self.images
            if (image, method) in self._by_key and (image, other) in self._by_key
        ]
        mine, others = goodness(pairs, self.metrics[metric]).reshape(-1, 2).T
        return int((mine > others).sum()), int((mine > others).sum() + (mine < others).sum())

    def _check(self, method: str, metric: str) -> None:
        if method not in self.methods:
            raise bad_value("method", f"one of {', '.join(self.methods)}", repr(method), "see .methods")
        if metric not in self.metrics:
            raise bad_value("metric", f"one of {', '.join(self.metrics)}", repr(metric), "see .metrics")

    def against_controls(self) -> list[Beaten]:
        """By how much each method is better than each of its controls, by each metric, on the same images."""
        found = []
        for metric, one in self.metrics.items():
            names = {name for method, those in self.controls.items() for name in (method, *those)}
            values = {name: self._values(name, metric) for name in names}
            found += [
                against_control(method, control, metric, values, one)
                for method in self.methods
                for control in self.controls.get(method, ())
            ]
        return found

    def _values(self, method: str, metric: str) -> npt.NDArray[np.float64]:
        """A method's scores, one for each of `images`; NaN where there is none."""
        entries = [self._by_key.get((image, method)) for image in self.images]
        return np.array([np.nan if one is None else one.scores[metric].value for one in entries], np.float64)

    @cached_property
    def table(self) -> Mapping[str, Mapping[str, float]]:
        """The aggregate scores by method, then by metric; NaN where every image was left out."""
        return {
            method: {metric: self.summary(method, metric).value for metric in self.metrics} for method in self.methods
        }

    def best(self, metric: str) -> float:
        """The best aggregate score of any method; NaN if there is none."""
        values = np.array([row[metric] for row in self.table.values()])
        if np.isnan(values).all():
            return float("nan")
        return float(values[np.nanargmax(goodness(values, self.metrics[metric]))])

    def to_pandas(self, *, per_image: bool = False) -> "pd.DataFrame":
        """The table as a pandas DataFrame: methods in rows, metrics in columns.

        Args:
            per_image: A row for each image and method instead, NaN where an image was left out.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        try:
            import pandas as pd  # optional
        except ImportError as error:
            raise MissingDependencyError("the table as a DataFrame needs pandas: pip install pandas") from error
        if not per_image:
            return pd.DataFrame.from_dict(self.table, orient="index").rename_axis("method")
        rows = [
            {"image": entry.image, "method": entry.method, **{name: one.value for name, one in entry.scores.items()}}
            for entry in self.entries
        ]
        return pd.DataFrame(rows, columns=["image", "method", *self.metrics]).set_index(["image", "method"])

    def __str__(self) -> str:
        """The table as text: arrows say which way is better, * marks the best of a column; what controls say below."""
        header = ["method", *(f"{name} {arrow(metric)}" for name, metric in self.metrics.items())]
        rows = [header, *([method, *self._cells(method)] for method in self.methods)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *self._not_told()])

    def _not_told(self) -> list[str]:
        """Which methods a metric does not tell from a control of theirs."""
        return sentences([one for one in self.against_controls() if one.by.count > 1 and not one.is_sure])

    def __repr__(self) -> str:
        """One line for people."""
        counts = f"{len(self.methods)} methods by {len(self.metrics)} metrics over {len(self.images)} images"
        return f"<Comparison of {counts}; print it for the table>"

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        return self.to_html()

    def to_html(self) -> str:
        """The table as HTML, the best of each column in bold, with a note on what was left out."""
        head = "".join(f'<th scope="col">{html.escape(name)} {arrow(one)}</th>' for name, one in self.metrics.items())
        rows = "".join(
            f'<tr><th scope="row">{html.escape(method)}</th>{"".join(self._html_cells(method))}</tr>'
            for method in self.methods
        )
        note = "".join(f"<li>{html.escape(line)}</li>" for line in [*self._not_told(), *self.left_out()])
        table = f'<table><thead><tr><th scope="col">method</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
        return table + (f"<ul>{note}</ul>" if note else "")

    def left_out(self) -> list[str]:
        """Which metrics have no score of some images, for which methods, how many, and why."""
        methods: dict[str, list[str]] = {}
        for name in self.metrics:
            for method in self.methods:
                summary = self.summary(method, name)
                reasons = "; ".join(f"{count}: {reason}" for reason, count in summary.skipped.items())
                if reasons:
                    methods.setdefault(f"{name}: over {summary.count} images; left out {reasons}", []).append(method)
        lines = [
            line + ("" if len(those) == len(self.methods) else f" ({', '.join(those)})")
            for line, those in methods.items()
        ]
        counts = Counter(entry.method for entry in self.entries)
        if len(set(counts.values())) > 1:
            lines.append("not finished: " + ", ".join(f"{method} over {count}" for method, count in counts.items()))
        return lines + [f"{name} could not be read: {reason}" for name, reason in self.failed.items()]

    def _cells(self, method: str) -> list[str]:
        row = self.table[method]
        return [f"{row[name]:.4g}" + ("*" if row[name] == self.best(name) else "") for name in self.metrics]

    def _html_cells(self, method: str) -> list[str]:
        """Each score with its standard error over the images, where there is one; the best in bold."""
        cells = []
        for name, text in zip(self.metrics, self._cells(method), strict=True):
            scores = self.summary(method, name).scores
            kept = scores[np.isfinite(scores)]
            error = f" <small>± {kept.std(ddof=1) / np.sqrt(len(kept)):.2g}</small>" if len(kept) > 1 else ""
            value = f"<b>{text[:-1]}</b>" if text.endswith("*") else text
            cells.append(f"<td>{value}{error}</td>")
        return cells

    def plot(self, image: str | None = None, *, figure: "Figure | None" = None) -> "Figure":
        """Methods as rows: photo, map, propagated map, scores; needs matplotlib and an image whose maps were kept.

        A line is drawn around the object where a mask says where it is.

        Args:
            image: The image's name; None: the first one.
            figure: To draw on; None: a new one.
        """
        from interpix.plots import plot_methods  # matplotlib only when asked for

        name = next(iter(self.images), None) if image is None else image
        found = [entry for entry in self.entries if entry.image == name]
        if not found:
            raise bad_value("image", f"one of {', '.join(self.images)}", repr(name), "see .images")
        return plot_methods(found, figure=figure)

    def summarized(self) -> dict[str, Any]:
        """All numbers as plain JSON values, null for what is not there."""
        return {
            "provenance": dict(self.provenance),
            "table": {
                method: {name: _number(value) for name, value in row.items()} for method, row in self.table.items()
            },
            "summaries": {
                method: {name: _summary(self.summary(method, name)) for name in self.metrics} for method in self.methods
            },
            "controls": [
                {
                    "metric": one.metric,
                    "method": one.method,
                    "control": one.control,
                    "by": _number(one.by.mean),
                    "error": _number(one.by.error),
                    "count": one.by.count,
                    "sure": one.is_sure,
                }
                for one in self.against_controls()
            ],
            "images": [
                {
                    "image": entry.image,
                    "method": entry.method,
                    "scores": {name: _number(one.value) for name, one in entry.scores.items()},
                    "skipped": {name: one.skipped for name, one in entry.scores.items() if one.skipped},
                }
                for entry in self.entries
            ],
            "failed": dict(self.failed),
        }

    def report(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Writes `index.html` with pictures of all images whose maps were kept, and `comparison.json`.

        How long each map took is in `seconds.json`; all else is the same to the bit when a run is repeated.

        Args:
            folder: Made if it is not there.
            overwrite: Replace files of these names that interpix did not write, too.

        Returns:
            The path of the page.
        """
        from interpix.report import write_report  # matplotlib only when asked for

        return write_report(self, read_path(folder, "folder"), overwrite=overwrite)

    def timed(self) -> dict[str, dict[str, float]]:
        """The seconds that each map took, by image and method."""
        found: dict[str, dict[str, float]] = {}
        for entry in self.entries:
            found.setdefault(entry.image, {})[entry.method] = round(entry.seconds, 4)
        return found


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _summary(summary: Summary) -> dict[str, Any]:
    kept = {"value": _number(summary.value), "count": summary.count, "skipped": dict(summary.skipped)}
    curve = summary.curve
    points = None if curve is None else {"x": curve.x.tolist(), "y": curve.y.tolist()}
    parts = {name: _number(value) for name, value in summary.parts.items()}
    return {**kept, "higher_is_better": summary.higher_is_better, "parts": parts, "curve": points}
