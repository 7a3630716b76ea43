"""Where an object is in an image: a bool mask, boxes, or a picture that is bright inside of it.

A mask (H, W) is True inside of the object. Where a picture has a palette of colors whose first is black, as in PASCAL
VOC, its indices count: 0 is outside, and so is 255, the border that belongs to no class.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageOps

from interpix.arrays import AnyArray, BoolArray, describe, is_array, read_only, to_numpy
from interpix.errors import bad_value
from interpix.images import PictureInput, read_picture

__all__ = ["MIDDLE_GRAY", "BoxesInput", "MaskInput", "boxes_mask", "find_masks", "read_mask"]

BoxesInput: TypeAlias = AnyArray | Sequence[int] | Sequence[Sequence[int]]
"""One box (left, top, right, bottom) in pixels, or several; right and bottom are exclusive."""
MaskInput: TypeAlias = BoxesInput | PictureInput
"""A bool array or tensor (H, W), boxes, the path of a picture, or a PIL image."""

MIDDLE_GRAY = 128
"""The least level that is bright."""
_BORDER = 255
_COLORED = 48
"""By how much red, green and blue may differ in a gray picture that JPEG has stored."""
_MOST_LABELS = 64
"""A soft mask has more levels."""
_FEW_LABELS = 16
"""A smooth edge, or one that JPEG has stored, has more levels, on both sides of the middle."""
_RINGING = 16
"""How far JPEG leaves black and white."""


def boxes_mask(boxes: BoxesInput, size: tuple[int, int], name: str = "annotation") -> BoolArray:
    """The union (H, W) of boxes (left, top, right, bottom) in pixels; right and bottom are exclusive.

    >>> boxes_mask([(1, 0, 3, 1)], (2, 4)).astype(int)
    array([[0, 1, 1, 0],
           [0, 0, 0, 0]])

    Args:
        boxes: One or more.
        size: Height and width of the image.
        name: The argument, for the error message.
    """
    rows = np.atleast_2d(_as_array(boxes, name))
    height, width = size
    if rows.ndim != 2 or rows.shape[1] != 4:
        cure = "give left, top, right and bottom of each; of a mask, pass mask > 0"
        raise bad_value(name, "integer boxes (n, 4)", describe(rows), cure)
    if rows.dtype.kind not in "iu":
        raise bad_value(name, "integer boxes (n, 4)", describe(rows), "round the coordinates")
    mask = np.zeros(size, np.bool_)
    for left, top, right, bottom in rows.tolist():
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            expected = f"boxes (left, top, right, bottom) inside of {height} x {width} pixels"
            raise bad_value(name, expected, (left, top, right, bottom), "clip them to the image")
        mask[top:bottom, left:right] = True
    return mask


def read_mask(mask: MaskInput, size: tuple[int, int], name: str = "annotation") -> BoolArray:
    """A mask (H, W) of any kind that the module's head names; nobody can write to it.

    >>> read_mask([(1, 0, 3, 1)], (2, 4)).sum()
    np.int64(2)

    Args:
        mask: The mask.
        size: Height and width of the image that it is of.
        name: The argument, for the error message.
    """
    if isinstance(mask, str | os.PathLike | Image.Image):
        inside: npt.NDArray[np.bool_] = _bright(mask, name)
    else:
        array = _as_array(mask, name)
        if array.dtype == np.bool_:
            inside = array
        elif array.shape == size:
            # In an image of 4 columns it could be boxes, too.
            expected = "bool arrays (H, W), True inside of the object, integer boxes (n, 4) or pictures"
            raise bad_value(
                name, expected, describe(array), "pass mask > 0, or boxes through interpix.metrics.boxes_mask"
            )
        else:
            inside = boxes_mask(array, size, name)
    if inside.shape != size:
        expected = f"a mask of {size[0]} x {size[1]}, the size of its image"
        cure = "resize and crop it as the image was; interpix.metrics.annotation_as_seen does it as a model does"
        raise bad_value(name, expected, describe(inside), cure)
    return read_only(inside)


def _as_array(value: object, name: str) -> npt.NDArray[Any]:
    if is_array(value):
        return to_numpy(value, name)
    try:
        return np.asarray(value)
    except ValueError:  # of lists of different lengths
        cure = "give left, top, right and bottom of each box"
        raise bad_value(name, "boxes (n, 4), or a bool array", "lists of different lengths", cure) from None


def find_masks(photos: Iterable[str], folder: Path) -> dict[str, Path]:
    """The one file in `folder` for each photo that has its name, but for the ending.

    >>> folder = getfixture("tmp_path")
    >>> (folder / "duck.png").touch()
    >>> find_masks(["duck.jpg"], folder)["duck.jpg"].name
    'duck.png'

    Raises:
        ArgumentError: There is none, or more than one; or two photos differ in their ending only.
    """
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        files.setdefault(path.stem, []).append(path)
    masks = {photo: _only_one(files.get(Path(photo).stem, []), Path(photo).stem, folder) for photo in photos}
    uses = Counter(masks.values())
    shared = [photo for photo, mask in masks.items() if uses[mask] > 1]
    if shared:
        expected = "photos of different names, as masks are found by name"
        raise bad_value("masks", expected, ", ".join(shared), "rename them")
    return masks


def _only_one(found: list[Path], stem: str, folder: Path) -> Path:
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "none"
        raise bad_value("masks", f"one picture named {stem}.* in '{folder}'", got, "name the mask as its photo")
    return found[0]


def _bright(picture: PictureInput, name: str) -> BoolArray:
    """Where a picture is bright; of a label image with a palette, where there is a label."""
    pixels = read_picture(picture, name)
    with contextlib.nullcontext(picture) if isinstance(picture, Image.Image) else Image.open(picture) as opened:
        labels, transparent = _palette_labels(opened), _is_partly_transparent(opened)
    shown = "a picture" if isinstance(picture, Image.Image) else f"'{os.fspath(picture)}'"
    expected = "pictures that are bright (128 ... 255) inside of the object"
    if transparent:
        cure = "pass a bool array; where it is opaque, np.asarray(picture.convert('RGBA'))[..., 3] >= 128"
        raise bad_value(name, expected, f"{shown} that is transparent in places", cure)
    if labels is not None:
        return np.asarray((labels != 0) & (labels != _BORDER))
    if np.ptp(pixels.astype(np.int16), axis=2).max() > _COLORED:
        cure = "pass a bool array, for example (array == color).all(axis=2)"
        raise bad_value(name, expected, f"{shown} in colors", cure)
    gray = np.asarray(Image.fromarray(pixels).convert("L"))
    if 0 < gray.max() < MIDDLE_GRAY:
        raise bad_value(name, expected, f"{shown} with levels up to {gray.max()}", "scale it")
    if _are_labels(gray):
        levels = np.unique(gray).tolist()
        some = ", ".join(map(str, levels[:_FEW_LABELS])) + (", ..." if len(levels) > _FEW_LABELS else "")
        got = f"{shown} of levels that look like labels: {some}"
        raise bad_value(name, expected, got, "pass a bool array, for example (array != 0) & (array != 255)")
    return np.asarray(gray >= MIDDLE_GRAY)


def _are_labels(gray: npt.NDArray[np.uint8]) -> bool:
    """Whether a gray picture (H, W) has levels between its darkest and its brightest that fill areas, as labels do.

    An edge that is smooth, or that JPEG has stored, has such levels in passing only.

    >>> _are_labels(np.uint8([[0, 12, 255]] * 2)), _are_labels(np.uint8([[0, 64, 191, 255]]))
    (True, False)
    """
    levels = np.unique(gray)
    dark = ((levels > 0) & (levels < MIDDLE_GRAY)).any()
    light = ((levels >= MIDDLE_GRAY) & (levels < _BORDER)).any()
    if len(levels) > _MOST_LABELS:
        return False
    if dark and not light and len(levels) <= _FEW_LABELS:
        return True
    ringing = 0 if len(levels) <= _FEW_LABELS else _RINGING
    between = (gray > levels[0] + ringing) & (gray < levels[-1] - ringing)
    blocks = sliding_window_view(np.pad(gray, 1, mode="reflect"), (2, 2))
    even = np.asarray(blocks.max(axis=(2, 3)) == blocks.min(axis=(2, 3)))
    filled = even[1:, 1:] | even[1:, :-1] | even[:-1, 1:] | even[:-1, :-1]
    return bool((between & filled).sum() * 2 > between.sum())


def _is_partly_transparent(picture: Image.Image) -> bool:
    return picture.has_transparency_data and picture.convert("RGBA").getchannel("A").getextrema() != (255, 255)


def _palette_labels(picture: Image.Image) -> npt.NDArray[np.uint8] | None:
    """The indices of a picture whose palette has colors, upright, as of PASCAL VOC; None of all others."""
    if picture.mode != "P":
        return None
    colors = np.array(picture.getpalette() or [0, 0, 0]).reshape(-1, 3)
    indices = np.asarray(ImageOps.exif_transpose(picture))
    used = np.unique(indices)
    colored = np.ptp(colors[used[used < len(colors)]], axis=1).max(initial=0) > _COLORED
    return indices if colored and (colors[0] == 0).all() else None
