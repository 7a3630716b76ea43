"""Annotations that lie in a folder of their own: pictures of masks, or PASCAL VOC's XML files, as ImageNet's are.

An annotation is found by its photo's path without the ending, or, where the folders differ (ImageNet's photos sorted
into classes, its XML files not), by the photo's name alone.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interpix.errors import bad_value
from interpix.evaluation.items import Box, Item
from interpix.paths import is_folder

__all__ = ["annotated", "read_voc"]


def annotated(items: Sequence[Item], folder: Path) -> list[Item]:
    """The items with the masks or boxes that a folder has of them; those of which it has none stay as they are.

    Raises:
        ArgumentError: It has none of any of them, or two of one.
    """
    if not is_folder(folder):
        raise bad_value("annotations", "a folder of masks or of XML files", f"'{folder}'", "check the path")
    by_path: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            stem = path.relative_to(folder).with_suffix("").as_posix()
            if stem in by_path:
                got = f"'{by_path[stem].name}' and '{path.name}'"
                raise bad_value("annotations", "one for each photo", got, "remove the other")
            by_path[stem] = path
    by_name: dict[str, list[Path]] = {}
    for path in by_path.values():
        by_name.setdefault(path.stem, []).append(path)

    def find(item: Item) -> Path | None:
        stem = item.id.rsplit(".", 1)[0]
        alone = by_name.get(stem.rsplit("/", 1)[-1], [])
        return by_path.get(stem, alone[0] if len(alone) == 1 else None)

    found = [(item, find(item)) for item in items]
    if all(path is None for _, path in found):
        got = f"none for '{items[0].id}' or any other in '{folder}'"
        raise bad_value("annotations", "files with the photos' names", got, "name each as its photo")
    return [item if path is None else _with(item, path) for item, path in found]


def _with(item: Item, path: Path) -> Item:
    if path.suffix.lower() != ".xml":
        return replace(item, mask=str(path.absolute()))
    label, boxes = read_voc(path)
    return replace(item, target=label if item.target is None else item.target, boxes=boxes)


def read_voc(path: Path) -> tuple[str | None, tuple[Box, ...]]:
    """The class and the boxes of a PASCAL VOC file; their numbers are edges between pixels, as ImageNet's are.

    >>> path = getfixture("tmp_path") / "1.xml"
    >>> box = "<bndbox><xmin>1</xmin><ymin>0</ymin><xmax>3</xmax><ymax>2</ymax></bndbox>"
    >>> _ = path.write_text(f"<annotation><object><name>n01440764</name>{box}</object></annotation>")
    >>> read_voc(path)
    ('n01440764', ((1, 0, 3, 2),))

    Raises:
        ArgumentError: It cannot be read, or names several classes.
    """
    try:
        objects = ET.parse(path).getroot().findall("object")  # noqa: S314 - the user's own files; expat bounds entities
        names = {str(one.findtext("name")).strip() for one in objects}
        boxes = tuple(_box(one) for one in objects)
    except (ET.ParseError, ValueError, TypeError, OSError) as error:
        got = f"'{path}' ({error})"
        raise bad_value("annotations", "XML files of PASCAL VOC's form", got, "fetch the file again") from error
    if len(names) > 1:
        got = f"'{path}' with {', '.join(sorted(names))}"
        raise bad_value("annotations", "objects of one class in each file", got, "name boxes in a manifest instead")
    return next(iter(names), None), boxes


def _box(one: ET.Element) -> Box:
    sides = [int(float(str(one.findtext(f"bndbox/{name}")))) for name in ("xmin", "ymin", "xmax", "ymax")]
    left, top, right, bottom = sides
    if not (0 <= left <= right and 0 <= top <= bottom):
        raise ValueError(f"a box {sides}")
    return left, top, max(right, left + 1), max(bottom, top + 1)
