"""From logits to rewards, stably: never a logarithm of a rounded probability."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from interpix.arrays import IntArray
from interpix.terms import Reward

__all__ = [
    "Readout",
    "Score",
    "Scores",
    "from_log_odds",
    "log_odds",
    "predict",
    "read_logits",
    "score_logits",
    "scores_of",
]


class Score(NamedTuple):
    """What the model says to one coalition.

    Attributes:
        reward: In the units of the run's reward.
        probability: Softmax probability of the target.
        predicted: The most probable class.
    """

    reward: float
    probability: float
    predicted: int


class Scores(NamedTuple):
    """What the model says to c coalitions: a `Score` of each, as columns.

    Attributes:
        reward: (c,).
        probability: (c,).
        predicted: (c,).
    """

    reward: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]
    predicted: IntArray

    @classmethod
    def joined(cls, parts: "Iterable[Scores]") -> "Scores":
        """The scores of several parts, one after the other; there must be a part."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def rows(self) -> list[Score]:
        """The score of each coalition."""
        return [Score(float(r), float(p), int(c)) for r, p, c in zip(*self, strict=True)]


class Readout(NamedTuple):
    """What a model says to c coalitions about t classes each.

    Attributes:
        log_odds: log(p / (1 - p)) of each class, (c, t).
        logits: The raw logit of each class, (c, t).
        predicted: The class of the greatest logit, the lowest of equal ones, (c,).
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


def read_logits(logits: npt.NDArray[np.float64], targets: IntArray) -> Readout:
    """Reads logits (c, classes) for the classes `targets` (c, t)."""
    odds = np.stack([log_odds(logits, column) for column in targets.T], axis=1)
    return Readout(odds, np.take_along_axis(logits, targets, axis=1), predict(logits))


def scores_of(readout: Readout, reward: Reward) -> Scores:
    """The scores of the first class that was read."""
    odds = readout.log_odds[:, 0]
    earned = readout.logits[:, 0] if reward == "logit" else from_log_odds(odds, reward)
    return Scores(earned, from_log_odds(odds, "probability"), readout.predicted)


def score_logits(logits: npt.NDArray[np.floating[Any]], target: int, reward: Reward) -> Scores:
    """The scores of logits (c, classes) for one class.

    >>> score_logits(np.array([[3.0, 1.0], [0.0, 5.0]]), 0, "logit").predicted
    array([0, 1])
    """
    return scores_of(read_logits(np.asarray(logits, np.float64), np.full((len(logits), 1), target)), reward)
