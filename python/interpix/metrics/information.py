"""Performance information curves, AIC and SIC (Kapishnikov et al., XRAI, ICCV 2019), as in PAIR's `saliency`.

A picture that shows only 1 % of the pixels, the rest interpolated between them, is sharpened where the map is
highest. The curve is the model's answer against the information that the picture holds, measured by its size as a
lossless WebP file: both from 0 (the blurred picture) to 1 (the original).
"""

import abc
import io
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from PIL import Image

from interpix import _core
from interpix.arrays import BoolArray, IntArray
from interpix.blur import convolve, gaussian_taps
from interpix.checks import check_choice, check_number, check_positive
from interpix.errors import bad_type, bad_value
from interpix.metrics.base import read_attribution
from interpix.metrics.sample import Sample, ranked_scores
from interpix.models.protocol.classifier import Classifier, output_of
from interpix.models.protocol.workshop import workshop_of
from interpix.options import fields_as_json, plain_options, python_number
from interpix.outputs.readout import Scores
from interpix.results.attribution import MapInput
from interpix.results.scores import Average, Curve, ImageScore, Summary, average_curve, summarize

__all__ = [
    "THRESHOLDS",
    "AccuracyInformation",
    "InformationPreset",
    "InformationTrace",
    "SoftmaxInformation",
    "Start",
    "blur_between",
    "blurred_picture",
    "seed_mask",
    "trace_information",
    "webp_bytes",
]

THRESHOLDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.21, 0.34, 0.5, 0.75)
"""Fractions of the most important pixels that are shown."""

Start: TypeAlias = Literal["interpolation", "blur"]
"""What the first picture shows: `"interpolation"`: 1 % of the pixels, and between them what lies between (PAIR);
`"blur"`: the picture through a Gaussian blur."""
InformationPreset: TypeAlias = Literal["pair", "iprop"]
"""`"pair"`: PAIR's interpolation. `"iprop"`: a Gaussian blur, with which the paper's tables come out."""

_STARTS: Mapping[str, Start] = {"pair": "interpolation", "iprop": "blur"}
_BLUR_SHARE = 20 / 224
# As scipy's Gaussian filter.
_TRUNCATE = 4.0
_CURVE_POINTS = 1000
_MOST_BINS = 100_000


def seed_mask(size: tuple[int, int], *, fraction: float = 0.01, seed: int = 0) -> BoolArray:
    """The pixels (H, W) that every picture shows, True = shown: random ones, and the four corners.

    >>> seed_mask((2, 4), fraction=0).astype(int)
    array([[1, 0, 0, 1],
           [1, 0, 0, 1]])
    """
    count = size[0] * size[1]
    mask = np.zeros(count, np.bool_)
    mask[np.random.default_rng(seed).choice(count, int(count * fraction), replace=False)] = True
    mask = mask.reshape(size)
    mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return mask


