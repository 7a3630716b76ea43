"""Absence: what the pixels of a region show when the region is not there.

Everywhere a mask is True where a region is **kept**.
"""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.arrays import AnyArray, describe, is_array, to_numpy
from interpix.blur import convolve, gaussian_taps
from interpix.errors import ArgumentError, bad_type, bad_value, renamed
from interpix.normalization import Normalization, Preprocessor, preprocess_color
from interpix.options import plain_options, python_number

__all__ = ["Absence", "AbsenceInput", "DropTokens", "Fill", "FillInput", "MaskAttention", "read_absence", "read_fill"]

FillInput: TypeAlias = str | float | np.number[Any] | AnyArray
"""What `Fill` takes: `"zero"`, `"black"`, `"mean"`, `"blur"`, a number or an array."""

_NAMES = ("zero", "black", "mean", "blur")
_TOKEN_NAMES = ("drop_tokens", "mask_attention")
_MASKED_FROM = re.compile(r"mask_attention\(from_layer=([0-9]{1,9})\)")
_BLUR_SIGMA_OF_SIDE = 1 / 20
_BLUR_REACH_IN_SIGMAS = 3


@dataclass(frozen=True, eq=False)
class Fill:
    """Absent pixels show `value`.

    >>> Fill("mean").make(np.array([[[1, 3]], [[0, 0]], [[2, 4]]], np.float32), None)[:, 0]
    array([[2., 2.],
           [0., 0.],
           [3., 3.]], dtype=float32)

    Attributes:
        value: ``"zero"`` or 0: zero after normalization, the mean color of the model's training data;
            ``"black"``: pixel value 0 before normalization (needs the model's preprocessing);
            ``"mean"``: the image's own mean color; ``"blur"``: the image, blurred (Gaussian, standard
            deviation 1/20 of the longer side); a number, or an array that broadcasts to (C, H, W), in
            the units of the preprocessed image.
    """

    value: FillInput = "zero"

    def __post_init__(self) -> None:
        """Refuses an unknown name, and anything that is not a name, a number or an array."""
        value = self.value
        if isinstance(value, str):
            if value not in _NAMES:
                names = ", ".join(f'"{name}"' for name in _NAMES)
                cure = "pick one, or use a class of its own: DropTokens, MaskAttention"
                raise bad_value("value", f"a fill: {names}, a number or an array", repr(value), cure)
        elif not (is_array(value) or isinstance(value, int | float | np.number)):
            raise bad_type("value", "a name, a number or an array", value, 'use "black", for example')
        elif (
            kind := to_numpy(value, "value").dtype if is_array(value) else np.asarray(value).dtype
        ).kind not in "biuf":
            raise bad_value("value", "real numbers", kind, "convert it to float32")

    @property
    def name(self) -> str:
        """How a result remembers this fill."""
        if isinstance(self.value, str):
            return self.value
        return "array" if is_array(self.value) else repr(python_number(self.value))

    @property
    def depends_on_image(self) -> bool:
        """Whether each image has a picture of nothing of its own."""
        return isinstance(self.value, str) and self.value in {"mean", "blur"}

    def make(self, image: npt.NDArray[np.float32], classifier: Preprocessor) -> npt.NDArray[np.float32]:
        """The picture (C, H, W) of nothing, for one preprocessed `image` (C, H, W)."""
        if not isinstance(self.value, str):
            return _broadcast(self.value, image.shape)
        if self.value == "zero":
            return np.zeros_like(image)
        if self.value == "mean":
            mean = image.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
            return np.broadcast_to(mean, image.shape).astype(np.float32)
        if self.value == "blur":
            return _blurred(image)
        return np.broadcast_to(_black(classifier, image.shape[1:]), image.shape).astype(np.float32)


@dataclass(frozen=True)
class DropTokens:
    """Absent patches are not there at all: their tokens are dropped after the patch and position embedding.

    >>> read_absence("auto", token_grid=(14, 14))
    DropTokens()

    For Vision Transformers. Class, distillation and register tokens stay, and present patches keep their positions.
    """

    name = "drop_tokens"


