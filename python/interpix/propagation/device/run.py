"""Maps of several pictures propagated on the device where they lie, as many pictures at once as its memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interpix.arrays import dense_tensor
from interpix.images import ImageInput
from interpix.propagation.device.choice import choose_products, why_not_triton
from interpix.propagation.device.colors import lab_colors, read_pixels
from interpix.propagation.device.products import stored_bytes
from interpix.propagation.device.series import Solved, peaks_on, solve
from interpix.propagation.maps import Peaks, as_stack, bounds_after_rounding, check_maps, check_peaks, check_real
from interpix.propagation.options import GPU_SPEED, MEMORY_BUDGET, SolveOptions, default_radius

__all__ = [
    "checked_peaks",
    "in_the_maps_dtype",
    "propagate_tensor",
    "quiet",
    "read_rewards",
    "solved_in_groups",
    "told_of_memory",
]

#: Bytes of vectors that a solver holds for each pixel of a map: nine in double precision, four in single.
_VECTOR_BYTES = 9 * 8 + 4 * 4
#: Bytes for several pictures at once where it is not known how many are free.
_GROUP_BYTES = 1 << 30


def propagate_tensor(
    attribution: Tensor,
    images: Sequence[ImageInput],
    *,
    is_batch: bool,
    several: bool,
    channel_axis: int | None,
    radius: int | None,
    color_weight: float,
    options: SolveOptions,
) -> Tensor:
    """Propagates a tensor's maps where they lie; see `interpix.propagate`.

    Args:
        attribution: (B, C, H, W) with an image each, if it `is_batch`; else maps of the one image.
        images: The pictures, anywhere.
        is_batch: Whether there is an image for each of the first axis.
        several: Whether there is an axis for discounts.
        channel_axis: The axis to sum first; None in a batch.
        radius: Of all graphs; None for the paper's.
        color_weight: Of all graphs.
        options: The solver's, checked.
    """
    device, discounts = attribution.device, options["discounts"].shape if several else ()
    with quiet(), told_of_memory("attribution", "the solver", device):
        maps, pictures = dense_tensor(attribution, "attribution"), []
        if is_batch:
            check_real(maps)
            rewards = maps.double().sum(dim=1, keepdim=True)
            count, _, height, width = rewards.shape
            shape: tuple[int, ...] = (count, 1, *discounts, height, width)
        else:
            rewards, shape = _as_rewards(maps, channel_axis)
            shape = (*discounts, *shape)
        for image in images:
            pixels = read_pixels(image, device)
            check_maps(tuple(rewards.shape[1:]), shape, (pixels.shape[0], pixels.shape[1]))
            pictures.append(pixels)
        peaks = checked_peaks(rewards)
        if radius is None:
            radius = default_radius(tuple(rewards.shape[2:]), MEMORY_BUDGET, speed=GPU_SPEED)
        colors = lab_colors(pictures, color_weight)
        solved = solved_in_groups(colors, radius, rewards, peaks, options)
        answer, _ = in_the_maps_dtype(solved.bounds, solved.values, like=attribution)
    return answer.reshape(shape)


def read_rewards(maps: Tensor, channel_axis: int | None, size: tuple[int, int]) -> tuple[Tensor, tuple[int, ...]]:
    """The maps of one picture as a stack (1, M, H, W) in double precision, and the shape to give back."""
    rewards, shape = _as_rewards(maps, channel_axis)
    check_maps(tuple(rewards.shape[1:]), shape, size)
    return rewards, shape


def _as_rewards(maps: Tensor, channel_axis: int | None) -> tuple[Tensor, tuple[int, ...]]:
    check_real(maps)
    # Not every number type of torch's can be summed.
    stack, shape = as_stack(maps.double(), channel_axis, torch.float64)
    return stack[None], shape


def checked_peaks(rewards: Tensor) -> NDArray[np.float64]:
    """The greatest absolute value of each map, finite."""
    peaks: NDArray[np.float64] = peaks_on(rewards)[0]
    check_peaks(peaks)
    return peaks


def solved_in_groups(
    colors: Tensor,
    radius: int,
    rewards: Tensor,
    peaks: NDArray[np.float64],
    options: SolveOptions,
) -> Solved:
    """The answers for pictures (images, 3, H, W), as many at once as memory holds; how many changes no answer.

    When memory runs out all the same, groups are halved.
    """
    numbers = rewards[0].numel() * len(options["discounts"])
    size, start, parts = _group_size(colors, radius, numbers), 0, []
    while start < len(colors):
        part = slice(start, start + size)
        try:
            products, _ = choose_products(colors[part], radius, MEMORY_BUDGET)
            parts.append(solve(products, rewards[part], peaks[part], options))
        except torch.cuda.OutOfMemoryError:
            if size == 1:
                raise
            size = (min(size, len(colors) - start) + 1) // 2
        else:
            start += size
    joined = [np.concatenate([getattr(part, name) for part in parts]) for name in ("residuals", "bounds")]
    return Solved(torch.cat([part.values for part in parts]), sum(part.iterations for part in parts), *joined)


def in_the_maps_dtype(
    bounds: NDArray[np.float64], values: Tensor, *, like: Tensor
) -> tuple[Tensor, NDArray[np.float64]]:
    """The values (..., H, W) in the dtype of `like`, if that is a float, and their bounds there."""
    answer = values.to(like.dtype if like.is_floating_point() else torch.float32)
    kept = answer.double()
    peaks = Peaks(*peaks_on(values, kept, kept - values))
    return answer, bounds_after_rounding(bounds, peaks, str(answer.dtype).removeprefix("torch."))


@contextmanager
def told_of_memory(name: str, work: str, device: torch.device) -> Iterator[None]:
    """Says what does not fit into a device's memory in the words of the compiled half."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        cure = "propagate fewer maps or discounts at once, or choose a smaller radius"
        raise MemoryError(f"`{name}`: {work} needs more memory than {device} has; {cure}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without gradients, and in the number types that are written here, whatever the caller's settings."""
    with torch.no_grad(), torch.autocast("cuda", enabled=False):
        yield


def _group_size(colors: Tensor, radius: int, numbers: int) -> int:
    """How many pictures are solved at once, of so many numbers in all maps of one and for all discounts."""
    height, width = colors.shape[2:]
    bytes_each = _VECTOR_BYTES * numbers
    stored = stored_bytes(height, width, radius)
    if why_not_triton(colors.device) and stored <= MEMORY_BUDGET:
        bytes_each += stored
    # Triton's grids have no more in their second axis.
    return max(1, min(_free_bytes(colors.device) // 2 // bytes_each, 65_535))


def _free_bytes(device: torch.device) -> int:
    """Bytes that can still be had; what torch holds without using it counts."""
    if device.type != "cuda":
        return 2 * _GROUP_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
