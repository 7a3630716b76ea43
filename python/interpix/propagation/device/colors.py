"""Colors of pictures on a GPU: sRGB to CIELAB as the compiled half has it, in double precision, rounded once.

The two differ by a bit in about one color of a million, where the rounding to single precision turns.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from interpix.arrays import dense_tensor, is_tensor
from interpix.errors import bad_value
from interpix.images import ImageInput, rgb_pixels
from interpix.propagation.places import place_of

__all__ = ["colors_of", "lab_colors", "read_pixels"]

#: Linear sRGB to CIE XYZ (IEC 61966-2-1), rounded as in scikit-image.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_D65 = (0.95047, 1.0, 1.08883)
#: Where CIELAB's cube root begins, and the slope and height of the line before it.
_TOE, _SLOPE, _HEIGHT = (6 / 29) ** 3, 841 / 108, 4 / 29


def read_pixels(image: ImageInput, device: torch.device) -> Tensor:
    """The colors (H, W, 3) of a picture: uint8, or float32 in 0 ... 1. A tensor of a GPU's stays there.

    What may be an image is `rgb_pixels`' to say, and so are the errors.

    >>> read_pixels(np.zeros((2, 4, 3), np.uint8), torch.device("cpu")).shape
    torch.Size([2, 4, 3])
    """
    if not is_tensor(image) or place_of(image) is None:
        # A copy: torch takes no arrays that are read-only.
        return torch.from_numpy(rgb_pixels(image).copy()).to(device)
    tensor = dense_tensor(image, "image")
    height, width = _size_of(tuple(tensor.shape), tensor.dtype)
    if tensor.ndim == 4:
        tensor = tensor[0]
    if tensor.ndim == 2:
        tensor = tensor[..., None]
    if tensor.shape[:2] != (height, width):
        tensor = tensor.permute(1, 2, 0)
    tensor = tensor.expand(height, width, 3).to(device)
    if tensor.dtype == torch.uint8:
        return tensor
    tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
    low, high = (float(end) for end in torch.stack(tensor.aminmax()).tolist())
    if not (low >= 0 and high <= 1):  # NaN is neither
        cure = "pass the picture before normalization, not the model's input"
        raise bad_value("image", "sRGB values in 0 ... 1", f"{low:.3g} ... {high:.3g}", cure)
    return tensor.float()


def colors_of(image: ImageInput, device: torch.device, color_weight: float) -> Tensor:
    """CIELAB of one picture, brought to the device, times the color weight: float32 (3, H, W).

    >>> colors_of(np.full((2, 4, 3), 255, np.uint8), torch.device("cpu"), 0.5)[0, 0].round()
    tensor([50., 50., 50., 50.])
    """
    with torch.no_grad():
        return lab_colors([read_pixels(image, device)], color_weight)[0]


def lab_colors(pictures: Sequence[Tensor], color_weight: float) -> Tensor:
    """CIELAB of pictures of one size, times the color weight: float32 (pictures, 3, H, W).

    >>> lab_colors([torch.tensor([[[255, 255, 255], [0, 0, 0]]], dtype=torch.uint8)], 1.0)[0, 0].round()
    tensor([[100.,   0.]])
    """
    encoded = torch.stack([_in_unit(pixels) for pixels in pictures])
    curved = ((encoded + 0.055) / 1.055) ** 2.4
    red, green, blue = torch.where(encoded <= 0.04045, encoded / 12.92, curved).unbind(-1)
    x, y, z = (_bent((r * red + g * green + b * blue) / white) for (r, g, b), white in zip(_XYZ, _D65, strict=True))
    colors = torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1).float()
    return colors if color_weight == 1 else colors * np.float32(color_weight).item()


def _in_unit(pixels: Tensor) -> Tensor:
    return pixels.double() / 255 if pixels.dtype == torch.uint8 else pixels.double()


def _bent(linear: Tensor) -> Tensor:
    return torch.where(linear > _TOE, linear.clamp(min=_TOE) ** (1 / 3), _SLOPE * linear + _HEIGHT)


@functools.lru_cache(maxsize=64)
def _size_of(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[int, int]:
    """Height and width of a picture that is such a tensor, if it is one; those of many of one size are found once."""
    zero = np.float32(0) if dtype.is_floating_point else np.zeros((), str(dtype).removeprefix("torch."))
    # One zero, seen as often as needed, is an array of that shape and kind.
    height, width, _ = rgb_pixels(np.broadcast_to(zero, shape)).shape
    return height, width
