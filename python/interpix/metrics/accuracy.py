"""MoXI's accuracy curves: how many images are still, or already, classified right after j patches.

Patches are replaced in the order of a ranking: by nothing (a fill), by their corrupted, or by their adversarial
version. Only images that the model gets right at first count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.absence import AbsenceInput, read_fill
from interpix.arrays import IntArray, to_numpy
from interpix.checks import check_choice
from interpix.errors import bad_type, bad_value
from interpix.metrics.sample import Sample, ranked_scores
from interpix.models.protocol.classifier import token_grid_at
from interpix.regions import RegionsInput, label_regions, read_regions
from interpix.results.explanation import Explanation
from interpix.results.scores import Curve, Summary
from interpix.terms import Direction

__all__ = [
    "PatchTrace",
    "RankingInput",
    "accuracy_curve",
    "rank_patches",
    "sample_regions",
    "trace_explanation",
    "trace_patches",
]


RankingInput: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]
"""All patches, most important first."""


@dataclass(frozen=True, eq=False)
class PatchTrace:
    """The answers along one ranking of one image.

    >>> import numpy as np
    >>> PatchTrace(np.array([2, 2, 0, 1]), label=2, prediction=2).correct
    array([ True,  True, False, False])

    Attributes:
        predicted: The most probable class after 0 ... n patches (n + 1,); where the output is none of classes that
            exclude each other, 1 where the answer still holds, and 0 where not.
        label: The right class, or 1.
        prediction: The class that the model gives to the clean image, or 1 if its answer holds there.
        options: Every choice that was made.
    """

    predicted: IntArray
    label: int
    prediction: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the answer is the label after 0 ... n patches (n + 1,)."""
        return np.asarray(self.predicted == self.label)


def trace_patches(
    sample: Sample,
    ranking: RankingInput,
    *,
    regions: RegionsInput = "auto",
    replacement: AbsenceInput = "auto",
    direction: Direction = "deletion",
) -> PatchTrace:
    """Replaces the patches of an image one after the other; the label is the sample's target.

    Without the bright patch the mean falls below 0.3, and the class changes from 1 to 0:

    >>> import numpy as np
    >>> model = lambda batch: np.stack([0 * batch.mean((1, 2, 3)), batch.mean((1, 2, 3)) - 0.3], axis=1)
    >>> image = np.repeat(np.float32([[1, 1, 0.2, 0.2], [1, 1, 0.2, 0.2]])[None], 3, axis=0)
    >>> sample = Sample.of(model, image)
    >>> trace_patches(sample, [0, 1], regions="1x2", replacement="zero").predicted
    array([1, 0, 0])

    Args:
        sample: The image and its label.
        ranking: All patches, most important first (n,).
        regions: As in `interpix.MoXI`.
        replacement: What a replaced patch shows: what `interpix.Fill` takes, or a whole picture (C, H, W) as
            the model's input.
        direction: `"deletion"`: from the image to the replacement; `"insertion"`: back.
    """
    check_choice("direction", direction, ("insertion", "deletion"))
    labels = sample_regions(sample, regions)
    players = int(labels.max()) + 1
    order = to_numpy(np.asarray(ranking), "ranking")
    if not np.array_equal(np.sort(order), np.arange(players)):
        cure = 'rank all patches, with stop="all", for example'
        raise bad_value("ranking", f"each of the patches 0 ... {players - 1} once", order.tolist(), cure)
    step = np.empty(players, np.int64)
    step[order] = np.arange(1, players + 1)
    fill = read_fill(replacement)
    ends = sample.tensor, fill.make(sample.tensor, sample.classifier)
    start, end = ends if direction == "deletion" else ends[::-1]
    scores = ranked_scores(sample, start, end, step[labels], players)
    options = {"direction": direction, "replacement": fill.name, "patches": players}
    if sample.output.exclusive:
        return PatchTrace(scores.predicted, sample.target, sample.prediction, options)
    holds = int(sample.score("log_odds").holds)
    return PatchTrace(scores.holds.astype(np.int64), 1, holds, options)


