"""What RISE and LIME on superpixels share: the model's answers to random sets of them. No gradients, no torch."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from interpix.absence import AbsenceInput, read_fill
from interpix.arrays import BoolArray
from interpix.checks import MOST_SAMPLES, check_number, check_positive, check_seed
from interpix.errors import bad_value
from interpix.methods.base import Facts, Map, MapMethod
from interpix.models.protocol.classifier import Coalitions, Scorer, token_grid_at
from interpix.options import plain_options
from interpix.outputs.base import Output
from interpix.question import Question
from interpix.regions import RegionsInput, Superpixels, check_regions, label_regions, read_regions, regions_name

__all__ = ["RandomSuperpixels", "check_keep"]

_DEFAULT_REGIONS = Superpixels(200)


@dataclass(frozen=True)
class RandomSuperpixels(MapMethod):
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
        plain_options(self)
        check_positive("count", self.count, greatest=MOST_SAMPLES)
        check_seed("seed", self.seed)
        check_positive("batch_size", self.batch_size, optional=True)
        check_keep(self.keep)
        check_regions(self.regions)
        read_fill(self.baseline, "baseline")

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        grid = token_grid_at(question.classifier, question.size)
        regions, fill = read_regions(self.regions, grid), read_fill(self.baseline, "baseline")
        labels = label_regions(regions, question.image)
        players = int(labels.max()) + 1
        on = np.random.default_rng(self.seed).random((self.count, players)) < self.keep
        scorer = question.classifier.scorer(question.tensor[None], labels[None], fill)
        size = self.batch_size or question.classifier.batch_size
        parts = [_answers(question, scorer, on[start : start + size]) for start in range(0, self.count, size)]
        values = self._values(on, np.concatenate(parts), question.output)
        facts = {"regions": regions_name(regions), "superpixels": players, "baseline": fill.name}
        return values[labels], facts

    @abstractmethod
    def _values(self, on: BoolArray, answers: npt.NDArray[np.float64], output: Output) -> npt.NDArray[np.float64]:
        """A value for each superpixel (n,) from sets (count, n) and what the model says to them."""


def _answers(question: Question, scorer: Scorer, on: BoolArray) -> npt.NDArray[np.float64]:
    """What the model says to sets (c, n)."""
    output, owner = question.output, np.zeros(len(on), np.int64)
    columns = np.tile(np.array(output.columns(question.target, len(question.logits)), np.int64), (len(on), 1))
    readout = scorer.score(
        Coalitions.of_masks(owner, on, columns, relative=output.relative, width=len(question.logits))
    )
    scores = output.scores(readout, owner, [question.target], [question.logits], "log_odds")
    return output.sign * scores.answer


def check_keep(keep: float) -> None:
    """Refuses what is not a probability strictly between 0 and 1."""
    need, cure = "a probability in 0 ... 1, ends excluded", "0.5 is the papers'"
    check_number("keep", keep, 0, 1, need, cure, above=True)
    if keep == 1:
        raise bad_value("keep", need, keep, cure)
