"""Where the object is, in the picture as a model sees it."""

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray
from interpix.masks import MIDDLE_GRAY
from interpix.models.protocol.classifier import Classifier

__all__ = ["annotation_as_seen"]


def annotation_as_seen(classifier: Classifier, annotation: npt.NDArray[np.bool_]) -> BoolArray:
    """The mask (H, W) of a raw image, resized and cropped as the model does it with the image.

    >>> from interpix import CallableClassifier
    >>> left = CallableClassifier(np.sum, preprocess=lambda raw: raw[:, :2].transpose(2, 0, 1) / np.float32(255))
    >>> annotation_as_seen(left, np.array([[True, False, False]]))
    array([[ True, False]])
    """
    photo = np.repeat(np.where(annotation, 255, 0).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.asarray(classifier.display(photo)[:, :, 0] >= MIDDLE_GRAY)
