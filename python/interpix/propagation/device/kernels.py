"""Products with P by Triton: weights are computed where they are used, so nothing but vectors is stored.

A program holds a block of an image's pixels and some of its vectors, and walks the neighborhood once: each weight is
computed once for all of these vectors. The number type is the vectors': one kernel serves the series, in single
precision, and the certificate, in double precision.

Weights of a row are relative to the one of its nearest neighbor, `exp(nearest - d)`, and divided by their sum, which is
taken in the same walk: whatever is off in `nearest` cancels, and pixels unlike all others are no case of their own.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from interpix.propagation.device.products import Products
from interpix.propagation.options import SolvedBy

__all__ = ["BLOCK", "GROUPS", "TritonProducts", "nearest_kernel", "step_kernel"]

# The module can be read without triton; its kernels cannot be run then.
_HAS_TRITON = importlib.util.find_spec("triton") is not None
triton: Any = importlib.import_module("triton") if _HAS_TRITON else None
tl: Any = importlib.import_module("triton.language") if _HAS_TRITON else None

#: Pixels of a program.
BLOCK = 256
#: How many vectors a program may take: powers of two, as Triton's ranges are. More would leave the registers.
GROUPS = (1, 2, 4)
#: Sizes of pictures: a kernel that knew that one of them is 1, or divisible by 16, would be compiled again.
_SIZES = ("height", "width", "down", "across", "vectors")


def _kernel(function: Callable[..., Any]) -> Any:
    """Marks a function as Triton's, to be compiled when it is first run."""
    return function if triton is None else triton.jit(function, do_not_specialize=_SIZES)


@_kernel
def _distance(colors, at, plane, inside, lightness, green_red, blue_yellow, number):
    """Distance of colors to the pixels `at`, whose planes L, a and b begin at `colors`; anything where not inside."""
    dl = tl.load(colors + at, mask=inside).to(number) - lightness
    da = tl.load(colors + plane + at, mask=inside).to(number) - green_red
    db = tl.load(colors + 2 * plane + at, mask=inside).to(number) - blue_yellow
    return tl.sqrt(dl * dl + da * da + db * db)


@_kernel
def nearest_kernel(colors, offsets, nearest, height, width, down, across, BLOCK: tl.constexpr):
    """The distance of each pixel's nearest neighbor; 0 without neighbors.

    colors (images, 3, height, width); offsets (2 down + 1, 2 across + 1), distances in pixels, infinite in the middle,
    because a pixel is no neighbor of itself; nearest (images, height, width): float32. The grid is (blocks of pixels,
    images).
    """
    plane = height * width
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = pixel < plane
    row, column = pixel // width, pixel % width
    colors += image * 3 * plane
    lightness = tl.load(colors + pixel, mask=real, other=0.0)
    green_red = tl.load(colors + plane + pixel, mask=real, other=0.0)
    blue_yellow = tl.load(colors + 2 * plane + pixel, mask=real, other=0.0)
    least = tl.full((BLOCK,), float("inf"), tl.float32)
    for y in range(-down, down + 1):
        reached = real & (row + y >= 0) & (row + y < height)
        for x in range(-across, across + 1):
            # Without a sign, what lies before the first column lies beyond the last.
            inside = reached & ((column + x).to(tl.uint32, bitcast=True) < width)
            at = pixel + y * width + x
            apart = tl.load(offsets + (y + down) * (2 * across + 1) + x + across)
            color = _distance(colors, at, plane, inside, lightness, green_red, blue_yellow, tl.float32)
            least = tl.minimum(least, tl.where(inside, apart + color, float("inf")))
    # A pixel without neighbors has no weights, whatever they are relative to.
    tl.store(nearest + image * plane + pixel, tl.where(least < float("inf"), least, 0.0), mask=real)


