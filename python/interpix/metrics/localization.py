"""Does the map point at the object? ROC-AUC and the pointing game."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray
from interpix.checks import check_number
from interpix.errors import bad_value
from interpix.metrics.base import mid_ranks, read_attribution
from interpix.metrics.sample import Sample
from interpix.options import fields_as_json, plain_options
from interpix.results.attribution import MapInput
from interpix.results.scores import ImageScore, Summary, summarize

__all__ = ["PointingGame", "RocAuc", "pointing_hit", "roc_auc"]


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


def pointing_hit(values: npt.NDArray[Any], inside: npt.NDArray[np.bool_], tolerance: float = 0) -> float:
    """The fraction of the pixels of greatest value that are inside, or within `tolerance` pixels of it.

    >>> import numpy as np
    >>> values, inside = np.array([[3, 9, 1], [9, 4, 0]]), np.array([[True, False, False], [True, False, False]])
    >>> pointing_hit(values, inside), pointing_hit(values, inside, tolerance=1)
    (0.5, 1.0)
    """
    return float(_widened(inside, tolerance)[values == values.max()].mean())


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

    Where several pixels tie, the expected hit of one drawn from them. Empty annotations, and those of the whole
    image, are counted and left out.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> sample = Sample.of(model, np.ones((3, 2, 3), np.float32), annotation=[(0, 0, 1, 2)])
    >>> beside = np.array([[3, 2, 1], [3, 4, 0]])
    >>> PointingGame().score(sample, beside).value, PointingGame(tolerance=1).score(sample, beside).value
    (0.0, 1.0)

    Attributes:
        tolerance: Pixels (Euclidean) by which the object is missed and still hit: 0 in IProp's experiments,
            15 in Zhang et al. 2018.
    """

    tolerance: float = 0

    name = "pointing_game"
    needs_annotation = True
    higher_is_better = True

    def __post_init__(self) -> None:
        plain_options(self)
        need, cure = "a number of pixels of at least 0", "use 0 or 15"
        check_number("tolerance", self.tolerance, 0, sys.float_info.max, need, cure)

    def score(self, sample: Sample, attribution: MapInput) -> ImageScore:
        """The hit, 0 ... 1, for one map (H, W) of one annotated image."""
        values = read_attribution(attribution, sample.size)
        inside, skipped = sample.annotation, _skip_reason(sample.annotation)
        value = float("nan") if skipped or inside is None else pointing_hit(values, inside, self.tolerance)
        return ImageScore(self.name, value, self.higher_is_better, skipped=skipped, options=fields_as_json(self))

    def aggregate(self, scores: Sequence[ImageScore]) -> Summary:
        """The hit rate."""
        return summarize(scores)
