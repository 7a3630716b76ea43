"""Windows on maps: where they lie, and the rows of a table that hold them.

The table of a layer has one row, the channels of a pixel, for each of [zeros | -inf | the base map | the windows of all
candidates]. So any window of any candidate, padding included, is put together from rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from interpix import _core
from interpix.arrays import IntArray
from interpix.models.windows.layers import Reach, Size
from interpix.models.windows.winograd import Winograd, WinogradInputs

__all__ = ["BaseMap", "Group", "Layout", "WindowMaps", "base_table", "changed_outputs"]

_FIRST = 2  # rows of padding before a table's base map
_CALL = 100  # pixels: what a call of its own costs a batch, mostly in arranging the weights


@dataclass(frozen=True)
class Group:
    """Candidates whose windows have one size, one behind the other in the table.

    Attributes:
        members: Their numbers (members,).
        size: Height and width of a window.
        first: The first row of the table.
    """

    members: IntArray
    size: Size
    first: int

    @property
    def rows(self) -> slice:
        """Their rows of the table."""
        return slice(self.first, self.first + len(self.members) * self.size[0] * self.size[1])


class Layout:
    """Where each candidate's window lies on a map, and in which rows of the table.

    Attributes:
        changed: Top, left, bottom and right (candidates, 4) of what may differ from the base map.
        size: Height and width of the map.
        places: Top, left, height, width and first row (5, candidates) of the window that is computed.
        groups: The candidates by the size of their windows.
        rows: Rows of the table in all.
    """

    def __init__(self, changed: IntArray, size: Size) -> None:
        """Lays out windows upon `changed`, somewhat larger where that saves calls."""
        self.changed, self.size = changed, size
        self.groups: list[Group] = []
        self.rows = _FIRST + size[0] * size[1]
        extents, kinds, kind = _round_sizes(changed, size)
        first = np.empty(len(changed), np.int64)
        for number, (height, width) in enumerate(kinds.tolist()):
            members = np.flatnonzero(kind == number)
            group = Group(members, (height, width), self.rows)
            self.groups.append(group)
            first[members] = np.arange(group.rows.start, group.rows.stop, height * width)
            self.rows = group.rows.stop
        corner = np.minimum(changed[:, :2], size - extents)
        self.places = np.concatenate([corner.T, extents.T, first[None]])


@dataclass(frozen=True)
class BaseMap:
    """A layer's map of the base picture.

    Attributes:
        table: Rows (2 + H * W, C): zeros, -inf, then the pixels.
        sums: What a convolution gave before shortcut and activation (H, W, C), float32; None for other layers.
    """

    table: torch.Tensor
    sums: torch.Tensor | None


class WindowMaps:
    """The maps of one layer for many candidates.

    Attributes:
        layout: Where the windows are.
        table: The rows (layout.rows, C).
    """

    def __init__(self, layout: Layout, base: torch.Tensor, dtype: torch.dtype) -> None:
        """Starts the table with the rows `base`; the windows are still to be `put`."""
        self.layout = layout
        self.table = base.new_empty(layout.rows, base.shape[1], dtype=dtype)
        self.table[: len(base)] = base
        self._base = self.table[_FIRST : len(base)]

    def put(self, group: Group, windows: torch.Tensor) -> None:
        """Stores the windows (members, C, h, w) of one group."""
        self.table[group.rows] = windows.permute(0, 2, 3, 1).reshape(-1, windows.shape[1])

    def window(self, layout: Layout, group: Group, reach: Reach) -> torch.Tensor:
        """What `reach` needs (members, C, ...) to compute the windows of a group of `layout`."""
        if layout is self.layout and reach.is_pointwise:
            rows = self.table[group.rows]
            return rows.view(len(group.members), *group.size, -1).permute(0, 3, 1, 2)
        height, width = ((n - 1) * s + e for n, s, e in zip(group.size, reach.stride, reach.extent, strict=True))
        fill = self.table[0 if reach.fill == 0 else 1]
        return self._area(group.members, _origins(layout, group, reach), (height, width), fill)

    def full(self, count: int) -> torch.Tensor:
        """Whole maps (candidates, C, H, W)."""
        return self._area(np.arange(count), np.zeros((2, count), np.int64), self.layout.size, self.table[0])

    def convolve(
        self, winograd: Winograd, layout: Layout, group: Group, reach: Reach, sums: torch.Tensor
    ) -> torch.Tensor:
        """A 3 x 3 convolution (members, O, h, w) on the windows of a group of `layout`; `sums` has the base map's."""
        windows, origins = self.layout.places[:, group.members], _origins(layout, group, reach)
        inputs = WinogradInputs(self.table, self._base, self.layout.size, windows, origins)
        return winograd(inputs, group.size, sums, layout.places[:2, group.members])

    def _area(self, members: IntArray, origins: IntArray, size: Size, fill: torch.Tensor) -> torch.Tensor:
        """Pixels (members, C, h, w) from `origins` (2, members) on: a window's, else the base's, else `fill`."""
        out = self.table.new_empty(len(members), *size, self.table.shape[1])
        windows = self.layout.places[:, members]
        table, base, padding, area = (x.view(torch.uint8).numpy() for x in (self.table, self._base, fill, out))
        _core.gather_windows(
            table, base, size=self.layout.size, windows=windows, fill=padding, origins=origins, out=area
        )
        return out.permute(0, 3, 1, 2)


