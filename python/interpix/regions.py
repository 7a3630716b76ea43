"""The players: which pixels are present or absent together.

Regions are an integer label map (H, W) over the image **as the model sees it**, with labels 0 ... n-1.
A grid is named by "7x7", 7 or (7, 7), the grid of a Vision Transformer's tokens by "tokens"; `Superpixels` follow the
image; any label map (Captum's `feature_mask`) is taken too.
"""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.arrays import AnyArray, IntArray, describe, is_array, to_numpy
from interpix.checks import check_positive, require_module
from interpix.errors import bad_type, bad_value, warn
from interpix.options import python_number

__all__ = [
    "DEFAULT_GRID",
    "Regions",
    "RegionsInput",
    "Superpixels",
    "check_regions",
    "grid_regions",
    "label_regions",
    "read_regions",
    "regions_name",
    "require_segmentation",
]

DEFAULT_GRID = (7, 7)
"""Rows and columns of `"auto"`. 49 patches keep a search on the CPU within seconds: all n steps of a greedy
search cost n (n + 1) / 2 evaluations, 1,225 for 49 patches but 19,306 for the 14 x 14 of a Vision Transformer."""

_KINDS = '"auto", "tokens", a grid such as "7x7", 7 or (7, 7), Superpixels, or an integer label map (H, W)'


_FEW = 5
"""Less than a fifth of the superpixels that were asked for are few."""


@dataclass(frozen=True)
class Superpixels:
    """SLIC superpixels of the image that the model sees, by scikit-image: regions that follow edges.

    >>> halves = np.zeros((20, 30, 3), np.uint8)
    >>> halves[:, 15:] = 255
    >>> Superpixels(count=2).label(halves)[0, [0, 14, 15, 29]]
    array([0, 0, 1, 1])

    Attributes:
        count: How many are asked for; SLIC gives about as many.
        compactness: Near squares for 10 and more, along colors for less.
    """

    count: int = 50
    compactness: float = 10.0

    def __post_init__(self) -> None:
        """Refuses a count that is not a positive integer, and a compactness that is not a positive number."""
        for name in ("count", "compactness"):
            object.__setattr__(self, name, python_number(getattr(self, name)))
        check_positive("count", self.count)
        if isinstance(self.compactness, bool) or not isinstance(self.compactness, int | float):
            raise bad_type("compactness", "a positive number", self.compactness, "10 is the default")
        if not 0 < self.compactness < float("inf"):
            raise bad_value("compactness", "a positive number", self.compactness, "10 is the default")

    def label(self, image: npt.NDArray[np.uint8]) -> IntArray:
        """Label map (H, W), labels 0 ... n-1, of an image (H, W, 3); warns of far fewer than asked for."""
        slic = require_segmentation().slic
        labels = _compact(slic(image, n_segments=self.count, compactness=self.compactness, start_label=0))
        found = int(labels.max()) + 1
        if _FEW * found < self.count:
            warn(
                f"SLIC found {found} of {self.count} superpixels: at compactness={self.compactness:g}, colors that "
                'differ from pixel to pixel hide all else; raise `compactness`, or pass a grid such as regions="7x7"'
            )
        return labels


RegionsInput: TypeAlias = str | int | tuple[int, int] | Superpixels | AnyArray
"""`"auto"`, `"tokens"`, `"7x7"`, 7, (7, 7), `Superpixels`, or an integer label map."""
Regions: TypeAlias = tuple[int, int] | Superpixels | npt.NDArray[np.integer[Any]]
"""A grid, superpixels, or an integer label map."""


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


def require_segmentation() -> Any:
    """Scikit-image's segmentation, which makes superpixels.

    Raises:
        MissingDependencyError: It is not installed.
    """
    return require_module("skimage.segmentation", 'superpixels need scikit-image: pip install "interpix[segment]"')


