"""Where maps are propagated: on a GPU, by what torch has there, or in Rust on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interpix.arrays import is_tensor
from interpix.checks import require_module
from interpix.errors import bad_type, bad_value

if TYPE_CHECKING:
    import torch

__all__ = ["place_named", "place_of"]

#: Torch's names of devices where maps stay: NVIDIA's and AMD's GPUs. Others, Apple's among them, have no double
#: precision, which the certificate needs, or were never thought of.
_STAY = frozenset({"cuda"})


def place_of(value: object) -> torch.device | None:
    """The device of a tensor if its maps stay there; None for all else, which Rust propagates.

    >>> import torch
    >>> place_of(torch.zeros(2, 4)) is None
    True
    """
    if is_tensor(value) and value.device.type in _STAY:
        return value.device
    return None


def place_named(device: Any) -> torch.device | None:
    """The device of a name if maps stay there; None where Rust propagates.

    >>> place_named("cpu") is None
    True
    """
    require_module("torch", '`device` needs torch: pip install "interpix[torch]"')
    import torch  # it is there

    if not isinstance(device, str | torch.device):
        raise bad_type("device", 'a torch device or its name, as "cuda"', device, "or leave it out")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise bad_value("device", 'the name of a torch device, as "cuda"', f"'{device}'", "or leave it out") from error
    if place.type not in _STAY:
        return None
    try:
        # A tensor's device has a number, the name of a kind has not.
        there = torch.empty(0, device=place).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for GPUs
        message = str(error).partition("\n")[0]
        raise bad_value("device", "a device that is here", f"'{device}' ({message})", 'use "cpu"') from error
    return there
