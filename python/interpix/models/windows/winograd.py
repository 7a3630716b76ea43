"""3 x 3 convolutions by Winograd's F(4 x 4, 3 x 3): 36 products for 16 outputs instead of 144.

Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016), section 4, with the points 0, 1, -1, 2, -2.
Tiles of 6 x 6 inputs and the kernels are transformed, multiplied for each of the 36 places, and transformed back. torch
does not use it on a CPU; only wide layers gain. The transforms amplify rounding: in float32 to some three times the
error of the plain sum; in bfloat16 it is for differences from a base map only, whose error is relative to them.
"""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from interpix import _core
from interpix.arrays import IntArray

__all__ = ["Winograd", "WinogradInputs", "suits_winograd", "winograd_pays"]

_TILE, _PLACES = 4, 36
_KERNEL = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
_NUMBERS = torch.float32, torch.bfloat16
_CHANNELS = 192  # with fewer, the transforms cost about what they save
_SAVING = 2.0  # what is left of the factor 4 at the ragged end of a small map must pay for the transforms
_LEAST = 16  # tiles in all, for the transformed kernels are read anew
_TILES = 256  # of one product: many, for the kernels are read for each; few, so that they stay in the cache


def suits_winograd(module: nn.Conv2d) -> bool:
    """Whether it computes what `Winograd` does, is wide enough, and on a CPU."""
    kind = module.kernel_size, module.stride, module.dilation, module.groups
    is_wide = min(module.in_channels, module.out_channels) >= _CHANNELS
    return kind == ((3, 3), (1, 1), (1, 1), 1) and is_wide and module.weight.device.type == "cpu"


def winograd_pays(count: int, size: tuple[int, int], dtype: torch.dtype) -> bool:
    """Whether a convolution that suits is faster so for `count` outputs of this height and width."""
    tiles = -(-size[0] // _TILE) * -(-size[1] // _TILE)
    saves = 9 * size[0] * size[1] >= _SAVING * _PLACES * tiles
    return dtype in _NUMBERS and count * tiles >= _LEAST and saves


@dataclass(frozen=True)
class WinogradInputs:
    """The maps of many candidates, as rows of one table, less a base map.

    Attributes:
        table: The channels (rows, C) of each pixel.
        base: The base map (H * W, C), which is taken away; None for nothing.
        size: Height and width of the map.
        windows: Top, left, height, width and first row (5, candidates) of what is in the table; the rest is like the
            base map.
        origins: Top and left (2, candidates) of the first input, which may lie outside of the map, where there is zero.
    """

    table: torch.Tensor
    base: torch.Tensor | None
    size: tuple[int, int]
    windows: IntArray
    origins: IntArray

    def tiles(self, part: slice, tiles: tuple[int, int]) -> torch.Tensor:
        """Transformed tiles (36, tiles of all candidates of a part, C)."""
        windows, origins = self.windows[:, part], self.origins[:, part]
        out = self.table.new_empty(_PLACES, windows.shape[1] * tiles[0] * tiles[1], self.table.shape[1])
        base = None if self.base is None else _numbers(self.base)
        _core.transform_tiles(
            _numbers(self.table), base, size=self.size, windows=windows, origins=origins, tiles=tiles, out=_numbers(out)
        )
        return out


class Winograd:
    """One convolution with stride 1, in float32 or bfloat16."""

    def __init__(self, kernel: torch.Tensor, dtype: torch.dtype) -> None:
        """Transforms `kernel` (O, C, 3, 3), which takes four times its memory."""
        transform = torch.tensor(_KERNEL, dtype=torch.float64, device=kernel.device)
        transformed = torch.einsum("ia,jb,ocab->ijco", transform, transform, kernel.double())
        self._kernel = transformed.flatten(0, 1).to(dtype).contiguous()

    def __call__(
        self, inputs: WinogradInputs, size: tuple[int, int], start: torch.Tensor, origins: IntArray
    ) -> torch.Tensor:
        """Outputs (candidates, O, h, w), channels-last.

        Args:
            inputs: What is convolved.
            size: Height and width of the outputs.
            start: What they are added to (H, W, O), float32: the outputs for the base map, or the bias everywhere.
            origins: Top and left (2, candidates) of the outputs in `start`.
        """
        down, across = -(-size[0] // _TILE), -(-size[1] // _TILE)
        count, channels = origins.shape[1], self._kernel.shape[2]
        result = inputs.table.new_empty(count, *size, channels)
        parts = min(count, -(-count * down * across // _TILES))
        for number in range(parts):
            part = slice(number * count // parts, (number + 1) * count // parts)
            products = torch.bmm(inputs.tiles(part, (down, across)), self._kernel)
            _core.transform_products(_numbers(products), start.numpy(), origins[:, part], _numbers(result[part]))
        return result.permute(0, 3, 1, 2)


def _numbers(values: torch.Tensor) -> npt.NDArray[Any]:
    """The same memory as an array; bfloat16, which numpy has not, as uint16."""
    array: npt.NDArray[Any] = (values.view(torch.uint16) if values.dtype == torch.bfloat16 else values).numpy()
    return array
