"""Arrays and JSON in one safetensors file: 8 bytes of header length, the JSON header, the arrays.

The format is read by every safetensors library; writing it takes no dependency and runs no code on reading.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.errors import ArgumentError, bad_value

__all__ = ["bad_file", "read_arrays", "replace_file", "require_arrays", "write_arrays"]

_DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1", "BOOL": "?"}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_LENGTH_BYTES = 8


def write_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any]
) -> None:
    """Writes `arrays`, and `metadata` as JSON under the key "interpix"; the file appears whole or not at all."""
    header: dict[str, Any] = {"__metadata__": {"interpix": json.dumps(metadata)}}
    chunks, offset = [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        end = offset + len(data)
        dtype = _NAMES[array.dtype]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [offset, end]}
        chunks.append(data)
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    # The format wants the data aligned to 8 bytes; JSON may end in spaces.
    text += b" " * (-len(text) % _LENGTH_BYTES)
    replace_file(path, b"".join([len(text).to_bytes(_LENGTH_BYTES, "little"), text, *chunks]))


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """The arrays and the metadata that `write_arrays` wrote."""
    content = Path(path).read_bytes()
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    data = content[_LENGTH_BYTES + length :]
    try:
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
        metadata = json.loads(header.pop("__metadata__")["interpix"])
        arrays = {name: _array(entry, data) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise bad_file(path) from error
    return arrays, metadata


def require_arrays(arrays: Mapping[str, Any], names: Iterable[str], path: str | os.PathLike[str]) -> None:
    """Refuses a file that lacks one of the arrays `names`."""
    missing = [name for name in names if name not in arrays]
    if missing:
        raise bad_file(path, f"a result with the array `{missing[0]}`", " without it")


def bad_file(path: str | os.PathLike[str], expected: str = "a result of interpix", lack: str = "") -> ArgumentError:
    """An `ArgumentError` for a file that is damaged, or that something else wrote."""
    cure = "check that it was written by `save` and is complete"
    return bad_value("path", expected, f"'{os.fspath(path)}'{lack}", cure)


def replace_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes beside `path` and renames, so that nobody ever reads half a file."""
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            # A rename may reach the disk before what it renames.
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _array(entry: Mapping[str, Any], data: bytes) -> npt.NDArray[Any]:
    start, end = entry["data_offsets"]
    return np.frombuffer(data[start:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
