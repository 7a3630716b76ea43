"""From logits to log-odds, stably, never by a logarithm of a rounded probability; and what is said of a coalition."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray
from interpix.terms import Reward

__all__ = [
    "Readout",
    "Score",
    "Scores",
    "from_log_odds",
    "log_odds",
    "predict",
    "read_logits",
    "write_probability",
]

_LEAST, _MOST = 0.005, 0.995


class Score(NamedTuple):
    """What the model says to one coalition.

    Attributes:
        reward: What the search compares.
        answer: What it says of the target, for people: a probability, a number, a cosine.
        predicted: The class of the greatest logit; -1 where the output knows no classes.
        holds: Whether it still says what is explained.
    """

    reward: float
    answer: float
    predicted: int
    holds: bool


class Scores(NamedTuple):
    """What the model says to c coalitions: a `Score` of each, as columns.

    Attributes:
        reward: (c,).
        answer: (c,).
        predicted: (c,).
        holds: (c,).
    """

    reward: npt.NDArray[np.float64]
    answer: npt.NDArray[np.float64]
    predicted: IntArray
    holds: BoolArray

    @classmethod
    def joined(cls, parts: "Iterable[Scores]") -> "Scores":
        """The scores of several parts, one after the other; there must be a part."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    @classmethod
    def unknown(cls, count: int) -> "Scores":
        """Zeros for `count` coalitions, to be written over."""
        return cls(np.zeros(count), np.zeros(count), np.zeros(count, np.int64), np.zeros(count, bool))

    def rows(self) -> list[Score]:
        """The score of each coalition."""
        return [Score(float(r), float(a), int(c), bool(h)) for r, a, c, h in zip(*self, strict=True)]


class Readout(NamedTuple):
    """What is read of a model's rows for c coalitions: t columns of each.

    Attributes:
        log_odds: log(p / (1 - p)) of the column's class against all others, (c, t); the logits where nobody asked.
        logits: The raw numbers, (c, t).
        predicted: The column of the greatest number of the whole row, the lowest of equal ones, (c,).
    """

    log_odds: npt.NDArray[np.float64]
    logits: npt.NDArray[np.float64]
    predicted: IntArray


def log_odds(logits: npt.NDArray[np.float64], targets: IntArray) -> npt.NDArray[np.float64]:
    """log(p / (1 - p)) = logit of the target minus logsumexp of all the others; `logits` (c, classes).

    With two classes it is the difference of the logits:

    >>> log_odds(np.array([[3.0, 1.0]]), np.array([0]))
    array([2.])
    """
    rows = np.arange(len(logits))
    others = logits.copy()
    others[rows, targets] = -np.inf
    top = others.max(axis=1)
    rest = top + np.log(np.exp(others - top[:, None]).sum(axis=1))
    odds: npt.NDArray[np.float64] = logits[rows, targets] - rest
    return odds


def from_log_odds(odds: npt.NDArray[np.float64], reward: Reward) -> npt.NDArray[np.float64]:
    """The reward that log-odds determine: every one but the raw logit."""
    if reward == "log_probability":
        return -np.logaddexp(0, -odds)
    if reward == "probability":
        return np.exp(-np.logaddexp(0, -odds))
    return odds


def predict(logits: npt.NDArray[np.floating[Any]]) -> IntArray:
    """The class of the greatest logit, the lowest of equal ones, (c,), of logits (c, classes).

    >>> predict(np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]]))
    array([1, 0])
    """
    classes: IntArray = logits.argmax(axis=1)
    return classes


def read_logits(logits: npt.NDArray[np.float64], columns: IntArray, *, relative: bool = True) -> Readout:
    """Reads some columns (c, t) of logits (c, classes), and where `relative` their log-odds against all others."""
    chosen = np.take_along_axis(logits, columns, axis=1)
    odds = np.stack([log_odds(logits, column) for column in columns.T], axis=1) if relative else chosen
    return Readout(odds, chosen, predict(logits))


def write_probability(probability: float) -> str:
    """.41 as statisticians write it, but never 1.00 or .00 for what is only near.

    >>> write_probability(0.412), write_probability(0.999), write_probability(0.0001), write_probability(1.0)
    ('.41', '> .99', '< .01', '1')
    """
    if probability > _MOST:
        return "> .99" if probability < 1 else "1"
    return f"{probability:.2f}".removeprefix("0") if probability >= _LEAST else "< .01"
