"""The vision towers of open_clip: its own, and those of timm in it. open_clip is not imported."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch

from interpix.models.tokens import timm
from interpix.models.tokens.matrices import Matrix
from interpix.models.tokens.parts import (
    UnknownError,
    class_of,
    expect,
    keeping,
    matrix,
    mean_of_patches,
    require,
    unless_identity,
)
from interpix.models.tokens.vit import Anatomy, Block

__all__ = ["read_image_tower"]

_MODELS = ("open_clip.model.CLIP", "open_clip.model.CustomTextCLIP", "open_clip.coca_model.CoCa")
_PARTS = "open_clip.transformer"
_ATTENTION = "torch.nn.modules.activation.MultiheadAttention"


def read_image_tower(module: Any) -> Anatomy | None:
    """What a model of open_clip makes of images: its features (c, D); None if it is none."""
    if class_of(module) not in _MODELS:
        return None
    tower = module.visual
    if class_of(tower) == "open_clip.timm_model.TimmModel":
        return _timm_tower(tower)
    return _own_tower(expect(tower, f"{_PARTS}.VisionTransformer"))


def _timm_tower(module: Any) -> Anatomy:
    reader = timm.READERS.get(class_of(module.trunk))
    if reader is None:
        raise UnknownError
    trunk = reader(module.trunk)
    head, masked_head = trunk.head, trunk.masked_head

    def masked(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = module.head(x if masked_head is None else masked_head(x, mask))
        return features

    return replace(trunk, head=lambda x: module.head(head(x)), masked_head=None if masked_head is None else masked)


def _own_tower(module: Any) -> Anatomy:
    pooler = module.attn_pool
    averages = pooler is None and module.pool_type == "avg"
    require(pooler is not None or module.pool_type in {"avg", "tok"})
    transformer = expect(module.transformer, f"{_PARTS}.Transformer")
    layers = list(transformer.resblocks)
    require(transformer.batch_first and layers)

    def project(pooled: torch.Tensor) -> torch.Tensor:
        return pooled if module.proj is None else pooled @ module.proj

    def head(x: torch.Tensor) -> torch.Tensor:
        if not averages:
            return project(module._pool(x)[0])  # noqa: SLF001
        if module.final_ln_after_pool:
            return project(module.ln_post(mean_of_patches(x, 1)))
        return project(mean_of_patches(module.ln_post(x), 1))

    def masked(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        queries = pooler.ln_q(pooler.query).expand(len(x), -1, -1)
        keys = pooler.ln_k(x)
        found = pooler.attn(queries, keys, keys, key_padding_mask=~mask[:, 0, 0], need_weights=False)[0]
        return project(module._global_pool(module.ln_post(found))[0])  # noqa: SLF001

    def keep(rows: torch.Tensor, _: tuple[int, int]) -> AbstractContextManager[None]:
        last = layers[-1] if module.final_ln_after_pool else module.ln_post
        return keeping(layers, None, rows, last if averages and rows.shape[1] == 1 else None)

    if pooler is not None:
        expect(pooler, f"{_PARTS}.AttentionalPooler")
        require(module.attn_pool_contrastive is None and module.pool_type == "tok")
    return Anatomy(
        image_size=tuple(module.image_size),
        patch_size=tuple(module.patch_size),
        any_size=False,
        prefix=1,
        read=1 if pooler is None and not averages else None,
        embed=module._embeds,  # noqa: SLF001
        layers=layers,
        blocks=[_block(layer) for layer in layers],
        head=head,
        masked_head=None if pooler is None else masked,
        keeping=keep,
    )


def _block(layer: Any) -> Block:
    expect(layer, f"{_PARTS}.ResidualAttentionBlock")
    attention = expect(layer.attn, _ATTENTION)
    require(attention.in_proj_weight is not None and attention.bias_k is None and not attention.add_zero_attn)
    require(not hasattr(layer, "ln_1_kv"))
    first, act, second = layer.mlp
    return Block(
        heads=attention.num_heads,
        norm1=layer.ln_1,
        qkv=Matrix(attention.in_proj_weight, attention.in_proj_bias),
        proj=matrix(attention.out_proj),
        norm2=layer.ln_2,
        fc1=matrix(first),
        act=act,
        fc2=matrix(second),
        scale1=_scale(layer.ls_1),
        scale2=_scale(layer.ls_2),
    )


def _scale(part: Any) -> torch.Tensor | None:
    if unless_identity(part) is None:
        return None
    gamma: torch.Tensor = expect(part, f"{_PARTS}.LayerScale").gamma
    return gamma
