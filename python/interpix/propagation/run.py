"""The function `propagate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from interpix.arrays import AnyArray, ArrayT, from_numpy, to_numpy
from interpix.errors import bad_value
from interpix.images import ImageInput, rgb_pixels
from interpix.propagation.graph import PixelGraph
from interpix.propagation.maps import read_maps
from interpix.propagation.options import (
    MEMORY_BUDGET,
    ON_DEVICES,
    Solver,
    check_color_weight,
    check_radius,
    default_radius,
    solve_options,
)
from interpix.propagation.places import place_of
from interpix.results.attribution import Attribution

__all__ = ["propagate"]


@overload
def propagate(
    attribution: Attribution,
    image: ImageInput | None = None,
    *,
    radius: int | None = ...,
    color_weight: float = ...,
    discount: float = ...,
    tolerance: float | None = ...,
    solver: Solver = ...,
) -> Attribution: ...


@overload
def propagate(
    attribution: ArrayT,
    image: ImageInput | Sequence[ImageInput],
    *,
    radius: int | None = ...,
    color_weight: float = ...,
    discount: float = ...,
    tolerance: float | None = ...,
    solver: Solver = ...,
    channel_axis: int | None = ...,
) -> ArrayT: ...


def propagate(
    attribution: Any,
    image: Any = None,
    *,
    radius: int | None = None,
    color_weight: float = 1.0,
    discount: float = 0.99,
    tolerance: float | None = None,
    solver: Solver = "auto",
    channel_axis: int | None = None,
) -> Any:
    """Propagate any attribution map over the image that it explains.

    Args:
        attribution: (H, W) one map, (M, H, W) a stack of maps of one image, or (B, C, H, W) Captum's layout with one
            image each, channels summed. numpy or torch; any sign, any method. Or an `Attribution`. A tensor on a GPU
            is propagated there, all images at once, wherever these are, and the answer is there.
        image: see `PixelGraph`; for (B, C, H, W) a sequence of B images or an array with a batch axis; None: an
            `Attribution`'s own.
        radius: see `PixelGraph`.
        color_weight: see `PixelGraph`.
        discount: see `PixelGraph.propagate`.
        tolerance: see `PixelGraph.propagate`.
        solver: see `PixelGraph.propagate`.
        channel_axis: see `PixelGraph.propagate`; an `Attribution` has no channels.

    Returns:
        The propagated map in the same kind of array, channels summed: (H, W), (M, H, W) or (B, 1, H, W). Of an
        `Attribution` another one, which says how exact it is.

    Raises:
        ArgumentError: sizes differ, a value is not finite, an option is out of range, or the propagated values do not
            fit into the map's dtype. All of it but the last is said before the graph is built.
        ConvergenceError: the solver did not reach the tolerance.
        MemoryError: the graph or the solver needs more memory than there is; the message says how much.

    Warns:
        UserWarning: the default radius makes a map of so large an image take long.

    Example:
        Two pixels of nearly one color, the only neighbors of each other: V0 = 1 + V1 / 2 and V1 = V0 / 2.

        >>> image = np.array([[[120, 120, 120], [121, 121, 121]]], np.uint8)
        >>> propagate(np.array([[1.0, 0.0]]), image, discount=0.5, tolerance=1e-6).round(4)
        array([[1.3333, 0.6667]])
    """
    options: dict[str, Any] = {"discount": discount, "tolerance": tolerance, "solver": solver}
    radius, color_weight = check_radius(radius), check_color_weight(color_weight)
    checked = solve_options(**options)
    if isinstance(attribution, Attribution):
        if channel_axis is not None:
            raise bad_value("channel_axis", "None for an Attribution, a map (H, W)", channel_axis, "leave it out")
        pixels = _checked_pixels(attribution.map, attribution.image if image is None else image)
        found = _graph(pixels, radius, color_weight).propagate(attribution.map, **options)
        return attribution.propagated_to(
            found.values, found.error_bound, radius=radius, color_weight=color_weight, discount=discount
        )
    if image is None:
        cure = "pass it; only an Attribution brings its own"
        raise bad_value("image", "the picture that the map explains", "none", cure)
    if place_of(attribution) is not None and checked["solver"] == ON_DEVICES:
        from interpix.propagation.device import propagate_tensor  # torch is there: a tensor is

        is_batch = _is_batch(attribution, image, channel_axis)
        return propagate_tensor(
            attribution,
            list(image) if is_batch else [image],
            is_batch=is_batch,
            channel_axis=channel_axis,
            radius=radius,
            color_weight=color_weight,
            options=checked,
            several=np.ndim(discount) > 0,
        )
    array = to_numpy(attribution, "attribution")
    if _is_batch(array, image, channel_axis):
        # All are read before the first is solved: what is wrong with the last is said at once.
        pictures = [_checked_pixels(maps, picture, 0) for maps, picture in zip(array, image, strict=True)]
        solved = [
            _graph(pixels, radius, color_weight).propagate(maps, channel_axis=0, **options).values
            for maps, pixels in zip(array, pictures, strict=True)
        ]
        return from_numpy(np.stack(solved)[:, None], like=attribution)
    pixels = _checked_pixels(array, image, channel_axis)
    return _graph(pixels, radius, color_weight).propagate(attribution, channel_axis=channel_axis, **options).values


def _is_batch(maps: AnyArray, image: Any, channel_axis: int | None) -> bool:
    """Whether there is an image for each map of (B, C, H, W)."""
    if maps.ndim != 4 or channel_axis is not None or not (isinstance(image, list | tuple) or np.ndim(image) == 4):
        return False
    if len(maps) != len(image):
        expected = f"{len(maps)} images, one for each map of (B, C, H, W)"
        raise bad_value("image", expected, len(image), "pass as many images as maps")
    if len(maps) == 0:
        raise bad_value("attribution", "at least one map", f"shape {tuple(maps.shape)}", "pass maps")
    return True


def _graph(pixels: NDArray[Any], radius: int | None, color_weight: float) -> PixelGraph:
    """The graph of a picture that `rgb_pixels` gave, for the function that users call."""
    radius = default_radius(pixels.shape, MEMORY_BUDGET) if radius is None else radius
    return PixelGraph(pixels, radius, color_weight=color_weight)


def _checked_pixels(maps: NDArray[Any], image: ImageInput, channel_axis: int | None = None) -> NDArray[Any]:
    """The colors of a picture whose maps are of its size: what is wrong is said before a graph is built."""
    pixels = rgb_pixels(image)
    read_maps(maps, channel_axis, (pixels.shape[0], pixels.shape[1]))
    return pixels
