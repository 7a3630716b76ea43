"""Arrays and JSON in one safetensors file: 8 bytes of header length, the JSON header, the arrays.

The format is read by every safetensors library; writing it takes no dependency and runs no code on reading. A file says
what its content's checksum is, and what is read is never more than the file holds.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import secrets
import socket
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.errors import ArgumentError, bad_type, bad_value

__all__ = [
    "FORMAT",
    "bad_file",
    "check_output",
    "is_ours",
    "read_arrays",
    "read_path",
    "remove_leftovers",
    "replace_file",
    "require_arrays",
    "write_arrays",
]

FORMAT = 4
"""The format of files that are written now; those of earlier ones are read."""

_DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1", "BOOL": "?"}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
"""The limit of the safetensors libraries."""
_MOST_AXES = 8
_KEY, _CHECKSUM = "interpix", "sha256"
_MARK = re.compile(rb'<meta name="generator" content="interpix|Software\0interpix')
_MARK_BYTES = 4096
_PART = "part"
"""The ending of a file that is being written."""


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, npt.NDArray[Any]],
    metadata: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Writes `arrays`, and `metadata` as JSON under the key "interpix"; the file appears whole or not at all.

    Raises:
        ArgumentError: There is a file that interpix did not write, and `overwrite` does not allow to replace it.
    """
    text = json.dumps(metadata)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header: dict[str, Any] = {"__metadata__": {_KEY: text, _CHECKSUM: _checksum(text, contiguous)}}
    chunks, offset = [], 0
    for name, array in contiguous.items():
        data = array.tobytes()
        end = offset + len(data)
        header[name] = {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": [offset, end]}
        chunks.append(data)
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    # The format wants the data aligned to 8 bytes; JSON may end in spaces.
    encoded += b" " * (-len(encoded) % _LENGTH_BYTES)
    content = b"".join([len(encoded).to_bytes(_LENGTH_BYTES, "little"), encoded, *chunks])
    replace_file(path, content, overwrite=overwrite)


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """The arrays and the metadata that `write_arrays` wrote.

    Raises:
        ArgumentError: The file is damaged, or something else wrote it.
    """
    file = read_path(path)
    if not file.exists():
        raise bad_value("path", "a file that exists", f"'{file}'", "check the path")
    if not file.is_file():
        raise bad_file(path)
    content = file.read_bytes()
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if not 0 < length <= min(len(content) - _LENGTH_BYTES, _MOST_HEADER_BYTES):
        raise bad_file(path)
    data = memoryview(content)[_LENGTH_BYTES + length :]
    try:
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length], object_pairs_hook=_without_doubles)
        about = header.pop("__metadata__")
        text, checksum = about[_KEY], about.get(_CHECKSUM)
        metadata = json.loads(text, object_pairs_hook=_without_doubles)
        _check_version(metadata)
        # The first two formats had no checksum.
        has_none = "attribution_format" in metadata or metadata.get("format") in (1, 2)
        arrays = _arrays(header, data)
    except ArgumentError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise bad_file(path) from error
    if checksum != _checksum(text, arrays) and not (has_none and checksum is None):
        raise bad_file(path, lack=", whose content is not what was written")
    return arrays, metadata


def _check_version(metadata: Mapping[str, Any]) -> None:
    """Refuses a file of a later version, which may hold anything."""
    version = metadata.get("format")
    if type(version) is int and version > FORMAT:
        cure = "read it with a later interpix: pip install --upgrade interpix"
        raise bad_value("path", f"a result of a format up to {FORMAT}", version, cure)


