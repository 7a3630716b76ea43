"""The exceptions of interpix: one base class, one subclass for each kind of cause."""

import contextlib
import sys
import warnings
from collections.abc import Iterator

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "ConvergenceError",
    "InterpixError",
    "InterpixWarning",
    "MissingDependencyError",
    "ModelError",
    "bad_type",
    "bad_value",
    "renamed",
    "warn",
    "warn_deprecated",
]

_HELPERS = ("contextlib", "functools")
"""Python's modules whose own lines call ours."""


class InterpixError(Exception):
    """Base of every exception that interpix raises on its own account."""


class InterpixWarning(UserWarning):
    """What interpix warns of: what would be wrong, or slow, in silence."""


class ArgumentError(InterpixError, ValueError):
    """An argument has a value that the operation does not accept."""


class ArgumentTypeError(InterpixError, TypeError):
    """An argument has a type that the operation does not accept."""


class ConvergenceError(InterpixError, ArithmeticError):
    """A solver used up its iterations; the message carries residual and error bound."""


class ModelError(InterpixError, RuntimeError):
    """The model raised (see ``__cause__``), or answered with something unusable."""


class MissingDependencyError(InterpixError, ImportError):
    """An optional dependency is not installed; the message is the exact pip command."""


def bad_value(name: str, expected: str, got: object, cure: str) -> ArgumentError:
    """An `ArgumentError` in the words of the Rust core: name, need, got, cure."""
    return ArgumentError(f"`{name}`: expected {expected}, got {got}; {cure}")


def bad_type(name: str, expected: str, got: object, cure: str) -> ArgumentTypeError:
    """An `ArgumentTypeError`; `got` is the object itself, its type is named."""
    return ArgumentTypeError(f"`{name}`: expected {expected}, got {type(got).__name__}; {cure}")


@contextlib.contextmanager
def renamed(**names: str) -> Iterator[None]:
    """Errors about an argument are about what the caller knows it as: `renamed(absence="baseline")`.

    >>> with renamed(absence="baseline"):
    ...     raise bad_value("absence", "a fill", "'fog'", "pick one")
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `baseline`: expected a fill, got 'fog'; pick one
    """
    try:
        yield
    except (ArgumentError, ArgumentTypeError) as error:
        for name, known in names.items():
            start = f"`{name}`"
            if known != name and str(error).startswith(start):
                raise type(error)(f"`{known}`{str(error)[len(start) :]}") from error.__cause__
        raise


def warn(message: str, category: type[Warning] = InterpixWarning) -> None:
    """Warns, in the user's own line: the nearest one that called interpix."""
    frame, level = sys._getframe(), 1  # noqa: SLF001 - Python's own way; `skip_file_prefixes` comes with 3.12
    while frame.f_back is not None and _is_between(str(frame.f_globals.get("__name__"))):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_between(module: str) -> bool:
    """Whether a module's lines stand between the user's and a warning: this package's, and of Python what it uses."""
    return module.partition(".")[0] in {"interpix", *_HELPERS}


def warn_deprecated(old: str, new: str) -> None:
    """Warns the caller of a function that its name `old` will go, and what `new` takes its place."""
    warn(f"{old} is deprecated; use {new}", DeprecationWarning)
