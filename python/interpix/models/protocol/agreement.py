"""When do two answers to one picture differ? The rule by which shortcuts, and models themselves, are checked."""

from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import spacing

__all__ = ["difference"]

_SHARE = 1e-3
"""How far logits may differ, in shares of the greatest: far above rounding, far below another answer."""
_ROUNDINGS = 16
"""The same for half precision, in units of its last place."""


def difference(first: npt.NDArray[np.floating[Any]], second: npt.NDArray[np.floating[Any]]) -> float | None:
    """By how much two answers differ, if by more than rounding; None if they agree.

    >>> first = np.array([1.1, -2.3, 4.7])
    >>> difference(first, first + 1e-5), difference(first, first + 0.25)
    (None, 0.25)

    Args:
        first: Logits.
        second: Logits of the same shape, in the same number type.
    """
    distance = float(np.abs(first - second).max())
    size = max(float(np.abs(first).max()), 1.0)
    # NaN is neither: who answers so hears of that when the answer is read.
    return distance if distance > max(_SHARE, _ROUNDINGS * spacing(first)) * size else None
