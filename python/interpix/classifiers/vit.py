"""The forward pass of pre-norm Vision Transformers on coalitions, without work that is done twice.

A coalition's tokens are gathered from the embedded image, together with what the first block computes for each
token alone (its norm and its queries, keys and values). The last block computes queries, projection and MLP only for
the tokens that the head reads. Everything else is the plain equation

    x <- x + scale1 * proj(attention(qkv(norm1(x))));   x <- x + scale2 * fc2(act(fc1(norm2(x))))

A block in another precision holds its matrices in that precision; the residual stream x, the norms, the scales and, on
a CPU, attention keep the model's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch.nn.functional import linear, scaled_dot_product_attention

__all__ = ["Anatomy", "Block", "Level", "TensorFunction", "advance", "level", "run"]

TensorFunction: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""A part of the user's model."""

Level: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""What goes into a block: tokens (c, n, D) and their queries, keys and values (c, n, 3 A)."""

_MATRICES = ("qkv", "proj", "fc1", "fc2")


@dataclass(frozen=True)
class Block:
    """One pre-norm transformer block: matrices as (weight, bias), everything else as the model's own parts."""

    heads: int
    norm1: TensorFunction
    qkv: tuple[torch.Tensor, torch.Tensor | None]
    proj: tuple[torch.Tensor, torch.Tensor | None]
    norm2: TensorFunction
    fc1: tuple[torch.Tensor, torch.Tensor | None]
    act: TensorFunction
    fc2: tuple[torch.Tensor, torch.Tensor | None]
    q_norm: TensorFunction | None = None
    k_norm: TensorFunction | None = None
    scale1: torch.Tensor | None = None
    scale2: torch.Tensor | None = None

    def to(self, dtype: torch.dtype) -> "Block":
        """The same block with its matrices in `dtype`."""
        matrices = {
            name: (weight.to(dtype), None if bias is None else bias.to(dtype))
            for name in _MATRICES
            for weight, bias in [getattr(self, name)]
        }
        return replace(self, **matrices)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Anatomy:
    """What there is to know about a Vision Transformer to run it on a part of its tokens.

    Attributes:
        image_size: Height and width that it is made for.
        patch_size: Height and width of a patch, pixels.
        any_size: It takes images of other sizes too.
        prefix: Number of class, distillation and register tokens, which come first.
        read: Number of leading tokens that the head reads; None: it reads all.
        embed: From images (K, 3, H, W) to the first block's input (K, prefix + T, D).
        layers: The blocks as the user's modules.
        blocks: The blocks as tensors.
        head: From the last block's output (c, read or n, D) to logits: final norm, pooling and head.
    """

    image_size: tuple[int, int]
    patch_size: tuple[int, int]
    any_size: bool
    prefix: int
    read: int | None
    embed: TensorFunction
    layers: Sequence[torch.nn.Module]
    blocks: Sequence[Block]
    head: TensorFunction


def level(block: Block, x: torch.Tensor) -> Level:
    """Tokens (c, n, D) with their queries, keys and values in `block`."""
    return x, _apply(block.qkv, block.norm1(x))


def advance(block: Block, entry: Level, *, read: int | None = None, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The tokens (c, n, D) after `block`, or only the first `read` of them.

    Args:
        block: The block.
        entry: What goes in; its tokens are not changed.
        read: Number of leading tokens wanted; None: all.
        mask: Which keys are seen, True = kept, (c, 1, 1, n).
    """
    x, qkv = entry
    width = qkv.shape[-1] // 3
    return _finish(block, x[:, :read], qkv[:, :read, :width], qkv[..., width:], mask)


def run(
    blocks: Sequence[Block], entry: Level, *, read: int | None = None, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """The first `read` tokens after all `blocks`, from what goes into the first; arguments as `advance`."""
    if len(blocks) == 1:
        return advance(blocks[0], entry, read=read, mask=mask)
    x = advance(blocks[0], entry, mask=mask)
    for block in blocks[1:-1]:
        x = advance(block, level(block, x), mask=mask)
    last = blocks[-1]
    if read is None:
        return advance(last, level(last, x), mask=mask)
    q_matrix, kv_matrix = _split(last.qkv)
    normed = last.norm1(x)
    return _finish(last, x[:, :read], _apply(q_matrix, normed[:, :read]), _apply(kv_matrix, normed), mask)


def _finish(
    block: Block, x: torch.Tensor, q: torch.Tensor, keys_values: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """The block's output for tokens x (c, r, D) with queries (c, r, A), keys and values (c, n, 2 A)."""
    if x.device.type == "cpu":  # where attention in bfloat16 is slower than in float32
        q, keys_values = q.to(x.dtype), keys_values.to(x.dtype)
    query = q.unflatten(-1, (block.heads, -1)).transpose(1, 2)
    key, value = keys_values.unflatten(-1, (2, block.heads, -1)).permute(2, 0, 3, 1, 4)
    if block.q_norm is not None:
        query = block.q_norm(query.to(x.dtype)).to(query.dtype)
    if block.k_norm is not None:
        key = block.k_norm(key.to(x.dtype)).to(key.dtype)
    attended = scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
    x = _add(x, _apply(block.proj, attended), block.scale1)
    hidden = block.act(_apply(block.fc1, block.norm2(x)))
    return _add(x, _apply(block.fc2, hidden), block.scale2)


def _apply(matrix: tuple[torch.Tensor, torch.Tensor | None], x: torch.Tensor) -> torch.Tensor:
    weight, bias = matrix
    return linear(x.to(weight.dtype), weight, bias)


def _add(x: torch.Tensor, update: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    return x + update if scale is None else torch.addcmul(x, update.to(x.dtype), scale)


def _split(matrix: tuple[torch.Tensor, torch.Tensor | None]) -> tuple[Any, Any]:
    """The matrix of the queries, and the one of keys and values."""
    weight, bias = matrix
    width = len(weight) // 3
    if bias is None:
        return (weight[:width], None), (weight[width:], None)
    return (weight[:width], bias[:width]), (weight[width:], bias[width:])
