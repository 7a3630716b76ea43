"""The rows of an evaluation: what stands in them, and how they are kept while it runs and after.

A worker appends the rows of each image, as soon as they are known, to a journal of its own: one line of JSON with its
checksum, synced. After some images it writes them as a Parquet shard of the journal's name, aside, synced and renamed,
and removes the journal. So a run that is killed loses the images in flight, and nothing is ever half there: a line that
was cut has another checksum, and a journal beside its shard is in the shard.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interpix.checks import require_module
from interpix.errors import ArgumentError, bad_value
from interpix.evaluation.manifests import PYARROW
from interpix.storage import replace_file

__all__ = [
    "COLUMNS",
    "Journal",
    "Kept",
    "as_table",
    "check_columns",
    "encoded",
    "into_shard",
    "read_columns",
    "read_journal",
    "read_shard",
    "rows_folder",
    "schema",
    "shard_files",
]

_SHARD_IMAGES = 256
"""Of which a journal holds the rows before it becomes a shard."""

COLUMNS: Mapping[str, str] = {
    "image": "string",
    "method": "string",
    "propagated": "bool",
    "control": "bool",
    "metric": "string",
    "value": "float64",
    "status": "string",
    "reason": "string",
    "seconds": "float64",
    "target": "int32",
    "prediction": "int32",
    "probability": "float64",
    "attempt": "int32",
    "key": "string",
}
"""The columns and their types."""


def rows_folder(out: Path) -> Path:
    """Where shards and journals lie."""
    return out / "rows"


def schema() -> Any:
    """The columns as pyarrow has them."""
    arrow = require_module("pyarrow", PYARROW)
    kinds = {"string": arrow.string(), "bool": arrow.bool_(), "float64": arrow.float64(), "int32": arrow.int32()}
    return arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])


@dataclass(frozen=True)
class Kept:
    """What a journal holds.

    Attributes:
        rows: Of images that are finished, image by image.
        finished: These images.
        started: How often each image was begun.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    started: dict[str, int] = field(default_factory=dict)


class Journal:
    """The rows of one worker; nobody else writes to its files."""

    def __init__(self, folder: Path, name: str) -> None:
        """Begins nothing yet: files are made when there are rows."""
        self._folder = folder
        self._name = name
        self._number = 0
        self._images = 0
        self._file: Any = None

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._name}-{self._number:06}.jsonl"

    def start(self, image: str) -> None:
        """Remembers that an image was begun: it may end its process."""
        self._append({"start": image})

    def finish(self, image: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keeps the rows of an image, whole or not at all, whatever happens next."""
        # By name: who reads it need not have the columns in this order.
        cells = [[row.get(name) for name in COLUMNS] for row in rows]
        self._append({"image": image, "columns": list(COLUMNS), "rows": cells})
        os.fsync(self._file.fileno())
        self._images += 1
        if self._images >= _SHARD_IMAGES:
            self.close()

    def close(self) -> None:
        """Turns the journal into a shard; the next rows begin another one."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        into_shard(self._path)
        self._number += 1
        self._images = 0

    def _append(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            # Unbuffered: a line reaches the system at once, whatever becomes of this process.
            self._file = self._path.open("ab", buffering=0)
        self._file.write(_line(record))


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read_journal(path: Path) -> Kept:
    """What a journal holds; a line that is not whole is not there, and neither is a journal that became a shard."""
    kept = Kept()
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return kept
    for record in _records(content):
        if "start" in record:
            kept.started[record["start"]] = kept.started.get(record["start"], 0) + 1
        elif record["image"] not in kept.finished:
            kept.finished.add(record["image"])
            kept.rows.extend(dict(zip(record["columns"], row, strict=True)) for row in record["rows"])
    return kept


def _records(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.split(b"\n"):
        checksum, _, text = line.partition(b" ")
        if len(checksum) == 8 and text and checksum == b"%08x" % zlib.crc32(text):
            yield json.loads(text)


def as_table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as a table of pyarrow."""
    arrow = require_module("pyarrow", PYARROW)
    return arrow.Table.from_pylist(list(rows), schema=schema())


def encoded(table: Any) -> Any:
    """The same rows with each word kept once: of millions of rows, most words are those of the row before."""
    arrow = require_module("pyarrow", PYARROW)
    words = arrow.dictionary(arrow.int32(), arrow.string())
    kinds = [(one.name, words if COLUMNS[one.name] == "string" else one.type) for one in schema()]
    return table.cast(arrow.schema(kinds))


def shard_files(out: Path) -> list[Path]:
    """All shards, in an order that does not change."""
    return sorted(rows_folder(out).glob("*.parquet"))


def read_shard(path: Path) -> Any:
    """The rows of a shard as `encoded` has them, its columns found by their names."""
    texts = [name for name, kind in COLUMNS.items() if kind == "string"]
    return encoded(read_columns(path, list(COLUMNS), read_dictionary=texts))


def read_columns(path: Path, names: list[str], **options: Any) -> Any:
    """Some columns of a shard that has all; `options` are those of pyarrow's `read_table`.

    Raises:
        ArgumentError: It cannot be read, or lacks a column.
    """
    parquet = require_module("pyarrow.parquet", PYARROW)
    try:
        columns = parquet.read_schema(path).names
        check_columns(path, columns)
        return parquet.read_table(path, columns=names, **options).select(names)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these
        if isinstance(error, ArgumentError):
            raise
        cure = "remove it: the next run does its images again"
        raise bad_value("out", "shards that can be read", f"'{path}' ({error})", cure) from error


def check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuses a shard that lacks a column: another version wrote it, or something else."""
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        cure = "read it with the interpix that wrote it, or choose another folder"
        raise bad_value("out", "shards with all columns", f"'{path}' without {', '.join(missing)}", cure)


def into_shard(journal: Path) -> None:
    """Writes what a journal holds as a Parquet file of its name, and removes it."""
    kept = read_journal(journal)
    if kept.rows:
        shard = journal.with_suffix(".parquet")
        if not shard.exists():
            arrow, parquet = require_module("pyarrow", PYARROW), require_module("pyarrow.parquet", PYARROW)
            sink = arrow.BufferOutputStream()
            parquet.write_table(as_table(kept.rows), sink, compression="zstd")
            replace_file(shard, sink.getvalue().to_pybytes())
    journal.unlink(missing_ok=True)
