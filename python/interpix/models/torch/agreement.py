"""The rule for shortcuts: what answers in a module's place is compared with the module's own answer, once a call."""

from collections.abc import Callable

import torch
from torch import Tensor

from interpix.errors import warn
from interpix.models.protocol.agreement import difference
from interpix.models.torch.memory import Chunks
from interpix.models.torch.module import TorchModule, in_double

__all__ = ["disagreement"]

_SINGLE = torch.float32.itemsize


def disagreement(
    net: TorchModule,
    pictures: Tensor,
    shortcut: Callable[[Tensor], Tensor],
    what: str,
    instead: str,
    own: Callable[[Tensor], Tensor] | None = None,
) -> float | None:
    """By how much a shortcut's answers to pictures (B, C, H, W) are not the module's; a warning where they are not.

    >>> import torch
    >>> net = TorchModule(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), name="mean color")
    >>> disagreement(net, torch.ones(1, 3, 2, 4), lambda batch: batch.mean((2, 3)), "a mean of its own", "the module's")

    Args:
        net: The module.
        pictures: On the module's device, in its number type.
        shortcut: From pictures to logits.
        what: Names the shortcut, for the warning.
        instead: What is done where it does not agree, for the warning.
        own: How the module itself is asked; None: about whole pictures.
    """
    with net.evaluating():
        # One after the other where memory runs out, as later; of a copy: the module may write to what it is given.
        chunks = Chunks(net.name, len(pictures))
        with net.errors_named(what):
            theirs = torch.cat(chunks.run(len(pictures), lambda part: net.rows(shortcut(pictures[part]))))
        ours = torch.cat(chunks.run(len(pictures), lambda part: net.rows((own or net.answer)(pictures[part].clone()))))
        theirs, ours = (in_double(one).cpu().numpy() for one in (theirs, ours))
    found = difference(ours, theirs, torch.finfo(net.dtype).eps if net.dtype.itemsize < _SINGLE else 0.0)
    if found is not None:
        warn(
            f"model `{net.name}`: {what} answer otherwise than the module, by up to {found:.2g} where its logits are "
            f"up to {abs(ours).max():.2g}; {instead}, which takes longer"
        )
    return found
