"""Where the object is: a mask, or the union of boxes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, describe, is_array, read_only, to_numpy
from interpix.errors import bad_value
from interpix.models.protocol.classifier import Classifier

__all__ = ["annotation_as_seen", "boxes_mask", "read_annotation"]

_BOX_SIDES = 4
_MIDDLE_GRAY = 128


def boxes_mask(boxes: Any, size: tuple[int, int]) -> BoolArray:
    """The union (H, W) of boxes (left, top, right, bottom) in pixels; right and bottom are exclusive.

    >>> boxes_mask([(1, 0, 3, 1)], (2, 4)).astype(int)
    array([[0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    rows = np.atleast_2d(np.asarray(boxes))
    height, width = size
    if rows.ndim != 2 or rows.shape[1] != _BOX_SIDES or not np.issubdtype(rows.dtype, np.integer):  # noqa: PLR2004
        raise bad_value("annotation", "integer boxes (n, 4)", describe(rows), "round the coordinates")
    mask = np.zeros(size, np.bool_)
    for left, top, right, bottom in rows.tolist():
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            expected = f"boxes (left, top, right, bottom) inside of {height} x {width} pixels"
            raise bad_value("annotation", expected, (left, top, right, bottom), "clip them to the image")
        mask[top:bottom, left:right] = True
    return mask


def read_annotation(annotation: Any, size: tuple[int, int]) -> BoolArray:
    """A bool mask (H, W), True inside of the object, from one or from boxes."""
    array = to_numpy(annotation, "annotation") if is_array(annotation) else np.asarray(annotation)
    if array.dtype != np.bool_:
        return boxes_mask(array, size)
    if array.shape != size:
        expected = f"a mask of {size[0]} x {size[1]}, the size of the image that the model sees"
        raise bad_value("annotation", expected, describe(array), "see annotation_as_seen")
    return read_only(array)


def annotation_as_seen(classifier: Classifier, annotation: npt.NDArray[np.bool_]) -> BoolArray:
    """The mask (H, W) of a raw image, resized and cropped as the model does it with the image."""
    photo = np.repeat(np.where(annotation, 255, 0).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.asarray(classifier.display(photo)[:, :, 0] >= _MIDDLE_GRAY)
