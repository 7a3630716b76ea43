"""The Vision Transformers of timm: ViT and its kin, EVA and DINOv3, BEiT, CaiT. timm is not imported."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from interpix.models.tokens.matrices import Matrix, TensorFunction
from interpix.models.tokens.parts import (
    class_of,
    expect,
    fused,
    gated,
    in_own_type,
    keeping,
    masking,
    matrix,
    mean_of_patches,
    require,
    same,
    unless_identity,
)
from interpix.models.tokens.vit import Anatomy, Block, Places

__all__ = ["READERS"]

_MODELS = "timm.models"
_VIT = f"{_MODELS}.vision_transformer"
_POOL = "timm.layers.attention_pool.AttentionPoolLatent"


# ViT, also DeiT, DeiT III, FlexiViT, the towers of CLIP and SigLIP


def _vit(module: Any) -> Anatomy:
    image_size, patch_size = _sizes(module)
    require(module.attn_pool is not None or not getattr(module, "pool_include_prefix", False))
    expect(module.blocks, "torch.nn.modules.container.Sequential")
    distilled = class_of(module).endswith("Distilled")
    start = 0 if getattr(module, "pool_include_prefix", False) else module.num_prefix_tokens

    def embed(images: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = module.norm_pre(module._pos_embed(module.patch_embed(images)))  # noqa: SLF001
        return tokens

    head, masked_head = _heads(module, start)
    return Anatomy(
        image_size=image_size,
        patch_size=patch_size,
        any_size=module.dynamic_img_size,
        prefix=module.num_prefix_tokens,
        read=1 + distilled if module.attn_pool is None and module.global_pool == "token" else None,
        embed=embed,
        layers=list(module.blocks),
        blocks=[_vit_block(layer) for layer in module.blocks],
        head=head,
        masked_head=masked_head,
    )


def _heads(
    module: Any, start: int
) -> tuple[TensorFunction, Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None]:
    """Final norm, pooling and head; and the same for a mask, where pooling attends to the tokens from `start` on."""
    require(module.attn_pool is not None or module.global_pool in {"token", "avg"})

    def after(pooled: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = module.head(module.head_drop(module.fc_norm(pooled)))
        return logits

    def head(x: torch.Tensor) -> torch.Tensor:
        x = module.norm(x)
        if module.attn_pool is not None or module.global_pool == "token":
            logits: torch.Tensor = module.forward_head(x)
            return logits
        return after(mean_of_patches(x, module.num_prefix_tokens))

    if module.attn_pool is None:
        return head, None
    attend = expect(module.attn_pool, _POOL)
    require(attend.pos_embed is None)

    def masked(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        unseen = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, -torch.inf)
        return after(attend(module.norm(x)[:, start:], attn_mask=unseen[..., start:]))

    return head, masked


def _sizes(module: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of the image and of a patch; the embedding may be of any class that has a token for each patch.

    One that is not timm's own may name its patches in units of its features. That it makes as many tokens as its grid
    has cells is known from the positions that are added to them.
    """
    embedding = module.patch_embed
    sizes: list[Any] = [getattr(embedding, name, None) for name in ("img_size", "grid_size")]
    require(all(isinstance(one, tuple) for one in sizes) and not getattr(embedding, "dynamic_img_pad", False))
    (height, width), (rows, columns) = sizes
    if class_of(embedding) == "timm.layers.patch_embed.PatchEmbed":
        return (height, width), tuple(embedding.patch_size)
    require(not getattr(module, "dynamic_img_size", False) and module.pos_embed is not None)
    without = 0 if getattr(module, "no_embed_class", False) else module.num_prefix_tokens
    require(module.pos_embed.shape[1] == rows * columns + without)
    require(height % rows == 0 and width % columns == 0)
    return (height, width), (height // rows, width // columns)


def _vit_block(layer: Any) -> Block:
    expect(layer, f"{_VIT}.Block")
    attention = expect(layer.attn, "timm.layers.attention.Attention", f"{_VIT}.Attention")
    require(getattr(attention, "gate", None) is None)
    require(unless_identity(getattr(attention, "norm", torch.nn.Identity())) is None)
    first, act, second = _mlp(layer.mlp)
    return Block(
        heads=attention.num_heads,
        norm1=layer.norm1,
        qkv=matrix(attention.qkv),
        proj=matrix(attention.proj),
        norm2=layer.norm2,
        fc1=first,
        act=act,
        fc2=second,
        q_norm=unless_identity(attention.q_norm),
        k_norm=unless_identity(attention.k_norm),
        scale1=_vit_scale(layer.ls1),
        scale2=_vit_scale(layer.ls2),
    )


def _vit_scale(part: Any) -> torch.Tensor | None:
    if unless_identity(part) is None:
        return None
    expect(part, "timm.layers.layer_scale.LayerScale", f"{_VIT}.LayerScale")
    gamma: torch.Tensor = part.gamma
    return gamma


def _mlp(part: Any) -> tuple[Matrix, TensorFunction, Matrix]:
    """The first matrix of an MLP, what goes on between its matrices, and the second."""
    kind = class_of(part).removeprefix("timm.layers.mlp.")
    norm = in_own_type(unless_identity(getattr(part, "norm", None)))
    if kind == "SwiGLU":
        return fused(part.fc1_g, part.fc1_x), gated(part.act, norm), matrix(part.fc2)
    if kind == "GluMlp":
        require(not part.gate_last and part.chunk_dim == -1)
        return matrix(part.fc1), gated(part.act, norm), matrix(part.fc2)
    require(kind == "Mlp")
    act: TensorFunction = part.act if norm is None else lambda x: norm(part.act(x))
    return matrix(part.fc1), act, matrix(part.fc2)


# EVA, also EVA-02, DINOv3, Perception Encoder, ViTs with rotary embeddings


def _eva(module: Any) -> Anatomy:
    image_size, patch_size = _sizes(module)
    prefix, layers = module.num_prefix_tokens, list(module.blocks)
    require(all(layer.attn.num_prefix_tokens == prefix for layer in layers))

    def embed(images: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = module.norm_pre(module._pos_embed(module.patch_embed(images))[0])  # noqa: SLF001
        return tokens

    def places(size: tuple[int, int]) -> list[Places]:
        grid = size[0] // patch_size[0], size[1] // patch_size[1]
        shape = grid if module.dynamic_img_size else (grid[0] * grid[1],)
        like = next(module.parameters())
        angles = module._pos_embed(like.new_zeros(1, *shape, module.embed_dim))[1]  # noqa: SLF001
        mixed = getattr(module, "rope_mixed", False)
        each = angles if mixed else [angles[None]] * len(layers)
        return [_turned(one, prefix, layer.attn) for one, layer in zip(each, layers, strict=True)]

    averages = module.attn_pool is None and module.global_pool == "avg"

    def keep(rows: torch.Tensor, _: tuple[int, int]) -> AbstractContextManager[None]:
        nothing = module.norm if averages and rows.shape[1] == prefix else None
        return keeping(layers, partial(_keep_angles, rows[:, prefix:] - prefix), rows, nothing)

    head, masked_head = _heads(module, 0)
    return Anatomy(
        image_size=image_size,
        patch_size=patch_size,
        any_size=module.dynamic_img_size,
        prefix=prefix,
        read=1 if module.attn_pool is None and module.global_pool == "token" else None,
        embed=embed,
        layers=layers,
        blocks=[_eva_block(layer) for layer in layers],
        head=head,
        masked_head=masked_head,
        places=None if module.rope is None else places,
        keeping=keep,
    )


def _turned(angles: torch.Tensor, prefix: int, attention: Any) -> Places:
    """The places of patches turned by sines and cosines (heads or 1, T, 2 d); prefix tokens are not."""
    sine, cosine = angles.chunk(2, -1)
    require(sine.shape[-1] == attention.head_dim)
    pad = (0, 0, prefix, 0)
    return Places(
        sine=torch.nn.functional.pad(sine, pad),
        cosine=torch.nn.functional.pad(cosine, pad, value=1.0),
        interleaved=not attention.rotate_half,
    )


def _keep_angles(patches: torch.Tensor, _: int, names: dict[str, Any]) -> dict[str, Any]:
    """What a block of EVA is passed by name, for the patches (c, m) that are left."""
    angles = names.get("rope")
    if angles is None:
        return names
    kept = angles[patches][:, None] if angles.ndim == 2 else angles[:, patches].transpose(0, 1)
    return names | {"rope": kept}


def _eva_block(layer: Any) -> Block:
    expect(layer, f"{_MODELS}.eva.EvaBlock", f"{_MODELS}.eva.EvaBlockPostNorm")
    after = class_of(layer).endswith("PostNorm")
    attention = expect(layer.attn, f"{_MODELS}.eva.EvaAttention", "timm.layers.attention.AttentionRope")
    require(attention.gate is None and getattr(attention, "num_kv_groups", 1) == 1)
    first, act, second = _mlp(layer.mlp)
    return Block(
        heads=attention.num_heads,
        norm1=same if after else layer.norm1,
        qkv=_queries_keys_values(attention),
        proj=matrix(attention.proj),
        norm2=same if after else layer.norm2,
        fc1=first,
        act=act,
        fc2=second,
        q_norm=unless_identity(attention.q_norm),
        k_norm=unless_identity(attention.k_norm),
        scale1=layer.norm1 if after else layer.gamma_1,
        scale2=layer.norm2 if after else layer.gamma_2,
        norm=unless_identity(attention.norm),
    )


def _queries_keys_values(attention: Any) -> Matrix:
    """In one, whether or not they are; biases may stand beside a matrix that has none."""
    if attention.qkv is None:
        return fused(attention.q_proj, attention.k_proj, attention.v_proj)
    found = matrix(attention.qkv)
    if getattr(attention, "q_bias", None) is None:
        return found
    require(found.bias is None)
    with torch.no_grad():
        return Matrix(found.weight, torch.cat([attention.q_bias, attention.k_bias, attention.v_bias]))


# BEiT, also BEiT v2


def _beit(module: Any) -> Anatomy:
    image_size, patch_size = _sizes(module)
    require(module.global_pool in {"token", "avg"})
    layers, averages = list(module.blocks), module.global_pool == "avg"

    def embed(images: torch.Tensor) -> torch.Tensor:
        patches = module.patch_embed(images)
        tokens = torch.cat([module.cls_token.expand(len(patches), -1, -1), patches], 1)
        return tokens if module.pos_embed is None else tokens + module.pos_embed

    def head(x: torch.Tensor) -> torch.Tensor:
        x = module.norm(x)
        pooled = mean_of_patches(x, 1) if averages else x[:, 0]
        logits: torch.Tensor = module.head(module.head_drop(module.fc_norm(pooled)))
        return logits

    def places(_: tuple[int, int]) -> list[Places]:
        shared = None if module.rel_pos_bias is None else module.rel_pos_bias()[None]
        return [Places(bias=_bias(layer.attn, shared)) for layer in layers]

    return Anatomy(
        image_size=image_size,
        patch_size=patch_size,
        any_size=False,
        prefix=1,
        read=None if averages else 1,
        embed=embed,
        layers=layers,
        blocks=[_beit_block(layer) for layer in layers],
        head=head,
        places=places,
        keeping=lambda rows, _: masking(layers, "shared_rel_pos_bias", rows, module.norm, averages=averages),
    )


def _bias(attention: Any, shared: torch.Tensor | None) -> torch.Tensor | None:
    if attention.relative_position_bias_table is None:
        return shared
    own: torch.Tensor = attention._get_rel_pos_bias()  # noqa: SLF001
    return own if shared is None else own + shared


def _beit_block(layer: Any) -> Block:
    expect(layer, f"{_MODELS}.beit.Block")
    attention = expect(layer.attn, f"{_MODELS}.beit.Attention")
    first, act, second = _mlp(layer.mlp)
    return Block(
        heads=attention.num_heads,
        norm1=layer.norm1,
        qkv=_queries_keys_values(attention),
        proj=matrix(attention.proj),
        norm2=layer.norm2,
        fc1=first,
        act=act,
        fc2=second,
        scale1=layer.gamma_1,
        scale2=layer.gamma_2,
    )


# CaiT: a class token comes behind the blocks, and attends to the patches


def _cait(module: Any) -> Anatomy:
    expect(module.patch_embed, "timm.layers.patch_embed.PatchEmbed")
    image_size, patch_size = _sizes(module)
    require(module.global_pool == "token")
    expect(module.blocks, "torch.nn.modules.container.Sequential")
    for block in module.blocks_token_only:
        expect(block, f"{_MODELS}.cait.LayerScaleBlockClassAttn")
        expect(block.attn, f"{_MODELS}.cait.ClassAttn")

    def embed(images: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = module.patch_embed(images) + module.pos_embed
        return tokens

    def head(x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = module.forward_head(module.norm(module.forward_cls(x)))
        return logits

    def masked(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        token = module.cls_token.expand(len(x), -1, -1)
        for block in module.blocks_token_only:
            token = token + block.gamma_1 * _class_attention(block.attn, block.norm1(torch.cat([token, x], 1)), mask)
            token = token + block.gamma_2 * block.mlp(block.norm2(token))
        logits: torch.Tensor = module.forward_head(module.norm(token))
        return logits

    return Anatomy(
        image_size=image_size,
        patch_size=patch_size,
        any_size=False,
        prefix=0,
        read=None,
        embed=embed,
        layers=list(module.blocks),
        blocks=[_cait_block(layer) for layer in module.blocks],
        head=head,
        masked_head=masked,
    )


def _cait_block(layer: Any) -> Block:
    expect(layer, f"{_MODELS}.cait.LayerScaleBlock")
    attention = expect(layer.attn, f"{_MODELS}.cait.TalkingHeadAttn")
    first, act, second = _mlp(layer.mlp)
    return Block(
        heads=attention.num_heads,
        norm1=layer.norm1,
        qkv=matrix(attention.qkv),
        proj=matrix(attention.proj),
        norm2=layer.norm2,
        fc1=first,
        act=act,
        fc2=second,
        scale1=layer.gamma_1,
        scale2=layer.gamma_2,
        mix_scores=attention.proj_l,
        mix_weights=attention.proj_w,
    )


def _class_attention(attention: Any, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What the class token, the first of x (c, 1 + T, D), gets of itself and of the patches of a mask (c, 1, 1, T)."""
    query, key, value = (
        matrix(part)(x[:, :1] if part is attention.q else x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for part in (attention.q, attention.k, attention.v)
    )
    seen = torch.nn.functional.pad(mask, (1, 0), value=True)
    heads = scaled_dot_product_attention(query, key, value, attn_mask=seen)
    found: torch.Tensor = attention.proj(heads.transpose(1, 2).flatten(2))
    return found


READERS: dict[str, Callable[[Any], Anatomy]] = {
    f"{_VIT}.VisionTransformer": _vit,
    f"{_MODELS}.deit.VisionTransformerDistilled": _vit,
    f"{_MODELS}.eva.Eva": _eva,
    f"{_MODELS}.beit.Beit": _beit,
    f"{_MODELS}.cait.Cait": _cait,
}
"""By the full names of their classes."""
