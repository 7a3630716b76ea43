"""Data sets of Hugging Face: in memory, saved to a folder, or by name. They need `interpix[datasets]`."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpix.checks import require_module
from interpix.errors import bad_value
from interpix.evaluation.items import Item, Opener
from interpix.evaluation.manifests import read_boxes
from interpix.images import ImageInput
from interpix.masks import MaskInput

__all__ = ["Rows", "Saved", "read_dataset", "read_named", "read_saved"]

_DATASETS = 'data sets of Hugging Face need datasets: pip install "interpix[datasets]"'
_ID_COLUMNS = ("file_name", "id", "image_id")
_DIGITS = 8

_Found = tuple[list[Item], Opener, Sequence[str] | None]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a data set that is in memory; places are their numbers."""

    rows: Any
    column: str

    def image(self, item: Item) -> ImageInput:
        """See `Opener.image`."""
        picture: ImageInput = self.rows[int(item.place)][self.column]
        return picture

    def mask(self, item: Item) -> MaskInput | None:
        """See `Opener.mask`."""
        if item.mask is None:
            return item.boxes or None
        mask: MaskInput | None = self.rows[int(item.place)][item.mask]
        return mask


@dataclass(frozen=True)
class Saved:
    """The rows of a data set that each process loads by itself.

    Attributes:
        name: A folder that `save_to_disk` wrote, or a name that `load_dataset` knows.
        split: Of a name; None for a folder.
        column: That of the images.
    """

    name: str
    split: str | None
    column: str

    def image(self, item: Item) -> ImageInput:
        """See `Opener.image`."""
        return Rows(_load(self.name, self.split), self.column).image(item)

    def mask(self, item: Item) -> MaskInput | None:
        """See `Opener.mask`."""
        return Rows(_load(self.name, self.split), self.column).mask(item)


@functools.lru_cache(maxsize=2)
def _load(name: str, split: str | None) -> Any:
    datasets = require_module("datasets", _DATASETS)
    if split is None:
        return datasets.load_from_disk(name)
    return datasets.load_dataset(name, split=split)


def read_dataset(rows: Any) -> _Found:
    """The images of a data set in memory."""
    column, items, names = _read(rows)
    return items, Rows(rows, column), names


def read_saved(folder: Path) -> _Found:
    """The images of a data set that `save_to_disk` wrote."""
    name = str(folder.absolute())
    column, items, names = _read(_load(name, None))
    return items, Saved(name, None, column), names


def read_named(text: str) -> _Found:
    """The images of `NAME:SPLIT`, which `datasets` itself finds or downloads; the split is `validation` if left out."""
    name, colon, split = text.rpartition(":")
    if not colon or "/" in split:
        name, split = text, "validation"
    require_module("datasets", _DATASETS)
    try:
        rows = _load(name, split)
    except Exception as error:
        got = f"'hf:{text}' ({error})"
        raise bad_value("source", "a data set that datasets can load", got, "check its name and split") from error
    column, items, names = _read(rows)
    return items, Saved(name, split, column), names


def _read(rows: Any) -> tuple[str, list[Item], Sequence[str] | None]:
    datasets = require_module("datasets", _DATASETS)
    if not isinstance(rows, datasets.Dataset):
        got = type(rows).__name__
        raise bad_value("source", "one split of a data set, with a length", got, 'pick one, as in data["test"]')
    features = rows.features
    pictures = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if not pictures:
        raise bad_value("source", "a data set with a column of images", ", ".join(features), "cast it to Image()")
    column = "image" if "image" in pictures else pictures[0]
    mask = "mask" if "mask" in pictures and column != "mask" else None
    own = next((name for name in _ID_COLUMNS if name in features), None)
    known = {name: list(rows[name]) for name in ("label", "boxes", own) if name in features}
    blank = [None] * len(rows)
    ids = [f"{index:0{_DIGITS}}" for index in range(len(rows))] if own is None else list(map(str, known[own]))
    labels = known.get("label", blank)
    names = getattr(features.get("label"), "names", None)
    if names is not None:
        labels = [None if label is None or label < 0 else label for label in labels]  # -1: not told, as of test sets
    boxes = [read_boxes(one, f"row {index}") for index, one in enumerate(known.get("boxes", blank))]
    rows_of = zip(ids, labels, boxes, strict=True)
    return column, [Item(name, str(row), label, mask, one) for row, (name, label, one) in enumerate(rows_of)], names
