"""The graph of one picture on a device: built once, any number of maps propagated over it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interpix.arrays import dense_tensor, from_numpy, is_tensor
from interpix.propagation.device.choice import choose_products
from interpix.propagation.device.run import checked_peaks, in_the_maps_dtype, quiet, read_rewards, told_of_memory
from interpix.propagation.device.series import solve
from interpix.propagation.maps import bounds_after_rounding, peaks_of, read_maps
from interpix.propagation.options import SolveOptions

__all__ = ["DeviceGraph"]


class DeviceGraph:
    """What `PixelGraph` asks of a graph on a device.

    Attributes:
        shape: Height and width in pixels.
        radius: Chebyshev radius of the neighborhood.
        weight_bytes: Bytes of stored weights.
        device: Where it lies.
        solved_by: Whose products are used.
        note: Why they are not Triton's, or nothing.
    """

    def __init__(self, colors: Tensor, radius: int, memory_budget: int) -> None:
        """Takes colors in CIELAB, float32 (3, H, W)."""
        self._colors, self.device = colors, colors.device
        height, width = colors.shape[1:]
        self.shape = (int(height), int(width))
        self.radius = radius
        with quiet(), told_of_memory("radius", "the image's graph", self.device):
            self._products, self.note = choose_products(colors[None], self.radius, memory_budget)
        self.solved_by, self.weight_bytes = self._products.solved_by, self._products.weight_bytes

    @property
    def colors(self) -> NDArray[np.float32]:
        """L, a and b of each pixel, (3, H, W), on the host."""
        colors: NDArray[np.float32] = self._colors.cpu().numpy()
        return colors

    def propagate(
        self, maps: Any, channel_axis: int | None, options: SolveOptions, *, several: bool
    ) -> tuple[Any, int, NDArray[np.float64], NDArray[np.float64]]:
        """Propagates maps, which are brought here if they are elsewhere.

        Args:
            maps: See `PixelGraph.propagate`.
            channel_axis: See there.
            options: The solver's, checked.
            several: Whether an axis of discounts stands in front.

        Returns:
            The values in the kind of array of the maps, iterations, residuals and bounds, (discounts, maps).
        """
        with quiet(), told_of_memory("attribution", "the solver", self.device):
            if is_tensor(maps):
                tensor = dense_tensor(maps, "attribution").to(self.device)
                rewards, shape = read_rewards(tensor, channel_axis, self.shape)
            else:
                stack, shape = read_maps(maps, channel_axis, self.shape)
                # A copy: torch takes no arrays that are read-only.
                rewards = torch.from_numpy(stack.copy()).to(self.device)[None]
            peaks = checked_peaks(rewards)
            solved = solve(self._products, rewards, peaks, options)
            values, bounds = solved.values[0], solved.bounds[0]
            shape = (len(values), *shape) if several else shape
            if is_tensor(maps):
                answer, bounds = in_the_maps_dtype(bounds, values, like=maps)
                answer = answer.reshape(shape).to(maps.device)
            else:
                array = values.cpu().numpy()
                with np.errstate(over="ignore"):  # what does not fit is refused next
                    answer = from_numpy(array.reshape(shape), like=maps)
                bounds = bounds_after_rounding(bounds, *peaks_of(array, answer))
        return answer, solved.iterations, solved.residuals[0], bounds
