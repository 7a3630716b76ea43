"""Maps as stacks of one shape, numpy's or torch's, and what an answer loses in their dtype."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from interpix.arrays import AnyArray, to_numpy
from interpix.errors import ArgumentError, bad_type, bad_value
from interpix.options import python_number

__all__ = [
    "Peaks",
    "as_stack",
    "bounds_after_rounding",
    "check_maps",
    "check_peaks",
    "check_real",
    "peaks_of",
    "read_maps",
]

_REAL = "iuf"
"""Numpy's kinds of real numbers: integers with and without a sign, floats."""


class Peaks(NamedTuple):
    """Greatest absolute values of each map: as solved, in the answer's dtype, and of what that dtype lost."""

    before: NDArray[np.float64]
    largest: NDArray[np.float64]
    lost: NDArray[np.float64]


def read_maps(
    maps: object, channel_axis: int | None, size: tuple[int, int]
) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Maps as a stack (M, H, W), and the shape to give back.

    >>> stack, shape = read_maps(np.ones((1, 3, 2, 4)), None, (2, 4))
    >>> stack.shape, stack.max().item(), shape
    ((1, 2, 4), 3.0, (1, 1, 2, 4))
    """
    stack, shape = as_stack(to_numpy(maps, "attribution"), channel_axis, np.float64)
    check_maps(stack.shape, shape, size)
    if not np.isfinite(stack).all():
        raise _not_finite(is_nan=bool(np.isnan(stack).any()))
    return np.ascontiguousarray(stack, dtype=np.float64), shape


def check_maps(stack: tuple[int, ...], shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """Refuses a stack that is not of maps of the image's size; `shape` is the one to give back."""
    if stack[1:] != size:
        msg = (
            f"`attribution`: expected maps of the image's size {size}, got {stack[1:]}; resize the "
            'map first, for example torch.nn.functional.interpolate(map[None, None], size=(H, W), mode="bilinear")'
        )
        raise ArgumentError(msg)
    if stack[0] == 0:
        raise bad_value("attribution", "at least one map", f"shape {shape}", "pass maps")


def check_peaks(peaks: NDArray[np.float64]) -> None:
    """Refuses maps whose greatest absolute values are not finite."""
    if not np.isfinite(peaks).all():
        raise _not_finite(is_nan=bool(np.isnan(peaks).any()))


def _not_finite(*, is_nan: bool) -> ArgumentError:
    got = "NaN" if is_nan else "infinity"
    return bad_value("attribution", "finite values", got, "replace NaN and infinity first")


def check_real(maps: Any) -> None:
    """Refuses maps, numpy's or torch's, that are not of real numbers."""
    if isinstance(maps, np.ndarray):
        is_real = maps.dtype.kind in _REAL
    else:
        is_real = not maps.is_complex() and str(maps.dtype) != "torch.bool"
    if not is_real:
        msg = f"`attribution`: expected real numbers, got dtype {_dtype(maps)}; convert it to float32"
        raise ArgumentError(msg)


def as_stack(maps: Any, channel_axis: Any, double: Any) -> tuple[Any, tuple[int, ...]]:
    """Maps, numpy's or torch's, as a stack (M, H, W), and the shape to give back. Sums are taken as `double`."""
    check_real(maps)
    channel_axis = python_number(channel_axis)
    if channel_axis is not None:
        if isinstance(channel_axis, bool) or not isinstance(channel_axis, int):
            raise bad_type("channel_axis", "an axis of the maps, or None", channel_axis, "or leave it out")
        if not -maps.ndim <= channel_axis < maps.ndim:
            expected = f"one of the {maps.ndim} axes of the maps"
            raise bad_value("channel_axis", expected, channel_axis, "count from 0, or from the end with -1")
        maps = maps.sum(axis=channel_axis, dtype=double)
    elif maps.ndim == 4 and len(maps) == 1:  # Captum's (B, C, H, W)
        maps = maps.sum(axis=1, keepdims=True, dtype=double)
    shape = tuple(maps.shape)
    if maps.ndim == 4 and len(maps) == 1:
        maps = maps[0]
    if maps.ndim not in {2, 3}:
        msg = (
            f"`attribution`: expected (H, W), (M, H, W) or (B, C, H, W) with one image each, got shape {shape}; "
            "name another layout's channels with `channel_axis`"
        )
        raise ArgumentError(msg)
    return (maps[None] if maps.ndim == 2 else maps), shape


def peaks_of(values: NDArray[np.float64], answer: AnyArray) -> tuple[Peaks, str]:
    """The peaks of `values` (D, M, H, W) and of the answer, which has them in another dtype, and this dtype."""
    kept = to_numpy(answer).reshape(values.shape)
    before, largest = (np.abs(each).max(axis=(2, 3)).astype(np.float64) for each in (values, kept))
    lost = np.abs(kept.astype(np.float64) - values).max(axis=(2, 3))
    return Peaks(before, largest, lost), _dtype(answer)


def _dtype(array: AnyArray) -> str:
    """The name of a number type, numpy's or torch's."""
    return str(array.dtype).removeprefix("torch.")


def bounds_after_rounding(bounds: NDArray[np.float64], peaks: Peaks, dtype: str) -> NDArray[np.float64]:
    """The bounds of each map for the answer, which lost something in its dtype.

    Each is relative to the greatest value, which may have been rounded down.

    >>> exact, two, tenth = np.zeros(1), np.full(1, 2.0), np.full(1, 0.1)
    >>> bounds_after_rounding(exact, Peaks(two, two, tenth), "float16")
    array([0.05])
    """
    before, largest, lost = peaks
    if not np.isfinite(largest).all() or (largest[lost > 0] == 0).any():
        got = f"up to {before.max():.1e}"
        cure = "convert the map to float64, or scale it"
        raise bad_value("attribution", f"a map whose propagated values fit into {dtype}", got, cure)
    rounded: NDArray[np.float64] = (bounds * before + lost) / np.where(largest > 0, largest, 1)
    return np.where(largest > 0, rounded, bounds)
