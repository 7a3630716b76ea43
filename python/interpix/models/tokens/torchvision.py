"""torchvision's Vision Transformer. torchvision is not imported."""

from collections.abc import Callable
from typing import Any

import torch

from interpix.models.tokens.matrices import Matrix
from interpix.models.tokens.parts import expect, matrix, require
from interpix.models.tokens.vit import Anatomy, Block

__all__ = ["READERS"]

_TORCHVISION = "torchvision.models.vision_transformer"


def _vit(module: Any) -> Anatomy:
    encoder = expect(module.encoder, f"{_TORCHVISION}.Encoder")

    def embed(images: torch.Tensor) -> torch.Tensor:
        patches = module._process_input(images)  # noqa: SLF001
        tokens: torch.Tensor = torch.cat([module.class_token.expand(len(patches), -1, -1), patches], dim=1)
        return tokens + encoder.pos_embedding

    def head(x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = module.heads(encoder.ln(x)[:, 0])
        return logits

    return Anatomy(
        image_size=(module.image_size, module.image_size),
        patch_size=(module.patch_size, module.patch_size),
        any_size=False,
        prefix=1,
        read=1,
        embed=embed,
        layers=list(encoder.layers),
        blocks=[_torchvision_block(layer) for layer in encoder.layers],
        head=head,
    )


def _torchvision_block(layer: Any) -> Block:
    expect(layer, f"{_TORCHVISION}.EncoderBlock")
    attention = expect(layer.self_attention, "torch.nn.modules.activation.MultiheadAttention")
    require(attention.in_proj_weight is not None and attention.bias_k is None and not attention.add_zero_attn)
    first, act, _, second, _ = expect(layer.mlp, f"{_TORCHVISION}.MLPBlock")
    return Block(
        heads=attention.num_heads,
        norm1=layer.ln_1,
        qkv=Matrix(attention.in_proj_weight, attention.in_proj_bias),
        proj=matrix(attention.out_proj),
        norm2=layer.ln_2,
        fc1=matrix(first),
        act=act,
        fc2=matrix(second),
    )


READERS: dict[str, Callable[[Any], Anatomy]] = {f"{_TORCHVISION}.VisionTransformer": _vit}
"""By the full name of its class."""