def blur_between(pixels: npt.NDArray[np.uint8], shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The picture (H, W, 3) with all pixels but the `shown` ones (H, W) interpolated linearly between those.

    >>> blur_between(np.array([[[0], [9], [4]]], np.uint8), np.array([[True, False, True]])).ravel()
    array([0, 2, 4], dtype=uint8)
    """
    mean = pixels.mean(axis=(0, 1)).astype(np.float32)
    values = _core.interpolate(pixels.astype(np.float32), np.ascontiguousarray(shown), mean)
    return np.rint(values).astype(np.uint8)


def blurred_picture(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The picture (H, W, 3) through a Gaussian blur of 5/56 of its longer side.

    >>> blurred_picture(np.array([[[0], [250]]], np.uint8)).ravel()
    array([  0, 250], dtype=uint8)
    >>> blurred_picture(np.array([[[0]] * 28 + [[250]] * 28], np.uint8)).ravel()[[26, 27, 28, 29]]
    array([ 95, 115, 135, 155], dtype=uint8)
    """
    sigma = max(pixels.shape[:2]) * _BLUR_SHARE
    taps = gaussian_taps(sigma, int(_TRUNCATE * sigma + 0.5))
    planes = np.moveaxis(pixels, -1, 0).astype(np.float64)
    return np.rint(np.moveaxis(convolve(planes, taps, "mirror"), 0, -1)).astype(np.uint8)


def webp_bytes(pixels: npt.NDArray[np.uint8]) -> int:
    """The size of a picture (H, W, 3) as a lossless WebP file of quality 100."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="webp", lossless=True, quality=100)
    return buffer.tell()


@dataclass(frozen=True, eq=False)
class InformationTrace:
    """What was measured along one map of one image: all that AIC and SIC need.

    The first entry of each array is the blurred picture, the last one the original, those between are the thresholds'.

    >>> import numpy as np
    >>> from interpix import CallableClassifier
    >>> sums = lambda batch: batch.sum(axis=(2, 3))
    >>> model = CallableClassifier(sums, preprocess=lambda raw: raw.transpose(2, 0, 1) / 255)
    >>> sample = Sample.of(model, np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8))
    >>> trace = trace_information(sample, sample.tensor[0], thresholds=[0.1, 0.5])
    >>> trace.sizes.shape, trace.thresholds
    ((4,), (0.1, 0.5))

    Attributes:
        sizes: Bytes of each picture (t + 2,).
        answers: Probability of the target (t + 2,), or what else the output says.
        holds: Whether the target is still the answer (t + 2,).
        target: The class.
        output: What the answers are, by name.
        is_probability: Whether they are probabilities.
        seed: Of the seed mask.
        thresholds: Fractions of the most important pixels (t,).
        fraction: Of random pixels that every picture shows.
        start: What the first picture shows.
    """

    sizes: IntArray
    answers: npt.NDArray[np.float64]
    holds: BoolArray
    target: int
    seed: int
    thresholds: tuple[float, ...]
    fraction: float
    start: Start = "interpolation"
    output: str = "softmax"
    is_probability: bool = True


def trace_information(
    sample: Sample,
    attribution: MapInput,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    fraction: float = 0.01,
    start: Start = "interpolation",
) -> InformationTrace:
    """Measures the pictures along one map (H, W): once for both AIC and SIC.

    The seed mask is drawn from the sample's seed, so that all maps of an image share it. Pixels of equal value
    appear together, as in PAIR's code: at each threshold, all that reach the quantile. With `start="blur"` there is no
    seed mask: what is not shown is seen through a Gaussian blur, of 20 pixels where the longer side has 224.

    See `InformationTrace`; what it measured serves both metrics:

    >>> import numpy as np
    >>> from interpix import CallableClassifier
    >>> sums = lambda batch: batch.sum(axis=(2, 3))
    >>> model = CallableClassifier(sums, preprocess=lambda raw: raw.transpose(2, 0, 1) / 255)
    >>> sample = Sample.of(model, np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8))
    >>> trace = trace_information(sample, sample.tensor[0])
    >>> [metric.from_trace(trace).metric for metric in (AccuracyInformation(), SoftmaxInformation())]
    ['aic', 'sic']
    """
    steps = _read_thresholds(thresholds)
    _check_fraction(fraction)
    check_choice("start", start, ("interpolation", "blur"))
    values = read_attribution(attribution, sample.size)
    # At how many thresholds each pixel is not shown: always the first ones.
    hidden = np.sum([values < np.quantile(values, 1 - step) for step in steps], axis=0)
    most = [hidden <= index for index in range(len(steps))]
    ends = _ends.setdefault(sample, {})
    known = ends.get((fraction, start))
    first = _first_picture(sample, fraction, start) if known is None else known.picture
    if start == "blur":
        between = [np.where(mask[..., None], sample.pixels, first) for mask in most]
    else:
        seeds = seed_mask(sample.size, fraction=fraction, seed=sample.seed)
        between = [blur_between(sample.pixels, seeds | mask) for mask in most]
    pictures = [first, *between, sample.pixels]
    # Pillow lets go of the interpreter while it encodes, which is most of the time of the whole metric; the model is
    # asked meanwhile.
    pool = ThreadPoolExecutor()
    try:
        encoded = [pool.submit(webp_bytes, picture) for picture in (pictures if known is None else between)]
        scores = _scores(sample, pictures, hidden + 1 if start == "blur" else None)
        sizes = [one.result() for one in encoded]
    finally:
        # Not `with`, which would wait for the rest after Ctrl-C.
        pool.shutdown(wait=False, cancel_futures=True)
    if known is None:
        ends[fraction, start] = _Ends(first, sizes[0], sizes[-1])
    else:
        sizes = [known.first, *sizes, known.last]
    told = sample.target, sample.seed, steps, fraction, start, sample.output.name, sample.output.is_probability
    return InformationTrace(np.array(sizes), scores.answer, scores.holds, *told)


class _Ends(NamedTuple):
    """What every map's curve of a sample starts with, and the sizes of this picture and of the original."""

    picture: npt.NDArray[np.uint8]
    first: int
    last: int


# Made once for all maps of a sample, and forgotten with it.
_ends: WeakKeyDictionary[Sample, dict[tuple[float, Start], _Ends]] = WeakKeyDictionary()


