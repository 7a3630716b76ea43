"""From pixels to the model's input and back: the affine map that ends a classifier's preprocessing.

Preprocessing resizes, crops and pads too, so a picture that was cut out already cannot go through it again. What can be
applied to it is the last step alone: input = (pixel - mean) / scale for each channel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.arrays import describe, spacing
from interpix.errors import ArgumentError, InterpixError, bad_value
from interpix.images import to_display
from interpix.options import python_number

__all__ = [
    "Display",
    "Normalization",
    "Normalized",
    "Preprocessor",
    "Shown",
    "check_preprocessing",
    "has_own_display",
    "leaves_unnormalized",
    "looks_unnormalized",
    "picture_of",
    "preprocess_color",
    "read_display",
]

_WHITE = 255
_LEVELS = (0, 37, 85, 128, 200, _WHITE)
_SIZES = ((32, 48), (288, 432), (640, 960))
"""Of pictures of one color, one after the other until one passes: a crop may want some size at least."""
_TOLERANCE = 0.25
"""Levels: far above rounding in single precision, far below what a curve or a mixture of channels does."""
_HALF_LEVEL = 0.5
_SHARE = 0.8
"""Of the pixels that show the photo: the rest are mixed with a border by interpolation."""
_OVERSHOT, _OVERSHOOT = 0.05, 64
"""The share of values that resampling may take beyond black and white, and by how many levels."""
_NEARLY_ALL = 0.995
"""Where fewer pixels are as they should be, preprocessing may be random in a part, as where it erases one."""
_DARK, _CONTRAST, _BEYOND = 32, 0.25, 0.12
"""A model's mean from which dark pixels are negative, in levels; by how much the pixels of a photo differ; and what is
nearly black, or what resampling may add to it, in parts of white."""
_RESAMPLED = 4.0
"""Levels by which the resampling of a picture and that of its negative, each rounded, may differ."""


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
        """A raw image (H, W, 3) as the model's input (C, H', W')."""
        ...


def preprocess_color(classifier: Preprocessor, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A picture of one color (H, W, 3) as the model's input (C, H', W'): what black, for example, is to the model.

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
    """Channel c of the model's input is (pixel[order[c]] - mean[c]) / scale[c], pixels in 0 ... 255.

    >>> normalization = Normalization((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
    >>> normalization.apply(np.full((1, 2, 3), 255, np.uint8))[:, 0, 0]
    array([1., 1., 1.], dtype=float32)

    Attributes:
        mean: For each channel of the input, in pixel levels 0 ... 255.
        scale: For each channel of the input, in pixel levels.
        order: Which of red, green and blue each channel of the input is; (2, 1, 0) for networks that take BGR, (0,) for
            those that take gray pictures, whose pixels are equally red, green and blue.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    order: tuple[int, ...] = (0, 1, 2)

    @classmethod
    def of(cls, classifier: Preprocessor, size: tuple[int, int] | None = None) -> "Normalization":
        """The normalization of a classifier: what it remembers, or what is recovered from it.

        Args:
            classifier: Knows how it preprocesses.
            size: Height and width of photos that it takes, if it may not take any.

        Raises:
            ArgumentError: Preprocessing is not affine in each channel, so it cannot be recovered.
        """
        if isinstance(classifier, Normalized):
            return classifier.find_normalization(size)
        return cls.recover(classifier, size)

    @classmethod
    def recover(cls, classifier: Preprocessor, size: tuple[int, int] | None = None) -> "Normalization":
        """What must end the preprocessing, from what the classifier makes of images of one color.

        Pixels that are the same whatever the color are a border, and tell nothing.

        Args:
            classifier: Knows how it preprocesses.
            size: Height and width of photos that it takes, if it may not take any.

        Raises:
            ArgumentError: Preprocessing is not affine in each channel, so it cannot be recovered.
        """
        for tried in (classifier.input_size, *_SIZES, size):
            found = None if tried is None else _recover_at(classifier, tried)
            if found is not None:
                return found
        expected = "a model whose preprocessing ends in (pixel - mean) / scale for each channel"
        got = f"`{classifier.name}`, whose preprocessing does not"
        raise bad_value("model", expected, got, "pass preprocessed images")

    def apply(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Pixels (H, W, 3) or (B, H, W, 3), levels 0 ... 255, as the model's input (C, H, W) or (B, C, H, W)."""
        values = (pixels[..., list(self.order)] - np.array(self.mean)) / np.array(self.scale)
        return np.ascontiguousarray(np.moveaxis(values, -1, -3), np.float32)

    def restore(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """The pixels uint8 (H, W, 3) of a model's input (C, H, W), to the nearest level.

        Raises:
            ArgumentError: The values are not those of any picture.
        """
        return self.restore_all(tensor)[0]

    def restore_all(self, tensor: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], tuple[float, float]]:
        """The same, and the range of the input itself, which is seen on the way.

        Raises:
            ArgumentError: As `restore`.
        """
        if len(tensor) != len(self.order):
            cure = "pass the raw image, or preprocess it as the model does"
            raise bad_value("image", f"{len(self.order)} channels", describe(tensor), cure)
        slack = _HALF_LEVEL + _TOLERANCE
        pixels, least, greatest, beyond, seen = self._levels(tensor, slack)
        if beyond > _OVERSHOT * tensor.size:  # of few bits they may be
            slack = _HALF_LEVEL + float(_tolerance(tensor, np.array(self.scale)).max())
            pixels, least, greatest, beyond, seen = self._levels(tensor, slack)
        # Bicubic resampling goes a little beyond black and white, where edges are.
        if beyond > _OVERSHOT * tensor.size or least < -_OVERSHOOT or greatest > _WHITE + _OVERSHOOT:
            got = f"{describe(tensor)} of levels {least:.4g} ... {greatest:.4g}"
            cure = "pass the raw image, or preprocess it as the model does"
            raise bad_value("image", "a picture of levels 0 ... 255 after normalization is undone", got, cure)
        return pixels if len(self.order) > 1 else np.repeat(pixels, 3, axis=2), seen

    def _levels(
        self, tensor: npt.NDArray[np.float32], slack: float
    ) -> tuple[npt.NDArray[np.uint8], float, float, int, tuple[float, float]]:
        return _core.restore_levels(np.asarray(tensor, np.float32), self.mean, self.scale, self.order, slack)


Display: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.uint8]] | tuple[int, int, int]
"""What people see of a model's input (C, H, W): a function to uint8 (H, W, 3), or the bands for red, green, blue."""


