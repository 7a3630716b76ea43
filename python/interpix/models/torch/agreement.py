"""The rule for shortcuts: what answers in a module's place is compared with the module's own answer, once a call."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from interpix.models.torch.module import TorchModule

__all__ = ["agrees"]

_SHARE = 1e-3
"""How far logits may differ, in shares of the greatest: far above rounding, far below another answer."""


def agrees(net: TorchModule, picture: Tensor, shortcut: Callable[[Tensor], Tensor], what: str, instead: str) -> bool:
    """Whether a shortcut answers to one picture (1, 3, H, W) as the module does; a warning where it does not.

    >>> net = TorchModule(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), name="mean color")
    >>> agrees(net, torch.ones(1, 3, 2, 4), lambda batch: batch.mean((2, 3)), "a mean of its own", "the module's")
    True

    Args:
        net: The module.
        picture: On the module's device, in its number type.
        shortcut: From pictures to logits.
        what: Names the shortcut, for the warning.
        instead: What is done where it does not agree, for the warning.
    """
    with net.evaluating():
        own, theirs = (ask(picture).double() for ask in (net.forward, shortcut))
    difference, size = float((own - theirs).abs().max()), float(own.abs().max())
    # NaN is neither: a module without a finite answer hears of that when it is asked.
    if not difference > max(_SHARE, 16 * torch.finfo(net.dtype).eps) * max(size, 1):
        return True
    warnings.warn(
        f"model `{net.name}`: {what} answer otherwise than the module, by up to {difference:.2g} where its logits are "
        f"up to {size:.2g}; {instead}, which takes longer",
        stacklevel=2,
    )
    return False
