"""3 x 3 convolutions by Winograd's F(4 x 4, 3 x 3): 36 products for 16 outputs instead of 144.

Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016), section 4, with the points 0, 1, -1, 2, -2.
Tiles of 6 x 6 inputs and the kernels are transformed, multiplied for each of the 36 places, and transformed back. In
float32 the error is some three times that of the plain sum. torch does not use it on a CPU; only wide layers gain.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit

__all__ = ["Winograd", "winograd_pays"]

_TILE, _READ = 4, 6
_INPUT = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
_KERNEL = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
_OUTPUT = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)
_CONSTANT = 1 * _READ + 1  # the place of the 36 that reaches every output with factor 1
_CHANNELS = 192  # with fewer, the transforms cost more than the products that they save
_SAVING = 2.0  # what is left of the factor 4 at the ragged end of a small map must pay for the transforms
_BYTES = 16 << 20  # of transformed tiles, so that they stay in the cache


def winograd_pays(height: int, width: int, kernel: torch.Tensor) -> bool:
    """Whether to use it for outputs of this size; `kernel` (O, C, 3, 3) is float32 on the CPU."""
    if kernel.dtype != torch.float32 or kernel.device.type != "cpu" or min(kernel.shape[:2]) < _CHANNELS:
        return False
    tiles = -(-height // _TILE) * -(-width // _TILE)
    return 9 * height * width >= _SAVING * _READ**2 * tiles


class Winograd:
    """One convolution with stride 1, without padding."""

    def __init__(self, kernel: torch.Tensor, bias: torch.Tensor) -> None:
        """Transforms `kernel` (O, C, 3, 3), which takes four times its memory."""
        transform = torch.tensor(_KERNEL, dtype=torch.float64)
        transformed = torch.einsum("ia,jb,ocab->ijco", transform, transform, kernel.double())
        self._kernel = transformed.flatten(0, 1).to(kernel.dtype).contiguous()
        self._bias = bias
        pairs = (torch.tensor(matrix, dtype=torch.float64) for matrix in (_INPUT, _OUTPUT))
        self._input, self._output = (torch.kron(matrix, matrix).to(kernel.dtype) for matrix in pairs)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (n, O, H - 2, W - 2) of `x` (n, C, H, W), both channels-last."""
        height, width = x.shape[2] - 2, x.shape[3] - 2
        rows, columns = -(-height // _TILE), -(-width // _TILE)
        x = F.pad(x, (0, columns * _TILE - width, 0, rows * _TILE - height))
        result = x.new_empty(len(x), rows, _TILE, columns, _TILE, len(self._bias))
        count = max(1, _BYTES // (4 * _READ**2 * x.shape[1] * rows * columns))
        for part, out in zip(x.split(count), result.split(count), strict=True):
            out[:] = self._tiles(part, rows, columns)
        return result.flatten(3, 4).flatten(1, 2)[:, :height, :width].permute(0, 3, 1, 2)

    def _tiles(self, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Outputs (n, rows, 4, columns, 4, O)."""
        x = x.permute(0, 2, 3, 1).contiguous()
        n, row, column, channel = x.stride()
        shape = (_READ, _READ, len(x), rows, columns, x.shape[3])
        tiles = x.as_strided(shape, (row, column, n, _TILE * row, _TILE * column, channel), x.storage_offset())
        transformed = torch.mm(self._input, tiles.reshape(_READ**2, -1)).view(_READ**2, -1, x.shape[3])
        products = torch.bmm(transformed, self._kernel)
        products[_CONSTANT] += self._bias
        result = torch.mm(self._output, products.flatten(1))
        return result.view(_TILE, _TILE, len(x), rows, columns, -1).permute(2, 3, 0, 4, 1, 5)
