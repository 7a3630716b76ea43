"""Tables that name images: CSV, JSON lines or Parquet with `file_name` and, if known, `label`, `mask` and `boxes`.

As Hugging Face's `imagefolder` has them; paths are relative to the table's folder.
"""

import csv
import json
from pathlib import Path
from typing import Any

from interpix.checks import require_module
from interpix.errors import ArgumentError, bad_value
from interpix.evaluation.items import Box, Item

__all__ = ["PYARROW", "read_boxes", "read_manifest"]

PYARROW = 'this needs pyarrow: pip install "interpix[evaluate]"'

_SHOWN = 3


def read_manifest(path: Path) -> list[Item]:
    r"""The images of a table, in its order.

    >>> table = getfixture("tmp_path") / "list.csv"
    >>> (table.parent / "duck.jpg").touch()
    >>> _ = table.write_text('file_name,label,boxes\nduck.jpg,drake,"[[0, 0, 5, 4]]"\n')
    >>> read_manifest(table)
    [Item(id='duck.jpg', place='duck.jpg', target='drake', mask=None, boxes=((0, 0, 5, 4),))]

    Raises:
        ArgumentError: It cannot be read, lacks `file_name`, or names files that are not there.
    """
    items = [_item(number, row, path) for number, row in enumerate(_rows(path), start=1)]
    places = [place for item in items for place in (item.place, item.mask) if place is not None]
    missing = [place for place in places if not (path.parent / place).is_file()]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        got = f"'{path.name}' with {', '.join(map(repr, missing[:_SHOWN]))}{more}"
        raise bad_value("source", "files that exist", got, f"paths are relative to '{path.parent}'")
    return items


def _rows(path: Path) -> list[Any]:
    rows: list[Any]
    try:
        if path.suffix.lower() == ".parquet":
            rows = require_module("pyarrow.parquet", PYARROW).read_table(path).to_pylist()
        elif path.suffix.lower() == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file))
    except (ValueError, csv.Error) as error:  # pyarrow's, json's and unicode's are ValueErrors
        cure = "write it again"
        raise bad_value("source", "a table of images", f"'{path}' ({error})", cure) from error
    columns = sorted(map(str, rows[0])) if rows and isinstance(rows[0], dict) else []
    if rows and "file_name" not in columns:
        got = f"'{path.name}' with {', '.join(columns) or 'none'}"
        raise bad_value("source", "a table with the column file_name", got, "name the column of paths so")
    return rows


def _item(number: int, row: Any, path: Path) -> Item:
    where = f"row {number} of '{path.name}'"
    if not isinstance(row, dict) or not isinstance(row.get("file_name"), str) or not row["file_name"]:
        raise bad_value("source", "a file_name in every row", f"none in {where}", "fill it in, or remove the row")
    name, label, mask = row["file_name"], _known(row.get("label")), _known(row.get("mask"))
    if isinstance(label, float) and label.is_integer():  # what pandas makes of numbers beside empty cells
        label = int(label)
    if label is not None and (isinstance(label, bool) or not isinstance(label, int | str)):
        raise bad_value("source", "labels that are names or numbers", f"{label!r} in {where}", "write the class")
    if mask is not None and not isinstance(mask, str):
        raise bad_value("source", "masks that are paths of pictures", f"{mask!r} in {where}", "write the path")
    return Item(name, name, label, mask, read_boxes(_known(row.get("boxes")), where))


def _known(value: Any) -> Any:
    """A cell's value; None for an empty one."""
    return None if value in (None, "") or (isinstance(value, float) and value != value) else value  # noqa: PLR0124 - NaN


def read_boxes(value: Any, where: str) -> tuple[Box, ...]:
    """Boxes (left, top, right, bottom) of a cell: a list of them, one alone, or either as JSON.

    >>> read_boxes("[0, 1, 5, 4]", "row 1")
    ((0, 1, 5, 4),)
    """
    need, cure = "boxes [left, top, right, bottom] of whole pixels", "write [[12, 30, 140, 201]], for example"
    if value is None:
        return ()
    try:
        several = json.loads(value) if isinstance(value, str) else value
        several = [several] if several and not isinstance(several[0], list | tuple) else several
        boxes = tuple(_box(one) for one in several)
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise bad_value("source", need, f"{value!r} in {where}", cure) from error
    for left, top, right, bottom in boxes:
        if not (0 <= left < right and 0 <= top < bottom):
            got = f"{(left, top, right, bottom)} in {where}"
            raise bad_value("source", "boxes whose right and bottom lie beyond left and top", got, "check their order")
    return boxes


def _box(one: Any) -> Box:
    left, top, right, bottom = (int(side) for side in one if int(side) == side)
    return left, top, right, bottom
