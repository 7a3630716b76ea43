"""The words in which a search is asked for, shared by searches, methods, metrics and results, and their checks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args

import numpy as np
import numpy.typing as npt

from interpix.checks import check_choice, check_positive
from interpix.errors import bad_value

if TYPE_CHECKING:
    import torch

__all__ = [
    "Direction",
    "Precision",
    "Reward",
    "Sampler",
    "Stop",
    "Target",
    "TargetInput",
    "check_direction",
    "check_reward",
    "check_sampler",
    "check_stop",
]

Direction: TypeAlias = Literal["insertion", "deletion"]
"""Grow from nothing, or shrink from the whole image."""
Precision: TypeAlias = Literal["exact", "mixed"]
"""All in the model's own number type, or matrix products in bfloat16."""
Reward: TypeAlias = Literal["log_odds", "log_probability", "probability", "logit"]
"""What a coalition earns: log(p / (1 - p)), log p, p, or the target's raw logit."""
Sampler: TypeAlias = Literal["exact", "moxi", "permutation"]
"""How Shapley values are computed: from all coalitions, or from samples in one of two ways."""
Stop: TypeAlias = Literal["flip", "all"] | int
"""At the flip of the answer, after all patches, or after k."""
Target: TypeAlias = int | str | None
"""A class index, a class name, or None for the prediction."""
TargetInput: TypeAlias = Union[Target, Sequence[Target], npt.NDArray[np.integer[Any]], "torch.Tensor"]
"""A target for all images of a call, or one for each."""


def check_direction(direction: object) -> None:
    """Refuses everything but a `Direction`."""
    check_choice("direction", direction, get_args(Direction))


def check_reward(reward: str) -> Reward:
    """`reward` itself, if it is one."""
    for one in get_args(Reward):
        if isinstance(reward, str) and reward == one:
            return one  # type: ignore[no-any-return]
    names = ", ".join(f'"{name}"' for name in get_args(Reward))
    raise bad_value("reward", f"one of {names}", repr(reward), 'the paper uses "log_odds"')


def check_sampler(sampler: object) -> None:
    """Refuses everything but a `Sampler`."""
    check_choice("sampler", sampler, get_args(Sampler))


def check_stop(stop: object) -> None:
    """Refuses everything but a `Stop`."""
    if isinstance(stop, str):
        if stop in ("flip", "all"):
            return
        raise bad_value("stop", '"flip", "all" or a number of patches', repr(stop), "pick one")
    check_positive("stop", stop)
