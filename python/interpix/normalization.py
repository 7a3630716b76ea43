"""From pixels to the model's input and back: the affine map that ends a classifier's preprocessing.

Preprocessing resizes and crops too, so a picture that was cut out already cannot go through it again. What can be
applied to it is the last step alone: input = (pixel - mean) / scale for each channel.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from interpix.arrays import describe
from interpix.errors import ArgumentError, bad_value

__all__ = ["Normalization", "Normalized", "Preprocessor", "preprocess_color"]

_WHITE = 255
_LEVELS = (0, 85, _WHITE)
_ANY_SIZE = (32, 48)
_TOLERANCE = 1e-4
_HALF_LEVEL = 0.5


class Preprocessor(Protocol):
    """What knows how a raw image becomes a model's input: every classifier."""

    @property
    def name(self) -> str:
        """For people: in results and messages."""
        ...

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width that the model wants; None if it takes any."""
        ...

    def preprocess(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """A raw image (H, W, 3) as the model's input (3, H', W')."""
        ...


def preprocess_color(classifier: Preprocessor, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A picture of one color (H, W, 3) as the model's input (3, H', W'): what black, for example, is to the model.

    Raises:
        ArgumentError: The model does not say how it preprocesses.
    """
    try:
        return np.asarray(classifier.preprocess(picture))
    except ArgumentError as error:
        need = "a model whose preprocessing is known, as this needs to know what black is to it"
        cure = 'say `preprocess=` when wrapping it (TorchClassifier, CallableClassifier), or use a baseline of "zero"'
        raise bad_value("model", need, f"`{classifier.name}`", cure) from error


@dataclass(frozen=True)
class Normalization:
    """The model's input is (pixel - `mean`) / `scale`, pixels in 0 ... 255.

    >>> normalization = Normalization((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
    >>> normalization.apply(np.full((1, 2, 3), 255, np.uint8))[:, 0, 0]
    array([1., 1., 1.], dtype=float32)

    Attributes:
        mean: For each channel, in pixel levels 0 ... 255.
        scale: For each channel, in pixel levels.
    """

    mean: tuple[float, float, float]
    scale: tuple[float, float, float]

    @classmethod
    def of(cls, classifier: Preprocessor) -> "Normalization":
        """The normalization of a classifier: what it remembers, or what is recovered from it.

        Raises:
            ArgumentError: Preprocessing is not affine in each channel, so it cannot be recovered.
        """
        return classifier.normalization if isinstance(classifier, Normalized) else cls.recover(classifier)

    @classmethod
    def recover(cls, classifier: Preprocessor) -> "Normalization":
        """What must end the preprocessing, from what the classifier makes of images of one color.

        Raises:
            ArgumentError: Preprocessing is not affine in each channel, so it cannot be recovered.
        """
        height, width = classifier.input_size or _ANY_SIZE
        pictures = [np.full((height, width, 3), level, np.uint8) for level in _LEVELS]
        seen = [preprocess_color(classifier, picture).astype(np.float64) for picture in pictures]
        low, middle, high = (one.reshape(3, -1) for one in seen)
        slope = (high - low).mean(axis=1, keepdims=True) / _WHITE
        start = low.mean(axis=1, keepdims=True)
        near = _TOLERANCE * max(1.0, float(np.abs(high).max()), float(np.abs(low).max()))
        answers = zip((low, middle, high), _LEVELS, strict=True)
        affine = all(bool(np.allclose(one, start + slope * level, rtol=0, atol=near)) for one, level in answers)
        if not affine or (slope <= 0).any():
            expected = "a model whose preprocessing ends in (pixel - mean) / scale for each channel"
            got = f"`{classifier.name}`, whose preprocessing does not"
            raise bad_value("model", expected, got, "pass preprocessed images")
        mean, scale = (-start / slope).ravel().tolist(), (1 / slope).ravel().tolist()
        return cls((mean[0], mean[1], mean[2]), (scale[0], scale[1], scale[2]))

    def apply(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Pixels (H, W, 3) or (B, H, W, 3), levels 0 ... 255, as the model's input (3, H, W) or (B, 3, H, W)."""
        values = (pixels - np.array(self.mean)) / np.array(self.scale)
        return np.ascontiguousarray(np.moveaxis(values, -1, -3), np.float32)

    def restore(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """The pixels uint8 (H, W, 3) of a model's input (3, H, W), to the nearest level.

        Raises:
            ArgumentError: The values are not those of any picture.
        """
        levels = np.moveaxis(tensor, 0, -1) * np.array(self.scale) + np.array(self.mean)
        least, greatest = float(levels.min()), float(levels.max())
        if least < -_HALF_LEVEL or greatest > _WHITE + _HALF_LEVEL:
            got = f"{describe(tensor)} of levels {least:.4g} ... {greatest:.4g}"
            cure = "pass the raw image, or preprocess it as the model does"
            raise bad_value("image", "a picture of levels 0 ... 255 after normalization is undone", got, cure)
        return np.asarray(np.rint(levels).clip(0, _WHITE), np.uint8)


class Normalized:
    """What classifiers derive from: the normalization is recovered once, when it is first asked for."""

    @cached_property
    def normalization(self: Preprocessor) -> Normalization:
        """The end of its preprocessing; asking for it fails where that cannot be recovered."""
        return Normalization.recover(self)
