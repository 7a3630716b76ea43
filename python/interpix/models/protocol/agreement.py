"""When do two answers to one picture differ? The rule by which shortcuts, and models themselves, are checked."""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import spacing

__all__ = ["difference"]

_SHARE = 1e-3
"""How far logits may differ, in shares of the greatest: far above rounding, far below another answer."""
_ROUNDINGS = 16
"""The same for half precision, in units of its last place."""
_ROUNDING_OF_ZERO = 1e-7
"""What is left of logits that cancel out."""


def difference(
    first: npt.NDArray[np.floating[Any]], second: npt.NDArray[np.floating[Any]], step: float | None = None
) -> float | None:
    """By how much two answers differ, if by more than rounding; None if they agree.

    >>> first = np.array([1.1, -2.3, 4.7])
    >>> difference(first, first + 1e-5), difference(first, first + 0.25)
    (None, 0.25)

    Args:
        first: Logits.
        second: Logits of the same shape, in the same number type.
        step: The relative spacing of that type; None: by the bits of `first`.
    """
    distance = float(np.nan_to_num(np.abs(first - second), nan=sys.float_info.max).max())
    share = max(_SHARE, _ROUNDINGS * (spacing(first) if step is None else step))
    # Who answers NaN itself hears of that when the answer is read.
    if not np.isfinite(first).all() or distance <= max(share * float(np.abs(first).max()), _ROUNDING_OF_ZERO):
        return None
    return distance
