"""Whose products are used on a device: Triton's where they run and are right, else torch's operations."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

from interpix.errors import warn
from interpix.propagation.device.products import Products, TorchProducts

__all__ = ["choose_products", "why_not_triton"]

#: Differences of products, of values up to 1, that rounding does not explain: in single and in double precision. The
#: certificate counts on the second.
_TOO_DIFFERENT = (1e-4, 1e-11)


def choose_products(colors: Tensor, radius: int, memory_budget: int) -> tuple[Products, str]:
    """The products of pictures' colors (images, 3, H, W), and why they are not Triton's, if they are not.

    >>> products, note = choose_products(torch.zeros(1, 3, 2, 4), radius=1, memory_budget=1 << 20)
    >>> products.solved_by, note
    ('torch', 'Triton compiles for GPUs only')
    """
    note = why_not_triton(colors.device)
    if note:
        return TorchProducts(colors, radius, memory_budget), note
    from interpix.propagation.device.kernels import TritonProducts  # triton takes its time to load

    return TritonProducts(colors, radius), ""


@functools.cache
def why_not_triton(device: torch.device) -> str:
    """Why Triton's kernels are not used on a device, or nothing: found out once, on a small picture.

    They are compiled for the device at hand, so they may fail there in ways that are not known here (no compiler for
    C, an old GPU); and nothing that a kernel says is taken before it says what torch's operations say.
    """
    if device.type != "cuda":
        return "Triton compiles for GPUs only"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    from interpix.propagation.device.kernels import TritonProducts  # triton takes its time to load

    try:
        single, double = _differences(TritonProducts, device)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a compiler raises what it likes
        return f"Triton failed: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if single <= _TOO_DIFFERENT[0] and double <= _TOO_DIFFERENT[1]:
        return ""
    note = f"Triton's products differ from torch's by {single:.0e}, in double precision by {double:.0e}"
    warn(f"{note} on {device}; torch's are used. Please report it")
    return note


def _differences(kind: Callable[[Tensor, int], Products], device: torch.device) -> tuple[float, float]:
    """How much products of the kind differ from torch's, in single and double precision, on two small pictures."""
    height, width, radius = 6, 9, 2
    numbers = torch.arange(2 * 3 * height * width, dtype=torch.float32).reshape(2, 3, height, width)
    colors = (20 * torch.sin(numbers)).to(device)
    colors[0, :, 0, 0] = 190.0  # unlike all others
    values = torch.cos(numbers).double().to(device)
    tried, known = kind(colors, radius), TorchProducts(colors, radius, memory_budget=0)
    single = tried.step(values.float()) - known.step(values.float())
    double = tried.step_exactly(values) - known.step_exactly(values)
    return float(single.abs().max()), float(double.abs().max())
