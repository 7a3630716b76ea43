"""The words in which a search is asked for, shared by searches, methods, metrics and results, and their checks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args

import numpy as np
import numpy.typing as npt

from interpix.checks import check_choice, check_number, check_positive
from interpix.errors import bad_value
from interpix.options import plain_options

if TYPE_CHECKING:
    import torch

__all__ = [
    "Box",
    "Direction",
    "Precision",
    "Reward",
    "Sampler",
    "SearchDirection",
    "SearchMethod",
    "Stop",
    "Target",
    "TargetInput",
    "check_direction",
    "check_reward",
    "check_sampler",
    "check_stop",
]


@dataclass(frozen=True)
class Box:
    """A box to explain, in pixels of the picture that the model sees.

    >>> Box(12, 30, 80, 99, label="dog")
    Box(left=12, top=30, right=80, bottom=99, label='dog')

    Attributes:
        left: x of the left edge.
        top: y of the upper edge.
        right: x of the right edge.
        bottom: y of the lower edge.
        label: Index or name of its class; None: that of the detection that it matches best.
    """

    left: float
    top: float
    right: float
    bottom: float
    label: int | str | None = None

    def __post_init__(self) -> None:
        """Refuses a box without an inside."""
        plain_options(self)
        for name in ("left", "top", "right", "bottom"):
            check_number(name, getattr(self, name), -math.inf, math.inf, "a position in pixels", "see `Box`")
        if not (self.left < self.right and self.top < self.bottom):
            got = f"({self.left:g}, {self.top:g}) to ({self.right:g}, {self.bottom:g})"
            raise bad_value("target", "a box with an inside", got, "pass left, top, right, bottom")


Direction: TypeAlias = Literal["insertion", "deletion"]
"""Grow from nothing, or shrink from the whole image."""
SearchDirection: TypeAlias = Literal["insertion", "deletion", "both"]
"""Which patches suffice, which are needed, or which do both at once."""
SearchMethod: TypeAlias = Literal["greedy", "beam", "bidirectional", "swap"]
"""How groups are looked for: see `interpix.MoXI.explain`."""
Precision: TypeAlias = Literal["exact", "mixed"]
"""All in the model's own number type, or matrix products in bfloat16."""
Reward: TypeAlias = Literal["log_odds", "log_probability", "probability", "logit"]
"""What a coalition earns: log(p / (1 - p)), log p, p, or the target's raw logit."""
Sampler: TypeAlias = Literal["exact", "moxi", "permutation"]
"""How Shapley values are computed: from all coalitions, or from samples in one of two ways."""
Stop: TypeAlias = Literal["flip", "all"] | int
"""At the flip of the answer, after all patches, or after k."""
Target: TypeAlias = int | str | Box | None
"""A class index, a class name, a box of a detector, or None for the prediction."""
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
