"""Where the object is, in the picture as a model sees it."""

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray
from interpix.errors import ArgumentError, bad_value
from interpix.masks import MIDDLE_GRAY
from interpix.models.protocol.classifier import Classifier
from interpix.normalization import has_own_display, preprocess_color

__all__ = ["annotation_as_seen"]

_MOVED = 0.02
"""The greatest share of pixels that may belong to neither, or to both."""
_EDGE = 0.05
"""An edge that lies between two pixels belongs to either: so near to the middle is no answer."""
_LEVELS = ((0, 255), (0, 128), (64, 192))
"""Of outside and inside: a preprocessing that makes the same of the first two, as solarizing does, tells the next."""


def annotation_as_seen(classifier: Classifier, annotation: npt.NDArray[np.bool_]) -> BoolArray:
    """The mask (H, W) of a raw image, resized, cropped and padded as the model does it with the image.

    A picture that shows the mask is preprocessed, as well as pictures of its two levels: what looks more like the
    inside's is inside, whatever is done to levels. Borders are outside.

    >>> from interpix import CallableClassifier
    >>> left = CallableClassifier(np.sum, preprocess=lambda raw: raw[:, :2].transpose(2, 0, 1) / np.float32(255))
    >>> annotation_as_seen(left, np.array([[True, False, False]]))
    array([[ True, False]])

    Args:
        classifier: Whose preprocessing it is.
        annotation: True inside of the object, of the raw image's size (H', W').

    Raises:
        ArgumentError: Preprocessing does not say where the object goes: all levels become the same, or it is another
            place each time.
    """
    mask = np.repeat(np.asarray(annotation, bool)[:, :, None], 3, axis=2)
    if has_own_display(classifier):
        return np.asarray(classifier.display(np.where(mask, np.uint8(255), np.uint8(0)))[:, :, 0] >= MIDDLE_GRAY)
    for outside, inside in _LEVELS:
        bounds = [preprocess_color(classifier, np.full(mask.shape, level, np.uint8)) for level in (outside, inside)]
        if bounds[0].shape != bounds[1].shape:
            raise _unclear(classifier, f"tensors of sizes {bounds[0].shape[1:]} and {bounds[1].shape[1:]}")
        if (bounds[0] != bounds[1]).any():
            break
    else:
        raise _unclear(classifier, "the same tensor for black and for white")
    levels = np.array([outside, inside], np.uint8)
    seen, negative = (_likeness(classifier, np.where(one, levels[1], levels[0]), bounds) for one in (mask, ~mask))
    shown = (bounds[0] != bounds[1]).any(axis=0)
    same = (seen * negative > 0) & (np.minimum(np.abs(seen), np.abs(negative)) > _EDGE)
    if same[shown].mean() > _MOVED:
        raise _unclear(classifier, "the object in another place, or both in one")
    return np.asarray((seen > 0) & shown)


def _likeness(
    classifier: Classifier, picture: npt.NDArray[np.uint8], bounds: list[npt.NDArray[np.float32]]
) -> npt.NDArray[np.float64]:
    """How a picture is between two (H, W): -1 where it is as the first, 1 where it is as the second."""
    tensor = preprocess_color(classifier, picture)
    if tensor.shape != bounds[0].shape:
        raise _unclear(classifier, f"tensors of sizes {tensor.shape[1:]} and {bounds[0].shape[1:]}")
    first, second = (np.abs(tensor - bound).sum(axis=0, dtype=np.float64) for bound in bounds)
    return np.asarray((first - second) / np.maximum(first + second, np.finfo(np.float64).tiny))


def _unclear(classifier: Classifier, got: str) -> ArgumentError:
    need = f"preprocessing of model `{classifier.name}` that moves a mask as it moves its image"
    return bad_value("masks", need, got, "pass preprocessed images with masks of their size")
