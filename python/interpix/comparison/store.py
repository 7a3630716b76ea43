"""A folder in which every map and its scores are kept as soon as they are known, so that a run can go on later."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from interpix.arrays import is_array, to_numpy
from interpix.errors import InterpixError, bad_value, warn
from interpix.options import as_json
from interpix.results.attribution import Attribution
from interpix.results.base import check_field, is_number
from interpix.results.files import load
from interpix.results.scores import Curve, ImageScore
from interpix.storage import FORMAT, make_folder, read_arrays, require_space, write_arrays

__all__ = ["Store", "fingerprint"]

_Kept = TypeVar("_Kept")

_ROUNDING = 1e-5
"""By how much answers of one model may differ, in shares of the greatest: a few last places of single precision.

By more they may be those of another function, whose maps would be wrong; to compute them again only takes time.
"""
_BYTES_PER_PIXEL, _BYTES_PER_SCORES = 7, 1 << 16
"""A map in single precision and the picture; curves, options and names of classes."""


class Store:
    """Maps as files that `interpix.load` reads, and the scores of each in a file of its own.

    A file that is damaged is made again, with a warning.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        """Keeps nothing if there is no folder."""
        self._folder = None if folder is None else make_folder(folder)

    def require_space(self, maps: int, size: tuple[int, int]) -> None:
        """Refuses to begin with so many maps of a size if there is no room for those that are not there yet."""
        if self._folder is not None:
            there = sum(path.stat().st_size for path in self._folder.glob("*.safetensors"))
            require_space(self._folder, maps * (_BYTES_PER_PIXEL * size[0] * size[1] + _BYTES_PER_SCORES) - there)

    def same_answers(self, key: str, answers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The answers that the model gave when it was first seen under this key: these, where it never was.

        Answers of one model may differ by rounding from run to run, as on a GPU; by more they are another's.
        """
        if (path := self._path(key, "-answers")) is None:
            return answers
        known = self._read(path, _read_answers) or []
        for one in known:
            if one.shape == answers.shape and np.abs(one - answers).max() <= _ROUNDING * np.abs(one).max():
                return one
        arrays = {str(index): one for index, one in enumerate([*known, answers])}
        write_arrays(path, arrays, {"format": FORMAT, "answers": len(arrays)}, overwrite=True)
        return answers

    def load_map(self, key: str | None) -> Attribution | None:
        """The map of this key; None if it is not there, or damaged."""
        return self._read(self._path(key), _read_map)

    def save_map(self, key: str | None, attribution: Attribution) -> None:
        """Writes a map, whole or not at all."""
        if (path := self._path(key)) is not None:
            attribution.save(path, overwrite=True)

    def load_scores(self, key: str | None) -> dict[str, ImageScore] | None:
        """The scores of this key; None if they are not there, or damaged."""
        return self._read(self._path(key, "-scores"), _read_scores)

    def save_scores(self, key: str | None, scores: Mapping[str, ImageScore]) -> None:
        """Writes scores, whole or not at all."""
        if (path := self._path(key, "-scores")) is None:
            return
        arrays: dict[str, npt.NDArray[Any]] = {}
        written = {name: _score_as_json(name, score, arrays) for name, score in scores.items()}
        write_arrays(path, arrays, {"format": FORMAT, "scores": written}, overwrite=True)

    def _read(self, path: Path | None, read: Callable[[Path], _Kept]) -> _Kept | None:
        if path is None or not path.exists():
            return None
        try:
            return read(path)
        except (InterpixError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = str(error) if isinstance(error, InterpixError) else "it holds something else"
            warn(f"'{path}' cannot be used and is made again: {reason}")
            return None

    def _path(self, key: str | None, ending: str = "") -> Path | None:
        """The file of a key; None where nothing is kept: without a folder, or for what has no key."""
        return None if self._folder is None or key is None else self._folder / f"{key}{ending}.safetensors"


def fingerprint(*parts: Any) -> str | None:
    """A short name for what the parts are: equal parts, equal name; None if one of them cannot be told by its values.

    Numbers, text, paths, arrays with all their values, options objects with their fields, and containers of these can;
    a function or an object of another library cannot: its behavior may change while it looks the same.
    """
    digest = hashlib.sha256()
    try:
        _feed(digest, parts)
    except _UnknownPartError:
        return None
    return digest.hexdigest()[:32]


def _read_map(path: Path) -> Attribution:
    found = load(path)
    if not isinstance(found, Attribution) or not is_number(found.provenance["seconds"]):
        raise bad_value("folder", "maps of a comparison", f"'{path}'", "use another folder")
    return found


def _read_scores(path: Path) -> dict[str, ImageScore]:
    arrays, metadata = read_arrays(path)
    return {name: _read_score(name, one, arrays) for name, one in metadata["scores"].items()}


def _read_answers(path: Path) -> list[npt.NDArray[np.float64]]:
    arrays, metadata = read_arrays(path)
    return [arrays[str(index)] for index in range(metadata["answers"])]


class _UnknownPartError(Exception):
    """A part's values are not known."""


def _feed(digest: Any, part: Any) -> None:
    """Adds a part: its type, its length if it has one, its values."""
    if is_array(part) and (array := to_numpy(part)).dtype != object:
        digest.update(f"array {array.dtype} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    elif part is None or isinstance(part, bool | int | float | str | np.generic | Path):
        digest.update(f"{type(part).__name__} {len(repr(part))} {part!r};".encode())
    elif isinstance(part, list | tuple):
        _feed_all(digest, part, type(part).__name__)
    elif isinstance(part, Mapping):
        _feed_all(digest, [one for pair in part.items() for one in pair], "mapping")
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        kind = f"{type(part).__module__}.{type(part).__qualname__}"
        _feed_all(digest, [getattr(part, field.name) for field in dataclasses.fields(part)], kind)
    else:
        raise _UnknownPartError


def _feed_all(digest: Any, parts: Sequence[Any], kind: str) -> None:
    digest.update(f"{kind} {len(parts)};".encode())
    for part in parts:
        _feed(digest, part)


def _score_as_json(name: str, score: ImageScore, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """The score as JSON; its curve and points are added to the arrays."""
    if score.curve is not None:
        arrays[f"{name}/curve"] = np.stack([score.curve.x, score.curve.y])
    if score.points is not None:
        arrays[f"{name}/points"] = score.points
    return {
        "metric": score.metric,
        "value": None if np.isnan(score.value) else float(score.value),
        "higher_is_better": score.higher_is_better,
        "skipped": score.skipped,
        "parts": {part: float(value) for part, value in score.parts.items()},
        "options": as_json(score.options),
    }


def _read_score(name: str, written: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> ImageScore:
    curve = arrays.get(f"{name}/curve")
    value = written.pop("value")
    check_field("metric", isinstance(written["metric"], str), "a name")
    check_field("value", value is None or type(value) in {int, float}, "a number, or None")
    check_field(
        "higher_is_better",
        written["higher_is_better"] is None or type(written["higher_is_better"]) is bool,
        "how to read it",
    )
    check_field("skipped", isinstance(written["skipped"], str | None), "a reason, or None")
    check_field("parts", all(type(one) in {int, float} for one in written["parts"].values()), "numbers by name")
    check_field("options", isinstance(written["options"], dict), "options by name")
    return ImageScore(
        value=float("nan") if value is None else value,
        curve=None if curve is None else Curve(*curve),
        points=arrays.get(f"{name}/points"),
        **written,
    )