def read_regions(regions: RegionsInput, token_grid: tuple[int, int] | None = None) -> Regions:
    """What `regions` stands for; `"auto"`: a given `token_grid`, else `DEFAULT_GRID`.

    >>> read_regions("2x3"), read_regions("auto", token_grid=(14, 14))
    ((2, 3), (14, 14))
    """
    if isinstance(regions, Superpixels):
        return regions
    if is_array(regions):
        labels = to_numpy(regions, "regions")
        if labels.dtype.kind not in "iu":
            raise bad_value("regions", "integer labels", describe(labels), "convert to integers")
        return labels
    if isinstance(regions, str) and regions in ("auto", "tokens"):
        if regions == "tokens" and token_grid is None:
            raise bad_value("regions", "a grid, as this model has no tokens", '"tokens"', 'use "14x14", for example')
        return token_grid or DEFAULT_GRID
    grid = tuple(map(python_number, regions)) if isinstance(regions, tuple) else python_number(regions)
    rows, columns = _grid_shape(grid)
    if rows < 1 or columns < 1:
        raise bad_value("regions", "at least one row and one column", f"{rows} x {columns}", 'use "7x7", for example')
    return rows, columns


def check_regions(regions: RegionsInput) -> None:
    """Refuses what `read_regions` does, whatever the model.

    >>> check_regions("7x0")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `regions`: expected at least one row and one column, got 7 x 0; ...
    """
    read_regions(regions, DEFAULT_GRID)


def label_regions(regions: Regions, image: npt.NDArray[np.uint8]) -> IntArray:
    """Compact label map (H, W), labels 0 ... n-1, for an image (H, W, 3) as the model sees it.

    >>> label_regions(np.array([[300, 0, 0]]), np.zeros((1, 3, 3), np.uint8))
    array([[1, 0, 0]])
    """
    if isinstance(regions, Superpixels):
        return regions.label(image)
    size = (image.shape[0], image.shape[1])
    if isinstance(regions, tuple):
        return grid_regions(size, *regions)
    return _label_map(regions, size)


def regions_name(regions: Regions) -> str:
    """How a result remembers its regions: "7x7", "label map" or "Superpixels(...)".

    >>> regions_name((2, 3)), regions_name(np.array([[0, 1]]))
    ('2x3', 'label map')
    """
    if isinstance(regions, tuple):
        return f"{regions[0]}x{regions[1]}"
    return str(regions) if isinstance(regions, Superpixels) else "label map"


def _grid_shape(regions: RegionsInput) -> tuple[int, int]:
    if isinstance(regions, str):
        if regions == "auto":
            return DEFAULT_GRID
        # Python refuses to read numbers of thousands of digits.
        match = re.fullmatch(r"\s*(\d{1,99})(?:\s*x\s*(\d{1,99}))?\s*", regions)
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


def _label_map(labels: npt.NDArray[np.integer[Any]], size: tuple[int, int]) -> IntArray:
    flat = _without_channels(labels)
    if flat.shape != size:
        expected = f"a label for each pixel of the {size[0]} x {size[1]} image that the model sees"
        raise bad_value("regions", expected, f"shape {labels.shape}", "resize it by nearest neighbor")
    if flat.min() < 0:
        uncovered = int((flat < 0).sum())
        cure = "give the rest of the image a label of its own"
        raise bad_value("regions", "labels of 0 or more on all pixels", f"{uncovered} negative", cure)
    return _compact(flat)


def _compact(labels: npt.NDArray[np.integer[Any]]) -> IntArray:
    """The same regions with labels 0 ... n-1: ids such as 0, 100, 200 would count as players without a pixel."""
    _, compact = np.unique(labels, return_inverse=True)
    return np.asarray(compact, np.int64).reshape(labels.shape)


def _without_channels(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    """Captum's (1, H, W), (1, 1, H, W) or (1, C, H, W) with the same labels in all channels as (H, W)."""
    if labels.size == 0 or labels.ndim < 2:
        raise bad_value("regions", "a label map (H, W)", describe(labels), "give every pixel a label")
    flat = labels.reshape(-1, *labels.shape[-2:])
    if not (flat == flat[0]).all():
        cure = "pass one (H, W) map"
        raise bad_value("regions", "the same labels in every channel", describe(labels), cure)
    first: npt.NDArray[np.integer[Any]] = flat[0]
    return first
