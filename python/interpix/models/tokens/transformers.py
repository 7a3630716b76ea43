"""The Vision Transformers of transformers 5: classifiers, and the towers of CLIP and SigLIP. It is not imported."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from interpix.models.tokens.matrices import TensorFunction
from interpix.models.tokens.parts import (
    class_of,
    expect,
    fused,
    keeping,
    masking,
    matrix,
    mean_of_patches,
    require,
    same,
)
from interpix.models.tokens.vit import Anatomy, Block, Places

__all__ = ["BODIES", "READERS", "patches_of", "read_image_tower"]

_ATTENTION = ("eager", "sdpa")
_HF = "transformers.models"


def _transformers(module: Any, prefix: int, read: int | None, head: Callable[[Any, torch.Tensor], Any]) -> Anatomy:
    """What the classifiers of ViT, DeiT and DINOv2 share; `head` takes the model and its normed tokens."""
    require(getattr(module.config, "_attn_implementation", None) in _ATTENTION)
    body = getattr(module, module.base_model_prefix)
    patches = body.embeddings.patch_embeddings
    dino = hasattr(body, "encoder")
    layers = list(getattr(body.encoder, "layer", ()) if dino else getattr(body, "layers", ()))
    require(layers)
    family = type(module).__module__, type(body).__name__.removesuffix("Model")

    def run_head(x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = head(module, body.layernorm(x))
        return logits

    return Anatomy(
        image_size=tuple(patches.image_size),
        patch_size=tuple(patches.patch_size),
        any_size=dino,
        prefix=prefix,
        read=read,
        embed=body.embeddings,
        layers=layers,
        blocks=[_dino_block(layer, *family) if dino else _transformers_block(layer, *family) for layer in layers],
        head=run_head,
    )


def _transformers_block(layer: Any, source: str, family: str) -> Block:
    expect(layer, f"{source}.{family}Layer")
    return _with_attention(
        layer, source, family, norm1=layer.layernorm_before, norm2=layer.layernorm_after, scales=(None, None)
    )


def _dino_block(layer: Any, source: str, family: str) -> Block:
    expect(layer, f"{source}.{family}Layer")
    scales = [expect(part, f"{source}.{family}LayerScale") for part in (layer.layer_scale1, layer.layer_scale2)]
    return _with_attention(
        layer, source, family, norm1=layer.norm1, norm2=layer.norm2, scales=(scales[0].lambda1, scales[1].lambda1)
    )


def _with_attention(layer: Any, source: str, family: str, *, norm1: Any, norm2: Any, scales: tuple[Any, Any]) -> Block:
    attention = expect(layer.attention, f"{source}.{family}Attention")
    mlp = expect(layer.mlp, f"{source}.{family}MLP")
    require(hasattr(attention, "q_proj"))
    return Block(
        heads=attention.num_attention_heads,
        norm1=norm1,
        qkv=fused(attention.q_proj, attention.k_proj, attention.v_proj),
        proj=matrix(attention.o_proj),
        norm2=norm2,
        fc1=matrix(mlp.fc1),
        act=mlp.activation_fn,
        fc2=matrix(mlp.fc2),
        scale1=scales[0],
        scale2=scales[1],
    )


def _class_token_head(module: Any, x: torch.Tensor) -> Any:
    return module.classifier(x[:, 0])


def _teacher_head(module: Any, x: torch.Tensor) -> Any:
    return (module.cls_classifier(x[:, 0]) + module.distillation_classifier(x[:, 1])) / 2


def _dino(module: Any, prefix: int) -> Anatomy:
    def head(model: Any, x: torch.Tensor) -> Any:
        return model.classifier(torch.cat([x[:, 0], mean_of_patches(x, prefix)], dim=1))

    return _transformers(module, prefix, None, head)


# BEiT, whose blocks know how tokens lie to each other


def _beit(module: Any) -> Anatomy:
    source, body = type(module).__module__, module.beit
    require(getattr(module.config, "_attn_implementation", None) in _ATTENTION)
    layers, (rows, columns) = list(body.layers), body.embeddings.patch_embeddings.patch_size
    averages = body.pooler.layernorm is not None

    def head(x: torch.Tensor) -> torch.Tensor:
        x = body.layernorm(x)
        pooled = body.pooler.layernorm(mean_of_patches(x, 1)) if averages else x[:, 0]
        logits: torch.Tensor = module.classifier(pooled)
        return logits

    def places(size: tuple[int, int]) -> list[Places]:
        window = size[0] // rows, size[1] // columns
        tokens = 1 + window[0] * window[1]

        def bias(part: Any) -> torch.Tensor | None:
            return None if part is None else part(window, False, dim_size=tokens)  # noqa: FBT003

        shared = bias(body.shared_position_bias)
        own = [bias(layer.relative_position_bias) for layer in layers]
        return [Places(bias=shared if one is None else one if shared is None else one + shared) for one in own]

    return Anatomy(
        image_size=tuple(body.embeddings.patch_embeddings.image_size),
        patch_size=(rows, columns),
        any_size=True,
        prefix=1,
        read=None if averages else 1,
        embed=body.embeddings,
        layers=layers,
        blocks=[_beit_block(layer, source) for layer in layers],
        head=head,
        places=places,
        keeping=lambda kept, _: masking(layers, "attention_mask", kept, body.layernorm, averages=averages),
    )


def _beit_block(layer: Any, source: str) -> Block:
    expect(layer, f"{source}.BeitLayer")
    scales = [one if isinstance(one, torch.Tensor) else None for one in (layer.lambda_1, layer.lambda_2)]
    return _with_attention(
        layer,
        source,
        "Beit",
        norm1=layer.layernorm_before,
        norm2=layer.layernorm_after,
        scales=(scales[0], scales[1]),
    )


# Bodies, behind which a head of the user's stands


def _body(module: Any, prefix: int) -> Anatomy:
    """What is known of a body without its head: how the module itself drops tokens."""
    embeddings = module.embeddings.patch_embeddings
    layers = list(getattr(module.encoder, "layer", ()) if hasattr(module, "encoder") else module.layers)
    return Anatomy(
        image_size=tuple(embeddings.image_size),
        patch_size=tuple(embeddings.patch_size),
        any_size=hasattr(module, "encoder"),
        prefix=prefix,
        read=None,
        embed=module.embeddings,
        layers=layers,
        blocks=(),
        head=same,
        keeping=lambda rows, _: keeping(layers, None, rows, module.layernorm if rows.shape[1] == prefix else None),
        only_itself=True,
    )


def _tower_body(module: Any) -> Anatomy:
    pool = "token" if type(module).__name__ == "CLIPVisionModel" else "attention"
    found = _vision_tower(module, pool, same)
    layers, prefix = found.layers, found.prefix
    return replace(
        found,
        keeping=lambda rows, _: keeping(layers, None, rows, layers[-1] if rows.shape[1] == prefix else None),
        only_itself=True,
    )


def _dinov3(module: Any) -> Anatomy:
    config, layers = module.config, list(module.model.layer)
    prefix = 1 + config.num_register_tokens
    size, patch = (
        one if isinstance(one, tuple | list) else (one, one) for one in (config.image_size, config.patch_size)
    )

    def place(patches: torch.Tensor, _: int, names: dict[str, Any]) -> dict[str, Any]:
        turns = tuple(one[patches][:, None] for one in names["position_embeddings"])
        return names | {"position_embeddings": turns}

    def keep(rows: torch.Tensor, _: tuple[int, int]) -> AbstractContextManager[None]:
        patches = rows[:, prefix:] - prefix
        return keeping(layers, partial(place, patches), rows, module.norm if rows.shape[1] == prefix else None)

    return Anatomy(
        image_size=(size[0], size[1]),
        patch_size=(patch[0], patch[1]),
        any_size=True,
        prefix=prefix,
        read=None,
        embed=module.embeddings,
        layers=layers,
        blocks=(),
        head=same,
        keeping=keep,
        only_itself=True,
    )


# The vision towers of CLIP and SigLIP


def read_image_tower(module: Any) -> Anatomy | None:
    """What a model of images and texts makes of images: its features (c, D); None if it is none of these."""
    kind = class_of(module)
    if kind == f"{_TOWERS[0]}.CLIPModel":
        return _vision_tower(module.vision_model, "token", module.visual_projection)
    if kind in {f"{_TOWERS[1]}.SiglipModel", f"{_TOWERS[2]}.Siglip2Model"}:
        return _vision_tower(module.vision_model, "attention", same)
    return None


def _vision_tower(module: Any, pool: str, head: TensorFunction) -> Anatomy:
    """The vision tower of CLIP or SigLIP, behind which `head` takes what was pooled.

    Args:
        module: The tower.
        pool: `"token"` or `"attention"`, as the tower itself pools; or `"mean"`, as classifiers behind it do.
        head: From pooled features (c, D) to the answer.
    """
    source, family = type(module).__module__, type(module).__name__.partition("Vision")[0]
    require(source in _TOWERS and getattr(module.config, "_attn_implementation", None) in _ATTENTION)
    expect(module, *(f"{source}.{family}Vision{kind}" for kind in ("Model", "Transformer")))
    embeddings = expect(module.embeddings, f"{source}.{family}VisionEmbeddings")
    layers = list(expect(module.encoder, f"{source}.{family}Encoder").layers)
    clip, flexible = family == "CLIP", family == "Siglip2"
    if pool == "attention":
        expect(module.head, f"{source}.{family}{_POOLING}")

    def embed(images: torch.Tensor) -> torch.Tensor:
        if flexible:
            patches, grid = patches_of(images, embeddings.patch_size)
            shapes = torch.tensor([grid] * len(images), device=images.device)
            laid: torch.Tensor = embeddings(patches, shapes)
            return laid
        tokens: torch.Tensor = embeddings(images)
        return module.pre_layrnorm(tokens) if clip else tokens

    def pooled(x: torch.Tensor) -> torch.Tensor:
        if pool == "mean":
            return head(mean_of_patches(x if clip else module.post_layernorm(x), int(clip)))
        x = module.post_layernorm(x[:, 0] if clip else x)
        return head(x if clip else module.head(x))

    def masked(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return head(_attend(module.head, module.post_layernorm(x), mask))

    def keep(rows: torch.Tensor, _: tuple[int, int]) -> AbstractContextManager[None]:
        return keeping(layers, None, rows, layers[-1] if rows.shape[1] == int(clip) else None)

    patch = embeddings.patch_size
    size = embeddings.position_embedding_size * patch if flexible else embeddings.image_size
    return Anatomy(
        image_size=(size, size),
        patch_size=(patch, patch),
        any_size=flexible,
        prefix=int(clip),
        read=1 if pool == "token" else None,
        embed=embed,
        layers=layers,
        blocks=[_tower_block(layer, source, family) for layer in layers],
        head=pooled,
        masked_head=masked if pool == "attention" else None,
        keeping=keep if pool == "mean" else None,
    )


def patches_of(images: torch.Tensor, side: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Images (B, 3, H, W) cut into patches as SigLIP 2 takes them, (B, patches, side * side * 3), and their grid.

    >>> patches_of(torch.arange(12.0).view(1, 1, 2, 6), 2)[0]
    tensor([[[ 0.,  1.,  6.,  7.],
             [ 2.,  3.,  8.,  9.],
             [ 4.,  5., 10., 11.]]])
    """
    grid = images.shape[2] // side, images.shape[3] // side
    cut = images.unflatten(3, (grid[1], side)).unflatten(2, (grid[0], side))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2), grid