@dataclass(frozen=True)
class MaskAttention:
    """No token attends to absent patches, from one block of the Vision Transformer on (the paper's Appendix D).

    >>> MaskAttention(from_layer=4).name
    'mask_attention(from_layer=4)'

    Attributes:
        from_layer: The first block that does not see them; 0 is all of them. For models that read the class token, 0
            is the same as `DropTokens`; for models that average the patches it is not: masked ones are averaged.
    """

    from_layer: int = 0

    def __post_init__(self) -> None:
        """Refuses a `from_layer` that is not an integer of at least 0."""
        plain_options(self)
        if isinstance(self.from_layer, bool) or not isinstance(self.from_layer, int):
            raise bad_type("from_layer", "the index of a block", self.from_layer, "0 masks in all of them")
        if self.from_layer < 0:
            raise bad_value("from_layer", "0 or more", self.from_layer, "0 masks in all blocks")

    @property
    def name(self) -> str:
        """How a result remembers this absence."""
        return f"mask_attention(from_layer={self.from_layer})"


Absence: TypeAlias = Fill | DropTokens | MaskAttention
"""What absent means."""
AbsenceInput: TypeAlias = FillInput | Absence
"""`"auto"`, `"drop_tokens"`, `"mask_attention"`, the same with `"(from_layer=4)"`, a `Fill`, `DropTokens`,
`MaskAttention`, or what `Fill` takes."""


def read_absence(absence: AbsenceInput, token_grid: tuple[int, int] | None = None, name: str = "absence") -> Absence:
    """What `absence` stands for; `"auto"`: `DropTokens` where the model has tokens, else zero after normalization.

    Errors are about its `name`.

    >>> read_absence("auto"), read_absence("mask_attention"), read_absence("mask_attention(from_layer=4)")
    (Fill(value='zero'), MaskAttention(from_layer=0), MaskAttention(from_layer=4))
    """
    if isinstance(absence, Fill | DropTokens | MaskAttention):
        return absence
    if isinstance(absence, str):
        if absence == "auto":
            return Fill() if token_grid is None else DropTokens()
        if absence in _TOKEN_NAMES:
            return DropTokens() if absence == "drop_tokens" else MaskAttention()
        if masked := _MASKED_FROM.fullmatch(absence):
            return MaskAttention(int(masked[1]))
    with renamed(value=name):
        return Fill(absence)


def read_fill(absence: AbsenceInput, name: str = "absence") -> Fill:
    """What `absence` stands for where pixels, and not tokens, are absent; in errors under its `name`.

    >>> read_fill("black")
    Fill(value='black')

    Raises:
        ArgumentError: It is `DropTokens` or `MaskAttention`.
    """
    fill = read_absence(absence, name=name)
    if not isinstance(fill, Fill):
        raise bad_value(name, "a fill, as pixels are absent here", fill.name, 'use "zero", for example')
    return fill


def _black(classifier: Preprocessor, size: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """What black is to the model (C, 1, 1)."""
    try:
        return Normalization.of(classifier).apply(np.zeros((1, 1, 3)))
    except ArgumentError:
        black = preprocess_color(classifier, np.zeros((*size, 3), np.uint8))
        # The color is what counts: preprocessing may crop to another size than this image has, and pad.
        return black[:, black.shape[1] // 2, black.shape[2] // 2][:, None, None]


def _broadcast(value: float | np.number[Any] | AnyArray, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    array = to_numpy(value, "absence") if is_array(value) else np.asarray(value)
    if array.ndim == 1 and array.shape == shape[:1]:
        array = array[:, None, None]
    if array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    try:
        filled = np.broadcast_to(array, shape).astype(np.float32)
    except ValueError:
        expected = f"a fill that broadcasts to {shape}"
        raise bad_value("absence", expected, describe(array), "pass one color (3,)") from None
    if not np.isfinite(filled).all():
        raise bad_value("absence", "finite numbers", "NaN or infinity", "check the array")
    return filled


def _blurred(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    sigma = max(image.shape[1:]) * _BLUR_SIGMA_OF_SIDE
    taps = gaussian_taps(sigma, max(1, round(_BLUR_REACH_IN_SIGMAS * sigma)))
    return convolve(image, taps, "mirror").astype(np.float32)