def _scores(sample: Sample, pictures: Sequence[npt.NDArray[np.uint8]], step: IntArray | None) -> Scores:
    """What the model says to the pictures; `step`: at which each pixel changes, if each is of the first or the last."""
    normalization, count = sample.normalization, sample.batch_size
    if step is not None:
        start, end = (normalization.apply(pictures[place]) for place in (0, -1))
        return ranked_scores(sample, start, end, step, len(pictures) - 1)
    workshop = workshop_of(sample.classifier)
    normalize = workshop.normalizing(normalization)
    parts = (np.stack(pictures[begin : begin + count]) for begin in range(0, len(pictures), count))
    return sample.scores_of(workshop, map(normalize, parts))


def _first_picture(sample: Sample, fraction: float, start: Start) -> npt.NDArray[np.uint8]:
    if start == "blur":
        return blurred_picture(sample.pixels)
    return blur_between(sample.pixels, seed_mask(sample.size, fraction=fraction, seed=sample.seed))


def _read_thresholds(thresholds: object) -> tuple[float, ...]:
    need, cure = "ascending fractions in 0 ... 1", "leave them out for the usual ones"
    if isinstance(thresholds, str) or not isinstance(thresholds, Sequence | np.ndarray):
        raise bad_type("thresholds", need, thresholds, cure)
    steps = tuple(map(python_number, thresholds))
    for step in steps:
        check_number("thresholds", step, 0, 1, need, cure, above=True)
    if not steps or list(steps) != sorted(steps):
        raise bad_value("thresholds", need, steps, cure)
    return tuple(map(float, steps))


def _check_fraction(fraction: object) -> None:
    check_number("fraction", fraction, 0, 1, "a fraction of the pixels in 0 ... 1", "0.01 is the usual one")


@dataclass(frozen=True)
class _InformationCurve(abc.ABC):
    """What AIC and SIC share.

    Attributes:
        min_confidence: Images whose clean score is below are skipped.
        monotonous: Each picture gets the best answer until then.
        aggregate_by: `"curve"`: average of the images' interpolated curves, PAIR's way; `"bins"`: average of all
            measured points in equal bins of information, empty bins bridged, IProp's wording.
        bins: How many bins.
        thresholds: Fractions of the most important pixels that are shown.
        fraction: Of random pixels that every picture shows; none do where the start is a blur.
        preset: Whose start to take where `start` is None.
        start: What the first picture shows: `"interpolation"` or `"blur"`; None: the preset's.
    """

    min_confidence: float = 0.8
    monotonous: bool = True
    aggregate_by: Literal["curve", "bins"] = "curve"
    bins: int = 20
    thresholds: tuple[float, ...] = THRESHOLDS
    fraction: float = 0.01
    preset: InformationPreset = "pair"
    start: Start | None = None

    name: ClassVar[str]
    higher_is_better = True
    _average: ClassVar[Average]

    def __post_init__(self) -> None:
        plain_options(self)
        check_choice("aggregate_by", self.aggregate_by, ("curve", "bins"))
        check_positive("bins", self.bins, greatest=_MOST_BINS)
        check_number(
            "min_confidence", self.min_confidence, 0, math.inf, "a number of at least 0", "0.8 is the usual one"
        )
        if not isinstance(self.monotonous, bool):
            raise bad_type("monotonous", "True or False", self.monotonous, "True is the usual one")
        object.__setattr__(self, "thresholds", _read_thresholds(self.thresholds))
        _check_fraction(self.fraction)
        check_choice("preset", self.preset, tuple(_STARTS))
        if self.start is not None:
            check_choice("start", self.start, ("interpolation", "blur"))

    @property
    def first(self) -> Start:
        """What the first picture shows."""
        return _STARTS[self.preset] if self.start is None else self.start

    @abc.abstractmethod
    def _answers(self, trace: InformationTrace) -> npt.NDArray[np.float64]:
        """What the model says to each picture of the trace."""

    def score(self, sample: Sample, attribution: MapInput) -> ImageScore:
        """The area for one map (H, W) of one image."""
        trace = trace_information(
            sample, attribution, thresholds=self.thresholds, fraction=self.fraction, start=self.first
        )
        return self.from_trace(trace)

    def from_trace(self, trace: InformationTrace) -> ImageScore:
        """The area from what was measured already."""
        answers, sizes = self._answers(trace), trace.sizes
        options = {
            **fields_as_json(self),
            "average": self._average,
            "bins": self.bins if self.aggregate_by == "bins" else None,
            "thresholds": trace.thresholds,
            "fraction": trace.fraction,
            "start": trace.start,
            "seed": trace.seed,
            "target": trace.target,
        }
        if skipped := self._skip_reason(answers, sizes):
            return ImageScore(self.name, float("nan"), self.higher_is_better, skipped=skipped, options=options)
        x = ((sizes[1:-1] - sizes[0]) / (sizes[-1] - sizes[0])).clip(0, 1)
        y = ((answers[1:-1] - answers[0]) / (answers[-1] - answers[0])).clip(0, 1)
        if self.monotonous:
            y = np.maximum.accumulate(y)
        points = np.stack([x, y], axis=1)
        curve = _interpolated(points)
        return ImageScore(self.name, curve.auc, self.higher_is_better, curve, points=points, options=options)

    def _skip_reason(self, answers: npt.NDArray[np.float64], sizes: IntArray) -> str | None:
        if answers[-1] < self.min_confidence:
            return "the original's score is below min_confidence"
        if sizes[0] >= sizes[-1]:
            return "the blurred picture holds no less information than the original"
        return "the blurred picture's score is no lower than the original's" if answers[0] >= answers[-1] else None

    def aggregate(self, scores: Sequence[ImageScore]) -> Summary:
        """The area under the average curve."""
        kept = [score for score in scores if score.skipped is None]
        if not kept:
            return summarize(scores)
        if self.aggregate_by == "bins":
            curve = self._binned(np.concatenate([score.points for score in kept if score.points is not None]))
        else:
            curve = average_curve([score.curve for score in kept if score.curve is not None], self._average)
        return summarize(scores, value=curve.auc, curve=curve)

    def _binned(self, points: npt.NDArray[np.float64]) -> Curve:
        bin_of = np.minimum((points[:, 0] * self.bins).astype(int), self.bins - 1)
        filled = np.unique(bin_of)
        average = np.median if self._average == "median" else np.mean
        y = [float(average(points[bin_of == index, 1])) for index in filled]
        return Curve(np.array([0, *(filled + 0.5) / self.bins, 1]), np.array([0, *y, 1]))


