"""Where on a photo the picture lies that a model sees: what its preprocessing cuts off, and how it resizes."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from interpix.arrays import BoolArray, FloatArray, IntArray
from interpix.errors import ArgumentError, bad_value
from interpix.normalization import Normalization, Preprocessor

__all__ = ["Placement", "check_picture", "find_placement"]

_WHITE = 255
_LEAST = 4
"""Of fewer pixels nobody can tell a line."""
_TILT = 0.05
"""How much of the levels goes along the other axis."""
_PARTS = 2.0
"""Photos are asked about with all contrast, and with all divided by this."""
_TOLERANCE, _EDGE = 2.0, 0.75
"""Levels, of 256 across the photo, or pixels of it, by which a pixel may show another place: resampled, and rounded."""
_MIXED = 3
"""Pixels of the picture next to a border that resampling may mix with it."""
_MOST_ELSEWHERE = 0.02
"""The part of the pixels on the photo that may, at its edges, where resampling has nothing beyond."""
_SAME = 1e-3
"""Of levels 0 ... 1: what is one color."""
_FEW_LEVELS = 16
"""Of a part of fewer, rounding hides where it is."""
_ROUNDED, _MISPLACED = 1.5, 1.5
"""Levels by which a picture may differ from the photo there, and how often as much as a shift changes."""
_WORST_TILE = 2.0
"""How often as much as that a small part of a picture may differ."""
_EXACT = 1e-6
"""Pixels by which a whole number may be below itself."""
_GROUND = 8.0
"""Levels by which a pixel leaves the color that most have."""
_SHIFT = 0.75
"""Pixels of the picture by which its place may be wrong."""
_KEEP = "keep the map on the model's picture"


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

    Photos are preprocessed whose pixels say where they are; what the picture's pixels say must lie on straight
    lines, else preprocessing is more than resizing, cropping and borders.

    Raises:
        ArgumentError: It is more; or the photo, its picture or the part that is seen is too small to tell; or the model
            does not say how it preprocesses.
    """
    if min(photo) < _LEAST:
        need = f"a photo of at least {_LEAST} x {_LEAST} pixels"
        raise bad_value("photo", need, f"{photo[0]} x {photo[1]}", _KEEP)
    down, across, shown, other = _places(classifier, photo)
    size = (down.shape[0], down.shape[1])
    if min(size) < _LEAST:
        need = f"a picture of model `{classifier.name}` of at least {_LEAST} x {_LEAST} pixels"
        raise bad_value("model", need, f"{size[0]} x {size[1]}", _KEEP)
    top, tall = _to_edges(*_line_of(down, shown, photo[0]), photo[0], size[0])
    left, wide = _to_edges(*_line_of(across.T, shown.T, photo[1]), photo[1], size[1])
    found = Placement(top, left, tall, wide, photo, size)
    _check_lines(found, down, across, classifier.name)
    # Of less contrast the photo says the same, unless its levels decide how they are changed.
    _check_lines(found, *other, classifier.name, _PARTS)
    if min(tall / photo[0], wide / photo[1]) * _WHITE < _FEW_LEVELS:
        need = f"a model that sees a larger part of a photo of {photo[0]} x {photo[1]}"
        raise bad_value("model", need, f"one of about {tall:.0f} x {wide:.0f}", _KEEP)
    return found