def read_display(display: Any) -> Display | None:
    """A `Display`, if it is one."""
    if display is None or callable(display):
        return display  # type: ignore[no-any-return]
    given = display.tolist() if isinstance(display, np.ndarray) else display
    bands = tuple(map(python_number, given)) if isinstance(given, list | tuple) else ()
    if len(bands) != 3 or not all(type(one) is int and one >= 0 for one in bands):
        cure = "(3, 2, 1) for Sentinel-2's colors, for example"
        raise bad_value("display", "a function to uint8 (H, W, 3), or three bands", repr(display), cure)
    return bands


def _shown(display: Display, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    if not callable(display):
        if max(display) >= len(tensor):
            raise bad_value("display", f"bands of the {len(tensor)} channels", display, "count them from 0")
        return to_display(tensor[list(display)])
    try:
        picture = np.asarray(display(tensor.copy()))
    except Exception as error:  # a user's function raises what it likes
        got = f"{type(error).__name__} for an input {tensor.shape}: {error}"
        raise bad_value("display", "a function to uint8 (H, W, 3)", got, "call it on a preprocessed image") from error
    if picture.dtype != np.uint8 or picture.shape != (*tensor.shape[1:], 3):
        need = f"a function to uint8 {(*tensor.shape[1:], 3)}"
        raise bad_value("display", need, describe(picture), "scale it to 0 ... 255, and put the channels last")
    return picture


class Normalized:
    """What classifiers derive from: the normalization is recovered once, when it is first asked for."""

    shown: Display | None = None
    """What people see of its input, where it was told."""

    _recovered: Normalization | str | None = None  # or why there is none
    _tried: tuple[tuple[int, int] | None, ...] = ()

    @property
    def normalization(self: Any) -> Normalization:
        """The end of its preprocessing; asking for it fails where that cannot be recovered."""
        found: Normalization = self.find_normalization()
        return found

    def find_normalization(self: Any, size: tuple[int, int] | None = None) -> Normalization:
        """The same; where it could not be recovered yet, photos of another `size` may tell."""
        if self._recovered is None or (isinstance(self._recovered, str) and size not in self._tried):
            self._tried = (*self._tried, size)
            try:
                self._recovered = Normalization.recover(self, size)
            except ArgumentError as error:
                self._recovered = str(error)
        if isinstance(self._recovered, str):
            raise ArgumentError(self._recovered)
        found: Normalization = self._recovered
        return found

    def display(
        self: Any, image: npt.NDArray[np.uint8], tensor: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.uint8]:
        """The part (H', W', 3) of a raw image that the model sees, in its colors before normalization.

        Where the normalization cannot be undone, colors are shown relative to each other (`to_display`).
        """
        return picture_of(self, self.preprocess(image) if tensor is None else tensor).pixels


def has_own_display(classifier: Preprocessor) -> bool:
    """Whether a classifier says itself what it sees of a raw image, and it is not derived from its normalization."""
    return getattr(type(classifier), "display", None) is not Normalized.display


class Shown(NamedTuple):
    """What people see of a model's input.

    Attributes:
        pixels: uint8 (H, W, 3).
        true_colors: Whether these are its colors. Else they are stretched from the least to the greatest value, or the
            mean of channels that are no colors.
        range: The least and the greatest value of the input, where they were seen on the way.
    """

    pixels: npt.NDArray[np.uint8]
    true_colors: bool
    range: tuple[float, float] | None = None


def picture_of(classifier: Preprocessor, tensor: npt.NDArray[np.float32], size: tuple[int, int] | None = None) -> Shown:
    """The picture that a model's input (C, H, W) shows.

    Args:
        classifier: Knows how it preprocesses.
        tensor: The input.
        size: Height and width of the photo that it was, which preprocessing takes; it may take no other.
    """
    display: Display | None = getattr(classifier, "shown", None)
    if display is not None:
        return Shown(_shown(display, tensor), true_colors=True)
    if len(tensor) not in (1, 3):
        return Shown(to_display(tensor), true_colors=False)
    try:
        pixels, seen = Normalization.of(classifier, size).restore_all(tensor)
    except ArgumentError:
        return Shown(to_display(tensor), true_colors=False)
    return Shown(pixels, true_colors=True, range=seen)


def looks_unnormalized(
    classifier: Preprocessor, tensor: npt.NDArray[np.float32], seen: tuple[float, float] | None = None
) -> str | None:
    """In which range of pixels an input (C, H, W) seems to be that nobody has normalized; None: in that of the model.

    A model whose normalization is known makes negative numbers of dark pixels. It is a guess, fit for a warning.

    Args:
        classifier: Knows how it preprocesses.
        tensor: The input.
        seen: Its least and greatest value, if somebody has looked.
    """
    # First, as it tells most images and costs least; resampling goes a little beyond black.
    low, high = seen or (float(tensor.min()), float(tensor.max()))
    if low < -_BEYOND * high or getattr(classifier, "shown", None) is not None or len(tensor) not in (1, 3):
        return None
    try:
        normalization = Normalization.of(classifier)
    except ArgumentError:
        return None
    mean, scale = np.array(normalization.mean), np.array(normalization.scale)
    if (scale <= 0).any():
        return None
    # Of a photo in 0 ... 1 some pixels are nearly black; a bright one that is normalized may lie in the same range.
    if low < _BEYOND and high <= 1 + _BEYOND:
        return "0 ... 1" if (mean >= _DARK).all() and high - low > _CONTRAST else None
    # Numbers of another kind, as of a game by hand, are not that large.
    return f"0 ... {_WHITE}" if high > max(_DARK, 2 * float(((_WHITE - mean) / scale).max())) else None


def leaves_unnormalized(classifier: Preprocessor) -> str | None:
    """In which range of pixels preprocessing leaves photos, of a model that was trained on normalized ones.

    None: it normalizes them somehow, or how the model was trained is not known.
    """
    trained = getattr(classifier, "trained_mean", None)
    if trained is None or min(trained) * _WHITE < _DARK:
        return None
    try:
        normalization = Normalization.of(classifier)
    except ArgumentError:
        return None
    if max(map(abs, normalization.mean)) > 1:
        return None
    return f"0 ... {_WHITE / max(normalization.scale):.3g}"


def check_preprocessing(
    classifier: Preprocessor, image: npt.NDArray[np.uint8], tensor: npt.NDArray[np.float32]
) -> bool:
    """Whether the normalization that was recovered is that of this image (H, W, 3), whose input `tensor` is.

    The negative is preprocessed, too. Every pixel and its negative make white, but in borders and where they are mixed
    with the image.

    Raises:
        ArgumentError: The same image is preprocessed to another input each time.
    """
    if getattr(classifier, "shown", None) is not None:
        return True
    try:
        normalization = Normalization.of(classifier)
    except ArgumentError:
        normalization = None
    negative = np.asarray(classifier.preprocess(_WHITE - image))
    white = 0.0 if normalization is None else _share_of_white(normalization, tensor, negative)
    if white > _NEARLY_ALL:
        return True
    again = (np.asarray(classifier.preprocess(one)) for one in (image, _WHITE - image))
    if not all(np.array_equal(*pair, equal_nan=True) for pair in zip(again, (tensor, negative), strict=True)):
        need = f"preprocessing of model `{classifier.name}` that is deterministic"
        cure = "pass the transform for evaluation, without random steps, or preprocessed images"
        raise bad_value("preprocess", need, "a different tensor for the same image the second time", cure)
    return white >= _SHARE


def _share_of_white(
    normalization: Normalization, tensor: npt.NDArray[np.float32], negative: npt.NDArray[np.float32]
) -> float:
    """The share of pixels that make white with their negatives, or are a border."""
    if tensor.shape != negative.shape:
        return 0.0
    scale, mean = (np.array(one)[:, None, None] for one in (normalization.scale, normalization.mean))
    near = _RESAMPLED + 2 * (_tolerance(tensor, scale) - _TOLERANCE)
    white = np.abs((tensor + negative) * scale + 2 * mean - _WHITE) <= near
    border = tensor == negative
    return float((white | border).mean())


def _recover_at(classifier: Preprocessor, size: tuple[int, int]) -> Normalization | None:
    """What pictures of one color of a size tell; None if preprocessing does not take them, or is not affine."""
    colors = [(level, level, level) for level in _LEVELS]
    colors += [(_WHITE, 0, 0), (0, _WHITE, 0), (0, 0, _WHITE)]
    try:
        seen = [
            preprocess_color(classifier, np.full((*size, 3), color, np.uint8)).astype(np.float64) for color in colors
        ]
    except InterpixError:
        raise
    except Exception:  # noqa: BLE001 - the user's function may raise anything for a size that it does not take
        return None
    channels = seen[0].shape[0] if seen[0].ndim == 3 else 0
    if len({one.shape for one in seen}) > 1 or channels not in (1, 3):
        return None
    seen = [one.reshape(channels, -1) for one in seen]
    black, white = seen[0], seen[len(_LEVELS) - 1]
    shown = (white != black).all(axis=0)
    if not shown.any():
        return None
    start, slope = (np.median(one[:, shown], axis=1, keepdims=True) for one in (black, (white - black) / _WHITE))
    if (slope <= 0).any():
        return None
    for level, one in zip(_LEVELS, seen, strict=False):
        off = np.abs(one[:, shown] - start - slope * level) / slope
        if (off <= _tolerance(one, 1 / slope)).all(axis=0).mean() < _SHARE:
            return None
    mean, scale = (-start / slope).ravel().tolist(), (1 / slope).ravel().tolist()
    # How much of each of red, green and blue is in each channel of the input, (channel, color).
    pure = np.stack([np.median(one[:, shown] - start, axis=1) for one in seen[len(_LEVELS) :]], axis=1)
    shares = pure / (_WHITE * slope)
    return Normalization(tuple(mean), tuple(scale), (0,) if channels == 1 else _order(shares))


def _tolerance(values: npt.NDArray[Any], scale: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Levels by which values may be off, for each channel: by more in few bits."""
    return np.asarray(_TOLERANCE + spacing(values) * float(np.abs(values).max(initial=0)) * scale)


def _order(shares: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """The color of each channel, if each is one of its own; where they are mixed, as in gray, as they come.

    >>> _order(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    (2, 1, 0)
    """
    found = shares.argmax(axis=1).tolist()
    swapped = np.abs(shares - np.eye(3)[found]).max() <= _TOLERANCE / 10 and sorted(found) == [0, 1, 2]
    return (found[0], found[1], found[2]) if swapped else (0, 1, 2)
