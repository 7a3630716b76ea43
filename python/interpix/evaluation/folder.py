"""The folder of an evaluation: whose it is, who is writing to it, and what is finished."""

import contextlib
import importlib
import os
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.checks import require_module
from interpix.errors import bad_value
from interpix.evaluation.plan import hash_of
from interpix.evaluation.rows import into_shard, read_journal, rows_folder
from interpix.storage import FORMAT, make_folder, read_arrays, remove_leftovers, replace_file, write_arrays

__all__ = [
    "CONFIG",
    "Finished",
    "claim",
    "clean",
    "finished_images",
    "is_running",
    "read_config",
    "shard_files",
    "write_config",
]

CONFIG = "config.toml"
_ANSWERS = "answers.safetensors"
_MARK = "# Written by interpix evaluate; `interpix evaluate --config` repeats it."
_TOMLI_W = 'this needs tomli-w: pip install "interpix[evaluate]"'
_ROUNDING = 1e-5
"""By how much answers of one model may differ from run to run, in shares of the greatest."""

Finished = dict[str, tuple[int, str, bool]]
"""Of each image that has rows: the last attempt, what else they depend on, and whether any of them failed."""


def write_config(out: Path, configuration: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Writes what an evaluation depends on, and how it was called.

    Raises:
        ArgumentError: The folder is another evaluation's, or is not one's.
    """
    toml = require_module("tomli_w", _TOMLI_W)
    path = out / CONFIG
    known = read_config(out) if path.exists() else None
    if known is None and any(rows_folder(out).glob("*.parquet")):
        raise _strange(out, f"'{out}' with rows but without {CONFIG}")
    plain = _without_none(configuration)
    if known is not None and known["hash"] != hash_of(plain):
        raise _strange(out, f"one of another: {_difference(known['configuration'], plain)}")
    made = {"hash": hash_of(plain), "run": _without_none(run), "configuration": plain}
    text = f"{_MARK}\n{toml.dumps(made)}"
    if known is None or known != made:
        replace_file(path, text.encode())


def read_config(out: Path) -> dict[str, Any]:
    """What `write_config` wrote.

    Raises:
        ArgumentError: There is none, or it is something else's.
    """
    path = out / CONFIG if out.is_dir() else out
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _strange(out, f"'{out}' without {CONFIG}") from None
    except (OSError, ValueError) as error:
        raise _strange(out, f"'{path}' ({error})") from error
    if not isinstance(found.get("configuration"), dict) or not isinstance(found.get("run"), dict):
        raise _strange(out, f"'{path}' of something else")
    return found


def _strange(out: Path, got: str) -> Exception:
    del out
    return bad_value("out", "the folder of this evaluation, or a new one", got, "choose another folder")


def _without_none(value: Any) -> Any:
    """TOML has no null: what is not there is left out."""
    if isinstance(value, Mapping):
        return {str(name): _without_none(one) for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return ["none" if one is None else _without_none(one) for one in value]
    return value


def _difference(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Which options differ, in words."""
    names = [name for name in {**known, **wanted} if known.get(name) != wanted.get(name)]
    parts = []
    for name in names:
        before, now = known.get(name), wanted.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            inner = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            parts += [f"{name}.{key} was {before.get(key)} and is {now.get(key)}" for key in inner]
        else:
            parts.append(f"{name} was {before} and is {now}")
    return "; ".join(parts[:3])


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
        raise _strange(out, "one of a model of this name that answered otherwise")


@contextlib.contextmanager
def claim(out: Path, shard: tuple[int, int]) -> Iterator[None]:
    """Makes the folder one's own for a run of one part of the images; the system lets go when the process ends.

    Raises:
        ArgumentError: Another run has it.
    """
    make_folder(out, "out")
    make_folder(rows_folder(out), "out")
    path = out / f".{_shard_name(shard)}.lock"
    with path.open("a+") as file:
        if not _lock(file):
            file.seek(0)
            who = file.read().strip() or "another process"
            got = f"'{out}', to which {who} is writing"
            raise bad_value("out", "a folder to which no other run is writing", got, "wait for it, or choose another")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
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
        except OSError:  # it has just ended
            continue
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
            with contextlib.suppress(ValueError), claim(out, part):
                into_shard(path)


def shard_files(out: Path) -> list[Path]:
    """All shards, in an order that does not change."""
    return sorted(rows_folder(out).glob("*.parquet"))


def finished_images(out: Path) -> Finished:
    """The images that have rows."""
    parquet = importlib.import_module("pyarrow.parquet")
    found: Finished = {}

    def add(image: str, attempt: int, key: str, *, failed: bool) -> None:
        before = found.get(image)
        if before is None or attempt > before[0]:
            found[image] = (attempt, key, failed)
        elif attempt == before[0]:
            found[image] = (attempt, key, before[2] or failed)

    for path in shard_files(out):
        table = parquet.read_table(path, columns=["image", "attempt", "key", "status"])
        table = table.group_by(["image", "attempt", "key", "status"]).aggregate([])
        for row in table.to_pylist():
            add(row["image"], row["attempt"], row["key"], failed=row["status"] == "failed")
    for path in rows_folder(out).glob("*.jsonl"):
        for row in read_journal(path).rows:
            add(row["image"], row["attempt"], row["key"], failed=row["status"] == "failed")
    return found
