"""The best of many candidates that were scored in low precision, by scoring few of them exactly.

The error of low precision exceeds the typical gap between the two best, but it is nearly the same for all candidates of
one step. So those that were scored exactly tell how far the others can be off: a candidate is scored exactly if its
score, plus the mean error seen, plus `kappa` times the largest deviation from that mean, could still be the best. This
is a statistical bound, not a proof.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray
from interpix.errors import bad_value
from interpix.explanation import Direction

__all__ = ["KAPPA", "Recheck", "recheck"]

KAPPA = 2.0
"""No order of any trial differed from the exact one with this value: docs/performance.md."""

_FIRST = 8


@dataclass(frozen=True)
class Recheck:
    """Rewards whose best is an exact one.

    Attributes:
        rewards: Exact where it was asked for; elsewhere low precision, corrected by the mean error, and never
            the best, (c,).
        exact: True where the reward is exact, (c,).
    """

    rewards: npt.NDArray[np.float64]
    exact: BoolArray


def recheck(
    mixed: npt.NDArray[np.float64],
    score: Callable[[IntArray], npt.NDArray[np.float64]],
    direction: Direction,
    *,
    kappa: float = KAPPA,
    first: int = _FIRST,
) -> Recheck:
    """Scores exactly those candidates of one image's step that could be the best.

    Args:
        mixed: Rewards of low precision, (c,).
        score: The exact rewards of the candidates with these indices.
        direction: `"insertion"`: the greatest reward is the best; `"deletion"`: the least.
        kappa: Safety, at least 0; infinity scores all.
        first: The number of candidates that are scored exactly in any case, at least 2.

    Example:
        All are off by about 1, and the first two are too close to tell:

        >>> exact = np.array([0.50, 0.51, 0.2, 0.0])
        >>> off = np.array([1.0, 0.98, 1.01, 1.0])
        >>> found = recheck(exact + off, lambda some: exact[some], "insertion", first=2)
        >>> found.rewards.argmax(), found.exact
        (np.int64(1), array([ True,  True, False, False]))
    """
    if not kappa >= 0:
        raise bad_value("kappa", "at least 0", kappa, "2 kept the exact order in all trials")
    if first < 2:  # noqa: PLR2004 - one error has no spread
        raise bad_value("first", "at least 2", first, "8 is usual")
    sign = 1.0 if direction == "insertion" else -1.0
    near = sign * np.asarray(mixed, np.float64)
    rewards, exact = near.copy(), np.zeros(len(near), bool)
    wanted = np.argsort(-near, kind="stable")[:first]
    while len(wanted):
        rewards[wanted] = sign * np.asarray(score(wanted), np.float64)
        exact[wanted] = True
        error = (rewards - near)[exact]
        rewards[~exact] = near[~exact] + error.mean()
        reach = kappa * np.abs(error - error.mean()).max()
        wanted = np.flatnonzero(~exact & (rewards + reach >= rewards[exact].max()))
    return Recheck(sign * rewards, exact)
