"""Checks of options that several parts of interpix share, made before any work is done."""

import importlib
from typing import Any

import numpy as np

from interpix.errors import MissingDependencyError, bad_type, bad_value

__all__ = [
    "MOST_SAMPLES",
    "MOST_STEPS",
    "check_choice",
    "check_flag",
    "check_grid",
    "check_integer",
    "check_number",
    "check_positive",
    "check_seed",
    "require_module",
]

MOST_STEPS = 100_000
"""Of a path or a curve: far more than anybody needs; one more zero is a slip."""
MOST_SAMPLES = 10_000_000
"""Of random masks, likewise."""


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses anything but one of `choices`.

    >>> check_choice("output", "logits", ("logit", "probability"))
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `output`: expected "logit" or "probability", got 'logits'; pick one
    """
    if not isinstance(value, str) or value not in choices:
        *others, last = (f'"{one}"' for one in choices)
        raise bad_value(name, f"{', '.join(others)} or {last}" if others else last, repr(value), "pick one")


def check_positive(name: str, value: object, *, optional: bool = False, greatest: int | None = None) -> None:
    """Refuses anything but a positive integer up to `greatest`; None passes if the option is `optional`.

    >>> check_positive("steps", 0)
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `steps`: expected a positive integer, got 0; or leave it out
    """
    if optional and value is None:
        return
    need = "a positive integer"
    if greatest is not None and isinstance(value, int) and value > greatest:
        need += f" up to {greatest}"
    check_integer(name, value, 1, greatest, need, "or leave it out")


def check_integer(name: str, value: object, least: int, greatest: int | None, need: str, cure: str) -> None:
    """Refuses anything but a whole number from `least` to `greatest`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_type(name, need, value, cure)
    if value < least or (greatest is not None and value > greatest):
        raise bad_value(name, need, value, cure)


def check_seed(name: str, value: object) -> None:
    """Refuses anything but a seed of random numbers.

    >>> check_seed("seed", -1)
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `seed`: expected an integer in 0 ... 2**64 - 1, got -1; 0 is usual
    """
    check_integer(name, value, 0, 2**64 - 1, "an integer in 0 ... 2**64 - 1", "0 is usual")


def check_number(
    name: str, value: object, least: float, greatest: float, need: str, cure: str, *, above: bool = False
) -> None:
    """Refuses anything but a number from `least` to `greatest`; not `least` itself where it is to be `above` it.

    >>> check_number("keep", float("nan"), 0, 1, "a number in 0 ... 1", "0.5 is usual")
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `keep`: expected a number in 0 ... 1, got nan; 0.5 is usual
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_type(name, need, value, cure)
    if not (least < value if above else least <= value) or not value <= greatest:
        raise bad_value(name, need, value, cure)


def check_flag(name: str, value: object) -> None:
    """Refuses anything but True or False.

    >>> check_flag("minimal", "no")
    Traceback (most recent call last):
    interpix.errors.ArgumentTypeError: `minimal`: expected True or False, got str; 'no' counts as true elsewhere
    """
    if not isinstance(value, bool | np.bool_):
        raise bad_type(name, "True or False", value, f"{value!r} counts as {str(bool(value)).lower()} elsewhere")


def check_grid(name: str, value: object, *, greatest: int | None = None) -> None:
    """Refuses anything but a tuple of two positive integers up to `greatest`: rows and columns.

    >>> check_grid("grid", (7, 0))
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `grid`: expected a positive integer, got 0; or leave it out
    """
    if not isinstance(value, tuple) or len(value) != 2:
        raise bad_value(name, "rows and columns", repr(value), "use (7, 7), for example")
    for side in value:
        check_positive(name, side, greatest=greatest)


def require_module(name: str, message: str) -> Any:
    """An optional module; where it is not installed, `message` says how to install it.

    >>> require_module("nosuchmodule", 'this needs nosuchmodule: pip install "nosuchmodule"')
    Traceback (most recent call last):
    interpix.errors.MissingDependencyError: this needs nosuchmodule: pip install "nosuchmodule"
    """
    try:
        # A part that was loaded before does not tell of the whole.
        importlib.import_module(name.partition(".")[0])
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(message) from error
