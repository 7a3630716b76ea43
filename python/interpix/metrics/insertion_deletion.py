"""Insertion and deletion scores, and their ratio.

All pixels are ranked once, most important first, ties by index. Deletion replaces them in this order by the baseline,
insertion puts them back on it, and the probability of the target is measured after each step, both ends included.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.absence import AbsenceInput, read_fill
from interpix.arrays import IntArray
from interpix.blur import blur_matrix, convolve, gaussian_taps
from interpix.checks import check_choice, check_positive
from interpix.metrics.base import read_attribution
from interpix.metrics.sample import Sample, ranked_scores
from interpix.options import fields_as_json, plain_options
from interpix.results.attribution import MapInput
from interpix.results.scores import Curve, ImageScore, Summary, summarize

__all__ = ["CurvePreset", "Deletion", "DeletionInsertionRatio", "Insertion", "rise_blur"]

CurvePreset: TypeAlias = Literal["iprop", "rise"]
"""`"iprop"`: black pixels, 100 steps. `"rise"`: RISE's blur for insertion, zero for deletion, 224 steps."""

_RISE_KERNEL = 11
_RISE_SIGMA = 5.0
# In scipy's Gaussian filter, with which RISE makes its kernel, the kernel ends at four standard deviations.
_TRUNCATE = 4


