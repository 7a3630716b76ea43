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
import shutil
import socket
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from interpix.arrays import describe
from interpix.errors import ArgumentError, bad_type, bad_value

__all__ = [
    "FORMAT",
    "bad_file",
    "check_output",
    "is_ours",
    "make_folder",
    "read_arrays",
    "read_path",
    "remove_leftovers",
    "replace_file",
    "require_arrays",
    "require_space",
    "write_arrays",
]

FORMAT = 6
"""The format of files that are written now; those of earlier ones are read."""

_DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1", "BOOL": "?"}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
"""The limit of the safetensors libraries."""
_MOST_VALUES, _MOST_ARRAYS, _MOST_AXES = 4_000_000, 100_000, 8
"""Of JSON, and of arrays: read, they take some twenty times the bytes that they have in the file."""
_KEY, _CHECKSUM = "interpix", "sha256"
_MARK = re.compile(rb'<meta name="generator" content="interpix|Software\0interpix')
_MARK_BYTES = 4096
_PART = "part"
"""The ending of a file that is being written."""
_writing: set[str] = set()
"""The names of those that this process is writing: after a restart its number may be that of a killed one."""


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
    try:
        text = json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise bad_value("result", "numbers, text and containers of these", str(error), "convert it first") from error
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name, array in contiguous.items():
        if array.dtype not in _NAMES:
            raise bad_value(name, f"one of {', '.join(map(str, _NAMES))}", describe(array), "convert it first")
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
    if not _can_be_read(encoded, len(arrays)):
        raise bad_value("results", "as many as one file may hold", f"{len(arrays)} arrays", "write several files")
    content = b"".join([len(encoded).to_bytes(_LENGTH_BYTES, "little"), encoded, *chunks])
    replace_file(path, content, overwrite=overwrite)


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """The arrays and the metadata that `write_arrays` wrote.

    Raises:
        ArgumentError: The file is damaged, or something else wrote it.
    """
    file = read_path(path)
    try:
        if not file.exists():
            raise bad_value("path", "a file that exists", f"'{file}'", "check the path")
        if not file.is_file():
            raise bad_file(path)
        with file.open("rb") as opened:
            return _read(opened, path)
    except OSError as error:
        got = f"'{file}' ({error.strerror})"
        raise bad_value("path", "a file that can be read", got, "check the path and its rights") from error


def _read(file: BinaryIO, path: str | os.PathLike[str]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """See `read_arrays`; of what is no result, nothing is read but the beginning."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if not 0 < length <= min(size - _LENGTH_BYTES, _MOST_HEADER_BYTES):
        raise bad_file(path)
    start = file.read(length)
    try:
        if not _can_be_read(start, start.count(b'"data_offsets"')):
            raise bad_file(path)
        header = json.loads(start, object_pairs_hook=_without_doubles)
        about = header.pop("__metadata__")
        text, checksum = about[_KEY], about.get(_CHECKSUM)
        metadata = json.loads(text, object_pairs_hook=_without_doubles)
        _check_version(metadata)
        # The first two formats had no checksum.
        has_none = "attribution_format" in metadata or metadata.get("format") in (1, 2)
        places = _places(header, size - _LENGTH_BYTES - length)
        data = memoryview(file.read())
        arrays = {name: np.frombuffer(data[part], dtype).reshape(shape) for name, (part, dtype, shape) in places}
    except ArgumentError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise bad_file(path) from error
    if checksum != _checksum(text, arrays) and not (has_none and checksum is None):
        raise bad_file(path, lack=", whose content is not what was written")
    return arrays, metadata


def _can_be_read(header: bytes, arrays: int) -> bool:
    values = sum(map(header.count, (b",", b"[", b"{")))
    return len(header) <= _MOST_HEADER_BYTES and values <= _MOST_VALUES and arrays <= _MOST_ARRAYS


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
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise bad_type(name, "the path of a file", path, "pass text or a pathlib.Path")
    if not os.fspath(path) or "\0" in os.fspath(path):
        raise bad_value(name, "the path of a file", repr(os.fspath(path)), "check the path")
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
    try:
        if not target.parent.is_dir():
            raise bad_value(name, "a file in a folder that exists", f"'{os.fspath(path)}'", "make the folder first")
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    except OSError as error:  # a link to itself, or a name that is too long
        got = f"'{os.fspath(path)}' ({error.strerror})"
        raise bad_value(name, "a file that can be written", got, "choose another name") from error
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
    # Whoever finds it later can tell whether somebody is still writing it. The file's own name may be as long as names
    # can be.
    part = target.with_name(f".interpix.{_here()}.{os.getpid()}.{secrets.token_hex(4)}.{_PART}")
    _writing.add(part.name)
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
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
    finally:
        _writing.discard(part.name)
    _sync_folder(target.parent)


def make_folder(path: str | os.PathLike[str], name: str = "folder") -> Path:
    """A folder to write into: made if it is not there, and without what killed processes left in it.

    Raises:
        ArgumentError: It cannot be made, or not be written to.
    """
    folder = read_path(path, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got = f"'{folder}' ({error.strerror})"
        raise bad_value(name, "a folder, or the name of a new one", got, "choose another one") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise bad_value(name, "a folder that can be written to", f"'{folder}'", "choose another one")
    remove_leftovers(folder)
    return folder


def require_space(folder: Path, needed: int, name: str = "folder") -> None:
    """Refuses to begin what would fill the disk.

    >>> require_space(Path(), 2**80)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `folder`: expected 1152921504606846976 MiB of free space, got ...
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise bad_value(name, f"{needed >> 20} MiB of free space", f"{free >> 20} MiB", "make room for the results")


def remove_leftovers(folder: Path) -> None:
    """Removes what processes of this machine were writing into a folder when they were killed."""
    pattern = re.compile(rf"\.interpix\.{re.escape(_here())}\.(\d+)\.[0-9a-f]{{8}}\.{_PART}")
    for path in folder.glob(f".interpix.*.{_PART}"):
        match = pattern.fullmatch(path.name)
        if match and path.name not in _writing and not _runs(int(match[1])):
            path.unlink(missing_ok=True)


def _here() -> str:
    """Where numbers of processes mean the same: this machine, and on Linux this container of it."""
    try:
        return f"{socket.gethostname()}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def _runs(process: int) -> bool:
    """Whether another process runs."""
    if process == os.getpid():
        return False
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
    parts += [one for part in parts if isinstance(part, list) for one in part]
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


def _places(header: Mapping[str, Any], size: int) -> list[tuple[str, tuple[slice, "np.dtype[Any]", tuple[int, ...]]]]:
    """Where each array lies in the `size` bytes of data, which they fill, one behind the other; its type and shape."""
    entries = sorted((entry["data_offsets"], name, entry) for name, entry in header.items())
    places, position = [], 0
    for (start, end), name, entry in entries:
        shape, dtype = entry["shape"], np.dtype(_DTYPES[entry["dtype"]])
        if len(shape) > _MOST_AXES or not all(type(side) is int and side >= 0 for side in (*shape, start, end)):
            raise ValueError("a shape of something else")
        if start != position or end - start != math.prod(shape) * dtype.itemsize:
            raise ValueError("arrays that overlap, or have a gap between them")
        places.append((name, (slice(start, end), dtype, tuple(shape))))
        position = end
    if position != size:
        raise ValueError("more than the arrays")
    return places
