"""The folder of an evaluation: whose it is, who is writing to it, and what is finished."""

import contextlib
import hashlib
import importlib
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.errors import bad_value
from interpix.evaluation.config import strange
from interpix.evaluation.rows import into_shard, read_columns, read_journal, rows_folder, shard_files
from interpix.storage import FORMAT, make_folder, read_arrays, remove_leftovers, write_arrays

__all__ = [
    "Finished",
    "check_answers",
    "claim",
    "clean",
    "finished_images",
    "is_running",
    "kept_file",
    "run_name",
]

_ANSWERS = "answers.safetensors"
_ROUNDING = 1e-5
"""By how much answers of one model may differ from run to run, in shares of the greatest."""
_ODD = re.compile(r'[%\\:*?"<>|\x00-\x1f\x7f]')
"""What names of files cannot hold on some system, and the sign of what stands for it."""
_LONGEST_PART = 180
"""Bytes of a file's name, of which 255 are usual, and of which an ending takes some."""


@dataclass(frozen=True)
class Finished:
    """What is known of an image that has rows.

    Attributes:
        attempt: The last one.
        key: What else its rows depend on.
        failed: Whether any of them failed.
        scored: Whether any of them did not.
    """

    attempt: int
    key: str
    failed: bool
    scored: bool


def kept_file(out: Path, kind: str, image: str) -> Path:
    """Where the curves, maps or mask of an image are kept: below the folder of results, whatever the image is called.

    What leads out of the folder, or is no name on some system, is written in other signs; no two ids share one name.

    >>> [kept_file(Path("out"), "maps", one).as_posix() for one in ("cats/1.jpg", "../1.jpg", "/1.jpg", "50%.jpg")]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['out/maps/cats/1.jpg.safetensors', 'out/maps/%2E%2E/1.jpg.safetensors', 'out/maps/%/1.jpg.safetensors',
     'out/maps/50%25.jpg.safetensors']
    """
    *folders, name = map(_as_name, image.split("/"))
    return out.joinpath(kind, *folders, f"{name}.safetensors")


def _as_name(part: str) -> str:
    if part in {"", ".", ".."}:
        # A lone sign comes from no other part.
        return part.replace(".", "%2E") or "%"
    name = _ODD.sub(lambda one: f"%{ord(one[0]):02X}", part)
    encoded = name.encode(errors="backslashreplace")
    if len(encoded) <= _LONGEST_PART:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:32]
    return f"{encoded[: _LONGEST_PART - 34].decode(errors='ignore')}%-{digest}"


def check_answers(out: Path, answers: npt.NDArray[np.float64]) -> None:
    """Refuses a model that answers otherwise than the one whose rows a folder has.

    A function has no weights by which it could be told from another.
    """
    path = out / _ANSWERS
    if not path.exists():
        write_arrays(path, {"answers": answers}, {"format": FORMAT, "answers": 1})
        return
    known = read_arrays(path)[0]["answers"]
    if known.shape != answers.shape or np.abs(known - answers).max() > _ROUNDING * np.abs(known).max():
        raise strange("one of a model of this name that answered otherwise")


@contextlib.contextmanager
def claim(out: Path, shard: tuple[int, int]) -> Iterator[None]:
    """Makes the folder one's own for a run of one part of the images; the system lets go when the process ends.

    Raises:
        ArgumentError: Another run has it.
    """
    make_folder(out, "out")
    make_folder(rows_folder(out), "out")
    with _held(out, shard) as who:
        if who is not None:
            got = f"'{out}', to which {who} is writing"
            raise bad_value("out", "a folder to which no other run is writing", got, "wait for it, or choose another")
        yield


@contextlib.contextmanager
def _held(out: Path, shard: tuple[int, int]) -> Iterator[str | None]:
    """Holds a part of the images while nobody else does.

    Yields:
        Who has it; None: this process.
    """
    path = out / f".{_shard_name(shard)}.lock"
    with path.open("a+") as file:
        if not _lock(file):
            file.seek(0)
            yield file.read().strip() or "another process"
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield None
        finally:
            # The name must go before the lock: whoever waits for it may else hold a file that is not there any more.
            path.unlink(missing_ok=True)


def _lock(file: Any) -> bool:
    """Locks a file, unless another process has; where there is no such lock, nothing is said."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def is_running(out: Path) -> bool:
    """Whether some run is writing to a folder, as far as this machine can tell."""
    for path in out.glob(".*of*.lock"):
        try:
            with path.open("r+") as file:
                if not _lock(file):
                    return True
        except FileNotFoundError:  # it has just ended
            continue
        except OSError as error:
            got, cure = f"'{path}' ({error.strerror})", "ask whose run it is, or for the rights"
            raise bad_value("out", "a folder whose locks can be opened", got, cure) from error
    return False


def run_name(shard: tuple[int, int], token: str) -> str:
    """What the journals of a run are called."""
    return f"{_shard_name(shard)}-{token}"


def _shard_name(shard: tuple[int, int]) -> str:
    return f"{shard[0]}of{shard[1]}"


def clean(out: Path, shard: tuple[int, int]) -> None:
    """Turns into shards what killed runs of this part left, and those of other parts that nobody is running."""
    folder = rows_folder(out)
    remove_leftovers(folder)
    for path in sorted(folder.glob("*.jsonl")):
        match = re.match(r"(\d+)of(\d+)-", path.name)
        part = None if match is None else (int(match[1]), int(match[2]))
        if part == shard:
            into_shard(path)
        elif part is not None:
            with _held(out, part) as who:
                if who is None:
                    into_shard(path)


def finished_images(out: Path) -> dict[str, Finished]:
    """The images that have rows."""
    found: dict[str, Finished] = {}

    def add(row: Mapping[str, Any]) -> None:
        image, attempt, failed = row["image"], row["attempt"], row["status"] == "failed"
        before = found.get(image)
        if before is None or attempt > before.attempt:
            found[image] = Finished(attempt, row["key"], failed, not failed)
        elif attempt == before.attempt:
            found[image] = Finished(attempt, row["key"], before.failed or failed, before.scored or not failed)

    names = ["image", "attempt", "key", "status"]
    for path in shard_files(out):
        for row in read_columns(path, names).group_by(names).aggregate([]).to_pylist():
            add(row)
    for path in rows_folder(out).glob("*.jsonl"):
        for row in read_journal(path).rows:
            add(row)
    return found