def check_picture(
    found: Placement, photo: npt.NDArray[np.uint8], picture: npt.NDArray[np.uint8], *, stretched: bool
) -> bool:
    """Whether a picture (h, w, 3) is surely what a photo (H, W, 3) shows at its placement, and not only may be.

    It is, where the same picture mirrored, or upside down, would be refused.

    Args:
        found: Where the picture should be.
        photo: The photo.
        picture: What the model saw.
        stretched: Whether its colors are those of the photo only from their least to their greatest value.

    Raises:
        ArgumentError: It is of another photo, or was prepared in another way, or what is cut off depends on the photo.
    """
    (height, width), (tall, wide) = found.photo, found.picture
    left, top = max(found.left, 0.0), max(found.top, 0.0)
    right, bottom = min(found.left + found.width, width), min(found.top + found.height, height)
    rows = slice(*(round((edge - found.top) / found.height * tall) for edge in (top, bottom)))
    columns = slice(*(round((edge - found.left) / found.width * wide) for edge in (left, right)))
    seen = picture[rows, columns].astype(np.float64)
    across, down = (_SHIFT * extent / pixels for extent, pixels in ((found.width, wide), (found.height, tall)))
    moved = min(left + across, right - 1), min(top + down, bottom - 1), right, bottom
    photos = [photo]
    if (picture == picture[..., :1]).all():  # the model sees gray, by one of two formulas
        means = np.rint(photo.mean(axis=-1, keepdims=True)).astype(np.uint8)
        photos += [np.asarray(Image.fromarray(photo).convert("L").convert("RGB")), np.repeat(means, 3, axis=-1)]
    size = seen.shape[1], seen.shape[0]
    parts = [_Part.of(one, (left, top, right, bottom), moved, size) for one in photos]
    if not any(part.may_be(seen, stretched=stretched) for part in parts):
        need = "the photo that was explained, prepared by the model itself"
        raise bad_value("photo", need, "one that looks otherwise there", "pass the photo and the model of this result")
    others = seen[:, ::-1], seen[::-1], seen[::-1, ::-1]
    return not any(part.may_be(other, stretched=stretched) for part in parts for other in others)


_Box: TypeAlias = tuple[float, float, float, float]
"""Of a photo, its left, upper, right and lower edge."""


@dataclass(frozen=True)
class _Part:
    """A part of a photo, resized (h, w, 3).

    Attributes:
        by_filter: By each of several filters.
        blurred: By one of these that all are like.
        moved: The same of a part that is a bit wrong.
    """

    by_filter: tuple[FloatArray, ...]
    blurred: FloatArray
    moved: FloatArray

    @classmethod
    def of(cls, photo: npt.NDArray[np.uint8], box: _Box, moved: _Box, size: tuple[int, int]) -> "_Part":
        """From the edges of the part, and of the one that is wrong."""
        image = Image.fromarray(photo)

        def part(box: _Box, how: Image.Resampling) -> FloatArray:
            return np.asarray(image.resize(size, how, box=box), np.float64)

        sharp = (Image.Resampling.NEAREST, Image.Resampling.BOX, Image.Resampling.LANCZOS)
        blurred = part(box, Image.Resampling.BILINEAR)
        others = *(part(box, how) for how in sharp), *_sampled(photo, box, size)
        return cls((blurred, *others), blurred, part(moved, Image.Resampling.BILINEAR))

    def may_be(self, seen: FloatArray, *, stretched: bool) -> bool:
        """Whether a picture (h, w, 3) differs from this no more than its place, if a bit wrong, would explain."""
        if stretched:
            seen = _fitted(seen, self.blurred)
        # What leaves the ground tells pictures apart, be it small.
        ground = np.asarray(np.median(self.blurred, axis=(0, 1)), np.float64)
        tells = (np.maximum(np.abs(self.blurred - ground), np.abs(seen - ground)) > _GROUND).any(axis=-1)
        tells = tells if tells.any() else np.ones_like(tells)
        differ = min((np.abs(seen - one).mean(axis=-1) for one in self.by_filter), key=lambda one: one[tells].mean())
        misplaced = np.abs(self.blurred - self.moved).mean(axis=-1)
        allowed = _ROUNDED + _MISPLACED * misplaced
        parts = zip(_tiles(differ), _tiles(allowed), strict=True)
        alike = all(one.mean() <= _WORST_TILE * may.mean() for one, may in parts)
        return bool(alike and differ[tells].mean() <= allowed[tells].mean())


