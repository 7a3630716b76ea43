"""Products with the matrices of a Vision Transformer; on a CPU, with weights laid out once for all of its products.

`torch.nn.functional.linear` arranges the weights anew in every call. oneDNN, which is part of torch, can keep them
arranged, and adds the bias and applies GELU where the products are. torch offers this only to the code that
`torch.compile` writes; so it is asked whether it has this, and nothing changes where it has not.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

__all__ = ["Matrix", "PackedMatrix", "TensorFunction", "pack"]

TensorFunction: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""A part of the user's model."""

_X86 = ("x86_64", "AMD64")


@dataclass(frozen=True)
class Matrix:
    """y = act(x W' + b), with products in the weights' number type.

    Attributes:
        weight: W, (out, in).
        bias: b, (out,), or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __call__(self, x: torch.Tensor, act: TensorFunction | None = None) -> torch.Tensor:
        """Takes x (..., in) of any number type."""
        y = torch.nn.functional.linear(x.to(self.weight.dtype), self.weight, self.bias)
        return y if act is None else act(y)

    def to(self, dtype: torch.dtype) -> "Matrix":
        """The same in another number type."""
        return Matrix(self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype))

    def rows(self, start: int, stop: int) -> "Matrix":
        """The part that computes outputs `start` ... `stop` - 1."""
        return Matrix(self.weight[start:stop], None if self.bias is None else self.bias[start:stop])


@dataclass(frozen=True)
class PackedMatrix:
    """A `Matrix` in the order in which oneDNN reads it.

    Attributes:
        weight: W, in that order.
        bias: b, (out,), or None.
        dtype: The number type of both.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    dtype: torch.dtype

    def __call__(self, x: torch.Tensor, act: TensorFunction | None = None) -> torch.Tensor:
        """See `Matrix`."""
        fused = _fused(act)
        name, variant = fused or ("none", "")
        product = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - what torch.compile calls
        y: torch.Tensor = product(x.to(self.dtype), self.weight, self.bias, name, [], variant)
        return y if act is None or fused else act(y)


def pack(matrix: Matrix) -> Matrix | PackedMatrix:
    """`matrix`, arranged for oneDNN where that can be had for its device and number type."""
    weight = matrix.weight
    if weight.device.type != "cpu" or not _can_pack(weight.dtype):
        return matrix
    arranged = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())  # noqa: SLF001
    return PackedMatrix(arranged, matrix.bias, weight.dtype)


def _can_pack(dtype: torch.dtype) -> bool:
    # Elsewhere than on x86 it may be slower: it has not been measured there.
    if platform.machine() not in _X86 or not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return False
    operations: Any = torch.ops.mkldnn
    if not (hasattr(operations, "_linear_pointwise") and hasattr(operations, "_reorder_linear_weight")):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(operations._is_mkldnn_bf16_supported()))  # noqa: SLF001


def _fused(act: TensorFunction | None) -> tuple[str, str] | None:
    """How oneDNN names `act` and its variant; None if it does not have it."""
    if isinstance(act, torch.nn.GELU) and type(act) is torch.nn.GELU:
        return "gelu", act.approximate
    theirs = f"{type(act).__module__}.{type(act).__qualname__}" == "transformers.activations.GELUActivation"
    return ("gelu", "none") if theirs and getattr(act, "act", None) is torch.nn.functional.gelu else None
