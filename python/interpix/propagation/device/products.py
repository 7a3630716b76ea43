"""Products with P of several images of one size, in torch operations.

`P[I, J] = exp(nearest[I] - d(I, J)) / sum`, relative to the nearest neighbor of each pixel: pixels unlike all others
are no case of their own. P is stored in single precision, from distances in double precision, one plane for each offset
of the neighborhood; planes that do not fit into the budget are computed in every product.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from interpix.propagation.options import SolvedBy

__all__ = ["Products", "TorchProducts", "stored_bytes"]


class Products(ABC):
    """The transition probabilities of several images, as products with vectors.

    Attributes:
        colors: CIELAB, times the color weight, float32 (images, 3, H, W).
        down: Rows that an edge reaches.
        across: Columns that an edge reaches.
        weight_bytes: Bytes of stored weights.
    """

    #: What a result names it.
    solved_by: ClassVar[SolvedBy]

    def __init__(self, colors: Tensor, radius: int) -> None:
        """Takes colors; a radius beyond the image is the whole image."""
        self.colors = colors
        height, width = colors.shape[2:]
        self.down, self.across = min(radius, height - 1), min(radius, width - 1)
        self.weight_bytes = 0

    @abstractmethod
    def step(self, values: Tensor) -> Tensor:
        """P times each image's vectors, (images, vectors, H, W), in single precision."""

    @abstractmethod
    def step_exactly(self, values: Tensor) -> Tensor:
        """The same in double precision, with weights computed in double precision."""


class TorchProducts(Products):
    """Products by one multiplication and addition of the whole map for each offset of the neighborhood.

    Three gray pixels in a row: from the middle both neighbors are as near.

    >>> products = TorchProducts(torch.zeros(1, 3, 1, 3), radius=1, memory_budget=1 << 30)
    >>> products.step(torch.tensor([[[[1.0, 5.0, 3.0]]]]))
    tensor([[[[5., 2., 5.]]]])
    """

    solved_by: ClassVar[SolvedBy] = "torch"

    def __init__(self, colors: Tensor, radius: int, memory_budget: int) -> None:
        """Takes colors (images, 3, H, W), float32, and how many bytes each image's stored weights may take."""
        super().__init__(colors, radius)
        images, _, height, width = colors.shape
        self._nearest = self._find_nearest()
        # For each offset (images, 1, H, W).
        self._stored: list[Tensor] = []
        if stored_bytes(height, width, radius) <= memory_budget:
            self.weight_bytes = images * stored_bytes(height, width, radius)
            self._stored = self._probabilities()

    def step(self, values: Tensor) -> Tensor:
        """See `Products.step`."""
        if not self._stored:
            return self._step_computed(values.float())
        padded, out = self._pad(values, 0.0), torch.zeros_like(values)
        for offset, weights in zip(self._offsets(), self._stored, strict=True):
            out.addcmul_(weights, self._shifted(padded, offset))
        return out

    def step_exactly(self, values: Tensor) -> Tensor:
        """See `Products.step_exactly`."""
        return self._step_computed(values.double())

    def _step_computed(self, values: Tensor) -> Tensor:
        padded, out = self._pad(values, 0.0), torch.zeros_like(values)
        total = torch.zeros_like(values[:, :1])
        for offset, distances in self._distances(values.dtype):
            weights = (self._nearest - distances).exp_()
            total += weights
            out.addcmul_(weights, self._shifted(padded, offset))
        return out / _at_least_one_neighbor(total)

    def _find_nearest(self) -> Tensor:
        """The distance of each pixel's nearest neighbor, (images, 1, H, W)."""
        images, _, height, width = self.colors.shape
        least = torch.full((images, 1, height, width), math.inf, dtype=torch.float64, device=self.colors.device)
        for _, distances in self._distances(torch.float64):
            torch.minimum(least, distances, out=least)
        return least.float()

    def _probabilities(self) -> list[Tensor]:
        planes, total = [], torch.zeros_like(self._nearest, dtype=torch.float64)
        for _, distances in self._distances(torch.float64):
            weights = (self._nearest - distances).exp_()
            total += weights
            planes.append(weights.float())
        inverse = (1 / _at_least_one_neighbor(total)).float()
        return [plane.mul_(inverse) for plane in planes]

    def _distances(self, number: torch.dtype) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """Each offset with the distances (images, 1, H, W) to the pixels there, infinite beyond the border."""
        colors = self.colors.to(number)
        padded = self._pad(colors, math.inf)
        for offset in self._offsets():
            apart = self._shifted(padded, offset) - colors
            yield offset, torch.linalg.vector_norm(apart, dim=1, keepdim=True).add_(math.hypot(*offset))

    def _offsets(self) -> Iterator[tuple[int, int]]:
        for y in range(-self.down, self.down + 1):
            for x in range(-self.across, self.across + 1):
                if (y, x) != (0, 0):
                    yield y, x

    def _pad(self, values: Tensor, outside: float) -> Tensor:
        return functional.pad(values, (self.across, self.across, self.down, self.down), value=outside)

    def _shifted(self, padded: Tensor, offset: tuple[int, int]) -> Tensor:
        height, width = self.colors.shape[2:]
        top, left = self.down + offset[0], self.across + offset[1]
        return padded[..., top : top + height, left : left + width]


def stored_bytes(height: int, width: int, radius: int) -> int:
    """Bytes of an image's stored probabilities.

    >>> stored_bytes(1, 3, radius=1)  # two neighbors a pixel, also where they would lie beyond the border
    24
    """
    down, across = min(radius, height - 1), min(radius, width - 1)
    return 4 * height * width * ((2 * down + 1) * (2 * across + 1) - 1)


def _at_least_one_neighbor(total: Tensor) -> Tensor:
    """The sums of rows; the nearest neighbor's weight is 1, and without neighbors nothing is divided."""
    return total.clamp(min=0.5)
