"""When do two answers to one picture differ? The rule by which shortcuts, and models themselves, are checked."""

from typing import Any

import numpy as np
import numpy.typing as npt

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
    return distance if distance > max(_SHARE, _ROUNDINGS * _spacing(first)) * size else None


def _spacing(values: npt.NDArray[np.floating[Any]]) -> float:
    """Of which number type are they, by their bits: the relative spacing of bfloat16, of float16, or 0 for all others.

    >>> _spacing(np.array([0.5, 0.0078125])), _spacing(np.array([0.1])), _spacing(np.array([3.0, 1.0]))
    (0.0078125, 0.0, 0.0)
    """
    if (values == np.round(values)).all():  # counts
        return 0.0
    mantissa, _ = np.frexp(values)
    for bits in (8, 11):
        scaled = np.ldexp(mantissa, bits)
        if (scaled == np.round(scaled)).all():
            return 2.0 ** (1 - bits)
    return 0.0
