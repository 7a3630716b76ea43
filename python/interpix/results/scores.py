"""Scores of attribution maps: of one image, of many, and the curves whose areas they are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.arrays import read_only
from interpix.errors import bad_value

__all__ = [
    "Average",
    "Curve",
    "ImageScore",
    "Scale",
    "Summary",
    "arrow",
    "average_curve",
    "goodness",
    "summarize",
]

Average: TypeAlias = Literal["mean", "median"]


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores against the fraction of the image that was changed, or of its information that is there.

    >>> Curve(np.array([0, 0.5, 1]), np.array([0, 1, 1])).auc
    0.75

    Attributes:
        x: Fractions, 0 ... 1, ascending (n,).
        y: A score for each (n,).
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        """Copies both arrays, so that nobody else can write to them."""
        for name in ("x", "y"):
            object.__setattr__(self, name, read_only(np.asarray(getattr(self, name), np.float64)))
        if self.x.ndim != 1 or self.x.shape != self.y.shape or len(self.x) == 0 or (np.diff(self.x) < 0).any():
            got = f"x {self.x.shape}, y {self.y.shape}"
            raise bad_value("x", "ascending fractions, one for each y", got, "sort the points")

    @property
    def auc(self) -> float:
        """Area under the curve, by trapezoids."""
        return float(np.trapezoid(self.y, self.x))

    def at(self, x: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The curve at any fractions, linear between its points."""
        return np.asarray(np.interp(np.asarray(x, np.float64), self.x, self.y))


def average_curve(curves: Sequence[Curve], average: Average = "mean") -> Curve:
    """The mean or median of curves; where their fractions differ, each is read at all fractions of all of them.

    >>> average_curve([Curve([0, 1], [0, 1]), Curve([0, 0.5, 1], [1, 1, 1])]).y
    array([0.5 , 0.75, 1.  ])
    """
    if not curves:
        raise bad_value("curves", "at least one curve", "none", "pass curves")
    x = curves[0].x
    if any(not np.array_equal(curve.x, x) for curve in curves):
        x = np.unique(np.concatenate([curve.x for curve in curves]))
        curves = [Curve(x, curve.at(x)) for curve in curves]
    rows = np.stack([curve.y for curve in curves])
    return Curve(x, np.median(rows, axis=0) if average == "median" else rows.mean(axis=0))


@dataclass(frozen=True, eq=False)
class ImageScore:
    """What a metric says to one attribution of one image.

    >>> score = ImageScore("insertion", 0.75, higher_is_better=True)
    >>> score.value, arrow(score)
    (0.75, '↑')

    Attributes:
        metric: The metric's name.
        value: The score; NaN if the image was skipped.
        higher_is_better: How to read it; None: the nearer to 0, the better.
        curve: The curve whose area the score is, if it is one.
        skipped: Why there is no score, or None.
        parts: Numbers that the score is made of.
        points: The curve as it was measured, (n, 2), where `curve` is an interpolation of it.
        options: Every choice that was made.
    """

    metric: str
    value: float
    higher_is_better: bool | None
    curve: Curve | None = None
    skipped: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    points: npt.NDArray[np.float64] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Summary:
    """A metric over many images.

    See `summarize`, which makes it:

    >>> summarize([ImageScore("deletion", 0.25, higher_is_better=False)])
    <deletion: 0.25 over 1 images, 0 skipped; lower is better>

    Attributes:
        metric: The metric's name.
        value: The aggregate; NaN if every image was skipped.
        higher_is_better: How to read it; None: the nearer to 0, the better.
        count: Images that have a score.
        skipped: How many images have none, for each reason.
        scores: The scores that were aggregated, in the images' order; NaN where skipped.
        curve: The average curve, if there are curves.
        parts: Other aggregates that are reported, too.
        options: Every choice that was made.
    """

    metric: str
    value: float
    higher_is_better: bool | None
    count: int
    skipped: Mapping[str, int]
    scores: npt.NDArray[np.float64]
    curve: Curve | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """One line for people."""
        better = {True: "higher", False: "lower", None: "nearer to 0"}[self.higher_is_better]
        left_out = sum(self.skipped.values())
        return f"<{self.metric}: {self.value:.4g} over {self.count} images, {left_out} skipped; {better} is better>"


class Scale(Protocol):
    """What says how scores are read: a metric, or a score of it."""

    @property
    def higher_is_better(self) -> bool | None:
        """None: the nearer to 0, the better."""
        ...


def summarize(
    scores: Sequence[ImageScore],
    *,
    value: float | None = None,
    curve: Curve | None = None,
    parts: Mapping[str, float] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Summary:
    """The summary of scores of one metric; `value` is their mean, and `curve` the mean curve, if left out.

    >>> scores = [ImageScore("insertion", value, higher_is_better=True) for value in (0.5, 0.75)]
    >>> summarize([*scores, ImageScore("insertion", float("nan"), True, skipped="too dark")])
    <insertion: 0.625 over 2 images, 1 skipped; higher is better>
    """
    if not scores:
        raise bad_value("scores", "at least one score", "none", "score an image first")
    kept = [score for score in scores if score.skipped is None]
    curves = [score.curve for score in kept if score.curve is not None]
    first = scores[0]
    mean = float(np.mean([score.value for score in kept])) if kept else float("nan")
    return Summary(
        metric=first.metric,
        value=mean if value is None else value,
        higher_is_better=first.higher_is_better,
        count=len(kept),
        skipped=dict(Counter(score.skipped for score in scores if score.skipped is not None)),
        scores=read_only(np.array([score.value for score in scores])),
        curve=average_curve(curves) if curve is None and curves else curve,
        parts={} if parts is None else parts,
        options=first.options if options is None else options,
    )


def arrow(scale: Scale) -> str:
    """Which way is better, for tables.

    >>> arrow(ImageScore("deletion", 0.25, higher_is_better=False))
    '↓'
    """
    return {True: "↑", False: "↓", None: "→0"}[scale.higher_is_better]


def goodness(values: npt.ArrayLike, scale: Scale) -> npt.NDArray[np.float64]:
    """Scores so that the greatest is the best.

    >>> goodness([-0.9, -0.1, 0.2], ImageScore("model_randomization", 0, higher_is_better=None))
    array([-0.9, -0.1, -0.2])
    """
    scores = np.asarray(values, np.float64)
    if scale.higher_is_better is None:
        return -np.abs(scores)
    return scores if scale.higher_is_better else -scores
