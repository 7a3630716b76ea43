"""`config.toml`: how an evaluation was called, which a command repeats, and all that its rows depend on."""

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from interpix.checks import require_module
from interpix.errors import ArgumentError, bad_value, renamed
from interpix.evaluation.plan import hash_of
from interpix.evaluation.rows import rows_folder
from interpix.paths import is_folder
from interpix.storage import read_path, replace_file

__all__ = ["BETTER", "CONFIG", "read_config", "repeated", "strange", "write_config"]

CONFIG = "config.toml"
_MARK = "# Written by interpix evaluate"
_TOMLI_W = 'this needs tomli-w: pip install "interpix[evaluate]"'
_HINTS = {
    "model": "its name for load_model",
    "source": "the path of a folder: of a data set, that which its save_to_disk wrote",
    "methods": "their names",
    "metrics": "their names",
}
"""What text can say instead of an object."""

BETTER: Mapping[str, bool | None] = {"higher": True, "lower": False, "nearer to 0": None}
"""Which way metrics are read, by the words of `run.better`."""


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _count(value: object) -> bool:
    return type(value) is int and value >= 0


def _flag(value: object) -> bool:
    return type(value) is bool


def _text(value: object) -> bool:
    return isinstance(value, str)


def _better(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) and one in BETTER for one in value.values())


_VARIANT: Mapping[str, Callable[[object], bool]] = {
    "name": _text,
    "method": _text,
    "propagated": _flag,
    "control": _flag,
    "against": _texts,
}


def _variants(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and one.keys() == _VARIANT.keys() and all(_VARIANT[name](one[name]) for name in one)
        for one in value
    )


_RUN: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "images": (_count, "a number of images"),
    "source": (_text, "text"),
    "model": (_text, "text"),
    "methods": (_texts, "a list of names"),
    "metrics": (_texts, "a list of names"),
    "annotations": (_text, "text"),
    "classes": (lambda value: _text(value) or _texts(value), "a file or a list of labels"),
    "preset": (_text, "text"),
    "labels": (_flag, "true or false"),
    "propagate": (_flag, "true or false"),
    "controls": (_flag, "true or false"),
    "curves": (_flag, "true or false"),
    "maps": (_flag, "true or false"),
    "batch_size": (_count, "a whole number"),
    "seed": (_count, "a whole number"),
    "threads": (_count, "a whole number"),
    "objects": (_texts, "a list of names"),
    "without": (lambda value: isinstance(value, dict) and all(map(_text, value.values())), "reasons by name"),
    "better": (_better, f"{', '.join(BETTER)} by metric"),
    "variants": (_variants, f"tables of {', '.join(_VARIANT)}"),
}
"""The keys of `[run]`, and what each has."""
_NOT_ARGUMENTS = ("images", "objects", "without", "better", "variants")


def write_config(out: Path, configuration: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Writes what an evaluation depends on, and how it was called.

    Raises:
        ArgumentError: The folder is another evaluation's, or is not one's.
    """
    toml = require_module("tomli_w", _TOMLI_W)
    path = out / CONFIG
    known = read_config(out) if path.exists() else None
    if known is None and any(rows_folder(out).glob("*.parquet")):
        raise strange(f"'{out}' with rows but without {CONFIG}")
    plain = _without_none(configuration)
    if known is not None and known["hash"] != hash_of(plain):
        raise strange(f"one of another: {_difference(known['configuration'], plain)}")
    made = {"hash": hash_of(plain), "run": _without_none(run), "configuration": plain}
    if known is None or known != made:
        replace_file(path, f"{_head(run)}\n{toml.dumps(made)}".encode())


def _head(run: Mapping[str, Any]) -> str:
    """What the file's first lines say to who opens it."""
    objects = run.get("objects")
    if not objects:
        return f"{_MARK}; `interpix evaluate --config` repeats it."
    # A file cannot hold them, and one that looks as if it could would be believed.
    return f"{_MARK}; it CANNOT be repeated from this file: {' and '.join(objects)} came as Python objects."


def read_config(out: str | os.PathLike[str], name: str = "out") -> dict[str, Any]:
    """What `write_config` wrote.

    Args:
        out: The folder of an evaluation, or the file in it.
        name: The argument that it is.

    Raises:
        ArgumentError: There is none, it cannot be read, it is something else's, or it was edited where it may not be.
    """
    folder = read_path(out, name)
    path = folder / CONFIG if is_folder(folder) else folder
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise strange(f"'{folder}' without {CONFIG}", name) from None
    except OSError as error:
        raise strange(f"'{path}' ({error.strerror})", name, "check the path and its rights") from error
    except ValueError as error:  # TOML's and unicode's
        cure = "undo what was edited, or copy the file from the folder of results again"
        raise strange(f"'{path}', which is no TOML ({error})", name, cure) from error
    try:
        with renamed(config=name):
            _check(found)
    except ArgumentError as error:
        raise ArgumentError(f"{error} (in '{path}')") from error
    return found


def _check(found: Mapping[str, Any]) -> None:
    """Refuses what is not known: a key that was mistyped would be left out in silence."""
    _check_keys(found, ("hash", "run", "configuration"), "")
    for key, kind in (("hash", str), ("run", dict), ("configuration", dict)):
        if not isinstance(found.get(key), kind):
            raise bad_value("config", f"a configuration with `{key}`", "none", "name that of an evaluation")
    run = found["run"]
    _check_keys(run, tuple(_RUN), "run.")
    for key in ("images", "better"):
        if key not in run:
            raise bad_value("config", f"run.{key}", "none", "name the configuration of an evaluation")
    for key, value in run.items():
        fits, need = _RUN[key]
        if not fits(value):
            raise bad_value("config", f"{need} as run.{key}", _shown(value), "write it so, or remove the line")
    if found["hash"] != hash_of(found["configuration"]):
        cure = "undo it; what is to be repeated otherwise is edited in [run], or said by options"
        raise bad_value("config", "[configuration] as it was written", "one that was edited", cure)


def _check_keys(found: Mapping[str, Any], known: tuple[str, ...], prefix: str) -> None:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            cure = f"did you mean {near[0]}?" if near else "remove it, or read it with a later interpix"
            raise bad_value("config", f"keys among {', '.join(known)}", f"{prefix}{key}", cure)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def repeated(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arguments of another run, as its `config.toml` has them.

    Raises:
        ArgumentError: It was called with what no file holds.
    """
    run = read_config(path, "config")["run"]
    objects = run.get("objects", [])
    if objects:
        hints = "; ".join(f"{name}: {_HINTS[name]}" for name in objects if name in _HINTS)
        cure = f"call interpix.evaluate with the same objects, or name them ({hints})"
        got = f"'{path}', where {' and '.join(objects)} came as Python objects"
        raise bad_value("config", "a run that was called with names alone", got, cure)
    return {name: value for name, value in run.items() if name not in _NOT_ARGUMENTS}


def strange(got: str, name: str = "out", cure: str = "choose another folder") -> ArgumentError:
    """The error for a folder that is not this evaluation's."""
    if name == "out":
        return bad_value(name, "the folder of this evaluation, or a new one", got, cure)
    return bad_value(name, f"an evaluation's folder, or the {CONFIG} in it", got, cure)


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