def sample_regions(sample: Sample, regions: RegionsInput) -> IntArray:
    """The patch 0 ... n-1 of each pixel (H, W)."""
    return label_regions(read_regions(regions, token_grid_at(sample.classifier, sample.size)), sample.image)


def rank_patches(attribution: npt.NDArray[Any], labels: IntArray) -> IntArray:
    """All patches (n,), greatest mean attribution first, ties by index.

    >>> rank_patches(np.array([[1.0, 2.0, 9.0], [1.0, 4.0, 0.0]]), np.array([[0, 1, 2], [0, 1, 2]]))
    array([2, 1, 0])
    """
    sizes = np.bincount(labels.ravel())
    means = np.bincount(labels.ravel(), np.asarray(attribution, np.float64).ravel()) / sizes
    return np.argsort(-means, kind="stable")


def trace_explanation(explanation: Explanation, label: int | None = None) -> PatchTrace:
    """The trace that a search with `stop="all"` measured on its way.

    >>> import numpy as np
    >>> from interpix import MoXI
    >>> moxi = MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2")
    >>> image = np.zeros((3, 2, 4), np.float32)
    >>> image[1, :, 2:], image[0] = 1, 0.25
    >>> trace_explanation(moxi.explain(image, direction="deletion", stop="all")).predicted
    array([1, 0, 0])

    Args:
        explanation: With all patches ranked.
        label: The right class; None: the class explained.
    """
    if len(explanation.ranking) != explanation.players:
        got = f"{len(explanation.ranking)} of {explanation.players}"
        raise bad_value("explanation", "one with all patches ranked", got, 'search with stop="all"')
    options = {
        "direction": explanation.direction,
        "replacement": explanation.provenance.get("absence"),
        "patches": explanation.players,
    }
    if not explanation.output["exclusive"]:
        if label is not None:
            raise bad_value("label", "None, as the output is none of classes", label, "leave it out")
        return PatchTrace(explanation.holds.astype(np.int64), 1, int(explanation.full.holds), options)
    right = explanation.target if label is None else label
    return PatchTrace(explanation.predicted, right, explanation.prediction, options)


def accuracy_curve(traces: Sequence[PatchTrace]) -> Summary:
    """The fraction of images whose answer is the label after each fraction of their patches.

    Images that the model gets wrong at first are counted and left out. The value is the area under the curve: for
    insertion higher is better, for deletion (and for corrupted and adversarial patches) lower.

    >>> import numpy as np
    >>> traces = [PatchTrace(np.array(predicted), label=1, prediction=1) for predicted in ([1, 1, 0], [1, 0, 0])]
    >>> accuracy_curve(traces).curve.y
    array([1. , 0.5, 0. ])
    """
    if not traces:
        raise bad_value("traces", "at least one trace", "none", "trace an image first")
    for trace in traces:
        if not isinstance(trace, PatchTrace):
            cure = 'make one of each explanation of all patches (stop="all") with trace_explanation'
            raise bad_type("traces", "PatchTraces", trace, cure)
    lengths = sorted({len(trace.predicted) for trace in traces})
    directions = {trace.options.get("direction") for trace in traces}
    if len(lengths) > 1 or len(directions) > 1:
        got = f"{[length - 1 for length in lengths]} patches, directions {sorted(map(str, directions))}"
        raise bad_value("traces", "one number of patches and one direction", got, "make a curve of each")
    kept = [trace for trace in traces if trace.prediction == trace.label]
    curve = None
    x = np.linspace(0, 1, lengths[0])
    if kept:
        curve = Curve(x, np.mean([trace.correct for trace in kept], axis=0))
    wrong = len(traces) - len(kept)
    areas = [Curve(x, trace.correct.astype(np.float64)).auc for trace in traces]
    return Summary(
        metric="accuracy",
        value=float("nan") if curve is None else curve.auc,
        higher_is_better="insertion" in directions,
        count=len(kept),
        skipped={"the model gets the clean image wrong": wrong} if wrong else {},
        scores=np.where([trace.prediction == trace.label for trace in traces], areas, np.nan),
        curve=curve,
        options=traces[0].options,
    )