def _sampled(photo: npt.NDArray[np.uint8], box: _Box, size: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """A part of a photo as libraries resize that do not average: by the first pixel of each, and between two pixels."""
    first = between = photo.astype(np.float64)
    for axis, start, end in ((0, box[1], box[3]), (1, box[0], box[2])):
        last, step = photo.shape[axis] - 1, (end - start) / size[1 - axis]
        begins = start + np.arange(size[1 - axis]) * step
        first = np.take(first, np.clip(np.floor(begins + _EXACT), 0, last).astype(np.int64), axis)
        centers = np.clip(begins + step / 2 - 0.5, 0, last)
        low = np.floor(centers).astype(np.int64)
        weight = (centers - low)[:, None, None] if axis == 0 else (centers - low)[None, :, None]
        high = np.take(between, np.minimum(low + 1, last), axis)
        between = np.take(between, low, axis) * (1 - weight) + high * weight
    return first, between


def _tiles(values: FloatArray) -> list[FloatArray]:
    """Values (h, w) in up to 4 x 4 parts, of 4 pixels a side or more."""
    rows, columns = (max(1, min(4, side // 4)) for side in values.shape)
    return [tile for row in np.array_split(values, rows) for tile in np.array_split(row, columns, axis=1)]


def _fitted(channels: FloatArray, wanted: FloatArray) -> FloatArray:
    """Channels (h, w, 3), each times a number and with another added, so that they are as near as can be to others."""
    centered, others = (one - one.mean(axis=(0, 1)) for one in (channels, wanted))
    size = (centered**2).sum(axis=(0, 1))
    slopes = np.divide((centered * others).sum(axis=(0, 1)), size, out=np.zeros_like(size), where=size > 0)
    return np.asarray(centered * np.maximum(slopes, 0) + wanted.mean(axis=(0, 1)))


def _places(
    classifier: Preprocessor, photo: tuple[int, int]
) -> tuple[FloatArray, FloatArray, BoolArray, tuple[FloatArray, FloatArray]]:
    """Which row and column of the photo each pixel of the picture shows (h, w), which pixels are no border, and again.

    The second time the photo has a part of the contrast.
    """
    height, width = photo
    down, across = ((np.arange(size) + 0.5) / size for size in (height, width))
    classifier.preprocess(np.zeros((*photo, 3), np.uint8))  # a model that cannot says so itself
    try:
        normalization = Normalization.of(classifier, photo)
    except ArgumentError as error:
        need = f"preprocessing of model `{classifier.name}` that ends in (pixel - mean) / scale for each channel"
        raise bad_value("model", need, "another", _KEEP) from error
    scale, mean = (np.array(one)[:, None, None] for one in (normalization.scale, normalization.mean))
    random = np.random.default_rng(0)

    def ask(main: FloatArray, other: FloatArray, contrast: float) -> FloatArray:
        # Both slope a little along the other axis, and levels are rounded up or down by chance: so roundings, here and
        # in preprocessing, are right on average.
        levels = _WHITE * (0.5 + contrast * ((1 - _TILT) * main + _TILT * other - 0.5))
        given = np.repeat(np.floor(levels + random.random(photo)).astype(np.uint8)[..., None], 3, axis=2)
        tensor, again = (np.asarray(classifier.preprocess(given.copy()), np.float64) for _ in range(2))
        if not np.array_equal(tensor, again, equal_nan=True):
            need = f"preprocessing of model `{classifier.name}` that is deterministic"
            raise bad_value("model", need, "another picture each time", "pass the model's evaluation transform")
        return np.asarray((((tensor * scale + mean).mean(axis=0) / _WHITE) - 0.5) / contrast + 0.5)

    first, second = ask(down[:, None], across, 1.0), ask(across, down[:, None], 1.0)
    shown = np.ones(first.shape, np.bool_)
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        # A border has one color; a corner of the photo has few pixels of its own.
        alike = (np.abs(first - first[corner]) < _SAME) & (np.abs(second - second[corner]) < _SAME)
        if alike.sum() > max(first.shape) / 2:
            shown &= ~alike
    shown = _without_mixed(shown)
    one, two = _untilted(first, second)
    less = _untilted(ask(down[:, None], across, 1 / _PARTS), ask(across, down[:, None], 1 / _PARTS))
    shown = shown if shown.any() else np.ones(first.shape, np.bool_)
    return one * height, two * width, shown, (less[0] * height, less[1] * width)


def _without_mixed(shown: BoolArray) -> BoolArray:
    """Without the pixels next to a border, with which resampling mixes them."""
    inner = shown
    for _ in range(_MIXED):
        around = np.pad(inner, 1, constant_values=True)
        inner = inner & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return inner if inner.any() else shown


def _untilted(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How far down and across pixels are, of both ramps."""
    one, two = (((1 - _TILT) * a - _TILT * b) / (1 - 2 * _TILT) for a, b in ((first, second), (second, first)))
    return one, two


def _line_of(place: FloatArray, shown: BoolArray, count: int) -> tuple[float, float]:
    """Where the picture begins along an axis of `count` pixels of the photo, and how far it reaches on it.

    Args:
        place: What each of its pixels shows, along the axis first.
        shown: Which of them are no border.
        count: The photo's pixels along the axis.
    """
    centers = np.broadcast_to((np.arange(len(place)) + 0.5)[:, None], place.shape)[shown]
    shows = place[shown]
    if np.ptp(centers) == 0:
        need = f"a model whose picture shows at least {_LEAST} x {_LEAST} pixels of the photo"
        raise bad_value("model", need, "one row or column", _KEEP)
    slope, start = np.polyfit(centers, shows, 1)
    # Again without those at edges, where resampling has nothing beyond.
    near = np.abs(shows - slope * centers - start) <= _near(count, slope)
    if near.sum() > near.size / 2 and np.ptp(centers[near]) > 0:
        slope, start = np.polyfit(centers[near], shows[near], 1)
    return float(start), float(slope * len(place))


def _to_edges(start: float, extent: float, count: int, pixels: int) -> tuple[float, float]:
    """The same, but where it begins or ends within half a pixel of the picture of the photo's edge: there."""
    near, end = 0.5 * abs(extent) / pixels, start + extent
    start = 0.0 if abs(start) < near else start
    return start, (float(count) if abs(end - count) < near else end) - start


def _near(count: int, slope: float, parts: float = 1.0) -> float:
    """By how many pixels of the photo a pixel of the picture may show another place, with a part of the contrast."""
    return max(_TOLERANCE * parts / _WHITE * count, _EDGE) + abs(float(slope))


def _check_lines(found: Placement, down: FloatArray, across: FloatArray, name: str, parts: float = 1.0) -> None:
    """Refuses a placement at which the pixels that lie on the photo show something else."""
    rows, columns = found.picture
    (height, width), tall, wide = found.photo, found.height / rows, found.width / columns
    row, column = found.top + (np.arange(rows) + 0.5) * tall, found.left + (np.arange(columns) + 0.5) * wide
    # Pixels at the edge of the photo are mixed with the border, or with nothing.
    down_from, right_from = (
        size * (_MIXED if start < -size or start + extent > count + size else 1)
        for start, extent, count, size in (
            (found.top, found.height, height, tall),
            (found.left, found.width, width, wide),
        )
    )
    inside = np.outer(
        (row > down_from) & (row < height - down_from), (column > right_from) & (column < width - right_from)
    )
    off = np.abs(down - row[:, None]) > _near(height, tall, parts)
    off |= np.abs(across - column) > _near(width, wide, parts)
    if tall <= 0 or wide <= 0 or not inside.any() or (off & inside).sum() > _MOST_ELSEWHERE * inside.sum():
        need = f"preprocessing of model `{name}` that resizes, crops or adds borders, and nothing else"
        raise bad_value("model", need, "other pixels", "pass the model's evaluation transform")
