"""Where on a photo the picture lies that a model sees: what its preprocessing cuts off, and how it resizes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interpix.arrays import FloatArray, IntArray
from interpix.errors import bad_value
from interpix.normalization import Normalization, Preprocessor

__all__ = ["Placement", "find_placement"]

_WHITE = 255
_LEAST = 4
"""Of fewer pixels nobody can tell a line."""
_TILT = 0.05
"""How much of the levels goes along the other axis."""
_TOLERANCE = 2.0
"""Levels, of 256 across the photo, by which a pixel may show another place than it should: resampled, and rounded."""
_MOST_ELSEWHERE = 0.02
"""The part of the pixels inside of the photo that may, at its edges, where resampling has nothing beyond."""


@dataclass(frozen=True)
class Placement:
    """A picture is the part of a photo that begins at `top` and `left`, resized.

    >>> half = Placement(top=0.0, left=2.0, height=4.0, width=2.0, photo=(4, 4), picture=(2, 2))
    >>> half.spread(np.array([[1, 2], [3, 4]], np.float32))
    array([[0., 0., 1., 2.],
           [0., 0., 1., 2.],
           [0., 0., 3., 4.],
           [0., 0., 3., 4.]], dtype=float32)
    >>> half.seen
    0.5

    Attributes:
        top: Where it begins, in pixels of the photo; negative where a border was added.
        left: Likewise.
        height: Of the part, in pixels of the photo.
        width: Likewise.
        photo: Height and width of the photo.
        picture: Height and width of the picture.
    """

    top: float
    left: float
    height: float
    width: float
    photo: tuple[int, int]
    picture: tuple[int, int]

    def spread(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Values (h, w) of the picture on the photo (H, W): each pixel has that of the one it went into, else 0."""
        rows, columns = self._pixels()
        inside = np.outer(rows >= 0, columns >= 0)
        return np.where(inside, values[np.ix_(rows, columns)], np.float32(0))

    @property
    def seen(self) -> float:
        """The part of the photo that is in the picture, 0 ... 1."""
        rows, columns = self._pixels()
        return float((rows >= 0).mean() * (columns >= 0).mean())

    def _pixels(self) -> tuple[IntArray, IntArray]:
        """The row and the column of the picture that each row and column of the photo is in; -1: none."""
        found = []
        for start, extent, count, size in (
            (self.top, self.height, self.photo[0], self.picture[0]),
            (self.left, self.width, self.photo[1], self.picture[1]),
        ):
            place = np.floor((np.arange(count) + 0.5 - start) / extent * size).astype(np.int64)
            found.append(np.where((place >= 0) & (place < size), place, -1))
        return found[0], found[1]


def find_placement(classifier: Preprocessor, photo: tuple[int, int]) -> Placement:
    """The placement of a model's picture on a photo of some height and width.

    Two photos are preprocessed whose pixels say where they are; what the picture's pixels say must lie on straight
    lines, else preprocessing is more than resizing, cropping and borders.

    Raises:
        ArgumentError: It is more; or the model does not say how it preprocesses.
    """
    height, width = photo
    down, across = _places(classifier, photo)
    top, tall = _line_of(down * height, height, classifier.name)
    left, wide = _line_of(across.T * width, width, classifier.name)
    return Placement(top, left, tall, wide, photo, (down.shape[0], down.shape[1]))


def _places(classifier: Preprocessor, photo: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """How far down and across the photo, 0 ... 1, each pixel of the picture shows it, (h, w) both."""
    height, width = photo
    down, across = ((np.arange(size) + 0.5) / size for size in (height, width))
    normalization = Normalization.of(classifier, photo)
    scale, mean = (np.array(one)[:, None, None] for one in (normalization.scale, normalization.mean))
    random, said = np.random.default_rng(0), []
    # Both slope a little along the other axis, and levels are rounded up or down by chance: so roundings, here and in
    # preprocessing, are right on average.
    for main, other in ((down[:, None], across), (across, down[:, None])):
        levels = _WHITE * ((1 - _TILT) * main + _TILT * other)
        rounded = np.floor(levels + random.random(photo)).astype(np.uint8)
        tensor = np.asarray(classifier.preprocess(np.repeat(rounded[..., None], 3, axis=2)), np.float64)
        said.append((tensor * scale + mean).mean(axis=0) / _WHITE)
    first, second = said
    places = [((1 - _TILT) * one - _TILT * two) / (1 - 2 * _TILT) for one, two in ((first, second), (second, first))]
    return places[0], places[1]


def _line_of(place: FloatArray, count: int, name: str) -> tuple[float, float]:
    """Where the picture begins along an axis of `count` pixels of the photo, and how far it reaches on it.

    Args:
        place: What each of its pixels shows, along the axis first.
        count: The photo's pixels along the axis.
        name: The model's.
    """
    size, beside = len(place), place.shape[1] // 4
    if size < _LEAST:
        need = f"a picture of model `{name}` of at least {_LEAST} x {_LEAST} pixels"
        raise bad_value("model", need, f"{size} on a side", "look at its preprocessing")
    centers = np.arange(size) + 0.5
    # Borders lie around the middle.
    profile = place[:, beside : place.shape[1] - beside].mean(axis=1)
    middle = slice(size // 4, size - size // 4)
    slope, start = np.polyfit(centers[middle], profile[middle], 1)
    expected = (slope * centers + start)[:, None]
    near = _TOLERANCE / _WHITE * count + abs(slope)
    # Beside the photo along the other axis, borders show no place at all.
    shown = (expected > 0) & (expected < count) & (np.abs(place - profile[:, None]) <= near)
    away = np.abs(place - expected) > near
    if slope <= 0 or not shown.any() or (away & shown).sum() > _MOST_ELSEWHERE * shown.sum():
        need = f"preprocessing of model `{name}` that resizes, crops or adds borders, and nothing else"
        raise bad_value("model", need, "other pixels", "pass the model's evaluation transform")
    return float(start), float(slope * size)