@dataclass(frozen=True)
class _RankedCurve:
    """What insertion and deletion share.

    Attributes:
        preset: Whose choices to take where the other fields are None.
        baseline: What a pixel that is not there shows: `"rise_blur"`, or what `interpix.Fill` takes.
        steps: Into how many steps the pixels are divided; 100 for steps of 1 %.
    """

    preset: CurvePreset = "iprop"
    baseline: AbsenceInput | None = None
    steps: int | None = None

    name: ClassVar[str]
    higher_is_better: ClassVar[bool]
    _presets: ClassVar[Mapping[str, tuple[str, int]]]

    def __post_init__(self) -> None:
        plain_options(self)
        check_choice("preset", self.preset, tuple(self._presets))
        check_positive("steps", self.steps, optional=True)
        if self.baseline is not None and not self._is_rise_blur(self.baseline):
            read_fill(self.baseline, "baseline")

    @staticmethod
    def _is_rise_blur(baseline: AbsenceInput | None) -> bool:
        return isinstance(baseline, str) and baseline == "rise_blur"

    def _resolved(self) -> tuple[AbsenceInput, int]:
        baseline, steps = self._presets[self.preset]
        return baseline if self.baseline is None else self.baseline, self.steps or steps

    def score(self, sample: Sample, attribution: MapInput) -> ImageScore:
        """The area under the curve of one map (H, W) of one image."""
        baseline, steps = self._resolved()
        values = read_attribution(attribution, sample.size)
        empty = self._empty(sample, baseline)
        start, end = (empty, sample.tensor) if self.higher_is_better else (sample.tensor, empty)
        few = min(steps, values.size)  # more steps than pixels are steps of nothing
        counts = np.unique(np.arange(few + 1) * values.size // few)
        scores = ranked_scores(sample, start, end, _step_of_pixel(values, counts), len(counts) - 1)
        curve = Curve(counts / values.size, sample.output.sign * scores.answer)
        named = baseline if isinstance(baseline, str) else read_fill(baseline, "baseline").name
        options = {**fields_as_json(self), "baseline": named, "steps": steps, "target": sample.target}
        return ImageScore(self.name, curve.auc, self.higher_is_better, curve, options=options)

    def _empty(self, sample: Sample, baseline: AbsenceInput) -> npt.NDArray[np.float32]:
        if self._is_rise_blur(baseline):
            return rise_blur(sample.tensor)
        return read_fill(baseline, "baseline").make(sample.tensor, sample.classifier)

    def aggregate(self, scores: Sequence[ImageScore]) -> Summary:
        """Mean of the areas, and the mean curve."""
        return summarize(scores)


@dataclass(frozen=True)
class Insertion(_RankedCurve):
    """How fast the answer comes when the most important pixels come first; higher is better.

    A model whose probability is 0.1 + 0.8 times the mean, and a map that finds the bright half: .1, .5, .5.

    >>> model = lambda batch: np.log([[m, 1 - m] for m in 0.1 + 0.8 * batch.mean(axis=(1, 2, 3))])
    >>> image = np.repeat(np.float32([[1, 1, 0, 0], [1, 1, 0, 0]])[None], 3, axis=0)
    >>> sample = Sample.of(model, image, target=0)
    >>> score = Insertion(baseline="zero", steps=2).score(sample, image[0])
    >>> round(score.value, 6), score.curve.y.round(6)
    (0.4, array([0.1, 0.5, 0.5]))
    """

    name = "insertion"
    higher_is_better = True
    _presets: ClassVar[Mapping[str, tuple[str, int]]] = {"iprop": ("black", 100), "rise": ("rise_blur", 224)}


@dataclass(frozen=True)
class Deletion(_RankedCurve):
    """How fast the answer goes when the most important pixels go first; lower is better.

    The same map and model as for `Insertion`: .5, .1, .1.

    >>> model = lambda batch: np.log([[m, 1 - m] for m in 0.1 + 0.8 * batch.mean(axis=(1, 2, 3))])
    >>> image = np.repeat(np.float32([[1, 1, 0, 0], [1, 1, 0, 0]])[None], 3, axis=0)
    >>> sample = Sample.of(model, image, target=0)
    >>> score = Deletion(baseline="zero", steps=2).score(sample, image[0])
    >>> round(score.value, 6), score.curve.y.round(6)
    (0.2, array([0.5, 0.1, 0.1]))
    """

    name = "deletion"
    higher_is_better = False
    _presets: ClassVar[Mapping[str, tuple[str, int]]] = {"iprop": ("black", 100), "rise": ("zero", 224)}


@dataclass(frozen=True)
class DeletionInsertionRatio:
    """DIR, deletion over insertion for each image; lower is better.

    The aggregate is the mean over images; the median, and the ratio of the means, are in its `parts`.

    The area under .5, .1, .1 over that under .1, .5, .5, as in `Insertion` and `Deletion`:

    >>> model = lambda batch: np.log([[m, 1 - m] for m in 0.1 + 0.8 * batch.mean(axis=(1, 2, 3))])
    >>> image = np.repeat(np.float32([[1, 1, 0, 0], [1, 1, 0, 0]])[None], 3, axis=0)
    >>> sample = Sample.of(model, image, target=0)
    >>> deletion, insertion = (one(baseline="zero", steps=2).score(sample, image[0]) for one in (Deletion, Insertion))
    >>> round(DeletionInsertionRatio().combine(deletion, insertion).value, 6)
    0.5

    Attributes:
        preset: See `Insertion`.
        steps: See `Insertion`.
    """

    preset: CurvePreset = "iprop"
    steps: int | None = None

    name = "dir"
    higher_is_better = False

    def __post_init__(self) -> None:
        plain_options(self)
        self.terms()

    def score(self, sample: Sample, attribution: MapInput) -> ImageScore:
        """The ratio for one map (H, W) of one image."""
        deletion, insertion = self.terms()
        return self.combine(deletion.score(sample, attribution), insertion.score(sample, attribution))

    def terms(self) -> tuple[Deletion, Insertion]:
        """The two metrics that it is the ratio of."""
        return Deletion(self.preset, steps=self.steps), Insertion(self.preset, steps=self.steps)

    def combine(self, deletion: ImageScore, insertion: ImageScore) -> ImageScore:
        """The ratio of two scores of one image that were measured already."""
        options = {
            "preset": insertion.options["preset"],
            "deletion_baseline": deletion.options["baseline"],
            "insertion_baseline": insertion.options["baseline"],
            "steps": insertion.options["steps"],
            "target": insertion.options["target"],
        }
        parts = {"deletion": deletion.value, "insertion": insertion.value}
        score = ImageScore(self.name, float("nan"), self.higher_is_better, parts=parts, options=options)
        if insertion.value == 0:
            return dataclasses.replace(score, skipped="the insertion score is 0")
        return dataclasses.replace(score, value=deletion.value / insertion.value)

    def aggregate(self, scores: Sequence[ImageScore]) -> Summary:
        """Mean of the ratios; `parts` hold their median, and the ratio of mean deletion to mean insertion."""
        kept = [score for score in scores if score.skipped is None]
        if not kept:
            return summarize(scores)
        deletion = float(np.mean([score.parts["deletion"] for score in kept]))
        insertion = float(np.mean([score.parts["insertion"] for score in kept]))
        median = float(np.median([score.value for score in kept]))
        return summarize(scores, parts={"median": median, "ratio_of_means": deletion / insertion})


def rise_blur(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """RISE's blur of a preprocessed image (3, H, W): 11 x 11, sigma 5, zeros around the image.

    The kernel is the Gaussian-filtered unit impulse in a window of 11 whose tails are mirrored back into it,
    as scipy's filter does in RISE's own code.

    >>> blurred = rise_blur(np.ones((3, 11, 13), np.float32))
    >>> blurred[0, 5, [0, 5, 6]].round(2)
    array([0.55, 1.  , 1.  ], dtype=float32)
    """
    gaussian = gaussian_taps(_RISE_SIGMA, round(_TRUNCATE * _RISE_SIGMA))
    impulse = np.arange(_RISE_KERNEL) == _RISE_KERNEL // 2
    taps = blur_matrix(_RISE_KERNEL, gaussian, "mirror") @ impulse
    return convolve(image, taps, "zero").astype(np.float32)


def _step_of_pixel(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> IntArray:
    """The step at which each pixel changes, when `counts[k]` pixels have changed after step k."""
    order = np.argsort(-values, axis=None, kind="stable")
    rank = np.empty(values.size, np.int64)
    rank[order] = np.arange(values.size)
    return np.searchsorted(counts, rank, side="right").reshape(values.shape)
