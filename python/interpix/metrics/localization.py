"""Does the map point at the object? ROC-AUC and the pointing game."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray
from interpix.checks import check_choice, check_number
from interpix.errors import bad_value
from interpix.metrics.base import mid_ranks, read_attribution
from interpix.metrics.sample import Sample
from interpix.options import fields_as_json, plain_options
from interpix.results.attribution import MapInput
from interpix.results.scores import ImageScore, Summary, summarize

__all__ = ["PointingGame", "PointingPreset", "RocAuc", "Ties", "pointing_hit", "roc_auc"]


Ties: TypeAlias = Literal["expected", "first"]
"""What counts where several pixels have the greatest value."""
PointingPreset: TypeAlias = Literal["zhang", "iprop"]
"""See `PointingGame`."""

_PRESETS: Mapping[str, tuple[float | None, Ties]] = {"zhang": (None, "expected"), "iprop": (99.0, "first")}


def roc_auc(values: npt.ArrayLike, inside: npt.NDArray[np.bool_]) -> float:
    """The probability that a pixel inside is ranked above one outside; ties count one half.

    By mid-ranks (the Mann-Whitney statistic), for any number of ties:

    >>> roc_auc(np.array([3.0, 1.0, 1.0, 0.0]), np.array([True, True, False, False]))
    0.875
    """
    ranks = mid_ranks(values)
    positive = np.ravel(inside)
    hits = int(positive.sum())
    misses = positive.size - hits
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def pointing_hit(
    values: npt.NDArray[Any],
    inside: npt.NDArray[np.bool_],
    tolerance: float = 0,
    *,
    clip: float | None = None,
    ties: Ties = "expected",
) -> float:
    """The fraction of the pixels of greatest value that are inside, or within `tolerance` pixels of it.

    >>> import numpy as np
    >>> values, inside = np.array([[3, 9, 1], [9, 4, 0]]), np.array([[True, False, False], [True, False, False]])
    >>> pointing_hit(values, inside), pointing_hit(values, inside, tolerance=1)
    (0.5, 1.0)

    Args:
        values: The map (H, W).
        inside: True inside of the object (H, W).
        tolerance: Pixels (Euclidean) by which it is missed and still hit.
        clip: Values above this percentile count as equal to it; None: none are clipped.
        ties: Of several pixels of greatest value, the `"expected"` hit of one drawn from them, or the `"first"` one's.
    """
    most = values if clip is None else np.minimum(values, np.percentile(values, clip))
    hits = _widened(inside, tolerance)[most == most.max()]
    return float(hits.mean() if ties == "expected" else hits[0])


def _widened(inside: npt.NDArray[np.bool_], tolerance: float) -> npt.NDArray[np.bool_]:
    """The pixels within `tolerance` (Euclidean) of those inside."""
    height, width = inside.shape
    if tolerance >= math.hypot(height, width):
        return np.full_like(inside, inside.any())
    reach = int(tolerance)
    around = np.pad(inside, reach)
    near = np.zeros_like(inside)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if down**2 + right**2 <= tolerance**2:
                near |= around[reach + down : reach + down + height, reach + right : reach + right + width]
    return near


def _skip_reason(inside: BoolArray | None) -> str | None:
    if inside is None:
        cure = "pass it to Sample.of"
        raise bad_value("annotation", "a mask or boxes that say where the object is", "None", cure)
    if not inside.any():
        return "the annotation is empty"
    return "the annotation is the whole image" if inside.all() else None


@dataclass(frozen=True)
class RocAuc:
    """Area under the ROC curve of the pixels' values, labels being inside or outside; higher is better.

    Empty annotations, and those of the whole image, are counted and left out.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> sample = Sample.of(model, np.ones((3, 2, 3), np.float32), annotation=[(0, 0, 1, 2)])
    >>> RocAuc().score(sample, np.array([[3, 2, 1], [3, 4, 0]])).value
    0.75
    """

    name = "roc_auc"
    needs_annotation = True
    higher_is_better = True

    def score(self, sample: Sample, attribution: MapInput) -> ImageScore:
        """The area for one map (H, W) of one annotated image."""
        values = read_attribution(attribution, sample.size)
        inside, skipped = sample.annotation, _skip_reason(sample.annotation)
        value = float("nan") if skipped or inside is None else roc_auc(values, inside)
        return ImageScore(self.name, value, self.higher_is_better, skipped=skipped)

    def aggregate(self, scores: Sequence[ImageScore]) -> Summary:
        """Mean over images."""
        return summarize(scores)


@dataclass(frozen=True)
class PointingGame:
    """Whether the most important pixel lies on the object; higher is better.

    Where several pixels tie, the expected hit of one drawn from them, or, by IProp's preset, the first one's. Empty
    annotations, and those of the whole image, are counted and left out.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> sample = Sample.of(model, np.ones((3, 2, 3), np.float32), annotation=[(0, 0, 1, 2)])
    >>> beside = np.array([[3, 2, 1], [3, 4, 0]])
    >>> PointingGame().score(sample, beside).value, PointingGame(tolerance=1).score(sample, beside).value
    (0.0, 1.0)

    Attributes:
        tolerance: Pixels (Euclidean) by which the object is missed and still hit: 0 in IProp's experiments,
            15 in Zhang et al. 2018.
        preset: Whose choices to take where the other fields are None: `"zhang"`: no clipping, the expected hit of ties;
            `"iprop"`: values clipped at the 99th percentile, and of those the first, which gives numbers as the
            paper's, below chance for boxes.
        clip: Values above this percentile count as equal to it; 100: none are clipped.
        ties: `"expected"` or `"first"`.
    """

    tolerance: float = 0
    preset: PointingPreset = "zhang"
    clip: float | None = None
    ties: Ties | None = None

    name = "pointing_game"
    needs_annotation = True
    higher_is_better = True

    def __post_init__(self) -> None:
        plain_options(self)
        need, cure = "a number of pixels of at least 0", "use 0 or 15"
        check_number("tolerance", self.tolerance, 0, sys.float_info.max, need, cure)
        check_choice("preset", self.preset, tuple(_PRESETS))
        if self.clip is not None:
            check_number("clip", self.clip, 0, 100, "a percentile in 0 ... 100", "99 is IProp's, 100 clips none")
        if self.ties is not None:
            check_choice("ties", self.ties, ("expected", "first"))

    def score(self, sample: Sample, attribution: MapInput) -> ImageScore:
        """The hit, 0 ... 1, for one map (H, W) of one annotated image."""
        values = read_attribution(attribution, sample.size)
        inside, skipped = sample.annotation, _skip_reason(sample.annotation)
        clip, ties = _PRESETS[self.preset]
        clip, ties = clip if self.clip is None else self.clip, ties if self.ties is None else self.ties
        value = float("nan")
        if not skipped and inside is not None:
            value = pointing_hit(values, inside, self.tolerance, clip=clip, ties=ties)
        options = {**fields_as_json(self), "clip": clip, "ties": ties}
        return ImageScore(self.name, value, self.higher_is_better, skipped=skipped, options=options)

    def aggregate(self, scores: Sequence[ImageScore]) -> Summary:
        """The hit rate."""
        return summarize(scores)
