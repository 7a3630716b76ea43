"""Accuracy curves of a map's patches as metrics: absent, corrupted or attacked ones, most important first.

A map ranks the patches by its mean over each; whether the answer is still (or already) the target is then traced
patch by patch. MoXI's paper draws these curves of every method it compares with.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from interpix.absence import AbsenceInput, read_fill
from interpix.arrays import IntArray
from interpix.errors import bad_value
from interpix.metrics.accuracy import PatchTrace, rank_patches, sample_regions, trace_patches
from interpix.metrics.adversarial import check_attack, trace_adversarial
from interpix.metrics.base import read_attribution
from interpix.metrics.corruption import CORRUPTIONS, check_corruption, require_corruptions, trace_corruptions
from interpix.metrics.sample import Sample
from interpix.models.adapters.adapt import is_torch
from interpix.models.protocol.classifier import Classifier
from interpix.options import plain_options
from interpix.regions import RegionsInput, check_regions
from interpix.results.attribution import MapInput
from interpix.results.scores import Curve, ImageScore, Summary, summarize
from interpix.terms import Direction

if TYPE_CHECKING:
    import torch

__all__ = ["AccuracyDeletion", "AccuracyInsertion", "AdversarialAccuracy", "CorruptionAccuracy"]


@dataclass(frozen=True)
class _PatchCurve(abc.ABC):
    """What the four metrics share.

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
    """

    regions: RegionsInput = "auto"

    name: ClassVar[str]
    higher_is_better = False

    def __post_init__(self) -> None:
        plain_options(self)
        check_regions(self.regions)

    def score(self, sample: Sample, attribution: MapInput) -> ImageScore:
        """The area under the curve of one map (H, W) of one image; its target is taken for the right class."""
        values = read_attribution(attribution, sample.size)
        if sample.prediction != sample.target:
            reason = "the model gets the clean image wrong"
            return ImageScore(self.name, float("nan"), self.higher_is_better, skipped=reason)
        labels = sample_regions(sample, self.regions)
        ranking = rank_patches(values, labels)
        traces = self._traces(sample, ranking, labels)
        curve = Curve(np.linspace(0, 1, len(ranking) + 1), np.mean([trace.correct for trace in traces], axis=0))
        options = {**traces[0].options, "replacement": [trace.options["replacement"] for trace in traces]}
        return ImageScore(self.name, curve.auc, self.higher_is_better, curve, options=options)

    @abc.abstractmethod
    def _traces(self, sample: Sample, ranking: IntArray, labels: IntArray) -> list[PatchTrace]:
        """The answers along the ranking of the patches `labels` (H, W); several traces are averaged."""

    def aggregate(self, scores: Sequence[ImageScore]) -> Summary:
        """The area under the mean curve: the fraction of images that are right."""
        return summarize(scores)


@dataclass(frozen=True)
class _AbsentPatches(_PatchCurve):
    """Patches come, or go, one by one.

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        replacement: What an absent patch shows: what `interpix.Fill` takes.
    """

    replacement: AbsenceInput = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        read_fill(self.replacement, "replacement")

    _direction: ClassVar[Direction]

    def _traces(self, sample: Sample, ranking: IntArray, labels: IntArray) -> list[PatchTrace]:
        direction, replacement = self._direction, self.replacement
        return [trace_patches(sample, ranking, regions=labels, replacement=replacement, direction=direction)]


@dataclass(frozen=True)
class AccuracyInsertion(_AbsentPatches):
    """How soon the answer is there when the most important patches come first; higher is better.

    The class is 1 where the mean is above 0.3; the bright patch alone reaches it.

    >>> model = lambda batch: np.stack([0 * batch.mean((1, 2, 3)), batch.mean((1, 2, 3)) - 0.3], axis=1)
    >>> image = np.repeat(np.float32([[1, 1, 0.2, 0.2], [1, 1, 0.2, 0.2]])[None], 3, axis=0)
    >>> AccuracyInsertion(regions="1x2").score(Sample.of(model, image), image[0]).curve.y
    array([0., 1., 1.])

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        replacement: What an absent patch shows: what `interpix.Fill` takes.
    """

    name = "accuracy_insertion"
    higher_is_better = True
    _direction: ClassVar[Direction] = "insertion"


@dataclass(frozen=True)
class AccuracyDeletion(_AbsentPatches):
    """How long the answer stays when the most important patches go first; lower is better.

    As in `AccuracyInsertion`; without the bright patch the answer is gone.

    >>> model = lambda batch: np.stack([0 * batch.mean((1, 2, 3)), batch.mean((1, 2, 3)) - 0.3], axis=1)
    >>> image = np.repeat(np.float32([[1, 1, 0.2, 0.2], [1, 1, 0.2, 0.2]])[None], 3, axis=0)
    >>> AccuracyDeletion(regions="1x2").score(Sample.of(model, image), image[0]).curve.y
    array([1., 0., 0.])

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        replacement: What an absent patch shows: what `interpix.Fill` takes.
    """

    name = "accuracy_deletion"
    _direction: ClassVar[Direction] = "deletion"


@dataclass(frozen=True)
class CorruptionAccuracy(_PatchCurve):
    """How long the answer stays when the most important patches are corrupted first; lower is better.

    A dark picture, half of which is enough to change the answer once it is made bright:

    >>> model = lambda batch: np.stack([0.2 - batch.mean((1, 2, 3)), 0 * batch.mean((1, 2, 3))], axis=1)
    >>> import interpix as ix
    >>> model = ix.CallableClassifier(model, preprocess=lambda raw: raw.transpose(2, 0, 1) / 255)
    >>> sample = Sample.of(model, np.zeros((32, 48, 3), np.uint8))
    >>> CorruptionAccuracy("1x2", ("brightness",)).score(sample, np.ones((32, 48))).curve.y
    array([1., 0., 0.])

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        corruptions: Names, of `CORRUPTIONS`.
        severity: 1 ... 5.
    """

    corruptions: tuple[str, ...] = CORRUPTIONS
    severity: int = 5

    name = "corruption"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.corruptions, str) or not isinstance(self.corruptions, Sequence) or not self.corruptions:
            raise bad_value("corruptions", "a tuple of names", repr(self.corruptions), 'use ("fog",), for example')
        for corruption in self.corruptions:
            check_corruption(corruption, self.severity)

    def check_model(self, classifier: Classifier) -> None:  # noqa: ARG002 - any will do
        """Refuses, before any work, to do without what is not installed."""
        require_corruptions()

    def _traces(self, sample: Sample, ranking: IntArray, labels: IntArray) -> list[PatchTrace]:
        corruptions, severity = self.corruptions, self.severity
        return trace_corruptions(sample, ranking, regions=labels, corruptions=corruptions, severity=severity)


@dataclass(frozen=True)
class AdversarialAccuracy(_PatchCurve):
    """How long the answer stays when the most important patches are attacked first; lower is better. Torch only.

    A module that asks whether red outweighs green, and a picture with a little more red:

    >>> import interpix as ix
    >>> import torch
    >>> mean_color = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> model = ix.TorchClassifier(mean_color, preprocess=lambda image: np.float32(image).transpose(2, 0, 1) / 255)
    >>> sample = Sample.of(model, np.full((8, 12, 3), (129, 128, 0), np.uint8))
    >>> AdversarialAccuracy("1x2").score(sample, np.ones((8, 12))).curve.y
    array([1., 0., 0.])

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        radius: See `interpix.metrics.l2_pgd`.
        step_size: See `interpix.metrics.l2_pgd`.
        steps: See `interpix.metrics.l2_pgd`.
    """

    radius: float = 1.0
    step_size: float = 0.2
    steps: int = 10

    name = "adversarial"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_attack(self.radius, self.step_size, self.steps)

    def check_model(self, classifier: Classifier) -> None:
        """Refuses, before any work, what cannot be attacked."""
        _attacked(classifier)

    def _traces(self, sample: Sample, ranking: IntArray, labels: IntArray) -> list[PatchTrace]:
        trace = trace_adversarial(
            sample,
            _attacked(sample.classifier),
            ranking,
            regions=labels,
            radius=self.radius,
            step_size=self.step_size,
            steps=self.steps,
        )
        return [trace]


def _attacked(classifier: Classifier) -> "torch.nn.Module":
    if not is_torch(classifier):
        cure = "leave the adversarial metric out"
        raise bad_value("model", "a torch module, which can be attacked", f"`{classifier.name}`", cure)
    return classifier.module
