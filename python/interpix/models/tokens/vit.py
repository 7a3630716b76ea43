"""The forward pass of pre-norm Vision Transformers on coalitions, without work that is done twice.

A coalition's tokens are gathered from the embedded image, together with what the first block computes for each
token alone (its norm and its queries, keys and values). The last block computes queries, projection and MLP only for
the tokens that the head reads. Everything else is the plain equation

    x <- x + scale1 * proj(attention(qkv(norm1(x))));   x <- x + scale2 * fc2(act(fc1(norm2(x))))

A block in another precision holds its matrices in that precision; the residual stream x, the norms, the scales and, on
a CPU, attention keep the model's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch.nn.functional import scaled_dot_product_attention

from interpix.models.tokens.matrices import Matrix, PackedMatrix, TensorFunction, pack

__all__ = ["Anatomy", "Block", "Level", "advance", "lay_out", "level", "run"]

Level: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""What goes into a block: tokens (c, n, D) and their queries, keys and values (c, n, 3 A)."""

_MATRICES = ("qkv", "q", "kv", "proj", "fc1", "fc2")


@dataclass(frozen=True)
class Block:
    """One pre-norm transformer block; what is not a matrix is the model's own part.

    Attributes:
        heads: Number of attention heads.
        norm1: Before attention.
        qkv: Queries, keys and values in one.
        proj: After attention.
        norm2: Before the MLP.
        fc1: Its first matrix.
        act: Its activation.
        fc2: Its second matrix.
        q_norm: Of queries, if there is one.
        k_norm: Of keys, if there is one.
        scale1: Of what attention adds, if there is one.
        scale2: Of what the MLP adds, if there is one.
        q: The queries' part of `qkv`, if `lay_out` took it apart.
        kv: The keys' and values' part of `qkv`, likewise.
    """

    heads: int
    norm1: TensorFunction
    qkv: Matrix | PackedMatrix
    proj: Matrix | PackedMatrix
    norm2: TensorFunction
    fc1: Matrix | PackedMatrix
    act: TensorFunction
    fc2: Matrix | PackedMatrix
    q_norm: TensorFunction | None = None
    k_norm: TensorFunction | None = None
    scale1: torch.Tensor | None = None
    scale2: torch.Tensor | None = None
    q: Matrix | PackedMatrix | None = None
    kv: Matrix | PackedMatrix | None = None


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


def lay_out(blocks: Sequence[Block], dtype: torch.dtype | None = None) -> list[Block]:
    """The same blocks for many products: matrices in `dtype` (None: as they are) and laid out for them."""

    def ready(block: Block) -> Block:
        found = [(name, getattr(block, name)) for name in _MATRICES]
        packed: dict[str, Any] = {
            name: pack(one if dtype is None else one.to(dtype)) for name, one in found if isinstance(one, Matrix)
        }
        return replace(block, **packed)

    # The last block may be asked for few of its tokens, whose queries are few then.
    return [ready(block) for block in (*blocks[:-1], _take_apart(blocks[-1]))]


def level(block: Block, x: torch.Tensor) -> Level:
    """Tokens (c, n, D) with their queries, keys and values in `block`."""
    return x, block.qkv(block.norm1(x))


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
    if read is None or last.q is None or last.kv is None:
        return advance(last, level(last, x), read=read, mask=mask)
    normed = last.norm1(x)
    return _finish(last, x[:, :read], last.q(normed[:, :read]), last.kv(normed), mask)


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
    x = _add(x, block.proj(attended), block.scale1)
    return _add(x, block.fc2(block.fc1(block.norm2(x), block.act)), block.scale2)


def _add(x: torch.Tensor, update: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    return x + update if scale is None else torch.addcmul(x, update.to(x.dtype), scale)


def _take_apart(block: Block) -> Block:
    """`block` with the parts of `qkv` on their own, too."""
    if not isinstance(block.qkv, Matrix):
        return block
    width = len(block.qkv.weight) // 3
    return replace(block, q=block.qkv.rows(0, width), kv=block.qkv.rows(width, 3 * width))
