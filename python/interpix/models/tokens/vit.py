"""The forward pass of pre-norm Vision Transformers on coalitions, without work that is done twice.

A coalition's tokens are gathered from the embedded image, together with what the first block computes for each
token alone (its norm and its queries, keys and values). The last block computes queries, projection and MLP only for
the tokens that the head reads. Everything else is the plain equation

    x <- x + scale1 * proj(attention(qkv(norm1(x))));   x <- x + scale2 * fc2(act(fc1(norm2(x))))

Where a block knows tokens by their places, by a relative position bias or by turning queries and keys (rotary
embeddings; Su et al. 2021), those of the tokens that are there are gathered too. Heads may be mixed before and after
the softmax (talking heads; Shazeer et al. 2020).

A block in another precision holds its matrices in that precision; the residual stream x, the norms, the scales and, on
a CPU, attention keep the model's.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch.nn.functional import scaled_dot_product_attention

from interpix.models.tokens.matrices import Matrix, PackedMatrix, TensorFunction, pack

__all__ = ["Anatomy", "Block", "Level", "Places", "advance", "attention", "lay_out", "level", "queries_and_keys", "run"]

Level: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""What goes into a block: tokens (c, n, D) and their queries, keys and values (c, n, 3 A)."""

_MATRICES = ("qkv", "q", "kv", "proj", "fc1", "fc2")


@dataclass(frozen=True)
class Places:
    """What a block knows of where tokens lie, for all N = prefix + T tokens of an image.

    Attributes:
        bias: Added to each query's scores of each key, (1, heads or 1, N, N), or None.
        sine: By which queries and keys are turned, (heads or 1, N, d), zero for tokens that are not; None: none are.
        cosine: The same, one for tokens that are not turned.
        interleaved: Components 2 i and 2 i + 1 turn together; else i and i + d / 2.
    """

    bias: torch.Tensor | None = None
    sine: torch.Tensor | None = None
    cosine: torch.Tensor | None = None
    interleaved: bool = True


@dataclass(frozen=True)
class Block:
    """One transformer block; what is not a matrix is the model's own part.

    Attributes:
        heads: Number of attention heads.
        norm1: Before attention; the identity where norms come after, as `scale1` and `scale2`.
        qkv: Queries, keys and values in one.
        proj: After attention.
        norm2: Before the MLP.
        fc1: Its first matrix.
        act: Its activation.
        fc2: Its second matrix.
        q_norm: Of queries, if there is one.
        k_norm: Of keys, if there is one.
        scale1: Of what attention adds, if there is one: factors (D,), or a function of it.
        scale2: Of what the MLP adds, if there is one.
        norm: Of what the heads bring together, before `proj`, if there is one.
        mix_scores: From scores (..., heads) to those that go into the softmax, if heads are mixed there.
        mix_weights: From the softmax's weights (..., heads) to those of the values, likewise.
        places: What it knows of where tokens lie.
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
    scale1: torch.Tensor | TensorFunction | None = None
    scale2: torch.Tensor | TensorFunction | None = None
    norm: TensorFunction | None = None
    mix_scores: TensorFunction | None = None
    mix_weights: TensorFunction | None = None
    places: Places = Places()
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
        masked_head: The same, where the head attends to tokens: to those of a mask (c, 1, 1, n) only; else None.
        places: For models whose blocks know where tokens lie, from an image's height and width to what each knows.
        keeping: From the rows (c, n) of the tokens that are kept, and the size of the images, to a context in which the
            user's module drops all others; the mean of no patches, where the head reads it, is zero there too. None: it
            drops those that are left out of the first block's input.
        only_itself: Its blocks are not known well enough for another forward pass: the module itself must run.
        confirm: Raises where the module is not as described, which an image (1, C, H, W) tells; None: it was read.
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
    masked_head: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    places: Callable[[tuple[int, int]], Sequence[Places]] | None = None
    keeping: Callable[[torch.Tensor, tuple[int, int]], AbstractContextManager[None]] | None = None
    only_itself: bool = False
    confirm: Callable[["Anatomy", torch.Tensor], None] | None = None

    @property
    def pools_patches(self) -> bool:
        """The head reads the mean of the patch tokens: there, one that is absent differs from one that is unseen."""
        return self.read is None and self.masked_head is None

    def blocks_at(self, size: tuple[int, int]) -> Sequence[Block]:
        """The blocks as they are for images of a size, height and width."""
        if self.places is None:
            return self.blocks
        return [replace(block, places=one) for block, one in zip(self.blocks, self.places(size), strict=True)]


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


def advance(
    block: Block,
    entry: Level,
    *,
    read: int | None = None,
    mask: torch.Tensor | None = None,
    rows: torch.Tensor | None = None,
) -> torch.Tensor:
    """The tokens (c, n, D) after `block`, or only the first `read` of them.

    Args:
        block: The block.
        entry: What goes in; its tokens are not changed.
        read: Number of leading tokens wanted; None: all.
        mask: Which keys are seen, True = kept, (c, 1, 1, n).
        rows: Which of the image's tokens they are, (c, n); None: all of them.
    """
    x, qkv = entry
    width = qkv.shape[-1] // 3
    return _finish(block, x[:, :read], qkv[:, :read, :width], qkv[..., width:], (mask, rows))


def run(
    blocks: Sequence[Block],
    entry: Level,
    *,
    read: int | None = None,
    mask: torch.Tensor | None = None,
    rows: torch.Tensor | None = None,
) -> torch.Tensor:
    """The first `read` tokens after all `blocks`, from what goes into the first; arguments as `advance`."""
    if len(blocks) == 1:
        return advance(blocks[0], entry, read=read, mask=mask, rows=rows)
    x = advance(blocks[0], entry, mask=mask, rows=rows)
    for block in blocks[1:-1]:
        x = advance(block, level(block, x), mask=mask, rows=rows)
    last = blocks[-1]
    if read is None or last.q is None or last.kv is None:
        return advance(last, level(last, x), read=read, mask=mask, rows=rows)
    normed = last.norm1(x)
    return _finish(last, x[:, :read], last.q(normed[:, :read]), last.kv(normed), (mask, rows))


def queries_and_keys(
    block: Block, q: torch.Tensor, k: torch.Tensor, rows: torch.Tensor | None, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries (c, heads, r, d) and keys (c, heads, n, d) as they meet: normed in `dtype`, turned by their places."""
    if block.q_norm is not None:
        q = block.q_norm(q.to(dtype)).to(q.dtype)
    if block.k_norm is not None:
        k = block.k_norm(k.to(dtype)).to(k.dtype)
    return _turn(block.places, q, rows), _turn(block.places, k, rows)


