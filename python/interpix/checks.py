"""Checks of options that several parts of interpix share, made before any work is done."""

import numpy as np

from interpix.errors import bad_type, bad_value

__all__ = ["check_choice", "check_positive", "check_rounds", "check_seed"]

_SEEDS = 1 << 64
_MOST_ROUNDS = 10**9


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses anything but one of `choices`.

    >>> check_choice("output", "logits", ("logit", "probability"))
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `output`: expected "logit" or "probability", got 'logits'; pick one
    """
    if not isinstance(value, str) or value not in choices:
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


def check_rounds(rounds: object) -> None:
    """Refuses anything but a number of rounds that may end."""
    check_positive("rounds", rounds)
    if isinstance(rounds, int) and rounds > _MOST_ROUNDS:
        raise bad_value("rounds", f"at most {_MOST_ROUNDS}", rounds, "the error falls with its square root")


def check_seed(seed: object) -> None:
    """Refuses anything but an integer that starts random numbers.

    >>> check_seed(-1)
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `seed`: expected an integer in 0 ... 2**64 - 1, got -1; 0 will do
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise bad_type("seed", "an integer in 0 ... 2**64 - 1", seed, "0 will do")
    if not 0 <= seed < _SEEDS:
        raise bad_value("seed", "an integer in 0 ... 2**64 - 1", seed, "0 will do")
