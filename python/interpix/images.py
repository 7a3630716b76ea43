"""What may stand for an image, read without ever guessing from its values.

Raw, so the model's own preprocessing is applied: a path, a PIL image, a uint8 array (H, W, 3) or, gray, (H, W); of
models that say which bands people see, uint8 (H, W, C) of any number of channels. Already preprocessed, so nothing is
applied: a float array or tensor (C, H, W), or (B, C, H, W) for B images; C is the model's.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from interpix.arrays import AnyArray, describe, is_array, to_numpy
from interpix.errors import ArgumentError, bad_type, bad_value
from interpix.paths import is_file, is_there

__all__ = [
    "ImageInput",
    "LoadedImage",
    "PictureInput",
    "checked_image",
    "image_size",
    "read_image",
    "read_images",
    "read_picture",
    "rgb_pixels",
    "split_images",
    "to_display",
]

PictureInput: TypeAlias = str | os.PathLike[str] | Image.Image
"""The path of a picture, or a PIL image."""
ImageInput: TypeAlias = PictureInput | AnyArray
"""A path, a PIL image, a uint8 array (H, W, 3), or a float array or tensor (C, H, W)."""

_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)
"""Orientations of cameras that lie on their side: width and height change places."""

_KINDS = "a path, a PIL image, a uint8 array (H, W, 3) or a float tensor (C, H, W)"
_MOST_CHANNELS = 512
_RGB = 3
_COLORS = (1, 3, 4)
"""Numbers of channels that arrays with these last often have."""


@dataclass(frozen=True)
class LoadedImage:
    """One image: exactly one of `raw` and `tensor` is there.

    >>> LoadedImage(np.zeros((4, 6, 3), np.uint8), None).size
    (4, 6)

    Attributes:
        raw: uint8 (H, W, 3), sRGB, before any preprocessing; or (H, W, C) of a camera with other bands.
        tensor: float32 (C, H, W), already preprocessed for the model.
    """

    raw: npt.NDArray[np.uint8] | None
    tensor: npt.NDArray[np.float32] | None

    @property
    def pixels(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        """The one of the two that is there."""
        pixels = self.tensor if self.raw is None else self.raw
        if pixels is None:
            raise ArgumentError("`image`: expected pixels, got none; pass an image")
        return pixels

    def copy(self) -> "LoadedImage":
        """The same in memory of its own."""
        return LoadedImage(
            None if self.raw is None else self.raw.copy(), None if self.tensor is None else self.tensor.copy()
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        pixels = self.pixels
        height, width = pixels.shape[1:] if self.raw is None else pixels.shape[:2]
        return height, width


def read_images(image: ImageInput | Sequence[ImageInput]) -> tuple[list[LoadedImage], bool]:
    """One or many images, and whether many were given (a list, a tuple, or a batch (B, C, H, W)).

    >>> images, many = read_images(np.zeros((2, 3, 4, 6), np.float32))
    >>> [image.size for image in images], many
    ([(4, 6), (4, 6)], True)
    """
    images, many = split_images(image)
    return [read_image(one) for one in images], many


def split_images(image: ImageInput | Sequence[ImageInput]) -> tuple[list[ImageInput], bool]:
    """The same, none of which is read.

    >>> split_images(np.zeros((2, 3, 4, 6), np.float32))[1], split_images("photo.jpg")
    (True, (['photo.jpg'], False))
    """
    if isinstance(image, Sequence) and not isinstance(image, str):
        if not image:
            raise bad_value("image", "at least one image", "an empty list", "pass images")
        return list(image), True
    if is_array(image) and image.ndim == 4:
        batch = to_numpy(image, "image")
        if len(batch) == 0:
            raise bad_value("image", "at least one image", describe(batch), "pass images")
        return list(batch), True
    return [image], False


def read_image(image: ImageInput) -> LoadedImage:
    """One image of any kind that the module's head names.

    >>> read_image(Image.new("RGB", (6, 4), "red")).raw[0, 0]
    array([255,   0,   0], dtype=uint8)
    >>> read_image(np.zeros((3, 4, 6), np.float32)).tensor.shape
    (3, 4, 6)
    """
    if isinstance(image, str | os.PathLike | Image.Image):
        return LoadedImage(read_picture(image), None)
    if not is_array(image):
        raise bad_type("image", _KINDS, image, "convert it first")
    array = to_numpy(image, "image")
    if array.size == 0:
        raise bad_value("image", "an image with pixels", describe(array), "check how it was cropped")
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.dtype == np.uint8:
        return LoadedImage(_raw_array(array), None)
    if np.issubdtype(array.dtype, np.floating):
        return LoadedImage(None, _preprocessed(array))
    cure = "use uint8 for a raw image, float for a preprocessed one"
    raise bad_value("image", "dtype uint8 or a float", describe(array), cure)


def rgb_pixels(image: ImageInput) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """The colors (H, W, 3) of a picture as the eye sees it: uint8, or float32 in 0 ... 1.

    Raw images as in `read_image`; a float array or tensor, (H, W, 3), (3, H, W) or, gray, (H, W), holds sRGB values in
    0 ... 1.

    >>> rgb_pixels(np.full((3, 4, 6), 0.5)).shape
    (4, 6, 3)
    """
    if not is_array(image) or (array := to_numpy(image, "image")).dtype == np.uint8:
        raw = read_image(image).raw
        if raw is not None and raw.shape[2] != _RGB:
            cure = "leave out transparency, or choose three bands"
            raise bad_value("image", "three channels", describe(raw), cure)
        if raw is not None:
            return raw
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if not np.issubdtype(array.dtype, np.floating) or array.ndim != 3 or array.size == 0:
        expected = "uint8 (H, W, 3), or floats (H, W, 3) or (3, H, W) in 0 ... 1"
        raise bad_value("image", expected, describe(array), "convert it first")
    if array.shape[2] != 3:
        array = array.transpose(1, 2, 0)
    if array.shape[2] != 3:
        raise bad_value("image", "three channels, first or last", describe(array), "convert it to RGB")
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        cure = "pass the picture before normalization, not the model's input"
        raise bad_value("image", "sRGB values in 0 ... 1", f"{array.min():.3g} ... {array.max():.3g}", cure)
    return np.ascontiguousarray(array, dtype=np.float32)


def to_display(tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """A preprocessed image (C, H, W) as uint8 (H, W, 3): stretched from its least to its greatest value.

    The normalization of a preprocessed image is not known, so its colors are shown relative to each other. Of another
    number of channels than three, their mean is shown in gray.

    >>> to_display(np.array([-1.0, 0.0, 1.0], np.float32).reshape(3, 1, 1))
    array([[[  0, 128, 255]]], dtype=uint8)
    """
    if len(tensor) != 3:
        tensor = np.repeat(tensor.mean(axis=0, keepdims=True), 3, axis=0)
    low, high = float(tensor.min()), float(tensor.max())
    scaled = (tensor - low) / (high - low) if high > low else np.full_like(tensor, 0.5)
    return np.rint(255 * scaled).astype(np.uint8).transpose(1, 2, 0)


def checked_image(image: ImageInput) -> ImageInput | LoadedImage:
    """Refuses what `read_image` would: of a file its beginning is read, and what Pillow holds already is not.

    Returns:
        The image; read, where that takes no memory.

    Raises:
        ArgumentError: It cannot be an image.
    """
    if isinstance(image, str | os.PathLike):
        image_size(image)
    elif not isinstance(image, Image.Image):
        loaded = read_image(image)
        if isinstance(image, np.ndarray) and np.may_share_memory(loaded.pixels, image):
            return loaded
    return image


def image_size(image: ImageInput) -> tuple[int, int]:
    """Height and width of an image as `read_image` gives it; of a file only the beginning is read.

    >>> image_size(Image.new("L", (6, 4)))
    (4, 6)
    """
    if not isinstance(image, str | os.PathLike | Image.Image):
        return read_image(image).size
    try:
        opened = image if isinstance(image, Image.Image) else Image.open(os.fspath(image))
        with contextlib.nullcontext() if opened is image else opened:
            width, height = opened.size
            turned = opened.getexif().get(_ORIENTATION, 1) in _LYING
    except Exception:  # noqa: BLE001 - who reads it all says what is wrong
        return read_image(image).size
    return (width, height) if turned else (height, width)


def read_picture(picture: PictureInput, name: str = "image") -> npt.NDArray[np.uint8]:
    """The pixels (H, W, 3) of a picture, sRGB, upright as people see it; `name` is for the error message.

    >>> read_picture(Image.new("L", (6, 4), 7)).shape
    (4, 6, 3)
    """
    if isinstance(picture, Image.Image):
        return _from_pil(picture, name)
    path = os.fspath(picture)
    if is_there(path) and not is_file(path):  # to open a pipe waits for whoever writes to it
        raise bad_value(name, "a file", f"'{path}', which is none", "name a picture in it, or save what it gives")
    try:
        with Image.open(path) as opened:
            return _from_pil(opened, name)
    except FileNotFoundError:
        raise bad_value(name, "a file that exists", f"'{path}'", "check the path") from None
    except UnidentifiedImageError:
        cure = "convert it to JPEG or PNG"
        raise bad_value(name, "an image file that Pillow reads", f"'{path}'", cure) from None
    except ArgumentError as error:
        raise ArgumentError(f"{error} ('{path}')") from error.__cause__
    except OSError as error:
        raise _unreadable(name, f"'{path}'", error) from error
    except MemoryError:
        raise
    except Exception as error:  # a reader of Pillow's raises what it likes where a file is damaged
        raise _unreadable(name, f"'{path}'", error) from error


def _from_pil(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    if 0 in image.size:
        raise bad_value(name, "an image with pixels", f"size {image.size}", "check its crop")
    if image.mode == "F" or image.mode.startswith("I"):  # Pillow would clip them at 255
        cure = "scale it to 0 ... 255 first: which of its values is white is not known"
        raise bad_value(name, "8 bits for each channel", f"a picture of mode {image.mode!r}", cure)
    if image.mode == "La":  # Pillow has no way from these to RGB but this
        image = image.convert("LA")
    elif image.mode == "PA" or isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")
    try:
        # Cameras store "this side up" as a tag; the model must see the photo as people do.
        upright = ImageOps.exif_transpose(image)
        return np.array(upright.convert("RGB"), dtype=np.uint8)
    except MemoryError:
        raise
    except Exception as error:  # it may be read only now, and its reader raises what it likes
        raise _unreadable(name, "the picture", error) from error


def _unreadable(name: str, what: str, error: Exception) -> ArgumentError:
    if isinstance(error, Image.DecompressionBombError):
        cure = "make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        return bad_value(name, "a picture of a size that Pillow takes for harmless", f"{what} ({error})", cure)
    return ArgumentError(f"`{name}`: {what} cannot be read ({error}); check that the file is complete")


def _raw_array(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):  # gray, as pictures of mode "L"
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    first = array.ndim == 3 and array.shape[0] in _COLORS and array.shape[2] not in _COLORS
    if array.ndim != 3 or first or array.shape[2] > _MOST_CHANNELS:
        cure = "put the channels last"
        raise bad_value("image", "a raw uint8 image of shape (H, W, 3) or, gray, (H, W)", describe(array), cure)
    return np.ascontiguousarray(array)


def _preprocessed(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    last = array.ndim == 3 and array.shape[2] in _COLORS and array.shape[0] not in _COLORS
    if array.ndim != 3 or last or array.shape[0] > _MOST_CHANNELS:
        cure = "a raw image must be uint8 (H, W, 3), a preprocessed one float (C, H, W), channels first"
        raise bad_value("image", "a preprocessed float image (C, H, W)", describe(array), cure)
    with np.errstate(over="ignore"):
        tensor = np.ascontiguousarray(array, dtype=np.float32)
    flat = tensor.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        # One pass, which only NaN, infinities and very great numbers fail.
        surely = np.isfinite(flat @ flat)
    if not surely and not np.isfinite(tensor).all():
        count = int((~np.isfinite(tensor)).sum())
        cure = "check the preprocessing"
        raise bad_value("image", "finite numbers", f"{count} NaN or infinite ones", cure)
    return tensor
