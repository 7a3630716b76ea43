"""The players: which pixels are present or absent together.

Regions are an integer label map (H, W) over the image **as the model sees it**, with labels 0 ... n-1.
A grid is named by "7x7", 7 or (7, 7); any label map (superpixels, Captum's `feature_mask`) is taken too.
"""

import re
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.arrays import IntArray, describe, is_array, to_numpy
from interpix.errors import bad_type, bad_value

__all__ = ["DEFAULT_GRID", "RegionsInput", "grid_regions", "read_regions", "regions_name"]

RegionsInput: TypeAlias = Any
"""`"auto"`, `"7x7"`, 7, (7, 7), or an integer label map."""

DEFAULT_GRID = (7, 7)
"""Rows and columns of `"auto"`. 49 patches keep a search on the CPU within seconds: all n steps of a greedy
search cost n (n + 1) / 2 evaluations, 1,225 for 49 patches but 19,306 for the 14 x 14 of a Vision Transformer."""

_KINDS = '"auto", a grid such as "7x7", 7 or (7, 7), or an integer label map (H, W)'


def grid_regions(size: tuple[int, int], rows: int, columns: int) -> IntArray:
    """Label map of a grid, row by row; sides that do not divide evenly differ by one pixel.

    >>> grid_regions((2, 4), 1, 2)
    array([[0, 0, 1, 1],
           [0, 0, 1, 1]])
    """
    height, width = size
    if not (1 <= rows <= height and 1 <= columns <= width):
        expected = f"1 to {height} rows and 1 to {width} columns for an image of {height} x {width}"
        raise bad_value("regions", expected, f"{rows} x {columns}", "choose a coarser grid")
    row = np.arange(height) * rows // height
    column = np.arange(width) * columns // width
    return (row[:, None] * columns + column[None, :]).astype(np.int64)


def read_regions(regions: RegionsInput, size: tuple[int, int]) -> IntArray:
    """Compact label map (H, W), labels 0 ... n-1, for an image of `size` (H, W)."""
    if is_array(regions):
        return _label_map(to_numpy(regions, "regions"), size)
    rows, columns = _grid_shape(regions)
    return grid_regions(size, rows, columns)


def regions_name(regions: RegionsInput) -> str:
    """How a result remembers its regions: "7x7" or "label map"."""
    if is_array(regions):
        return "label map"
    rows, columns = _grid_shape(regions)
    return f"{rows}x{columns}"


def _grid_shape(regions: RegionsInput) -> tuple[int, int]:
    if isinstance(regions, str):
        if regions == "auto":
            return DEFAULT_GRID
        match = re.fullmatch(r"\s*(\d+)(?:\s*x\s*(\d+))?\s*", regions)
        if match is None:
            raise bad_value("regions", _KINDS, repr(regions), 'write for example "7x7"')
        rows = int(match[1])
        return rows, int(match[2] or rows)
    if isinstance(regions, bool):
        raise bad_type("regions", _KINDS, regions, 'write for example "7x7"')
    if isinstance(regions, int):
        return regions, regions
    if isinstance(regions, tuple) and [type(side) for side in regions] == [int, int]:
        return regions[0], regions[1]
    raise bad_type("regions", _KINDS, regions, 'write for example "7x7"')


def _label_map(labels: npt.NDArray[Any], size: tuple[int, int]) -> IntArray:
    if not np.issubdtype(labels.dtype, np.integer):
        raise bad_value("regions", "integer labels", describe(labels), "convert to integers")
    flat = _without_channels(labels)
    if flat.shape != size:
        expected = f"a label for each pixel of the {size[0]} x {size[1]} image that the model sees"
        raise bad_value("regions", expected, f"shape {labels.shape}", "resize it by nearest neighbor")
    if flat.min() < 0:
        uncovered = int((flat < 0).sum())
        cure = "give the rest of the image a label of its own"
        raise bad_value("regions", "labels of 0 or more on all pixels", f"{uncovered} negative", cure)
    # Ids such as 0, 100, 200 would otherwise count as hundreds of players without a pixel.
    _, compact = np.unique(flat, return_inverse=True)
    return compact.reshape(size).astype(np.int64)


def _without_channels(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Captum's (1, H, W), (1, 1, H, W) or (1, C, H, W) with the same labels in all channels as (H, W)."""
    if labels.size == 0 or labels.ndim < 2:  # noqa: PLR2004 - rows and columns
        raise bad_value("regions", "a label map (H, W)", describe(labels), "give every pixel a label")
    flat = labels.reshape(-1, *labels.shape[-2:])
    if not (flat == flat[0]).all():
        cure = "pass one (H, W) map"
        raise bad_value("regions", "the same labels in every channel", describe(labels), cure)
    first: npt.NDArray[Any] = flat[0]
    return first
