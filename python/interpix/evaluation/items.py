"""One image of a source: where it is, what is known of it, and how another process opens it. Plain data."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from interpix.errors import bad_value
from interpix.images import ImageInput
from interpix.masks import MaskInput

__all__ = ["Box", "Files", "Item", "Opener", "Tars"]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the image file; right and bottom are exclusive."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image.

    >>> Item.from_json(Item("a/duck.jpg", "a/duck.jpg", target=3).as_json())
    Item(id='a/duck.jpg', place='a/duck.jpg', target=3, mask=None, boxes=())

    Attributes:
        id: Its name in the results: its path in the source.
        place: Where its opener finds it.
        target: The class to explain, by index, or the label as it stands in the source; None: the prediction.
        mask: Where its opener finds the picture that is bright inside of the object, or None.
        boxes: Around the object; empty if it has none.
    """

    id: str
    place: str
    target: int | str | None = None
    mask: str | None = None
    boxes: tuple[Box, ...] = ()

    @property
    def key(self) -> str:
        """What else its rows depend on: with another label or annotation they are others."""
        return json.dumps([self.target, self.mask, self.boxes], separators=(",", ":"))

    def as_json(self) -> str:
        """For another process."""
        return json.dumps([self.id, self.place, self.target, self.mask, self.boxes])

    @classmethod
    def from_json(cls, text: str) -> "Item":
        """What `as_json` wrote."""
        name, place, target, mask, boxes = json.loads(text)
        return cls(name, place, target, mask, tuple(tuple(box) for box in boxes))


class Opener(Protocol):
    """Where the images of a source are; it can be sent to other processes."""

    def image(self, item: Item) -> ImageInput:
        """The image as `interpix.MoXI` takes it."""
        ...

    def mask(self, item: Item) -> MaskInput | None:
        """The picture of where the object is, or its boxes; None if nothing is known."""
        ...


@dataclass(frozen=True)
class Files:
    """Images that are files; places are paths below `folder`."""

    folder: str

    def image(self, item: Item) -> ImageInput:
        """See `Opener.image`."""
        return Path(self.folder, item.place)

    def mask(self, item: Item) -> MaskInput | None:
        """See `Opener.mask`."""
        return item.boxes or None if item.mask is None else Path(self.folder, item.mask)


@dataclass(frozen=True)
class Tars:
    """Images in tar files; places are `offset:size:path of the tar`."""

    def image(self, item: Item) -> ImageInput:
        """See `Opener.image`."""
        return _picture(item.place)

    def mask(self, item: Item) -> MaskInput | None:
        """See `Opener.mask`."""
        return item.boxes or None if item.mask is None else _picture(item.mask)


def _picture(place: str) -> Image.Image:
    offset, size, path = place.split(":", 2)
    with Path(path).open("rb") as file:
        file.seek(int(offset))
        content = file.read(int(size))
    try:
        return Image.open(io.BytesIO(content))
    except Exception as error:
        raise bad_value(
            "source", "pictures that Pillow reads", f"one of '{path}' ({error})", "write it again"
        ) from error
