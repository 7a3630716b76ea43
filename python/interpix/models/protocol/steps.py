"""A step of a search that whoever asks the model takes itself: candidates are listed, and the best found, where it is.

A host that lists every candidate and reads every reward has more to do than a GPU that scores them. What goes to the
device here is a set of each image, and what comes back the best player of each: a few numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray
from interpix.models.protocol.classifier import Scorer
from interpix.outputs.readout import Readout
from interpix.terms import Direction, Precision, Reward

__all__ = ["BATCHES_A_STEP", "FEW", "FIRST", "GREATEST_SHARE", "KAPPA", "PILOT", "Best", "Step", "StepScorer"]

BATCHES_A_STEP = 4
"""Of pictures on a CPU: few enough that an interrupt loses little, enough that most batches are full."""

# Of mixed precision: how a step's candidates are scored first in it, and then those that may be the best exactly.
KAPPA = 2.0
"""No order of any trial differed from the exact one with this value: docs/developers/performance.md."""
FIRST = 8
"""Candidates of an image that are scored exactly in any case."""
PILOT = 12
"""Candidates that are scored both ways to see whether mixed precision pays."""
FEW = 2 * FIRST
"""Fewer are scored exactly at once: most of them would be anyway."""
GREATEST_SHARE = 0.4
"""Mixed precision takes a bit more than half of the time of an exact evaluation: no more than these may be both."""


@dataclass(frozen=True)
class Step:
    """One step of the searches of some images: which of each image's players is the best to flip next?

    Attributes:
        images: Which of the scorer's images, ascending, (b,).
        bases: The set of each, (b, n), True = present.
        size: The number of present players, the same in every set.
        targets: The column of the model's row that each image is about, (b,).
        direction: `"insertion"`: which absent player raises the reward most; `"deletion"`: which present one lowers it.
        reward: What is compared.
        relative: Whether log-odds against all other columns are asked for; else the column is itself the log-odds.
        width: How many columns the row of the whole image has; 0: nobody knows.
        precision: How candidates are asked about first; what decides is always exact.
    """

    images: IntArray
    bases: BoolArray
    size: int
    targets: IntArray
    direction: Direction
    reward: Reward
    relative: bool = True
    width: int = 0
    precision: Precision = "exact"

    @property
    def inserts(self) -> bool:
        """Whether absent players are the candidates."""
        return self.direction == "insertion"

    @property
    def count(self) -> int:
        """The number of candidates of each image."""
        return self.bases.shape[1] - self.size if self.inserts else self.size

    @property
    def players(self) -> IntArray:
        """The candidates of each image, ascending, (b, C).

        >>> Step(np.array([0]), np.array([[True, False, True]]), 2, np.array([0]), "deletion", "logit").players
        array([[0, 2]])
        """
        candidates: IntArray = np.nonzero(self.bases != self.inserts)[1].reshape(len(self.bases), self.count)
        return candidates


class Best(NamedTuple):
    """The best player of each image of a step.

    Attributes:
        player: The lowest of those that are best, (b,).
        readout: What the model says to the set with it flipped.
        gap: How far its reward is ahead of the second best, at least 0; infinite where it is the only candidate, (b,).
    """

    player: IntArray
    readout: Readout
    gap: npt.NDArray[np.float64]


class StepScorer(Scorer, Protocol):
    """A scorer that takes whole steps.

    Attributes:
        takes_steps: True. A scorer of a user's own may have a `best` of another kind.
        candidates_at_once: The greatest number of candidates in a step of several images, so that an interrupt loses no
            more, and progress is seen; None: as many as there are, which fill a GPU.
    """

    takes_steps: bool
    candidates_at_once: int | None

    def best(self, step: Step) -> Callable[[], Best]:
        """Begins a step; what is returned waits for its end. Another may begin meanwhile.

        It is called inside of `interpix.models.protocol.classifier.asking`.
        """
        ...