def attention(
    block: Block, query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """By how much each query attends to each key (c, heads, r, n): the softmax's weights, and as values are weighed."""
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    if block.mix_scores is not None:
        scores = block.mix_scores(scores.movedim(1, -1)).movedim(-1, 1)
    unseen = None if bias is None or bias.dtype != torch.bool else ~bias
    if bias is not None:
        scores = scores + bias if unseen is None else scores.masked_fill(unseen, -torch.inf)
    weights = scores.softmax(-1)
    if block.mix_weights is None:
        return weights, weights
    mixed = block.mix_weights(weights.movedim(1, -1)).movedim(-1, 1)
    # Mixing adds a bias to weights of zero, too.
    return weights, mixed if unseen is None else mixed.masked_fill(unseen, 0.0)


def _finish(
    block: Block,
    x: torch.Tensor,
    q: torch.Tensor,
    keys_values: torch.Tensor,
    among: tuple[torch.Tensor | None, torch.Tensor | None],
) -> torch.Tensor:
    """The block's output for tokens x (c, r, D) with queries (c, r, A), keys and values (c, n, 2 A).

    They are `among` the keys of a mask, and those rows of the image's tokens, where there are such.
    """
    mask, rows = among
    mixing = block.mix_scores is not None or block.mix_weights is not None  # by the model's own parts
    if mixing or x.device.type == "cpu":  # where attention in bfloat16 is slower than in float32
        q, keys_values = q.to(x.dtype), keys_values.to(x.dtype)
    query = q.unflatten(-1, (block.heads, -1)).transpose(1, 2)
    key, value = keys_values.unflatten(-1, (2, block.heads, -1)).permute(2, 0, 3, 1, 4)
    query, key = queries_and_keys(block, query, key, rows, x.dtype)
    bias = _bias(block.places, query, rows, mask)
    if not mixing:
        heads = scaled_dot_product_attention(query, key, value, attn_mask=bias)
    else:
        heads = attention(block, query, key, bias)[1] @ value
    attended = heads.transpose(1, 2).flatten(2)
    if block.norm is not None:
        attended = block.norm(attended.to(x.dtype))
    x = _add(x, block.proj(attended), block.scale1)
    return _add(x, block.fc2(block.fc1(block.norm2(x), block.act)), block.scale2)


def _turn(places: Places, x: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    """Queries or keys (c, heads, r, d) of the first r tokens of `rows` (c, n), turned by their places."""
    if places.sine is None or places.cosine is None:
        return x
    sine, cosine = (_of_rows(one, rows, x.shape[2]) for one in (places.sine, places.cosine))
    if places.interleaved:
        turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    else:
        first, second = x.chunk(2, -1)
        turned = torch.cat([-second, first], -1)
    return (x * cosine + turned * sine).to(x.dtype)


def _of_rows(values: torch.Tensor, rows: torch.Tensor | None, count: int) -> torch.Tensor:
    """Values (h, N, d) of the first `count` tokens, (1, h, r, d), or of the first of `rows` (c, n), (c, h, r, d)."""
    if rows is None:
        return values[None, :, :count]
    return values[:, rows[:, :count]].transpose(0, 1)


def _bias(
    places: Places, query: torch.Tensor, rows: torch.Tensor | None, mask: torch.Tensor | None
) -> torch.Tensor | None:
    """What is added to scores (c, heads, r, n), or the mask alone, where there is no more."""
    if places.bias is None:
        return mask
    bias, count = places.bias[0], query.shape[2]
    bias = bias[None, :, :count] if rows is None else bias[:, rows[:, :count, None], rows[:, None]].transpose(0, 1)
    bias = bias.to(query.dtype)
    return bias if mask is None else bias.masked_fill(~mask, -torch.inf)


def _add(x: torch.Tensor, update: torch.Tensor, scale: torch.Tensor | TensorFunction | None) -> torch.Tensor:
    if scale is None:
        return x + update
    if isinstance(scale, torch.Tensor):
        return torch.addcmul(x, update.to(x.dtype), scale)
    return x + scale(update.to(x.dtype))


def _take_apart(block: Block) -> Block:
    """`block` with the parts of `qkv` on their own, too."""
    if not isinstance(block.qkv, Matrix):
        return block
    width = len(block.qkv.weight) // 3
    return replace(block, q=block.qkv.rows(0, width), kv=block.qkv.rows(width, 3 * width))
