"""Checks of options that several parts of interpix share, made before any work is done."""

from interpix.errors import bad_type, bad_value

__all__ = ["check_choice", "check_grid", "check_positive"]


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses anything but one of `choices`.

    >>> check_choice("output", "logits", ("logit", "probability"))
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `output`: expected "logit" or "probability", got 'logits'; pick one
    """
    if value not in choices:
        raise bad_value(name, " or ".join(f'"{one}"' for one in choices), repr(value), "pick one")


def check_positive(name: str, value: object, *, optional: bool = False) -> None:
    """Refuses anything but a positive integer; None passes if the option is `optional`.

    >>> check_positive("steps", 0)
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `steps`: expected a positive integer, got 0; or leave it out
    """
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_type(name, "a positive integer", value, "or leave it out")
    if value < 1:
        raise bad_value(name, "a positive integer", value, "or leave it out")


def check_grid(name: str, value: object) -> None:
    """Refuses anything but a tuple of two positive integers: rows and columns.

    >>> check_grid("grid", (7, 0))
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `grid`: expected a positive integer, got 0; or leave it out
    """
    if not isinstance(value, tuple) or len(value) != 2:
        raise bad_value(name, "rows and columns", repr(value), "use (7, 7), for example")
    for side in value:
        check_positive(name, side)
