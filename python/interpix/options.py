"""Options as a result remembers them: plain JSON values."""

import ast
import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from interpix.arrays import describe, is_array, to_numpy
from interpix.errors import InterpixError, bad_value

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["as_json", "fields_as_json", "make_named", "plain_options", "python_number"]

_Made = TypeVar("_Made")


def python_number(value: Any) -> Any:
    """A number of numpy's or torch's as Python's own, anything else as it is.

    >>> python_number(np.int64(3)), python_number(np.array(0.5)), python_number("all")
    (3, 0.5, 'all')
    """
    single = isinstance(value, np.generic) or (is_array(value) and value.ndim == 0)
    return value.item() if single else value


def plain_options(options: "DataclassInstance") -> None:
    """Replaces the numbers of numpy's and torch's in a frozen dataclass by Python's own, also in tuples."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        plain = tuple(map(python_number, value)) if type(value) is tuple else python_number(value)
        if plain is not value:
            object.__setattr__(options, field.name, plain)


def as_json(value: Any) -> Any:
    """One option as JSON has it: arrays by dtype and shape, objects by the text that shows them.

    >>> as_json({"grid": (7, np.int64(5)), "baseline": np.zeros(3), "progress": None})
    {'grid': [7, 5], 'baseline': 'float64 (3,)', 'progress': None}
    """
    value = python_number(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_array(value):
        return describe(to_numpy(value))
    if isinstance(value, Mapping):
        return {str(name): as_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    return str(value)


def fields_as_json(options: "DataclassInstance") -> dict[str, Any]:
    """The fields of a dataclass, in their order, each as `as_json` has it.

    >>> from interpix import Superpixels
    >>> fields_as_json(Superpixels(count=20))
    {'count': 20, 'compactness': 10.0}
    """
    return {field.name: as_json(getattr(options, field.name)) for field in dataclasses.fields(options)}


def make_named(argument: str, text: str, registry: Mapping[str, Callable[..., _Made]]) -> _Made:
    """An object from its name in a registry, with options in brackets if there are any; nothing of them is run.

    >>> from interpix.methods import METHODS
    >>> make_named("methods", "rise(count=500, grid=(5, 5))", METHODS).count
    500
    """
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text, re.DOTALL)
    if match is None or match[1] not in registry:
        near = difflib.get_close_matches(text, registry, n=3) or list(registry)
        raise bad_value(argument, "the name of one", repr(text), f"use {', '.join(near)}")
    try:
        return registry[match[1]](**_options(match[2] or ""))
    except InterpixError:
        raise
    except (ValueError, TypeError, SyntaxError) as error:
        cure = f'write "{match[1]}", or "{match[1]}(option=value)" with its options'
        raise bad_value(argument, f"options of {match[1]}", f"{text!r} ({error})", cure) from error


def _options(text: str) -> dict[str, Any]:
    """Literal options from the inside of a call's brackets; nothing of it is run."""
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args or any(word.arg is None for word in call.keywords):
        raise ValueError("options have names")
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
