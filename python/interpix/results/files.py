"""Results read back from the files that `save` and `save_all` wrote, in this format or an earlier one."""

import os
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from interpix.errors import ArgumentError, bad_value, warn_deprecated
from interpix.results.attribution import Attribution
from interpix.results.explanation import Explanation
from interpix.storage import bad_file, read_arrays, require_arrays

__all__ = ["load", "load_all", "load_attribution"]

_WITH_OUTPUTS = 5
"""The first format that says what the model's answers mean."""

_KINDS: Mapping[str, type[Explanation] | type[Attribution]] = {one.kind: one for one in (Explanation, Attribution)}


def load(path: str | os.PathLike[str]) -> Explanation | Attribution:
    """The result that `save` wrote.

    >>> import tempfile
    >>> import numpy as np
    >>> from interpix import MoXI
    >>> path = tempfile.mkdtemp() + "/result.safetensors"
    >>> found = MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2").explain(np.ones((3, 2, 4), np.float32))
    >>> found.save(path)
    >>> load(path)
    <Explanation insertion of 'class 0': 0 of 2 patches>

    Raises:
        ArgumentError: The file is none of interpix's, is damaged, holds several results, or is of a later version.
    """
    results = load_all(path)
    if len(results) != 1:
        raise bad_value("path", "a file with one result", len(results), "use interpix.results.load_all")
    return results[0]


def load_all(path: str | os.PathLike[str]) -> list[Explanation | Attribution]:
    """The results in a file, in the order in which they were given to `save_all`, which has an example.

    Raises:
        ArgumentError: The file is none of interpix's, is damaged, or is of a later version.
    """
    arrays, metadata = read_arrays(path)
    try:
        return _read(arrays, metadata, path)
    except ArgumentError as error:
        raise bad_file(path, lack=f" ({error})") from error
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:  # JSON that has something else in it
        raise bad_file(path) from error


def load_attribution(path: str | os.PathLike[str]) -> Attribution:
    """The attribution that `Attribution.save` wrote; deprecated: `load` reads results of both kinds."""
    warn_deprecated("interpix.load_attribution", "interpix.load")
    found = load(path)
    if not isinstance(found, Attribution):
        raise bad_value("path", "an attribution", "an explanation", "use interpix.load for an explanation")
    return found


def _read(
    arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any], path: str | os.PathLike[str]
) -> list[Explanation | Attribution]:
    saved = _saved(metadata)
    needed = (f"{index}.{name}" for index, scalars in enumerate(saved) for name in _KINDS[scalars["kind"]].array_names)
    if "attribution_format" in metadata:
        arrays = {f"0.{name}": array for name, array in arrays.items()}
    if metadata.get("format", 1) < _WITH_OUTPUTS:
        arrays = _with_answers(saved, arrays)
    require_arrays(arrays, needed, path)
    if any(int(name.partition(".")[0]) >= len(saved) for name in arrays):
        raise bad_file(path, "arrays of its results", " with others")
    return [_restored(scalars, arrays, f"{index}.") for index, scalars in enumerate(saved)]


def _saved(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results' scalars, each with its kind; format 1 had a layout for each kind."""
    version = metadata["format"] if "format" in metadata else metadata["attribution_format"]
    if version > 1:
        return list(metadata["results"])
    if "attribution" in metadata:
        return [{"kind": Attribution.kind, **metadata["attribution"]}]
    return [{"kind": Explanation.kind, **one} for one in metadata["explanations"]]


def _with_answers(saved: list[dict[str, Any]], arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """What formats before outputs were known say of a softmax, in today's words."""
    found = {
        f"{name.removesuffix('probabilities')}answers" if name.endswith(".probabilities") else name: array
        for name, array in arrays.items()
    }
    for index, one in enumerate(saved):
        if one["kind"] == Explanation.kind and f"{index}.predicted" in found:
            target = one["target"]
            found[f"{index}.holds"] = found[f"{index}.predicted"] == target
            for name in ("full", "empty", "minimal_score"):
                if one.get(name) is not None:
                    one[name] = [*one[name], one[name][2] == target]
    return found


def _restored(
    scalars: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]], prefix: str
) -> Explanation | Attribution:
    kind = _KINDS[scalars.pop("kind")]
    mine = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    found = kind.restored(scalars, mine)
    found.check()
    return found