def base_table(maps: torch.Tensor) -> torch.Tensor:
    """Rows (2 + H * W, C) of one picture's maps (1, C, H, W): zeros, -inf, then the pixels."""
    pixels = maps[0].flatten(1).T
    table = pixels.new_zeros(_FIRST + len(pixels), pixels.shape[1])
    table[1] = -torch.inf
    table[_FIRST:] = pixels
    return table


def _origins(layout: Layout, group: Group, reach: Reach) -> IntArray:
    """Top and left (2, members) of what `reach` reads, outside of the map for padding."""
    origins: IntArray = layout.places[:2, group.members] * np.array([reach.stride]).T - np.array([reach.before]).T
    return origins


def changed_outputs(changed: IntArray, reach: Reach, size: Size) -> IntArray:
    """The boxes (candidates, 4) of a map of `size` that read what has changed; one pixel where nothing does.

    >>> changed_outputs(np.array([[2, 0, 4, 1]]), Reach(extent=(3, 3), before=(1, 1)), (6, 6))
    array([[1, 0, 5, 2]])
    """
    result = np.empty_like(changed)
    for axis in (0, 1):
        extent, stride, before = reach.extent[axis], reach.stride[axis], reach.before[axis]
        # The first output whose last input, and the last output whose first input, has changed.
        first = -((extent - 1 - before - changed[:, axis]) // stride)
        last = (changed[:, axis + 2] - 1 + before) // stride
        result[:, axis] = np.clip(first, 0, size[axis] - 1)
        result[:, axis + 2] = np.clip(last + 1, result[:, axis] + 1, size[axis])
    return result


def _round_sizes(changed: IntArray, size: Size) -> tuple[IntArray, IntArray, IntArray]:
    """Sizes of windows (candidates, 2), their kinds (kinds, 2), and the kind of each.

    Sizes are rounded up as far as the calls that this saves cost more than the pixels that it adds.
    """
    exact = changed[:, 2:] - changed[:, :2]
    best: tuple[float, Any] = (np.inf, None)
    step = 1
    while step < 2 * max(size):
        extents = np.minimum(-(-exact // step) * step, size)
        kinds, kind = np.unique(extents, axis=0, return_inverse=True)
        cost = float(extents.prod(axis=1).sum() + _CALL * len(kinds))
        best = min(best, (cost, (extents, kinds, kind.reshape(-1))), key=lambda entry: entry[0])
        step *= 2
    extents, kinds, kind = best[1]
    return extents, kinds, kind