def _interpolated(points: npt.NDArray[np.float64]) -> Curve:
    """The curve through points (n, 2) of any order, (0, 0) and (1, 1), at 1001 fractions."""
    closed = np.concatenate([points, [(0, 0), (1, 1)]])
    closed = closed[np.argsort(closed[:, 0], kind="stable")]
    grid = np.arange(_CURVE_POINTS) / _CURVE_POINTS
    # The curve ends at (1, 1) even where another picture is as large as the original.
    return Curve(np.append(grid, 1), np.append(np.interp(grid, *closed.T), 1))


@dataclass(frozen=True)
class AccuracyInformation(_InformationCurve):
    """AIC: whether the target is still the answer, mean over images; higher is better.

    From what was measured: two pictures between the blurred one and the original, the second of them right.

    >>> sizes, holds = np.array([100, 120, 160, 200]), np.array([False, False, True, True])
    >>> trace = InformationTrace(sizes, np.array([0.1, 0.2, 0.6, 0.9]), holds, 0, 0, (0.1, 0.5), 0.01)
    >>> score = AccuracyInformation().from_trace(trace)
    >>> score.points
    array([[0.2, 0. ],
           [0.6, 1. ]])
    """

    name = "aic"
    _average: ClassVar[Average] = "mean"

    def _answers(self, trace: InformationTrace) -> npt.NDArray[np.float64]:
        return np.asarray(trace.holds, np.float64)


@dataclass(frozen=True)
class SoftmaxInformation(_InformationCurve):
    """SIC: the target's probability, median over images; higher is better.

    As in `AccuracyInformation`, with probabilities in 0.1 ... 0.9 instead of answers:

    >>> sizes, holds = np.array([100, 120, 160, 200]), np.array([False, False, True, True])
    >>> trace = InformationTrace(sizes, np.array([0.1, 0.3, 0.7, 0.9]), holds, 0, 0, (0.1, 0.5), 0.01)
    >>> SoftmaxInformation().from_trace(trace).points.round(6)
    array([[0.2 , 0.25],
           [0.6 , 0.75]])
    """

    name = "sic"
    _average: ClassVar[Average] = "median"

    def check_model(self, classifier: Classifier) -> None:
        """Refuses, before any work, an output that has no probabilities."""
        output = output_of(classifier)
        if output is not None:
            _require_probability(output.name, is_probability=output.is_probability)

    def _answers(self, trace: InformationTrace) -> npt.NDArray[np.float64]:
        _require_probability(trace.output, is_probability=trace.is_probability)
        return trace.answers


def _require_probability(output: str, *, is_probability: bool) -> None:
    if not is_probability:
        cure = "use AccuracyInformation (aic), which asks whether the answer holds"
        raise bad_value("metric", f"one that needs no probability, as the output is {output}", "sic", cure)