def _tower_block(layer: Any, source: str, family: str) -> Block:
    expect(layer, f"{source}.{family}EncoderLayer")
    attention = expect(layer.self_attn, f"{source}.{family}Attention")
    mlp = expect(layer.mlp, f"{source}.{family}MLP")
    return Block(
        heads=attention.num_heads,
        norm1=layer.layer_norm1,
        qkv=fused(attention.q_proj, attention.k_proj, attention.v_proj),
        proj=matrix(attention.out_proj),
        norm2=layer.layer_norm2,
        fc1=matrix(mlp.fc1),
        act=mlp.activation_fn,
        fc2=matrix(mlp.fc2),
    )


def _attend(head: Any, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A pooling head of SigLIP that attends to the tokens (c, n, D) of a mask (c, 1, 1, n) only."""
    probe = head.probe.expand(len(x), -1, -1)
    found = head.attention(probe, x, x, key_padding_mask=~mask[:, 0, 0], need_weights=False)[0]
    attended: torch.Tensor = found + head.mlp(head.layernorm(found))
    return attended[:, 0]


_POOLING = "MultiheadAttentionPoolingHead"
_TOWERS = tuple(f"{_HF}.{name}.modeling_{name}" for name in ("clip", "siglip", "siglip2"))

READERS: dict[str, Callable[[Any], Anatomy]] = {
    f"{_HF}.vit.modeling_vit.ViTForImageClassification": lambda m: _transformers(m, 1, 1, _class_token_head),
    f"{_HF}.deit.modeling_deit.DeiTForImageClassification": lambda m: _transformers(m, 2, 1, _class_token_head),
    f"{_HF}.deit.modeling_deit.DeiTForImageClassificationWithTeacher": lambda m: _transformers(m, 2, 2, _teacher_head),
    f"{_HF}.dinov2.modeling_dinov2.Dinov2ForImageClassification": lambda m: _dino(m, 1),
    f"{_HF}.dinov2_with_registers.modeling_dinov2_with_registers.Dinov2WithRegistersForImageClassification": (
        lambda m: _dino(m, 1 + m.config.num_register_tokens)
    ),
    f"{_HF}.beit.modeling_beit.BeitForImageClassification": _beit,
    f"{_TOWERS[0]}.CLIPForImageClassification": lambda m: _vision_tower(m.vision_model, "mean", m.classifier),
    f"{_TOWERS[1]}.SiglipForImageClassification": lambda m: _vision_tower(m.vision_model, "mean", m.classifier),
}
"""Classifiers by the full names of their classes."""

BODIES: dict[str, Callable[[Any], Anatomy]] = {
    f"{_HF}.vit.modeling_vit.ViTModel": lambda m: _body(m, 1),
    f"{_HF}.deit.modeling_deit.DeiTModel": lambda m: _body(m, 2),
    f"{_HF}.dinov2.modeling_dinov2.Dinov2Model": lambda m: _body(m, 1),
    f"{_HF}.dinov2_with_registers.modeling_dinov2_with_registers.Dinov2WithRegistersModel": (
        lambda m: _body(m, 1 + m.config.num_register_tokens)
    ),
    f"{_HF}.dinov3_vit.modeling_dinov3_vit.DINOv3ViTModel": _dinov3,
    f"{_TOWERS[0]}.CLIPVisionModel": _tower_body,
    f"{_TOWERS[1]}.SiglipVisionModel": _tower_body,
}
"""What has no head of its own, likewise."""
