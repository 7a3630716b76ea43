"""Methods that show the model random sets of superpixels and watch its answer. They need no gradients, and no torch."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from interpix.absence import AbsenceInput, read_fill
from interpix.arrays import BoolArray
from interpix.checks import check_positive
from interpix.errors import MissingDependencyError, bad_value
from interpix.methods.base import Facts, Map, MapMethod
from interpix.methods.rise import check_keep
from interpix.models.protocol.classifier import Coalitions
from interpix.outputs import scores_of
from interpix.question import Question
from interpix.regions import RegionsInput, Superpixels, check_regions, label_regions, read_regions, regions_name

__all__ = ["LIME", "SuperpixelRISE"]

_DEFAULT_REGIONS = Superpixels(200)
_MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class _Superpixels(MapMethod):
    """What both methods share.

    Attributes:
        count: Number of random sets.
        regions: As in `interpix.MoXI`, `Superpixels` by default; the provenance says how many there really are.
        keep: Probability that a superpixel is on.
        seed: Of the sets, which do not depend on the batch size.
        baseline: What superpixels that are off show: what `interpix.Fill` takes.
        batch_size: Sets in one batch; None: the model's own choice.
    """

    count: int = 4000
    regions: RegionsInput = _DEFAULT_REGIONS
    keep: float = 0.5
    seed: int = 0
    baseline: AbsenceInput = "black"
    batch_size: int | None = None

    presets: ClassVar = {
        "iprop": {"count": 4000, "regions": _DEFAULT_REGIONS, "keep": 0.5, "baseline": "black"},
    }

    def __post_init__(self) -> None:
        """Refuses what cannot be, before any work is done."""
        check_positive("count", self.count)
        check_positive("batch_size", self.batch_size, optional=True)
        check_keep(self.keep)
        check_regions(self.regions)
        read_fill(self.baseline)

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        regions, fill = read_regions(self.regions, question.classifier.token_grid), read_fill(self.baseline)
        labels = label_regions(regions, question.image)
        players = int(labels.max()) + 1
        on = np.random.default_rng(self.seed).random((self.count, players)) < self.keep
        scorer = question.classifier.scorer(question.tensor[None], labels[None], fill)
        size = self.batch_size or question.classifier.batch_size
        parts = [
            scores_of(scorer.score(_coalitions(on[start : start + size], question.target)), "probability").probability
            for start in range(0, self.count, size)
        ]
        values = self._values(on, np.concatenate(parts))
        facts = {"regions": regions_name(regions), "superpixels": players, "baseline": fill.name}
        return values[labels], facts

    @abstractmethod
    def _values(self, on: BoolArray, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """A value for each superpixel (n,) from sets (count, n) and the probabilities that they get."""


@dataclass(frozen=True)
class SuperpixelRISE(_Superpixels):
    """RISE on superpixels: the mean probability of random sets, each counted for the superpixels in it."""

    name = "superpixel_rise"

    def _values(self, on: BoolArray, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        values: npt.NDArray[np.float64] = probabilities @ on / (self.count * self.keep)
        return values


@dataclass(frozen=True)
class LIME(_Superpixels):
    """LIME: the weights of a logistic regression of the probability on which superpixels are on (Ribeiro et al. 2016).

    A set with probability p is a positive example of weight p and a negative one of weight 1 - p.

    Attributes:
        regularization: Strength of the L2 penalty on the weights, the inverse of scikit-learn's C.
    """

    regularization: float = 1.0

    name = "lime"

    def __post_init__(self) -> None:
        """Refuses what cannot be, before any work is done."""
        super().__post_init__()
        if not self.regularization > 0:
            raise bad_value("regularization", "a positive number", self.regularization, "1 is scikit-learn's default")

    def _values(self, on: BoolArray, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        try:
            from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - optional
        except ImportError as error:
            message = 'LIME needs scikit-learn: pip install "interpix[lime]"'
            raise MissingDependencyError(message) from error
        examples = np.concatenate([on, on]).astype(np.float64)
        labels = np.repeat([1, 0], len(on))
        weights = np.concatenate([probabilities, 1 - probabilities])
        model = LogisticRegression(C=1 / self.regularization, max_iter=_MOST_ITERATIONS)
        values: npt.NDArray[np.float64] = model.fit(examples, labels, sample_weight=weights).coef_[0]
        return values


def _coalitions(on: BoolArray, target: int) -> Coalitions:
    count = len(on)
    return Coalitions.of_masks(np.zeros(count, np.int64), on, np.full((count, 1), target))