def read_path(path: object, name: str = "path") -> Path:
    """A path of any kind.

    >>> read_path("out").name
    'out'
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise bad_type(name, "the path of a file", path, "pass text or a pathlib.Path")
    return Path(path)


def require_arrays(arrays: Mapping[str, Any], names: Iterable[str], path: str | os.PathLike[str]) -> None:
    """Refuses a file that lacks one of the arrays `names`."""
    missing = [name for name in names if name not in arrays]
    if missing:
        raise bad_file(path, f"a result with the array `{missing[0]}`", " without it")


def bad_file(path: str | os.PathLike[str], expected: str = "a result of interpix", lack: str = "") -> ArgumentError:
    """An `ArgumentError` for a file that is damaged, or that something else wrote."""
    cure = "check that it was written by `save` and is complete"
    return bad_value("path", expected, f"'{os.fspath(path)}'{lack}", cure)


def is_ours(path: Path) -> bool:
    """Whether interpix wrote a file, or there is nothing in it that could be lost."""
    with path.open("rb") as file:
        head = file.read(_MARK_BYTES)
    if not head or _MARK.search(head):
        return True
    if path.suffix == ".json":
        return _is_our_json(path)
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    return length <= _MOST_HEADER_BYTES and head[_LENGTH_BYTES:].startswith(b'{"__metadata__":{"interpix":')


def check_output(path: str | os.PathLike[str], *, overwrite: bool = False, name: str = "path") -> Path:
    """The regular file that is written when `path` is: that which a symbolic link leads to.

    Raises:
        ArgumentError: Its folder is not there, it is no regular file, or it is one that interpix did not write.
    """
    target = Path(os.path.realpath(read_path(path, name)))
    if not target.parent.is_dir():
        raise bad_value(name, "a file in a folder that exists", f"'{os.fspath(path)}'", "make the folder first")
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    if not stat.S_ISREG(mode):
        raise bad_value(name, "a regular file, or a new one", f"'{os.fspath(path)}'", "choose another name")
    if not overwrite and not is_ours(target):
        cure = "choose another name, or allow it with overwrite=True"
        # Of a bare array nobody can tell.
        need = "a new file" if target.suffix == ".npy" else "a new file, or one that interpix wrote"
        raise bad_value(name, need, f"'{os.fspath(path)}'", cure)
    return target


def replace_file(path: str | os.PathLike[str], content: bytes, *, overwrite: bool = True) -> None:
    """Writes beside the file and renames, so that nobody ever reads half of one.

    Args:
        path: Of a new file or one that may be replaced; a symbolic link is followed.
        content: All of it.
        overwrite: Whether one that interpix did not write may be replaced.
    """
    target = check_output(path, overwrite=overwrite)
    # Whoever finds it later can tell whether somebody is still writing it.
    part = target.with_name(f".{_here()}.{os.getpid()}.{secrets.token_hex(4)}.{_PART}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def remove_leftovers(folder: Path) -> None:
    """Removes what processes of this machine were writing into a folder when they were killed."""
    pattern = re.compile(rf"\.{re.escape(_here())}\.(\d+)\.[0-9a-f]{{8}}\.{_PART}")
    for path in folder.glob(f".*.{_PART}"):
        match = pattern.fullmatch(path.name)
        if match and not _runs(int(match[1])):
            path.unlink(missing_ok=True)


def _here() -> str:
    """Where numbers of processes mean the same: this machine, and on Linux this container of it."""
    try:
        return f"{socket.gethostname()}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def _runs(process: int) -> bool:
    if sys.platform == "win32":  # where asking by a signal would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """So that the new name is there after the power has failed; not every file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_our_json(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    parts = [found, *found.values()] if isinstance(found, dict) else []
    origins = [part.get("provenance") for part in parts if isinstance(part, dict)]
    return any(isinstance(origin, dict) and _KEY in origin for origin in origins)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _checksum(text: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Of the metadata, and of every array with its name, type and shape, in any order."""
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, _NAMES[array.dtype], array.shape]).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _arrays(header: Mapping[str, Any], data: memoryview) -> dict[str, npt.NDArray[Any]]:
    """The arrays, which must lie one behind the other and fill the file; nothing is copied."""
    entries = sorted((entry["data_offsets"], name, entry) for name, entry in header.items())
    arrays, position = {}, 0
    for (start, end), name, entry in entries:
        shape, dtype = entry["shape"], np.dtype(_DTYPES[entry["dtype"]])
        if len(shape) > _MOST_AXES or not all(type(side) is int and side >= 0 for side in (*shape, start, end)):
            raise ValueError("a shape of something else")
        if start != position or end - start != math.prod(shape) * dtype.itemsize:
            raise ValueError("arrays that overlap, or have a gap between them")
        arrays[name] = np.frombuffer(data[start:end], dtype).reshape(shape)
        position = end
    if position != len(data):
        raise ValueError("more than the arrays")
    return arrays
