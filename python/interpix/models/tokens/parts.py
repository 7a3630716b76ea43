"""The parts that families of Vision Transformers have in common, each known by the full name of its class.

A subclass may do anything, so it is unknown, and so is the whole model then.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from interpix.models.tokens.matrices import Matrix, TensorFunction
from interpix.models.torch.module import hooked

__all__ = [
    "UnknownError",
    "class_of",
    "expect",
    "fused",
    "gated",
    "in_own_type",
    "keeping",
    "masking",
    "matrix",
    "mean_of_patches",
    "require",
    "same",
    "tokens_among",
    "unless_identity",
]

_LINEAR = ("torch.nn.modules.linear.Linear", "torch.nn.modules.linear.NonDynamicallyQuantizableLinear")
_LORA = "peft.tuners.lora.layer.Linear"
_IDENTITY = "torch.nn.modules.linear.Identity"


class UnknownError(Exception):
    """A part of the model is not one that is known here."""


def class_of(part: object) -> str:
    """The full name of a part's class."""
    return f"{type(part).__module__}.{type(part).__qualname__}"


def require(fact: object) -> None:
    """Gives up unless something is so."""
    if not fact:
        raise UnknownError


def expect(part: object, *names: str) -> Any:
    """`part`, whose class is one of `names`."""
    require(class_of(part) in names)
    return part


def matrix(part: Any) -> Matrix:
    """A linear layer's weights and biases, with those of its LoRA adapters that are in use."""
    if class_of(part) == _LORA:
        return _adapted(part)
    expect(part, *_LINEAR)
    return Matrix(part.weight, part.bias)


def _adapted(part: Any) -> Matrix:
    base = matrix(part.base_layer)
    if part.disable_adapters or part.merged:
        return base
    with torch.no_grad():
        weight = base.weight
        for name in part.active_adapters:
            if name in part.lora_A:
                weight = weight + part.get_delta_weight(name).to(weight.dtype)
        return Matrix(weight, base.bias)


def fused(*parts: Any) -> Matrix:
    """Several matrices of one input as one; a bias that is not there is zero beside others that are."""
    found = [matrix(one) for one in parts]
    with torch.no_grad():
        weight = torch.cat([one.weight for one in found])
        if all(one.bias is None for one in found):
            return Matrix(weight, None)
        biases = [one.weight.new_zeros(len(one.weight)) if one.bias is None else one.bias for one in found]
        return Matrix(weight, torch.cat(biases))


def gated(act: TensorFunction, norm: TensorFunction | None = None) -> TensorFunction:
    """Of an MLP's first products, half of which are gates: act(gates) * the others, and a norm of that."""

    def activate(x: torch.Tensor) -> torch.Tensor:
        gates, values = x.chunk(2, -1)
        product = act(gates) * values
        return product if norm is None else norm(product)

    return activate


def in_own_type(norm: Any) -> Any:
    """A norm, or None, that takes any number type and works in that of its parameters."""
    like = None if norm is None else next(norm.parameters(), None)
    return norm if like is None else lambda x: norm(x.to(like.dtype))


def same(x: torch.Tensor) -> torch.Tensor:
    """The identity."""
    return x


def unless_identity(part: Any) -> Any:
    """`part`, or None for one that does nothing."""
    return None if class_of(part) == _IDENTITY else part


def mean_of_patches(x: torch.Tensor, prefix: int) -> torch.Tensor:
    """The mean of the patch tokens (c, D); the mean of none is zero."""
    return x[:, prefix:].mean(1) if x.shape[1] > prefix else x.new_zeros(x.shape[0], x.shape[2])


@contextmanager
def keeping(
    layers: Any, place: Callable[[int, dict[str, Any]], dict[str, Any]] | None, rows: torch.Tensor, norm: Any
) -> Iterator[None]:
    """The user's module drops all tokens but some.

    Args:
        layers: Its blocks.
        place: From a block's number and what is passed to it by name, to the same for the tokens that are left; None:
            its blocks do not know where tokens lie.
        rows: The tokens that are left, (c, n).
        norm: Where no patch is left: the last part before the patches' mean, which is to be zero; None: nobody asks.
    """
    none = rows.shape[1] == 0
    if none:  # a block must have something to do; what it does is not looked at
        rows = rows.new_zeros(len(rows), 1)
    with ExitStack() as stack:
        stack.enter_context(hooked(layers[:1], partial(_gather, rows), before=True, with_names=True))
        if place is not None:
            for number, layer in enumerate(layers):
                hook = partial(_placed, partial(place, number))
                stack.enter_context(hooked([layer], hook, before=True, with_names=True))
        if norm is not None:
            stack.enter_context(hooked([norm], _nothing if none else _with_nothing))
        yield


@contextmanager
def masking(layers: Any, name: str, rows: torch.Tensor, norm: Any, *, averages: bool) -> Iterator[None]:
    """The same for blocks with a bias for all tokens: no token sees those that are left out, until they go at the end.

    Args:
        layers: The user's blocks.
        name: As which they take more of a bias (c, 1, 1, N).
        rows: The tokens that are left, (c, n).
        norm: The last part before the head; it runs once.
        averages: The head reads the mean of the patches.
    """

    def place(x: torch.Tensor, names: dict[str, Any]) -> dict[str, Any]:
        unseen = x.new_full((len(rows), x.shape[1]), -torch.inf).scatter(1, rows, 0.0)[:, None, None]
        bias = names.get(name)
        return names | {name: unseen if bias is None else bias + unseen}

    def see(_: object, inputs: tuple[Any, ...], names: dict[str, Any]) -> tuple[Any, ...]:
        return inputs, place(inputs[0], names)

    def leave_out(_: object, __: object, x: torch.Tensor) -> torch.Tensor:
        kept = x.gather(1, rows[..., None].expand(-1, -1, x.shape[2]))
        return _with_nothing(_, __, kept) if averages and rows.shape[1] == 1 else kept

    with hooked(layers, see, before=True, with_names=True), hooked([norm], leave_out):
        yield


def _gather(rows: torch.Tensor, _: object, inputs: tuple[Any, ...], names: dict[str, Any]) -> tuple[Any, ...]:
    x, put = tokens_among(inputs, names)
    return put(x.gather(1, rows[..., None].expand(-1, -1, x.shape[2])))


def tokens_among(
    inputs: tuple[Any, ...], names: dict[str, Any]
) -> tuple[torch.Tensor, Callable[[Any], tuple[Any, ...]]]:
    """The tokens among what a block takes, first or as `hidden_states`; and the same with others in their place."""
    if inputs:
        return inputs[0], lambda x: ((x, *inputs[1:]), names)
    name = "hidden_states" if "hidden_states" in names else next(iter(names))
    return names[name], lambda x: (inputs, names | {name: x})


def _placed(place: Callable[[dict[str, Any]], dict[str, Any]], _: object, inputs: Any, names: Any) -> tuple[Any, ...]:
    return inputs, place(names)


def _with_nothing(_: object, __: object, found: Any) -> Any:
    """Tokens (c, prefix, D) and a patch of zeros: the mean of no patches."""
    if isinstance(found, tuple):
        return (_with_nothing(_, __, found[0]), *found[1:])
    return torch.nn.functional.pad(found, (0, 0, 0, 1))


def _nothing(_: object, __: object, found: Any) -> Any:
    if isinstance(found, tuple):
        return (torch.zeros_like(found[0]), *found[1:])
    return torch.zeros_like(found)