@_kernel
def step_kernel(
    colors,
    offsets,
    nearest,
    values,
    out,
    height,
    width,
    down,
    across,
    vectors,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """P times each image's vectors.

    colors (images, 3, height, width) and nearest (images, height, width): float32; offsets (2 down + 1, 2 across + 1),
    distances in pixels, infinite in the middle, values and out (images, vectors, height, width): of the number type
    that is computed in. The grid is (blocks of pixels, images, groups of vectors).
    """
    number = values.dtype.element_ty
    plane = height * width
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    vector = tl.program_id(2) * GROUP + tl.arange(0, GROUP)
    real, wanted = pixel < plane, vector < vectors
    row, column = pixel // width, pixel % width
    colors += image * 3 * plane
    lightness = tl.load(colors + pixel, mask=real, other=0.0).to(number)
    green_red = tl.load(colors + plane + pixel, mask=real, other=0.0).to(number)
    blue_yellow = tl.load(colors + 2 * plane + pixel, mask=real, other=0.0).to(number)
    shift = tl.load(nearest + image * plane + pixel, mask=real, other=0.0).to(number)
    # In 64 bits: images and vectors together may have more pixels than 32 bits count.
    first = (image * vectors + vector) * plane
    total = tl.zeros((BLOCK,), number)
    sums = tl.zeros((GROUP, BLOCK), number)
    for y in range(-down, down + 1):
        reached = real & (row + y >= 0) & (row + y < height)
        for x in range(-across, across + 1):
            # Without a sign, what lies before the first column lies beyond the last.
            inside = reached & ((column + x).to(tl.uint32, bitcast=True) < width)
            at = pixel + y * width + x
            apart = tl.load(offsets + (y + down) * (2 * across + 1) + x + across)
            color = _distance(colors, at, plane, inside, lightness, green_red, blue_yellow, number)
            weight = tl.where(inside, tl.exp(shift - apart - color), 0.0)
            total += weight
            taken = inside[None, :] & wanted[:, None]
            sums += weight[None, :] * tl.load(values + first[:, None] + at[None, :], mask=taken, other=0.0)
    # The nearest neighbor's weight is 1; an image of one pixel has none, and nothing is divided.
    step = sums / tl.maximum(total, 0.5)[None, :]
    tl.store(out + first[:, None] + pixel[None, :], step, mask=real[None, :] & wanted[:, None])


class TritonProducts(Products):
    """P of several images of one size by Triton's kernels, for any number of vectors each.

    Attributes:
        weight_bytes: 0, nothing is stored but each pixel's nearest distance.
    """

    solved_by: ClassVar[SolvedBy] = "triton"

    def __init__(self, colors: Tensor, radius: int) -> None:
        """Takes colors (images, 3, H, W), float32, on a GPU."""
        super().__init__(colors.contiguous(), radius)
        down, across = (torch.arange(-reach, reach + 1, dtype=torch.float64) for reach in (self.down, self.across))
        # Of a kernel's number type each, so that no program converts them for every edge.
        exact = torch.hypot(down[:, None], across[None]).to(colors.device)
        exact[self.down, self.across] = math.inf
        self._offsets = {torch.float64: exact, torch.float32: exact.float()}
        images, _, height, width = colors.shape
        self._nearest = torch.empty((images, height, width), dtype=torch.float32, device=colors.device)
        self._run(nearest_kernel, torch.float32, self._nearest)

    def step(self, values: Tensor) -> Tensor:
        """See `Products.step`."""
        return self._step(values, torch.float32)

    def step_exactly(self, values: Tensor) -> Tensor:
        """See `Products.step_exactly`."""
        return self._step(values, torch.float64)

    def _step(self, values: Tensor, number: torch.dtype) -> Tensor:
        values = values.to(number).contiguous()
        vectors = values.shape[1]
        group = next((size for size in GROUPS if size >= vectors), GROUPS[-1])
        out = torch.empty_like(values)
        arrays = (self._nearest, values, out)
        self._run(step_kernel, number, *arrays, groups=-(-vectors // group), vectors=vectors, GROUP=group)
        return out

    def _run(self, kernel: Any, number: torch.dtype, *arrays: Tensor, groups: int = 1, **options: int) -> None:
        images, _, height, width = self.colors.shape
        grid = (-(-height * width // BLOCK), images, groups)
        sizes = {"height": height, "width": width, "down": self.down, "across": self.across}
        # Triton launches on torch's current device.
        with torch.cuda.device_of(self.colors):
            # One rounding for a product and a sum; Triton warns where nobody says so.
            options |= {"BLOCK": BLOCK, "enable_fp_fusion": True}
            kernel[grid](self.colors, self._offsets[number], *arrays, **sizes, **options)
