"""Classifiers: one class of many (softmax), or each label on its own (sigmoid)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray
from interpix.checks import check_flag, check_number
from interpix.options import plain_options
from interpix.outputs.base import Numbers, Output, refuse
from interpix.outputs.readout import Readout, Scores, from_log_odds, log_odds, predict, read_logits
from interpix.terms import Reward

__all__ = ["Probabilities", "Sigmoid", "Softmax", "doubt", "look_like_shares"]

_PROBABILITY_ERROR = 5e-3
"""A sum of probabilities is 1 to this where bfloat16 has rounded them, each by up to 1/512 of it."""
_NEAREST = 2.0**-24
"""Half of float32's spacing below 1: probabilities nearer to 0 or 1 than this are taken for this."""
_NEARLY_ONE = 0.05
"""By how much less than this no sum of rounded probabilities differs from 1."""
_FEW = 10
"""So many logits are not all between 0 and 1 by chance."""


@dataclass(frozen=True)
class Softmax(Output):
    """Logits (B, K) of K >= 2 classes, one of which is the answer: the greatest, the lowest of equal ones.

    >>> Softmax().score_whole(np.array([3.0, 3.0]), 0, "log_odds")
    Score(reward=0.0, answer=0.5, predicted=0, holds=True)
    """

    name: ClassVar[str] = "softmax"
    quantity: ClassVar[str] = "probability"
    is_probability: ClassVar[bool] = True
    among_classes: ClassVar[bool] = True
    exclusive: ClassVar[bool] = True
    relative: ClassVar[bool] = True
    takes_rewards: ClassVar[bool] = True

    def reward(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """The log-odds against all other classes."""
        return log_odds(rows, np.full(len(rows), target))

    def holds(self, rows: Numbers, target: int, whole: Numbers) -> BoolArray:
        """Whether the target is the class of the greatest logit."""
        return np.asarray(predict(rows) == target)

    def answer(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """The target's probability."""
        return from_log_odds(self.reward(rows, target, whole), "probability")

    def claim(self, named: str, answer: float) -> str:
        """See `Output.claim`."""
        return f"the answer {named}"

    def check(self, rows: npt.NDArray[Any], model: str) -> None:
        """See `Output.check`."""
        if rows.shape[1] < 2:
            cure = "one logit, of a yes/no model, is output=interpix.outputs.Sigmoid(), a number is Value(tolerance)"
            raise refuse(model, f"logits ({len(rows)}, classes) with at least 2 classes", f"shape {rows.shape}", cure)

    def columns(self, target: int, count: int) -> Sequence[int]:
        """See `Output.columns`."""
        return (target,)

    def scores(
        self, readout: Readout, owner: IntArray, targets: Sequence[int], wholes: Sequence[Numbers], reward: Reward
    ) -> Scores:
        """See `Output.scores`."""
        odds = readout.log_odds[:, 0]
        earned = readout.logits[:, 0] if reward == "logit" else from_log_odds(odds, reward)
        holds = self._hold(readout, np.asarray(targets, np.int64)[owner])
        return Scores(earned, from_log_odds(odds, "probability"), readout.predicted, holds)

    def _hold(self, readout: Readout, targets: IntArray) -> BoolArray:
        return np.asarray(readout.predicted == targets)

    def score_rows(self, rows: Numbers, target: int, whole: Numbers, reward: Reward) -> Scores:
        """See `Output.score_rows`."""
        readout = read_logits(rows, np.full((len(rows), 1), target), relative=self.relative)
        return self.scores(readout, np.zeros(len(rows), np.int64), [target], [whole], reward)

    def differentiable(self, rows: Any, target: int, *, probability: bool) -> Any:
        """See `Output.differentiable`."""
        return (rows.softmax(dim=1) if probability else rows)[:, target]


@dataclass(frozen=True)
class Sigmoid(Softmax):
    """Logits (B, K) of K >= 1 labels, each of which is there or not, on its own: multi-label and yes/no models.

    On a logit z it says what `Softmax` says of [0, z]:

    >>> Sigmoid().score_whole(np.array([-1.0, 0.0]), 1, "log_odds")
    Score(reward=0.0, answer=0.5, predicted=1, holds=True)

    Attributes:
        threshold: The probability from which a label counts as there, in 0 ... 1, both excluded.
    """

    threshold: float = 0.5

    name: ClassVar[str] = "sigmoid"
    exclusive: ClassVar[bool] = False
    relative: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuses options that are out of range."""
        plain_options(self)
        check_number("threshold", self.threshold, 0, 1, "a probability between 0 and 1", "0.5 is usual")
        if self.threshold in (0, 1):
            check_number("threshold", self.threshold, _NEAREST, 1 - _NEAREST, "a probability between 0 and 1", "0.5")

    def reward(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """The label's logit, which is its log-odds."""
        return rows[:, target]

    def holds(self, rows: Numbers, target: int, whole: Numbers) -> BoolArray:
        """Whether the label's probability reaches the threshold."""
        return np.asarray(self.reward(rows, target, whole) >= self._least)

    def _hold(self, readout: Readout, targets: IntArray) -> BoolArray:
        return np.asarray(readout.logits[:, 0] >= self._least)

    @property
    def _least(self) -> float:
        """The threshold as a logit."""
        return math.log(self.threshold) - math.log1p(-self.threshold)

    def claim(self, named: str, answer: float) -> str:
        """See `Output.claim`."""
        return f"{named} on its own"

    def check(self, rows: npt.NDArray[Any], model: str) -> None:
        """See `Output.check`: any number of labels will do."""

    def differentiable(self, rows: Any, target: int, *, probability: bool) -> Any:
        """See `Output.differentiable`."""
        chosen = rows[:, target]
        return chosen.sigmoid() if probability else chosen


@dataclass(frozen=True)
class Probabilities(Softmax):
    """Probabilities (B, K) where the model returns these: of K classes that exclude each other, or of labels.

    Their logarithms take the place of logits. What is nearer to 0 or to 1 than half of float32's last place, 6e-8, is
    taken for that: a model that has rounded its probabilities says no more.

    >>> whole = Probabilities().rows(np.array([[0.75, 0.25, 0.0]]), "net")[0]
    >>> found = Probabilities().score_whole(whole, 0, "probability")
    >>> round(found.reward, 6), found.holds
    (0.75, True)

    Attributes:
        independent: Each label on its own, as of a sigmoid; else the classes' probabilities sum to 1.
        threshold: With `independent`, the probability from which a label counts as there.
    """

    independent: bool = False
    threshold: float = 0.5

    name: ClassVar[str] = "probabilities"

    def __post_init__(self) -> None:
        """Refuses options that are out of range."""
        check_flag("independent", self.independent)
        Sigmoid(self.threshold)

    @property
    def exclusive(self) -> bool:  # type: ignore[override]
        """Whether the classes exclude each other."""
        return not self.independent

    relative = exclusive

    @property
    def _as_logits(self) -> Softmax:
        return Sigmoid(self.threshold) if self.independent else Softmax()

    def rows(self, raw: Any, model: str, size: tuple[int, int] | None = None) -> Any:
        """Logarithms of probabilities, or their log-odds where each is independent."""
        shape, low, high = tuple(raw.shape), float(raw.min()), float(raw.max())
        sums = raw.sum(-1)
        summed = self.independent or bool((abs(sums - 1) < _PROBABILITY_ERROR).all())
        if len(shape) != 2 or low < -_PROBABILITY_ERROR or high > 1 + _PROBABILITY_ERROR or not summed:
            expected = "probabilities in 0 ... 1" + ("" if self.independent else " that sum to 1")
            got = f"shape {shape} with values in {low:.3g} ... {high:.3g}, sums up to {float(sums.max()):.3g}"
            raise refuse(model, expected, got, "logits are output=interpix.outputs.Softmax() or Sigmoid()")
        is_numpy = isinstance(raw, np.ndarray)
        # In half precision nothing is between 1 - 6e-8 and 1.
        clipped = (raw.astype(np.float64) if is_numpy else raw.float()).clip(_NEAREST, 1 - _NEAREST)
        if is_numpy:
            return np.log(clipped) - np.log1p(-clipped) if self.independent else np.log(clipped)
        return clipped.log() - (-clipped).log1p() if self.independent else clipped.log()

    def check(self, rows: npt.NDArray[Any], model: str) -> None:
        """See `Output.check`: they were checked as probabilities."""

    def reward(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """The log-odds."""
        return self._as_logits.reward(rows, target, whole)

    def holds(self, rows: Numbers, target: int, whole: Numbers) -> BoolArray:
        """As of a softmax, or of a sigmoid where each is independent."""
        return self._as_logits.holds(rows, target, whole)

    def claim(self, named: str, answer: float) -> str:
        """See `Output.claim`."""
        return self._as_logits.claim(named, answer)

    def scores(
        self, readout: Readout, owner: IntArray, targets: Sequence[int], wholes: Sequence[Numbers], reward: Reward
    ) -> Scores:
        """See `Output.scores`."""
        return self._as_logits.scores(readout, owner, targets, wholes, reward)

    def differentiable(self, rows: Any, target: int, *, probability: bool) -> Any:
        """See `Output.differentiable`."""
        return self._as_logits.differentiable(rows, target, probability=probability)


def doubt(output: Output, rows: npt.NDArray[np.float64], *, guessed: bool) -> str | None:
    """What rows (c, K) look like that are taken for logits, and the cure, as the end of a sentence; None: like logits.

    >>> doubt(Softmax(), np.array([[0.25, 0.75]]), guessed=True).split(";")[0]
    'its logits look like probabilities'

    Args:
        output: What they are taken for.
        rows: What a model answered to a few pictures.
        guessed: Whether nobody said what they are.
    """
    if isinstance(output, Probabilities) or not isinstance(output, Softmax):
        return None
    shares, found = look_like_shares(rows), None
    if isinstance(output, Sigmoid):
        if shares:
            found = (
                "its logits are all in 0 ... 1 and look like probabilities; let it return what goes into the sigmoid, "
                "or say output=interpix.outputs.Probabilities(independent=True)"
            )
        elif guessed and rows.any() and ((rows >= 0) & (rows <= 1)).all():
            found = (
                "its only number is taken for the logit of yes, but could be a probability; say which: "
                "output=interpix.outputs.Sigmoid() or Probabilities(independent=True)"
            )
    elif _look_like_probabilities(rows):
        found = (
            "its logits look like probabilities; let it return what goes into the softmax, or say "
            "output=interpix.outputs.Probabilities()"
        )
    elif guessed and shares and (np.abs(rows.sum(axis=1) - 1) > _NEARLY_ONE).any():
        found = (
            "its logits are all in 0 ... 1, as the probabilities of labels are, and taken for those of a softmax; say "
            "which: output=interpix.outputs.Softmax() or Probabilities(independent=True)"
        )
    return found


def look_like_shares(rows: npt.NDArray[np.float64]) -> bool:
    """Whether rows (c, K) of so many numbers that this is no chance are all in 0 ... 1, as probabilities of labels are.

    >>> look_like_shares(np.linspace(0, 1, 12)[None]), look_like_shares(np.array([[0.5, 0.25]]))
    (True, False)
    """
    return bool(rows.shape[1] >= _FEW and ((rows >= 0) & (rows <= 1)).all() and len(np.unique(rows)) >= _FEW)


def _look_like_probabilities(rows: npt.NDArray[np.float64]) -> bool:
    """Whether rows (c, classes) hold nothing negative and sum to 1, or to 100; a single 1 alone could be a count.

    >>> [_look_like_probabilities(np.array([row])) for row in ([0.25, 0.75, 0.0], [40, 60], [0, 1], [0.5, 0.75, -0.25])]
    [True, True, False, False]
    >>> _look_like_probabilities(np.array([[0.0, 1.0], [1.0, 0.0]]))
    True
    """
    sums = rows.sum(axis=1)
    whole = any((np.abs(sums - total) < _PROBABILITY_ERROR * total).all() for total in (1, 100))
    certain = np.count_nonzero(rows, axis=1).max(initial=0) == 1
    return bool(whole and (rows >= 0).all() and not (certain and (rows == rows[0]).all()))
