"""The anatomy of the Vision Transformers of timm, torchvision and transformers, read from their structure.

A part is known by the full name of its class. A subclass may do anything, so it is unknown, and so is the whole model
then; only the patch embedding of timm's may be of any class, as it is run as it is. None of the three packages is
imported.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from interpix.models.tokens.matrices import Matrix
from interpix.models.tokens.vit import Anatomy, Block
from interpix.models.torch.modes import evaluating

__all__ = ["find_inside", "read_anatomy"]

_LINEAR = ("torch.nn.modules.linear.Linear", "torch.nn.modules.linear.NonDynamicallyQuantizableLinear")
_IDENTITY = "torch.nn.modules.linear.Identity"
_TIMM = "timm.models.vision_transformer"
_TORCHVISION = "torchvision.models.vision_transformer"
_HF_ATTENTION = ("eager", "sdpa")


class _UnknownError(Exception):
    """A part of the model is not one that is known here."""


def read_anatomy(module: torch.nn.Module) -> Anatomy | None:
    """The anatomy of a known Vision Transformer, with its live parameters; None if anything about it is unknown."""
    reader = _READERS.get(_class_of(module))
    if reader is None:
        return None
    try:
        return reader(module)
    except _UnknownError:
        return None


def find_inside(module: torch.nn.Module) -> str | None:
    """The name of a part that is of a known family, inside of a module that is not; its tokens cannot be dropped there.

    By the class alone: parts of it may have been replaced, as by adapters.
    """
    families = {name for name in _READERS if not name.startswith("torch.")}
    named = ((name, part) for name, part in module.named_modules() if name)
    return next((name for name, part in named if _class_of(part) in families), None)


def _class_of(part: object) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}"


def _require(fact: object) -> None:
    if not fact:
        raise _UnknownError


def _expect(part: object, *names: str) -> Any:
    """`part`, whose class is one of `names`."""
    _require(_class_of(part) in names)
    return part


def _matrix(part: Any) -> Matrix:
    _expect(part, *_LINEAR)
    return Matrix(part.weight, part.bias)


def _fused(*parts: Any) -> Matrix:
    """Several matrices of one input as one."""
    weights, biases = zip(*((one.weight, one.bias) for one in map(_matrix, parts)), strict=True)
    with torch.no_grad():
        return Matrix(torch.cat(weights), None if biases[0] is None else torch.cat(biases))


def _mean_of_patches(x: torch.Tensor, prefix: int) -> torch.Tensor:
    """The mean of the patch tokens (c, D); the mean of none is zero."""
    return x[:, prefix:].mean(1) if x.shape[1] > prefix else x.new_zeros(x.shape[0], x.shape[2])


def _unless_identity(part: Any) -> Any:
    return None if _class_of(part) == _IDENTITY else part


# timm


def _timm(module: Any) -> Anatomy:
    image_size, patch_size = _timm_sizes(module)
    _require(module.attn_pool is None and not getattr(module, "pool_include_prefix", False))
    _require(module.global_pool in {"token", "avg"})
    _expect(module.blocks, "torch.nn.modules.container.Sequential")
    prefix = module.num_prefix_tokens
    distilled = _class_of(module).endswith("Distilled")

    def embed(images: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = module.norm_pre(module._pos_embed(module.patch_embed(images)))  # noqa: SLF001
        return tokens

    def head(x: torch.Tensor) -> torch.Tensor:
        x = module.norm(x)
        if module.global_pool == "token":
            logits: torch.Tensor = module.forward_head(x)
            return logits
        pooled: torch.Tensor = module.head(module.head_drop(module.fc_norm(_mean_of_patches(x, prefix))))
        return pooled

    return Anatomy(
        image_size=image_size,
        patch_size=patch_size,
        any_size=module.dynamic_img_size,
        prefix=prefix,
        read=None if module.global_pool == "avg" else 1 + distilled,
        embed=embed,
        layers=list(module.blocks),
        blocks=[_timm_block(layer) for layer in module.blocks],
        head=head,
    )


def _timm_sizes(module: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of the image and of a patch; the embedding may be of any class that has a token for each patch.

    One that is not timm's own may name its patches in units of its features. That it makes as many tokens as its grid
    has cells is known from the positions that are added to them.
    """
    embedding = module.patch_embed
    sizes: list[Any] = [getattr(embedding, name, None) for name in ("img_size", "grid_size")]
    _require(all(isinstance(one, tuple) for one in sizes) and not getattr(embedding, "dynamic_img_pad", False))
    (height, width), (rows, columns) = sizes
    if _class_of(embedding) == "timm.layers.patch_embed.PatchEmbed":
        return (height, width), tuple(embedding.patch_size)
    _require(not module.dynamic_img_size and module.pos_embed is not None)
    _require(module.pos_embed.shape[1] == rows * columns + (0 if module.no_embed_class else module.num_prefix_tokens))
    _require(height % rows == 0 and width % columns == 0)
    return (height, width), (height // rows, width // columns)


def _timm_block(layer: Any) -> Block:
    _expect(layer, f"{_TIMM}.Block")
    attention = _expect(layer.attn, "timm.layers.attention.Attention", f"{_TIMM}.Attention")
    mlp = _expect(layer.mlp, "timm.layers.mlp.Mlp")
    _require(getattr(attention, "gate", None) is None)
    _expect(getattr(attention, "norm", torch.nn.Identity()), _IDENTITY)
    _expect(mlp.norm, _IDENTITY)
    return Block(
        heads=attention.num_heads,
        norm1=layer.norm1,
        qkv=_matrix(attention.qkv),
        proj=_matrix(attention.proj),
        norm2=layer.norm2,
        fc1=_matrix(mlp.fc1),
        act=mlp.act,
        fc2=_matrix(mlp.fc2),
        q_norm=_unless_identity(attention.q_norm),
        k_norm=_unless_identity(attention.k_norm),
        scale1=_timm_scale(layer.ls1),
        scale2=_timm_scale(layer.ls2),
    )


def _timm_scale(part: Any) -> torch.Tensor | None:
    if _class_of(part) == _IDENTITY:
        return None
    _expect(part, "timm.layers.layer_scale.LayerScale", f"{_TIMM}.LayerScale")
    gamma: torch.Tensor = part.gamma
    return gamma


# torchvision


def _torchvision(module: Any) -> Anatomy:
    encoder = _expect(module.encoder, f"{_TORCHVISION}.Encoder")

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
    _expect(layer, f"{_TORCHVISION}.EncoderBlock")
    attention = _expect(layer.self_attention, "torch.nn.modules.activation.MultiheadAttention")
    _require(attention.in_proj_weight is not None and attention.bias_k is None and not attention.add_zero_attn)
    first, act, _, second, _ = _expect(layer.mlp, f"{_TORCHVISION}.MLPBlock")
    return Block(
        heads=attention.num_heads,
        norm1=layer.ln_1,
        qkv=Matrix(attention.in_proj_weight, attention.in_proj_bias),
        proj=_matrix(attention.out_proj),
        norm2=layer.ln_2,
        fc1=_matrix(first),
        act=act,
        fc2=_matrix(second),
    )


# transformers 5


def _transformers(module: Any, prefix: int, read: int | None, head: Callable[[Any, torch.Tensor], Any]) -> Anatomy:
    """What the classifiers of ViT, DeiT and DINOv2 share; `head` takes the model and its normed tokens."""
    _require(getattr(module.config, "_attn_implementation", None) in _HF_ATTENTION)
    body = getattr(module, module.base_model_prefix)
    patches = body.embeddings.patch_embeddings
    dino = hasattr(body, "encoder")
    layers = list(getattr(body.encoder, "layer", ()) if dino else getattr(body, "layers", ()))
    _require(layers)
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
    _expect(layer, f"{source}.{family}Layer")
    return _with_attention(
        layer, source, family, norm1=layer.layernorm_before, norm2=layer.layernorm_after, scales=(None, None)
    )


def _dino_block(layer: Any, source: str, family: str) -> Block:
    _expect(layer, f"{source}.{family}Layer")
    scales = [_expect(part, f"{source}.{family}LayerScale") for part in (layer.layer_scale1, layer.layer_scale2)]
    return _with_attention(
        layer, source, family, norm1=layer.norm1, norm2=layer.norm2, scales=(scales[0].lambda1, scales[1].lambda1)
    )


def _with_attention(layer: Any, source: str, family: str, *, norm1: Any, norm2: Any, scales: tuple[Any, Any]) -> Block:
    attention = _expect(layer.attention, f"{source}.{family}Attention")
    mlp = _expect(layer.mlp, f"{source}.{family}MLP")
    _require(hasattr(attention, "q_proj"))
    return Block(
        heads=attention.num_attention_heads,
        norm1=norm1,
        qkv=_fused(attention.q_proj, attention.k_proj, attention.v_proj),
        proj=_matrix(attention.o_proj),
        norm2=norm2,
        fc1=_matrix(mlp.fc1),
        act=mlp.activation_fn,
        fc2=_matrix(mlp.fc2),
        scale1=scales[0],
        scale2=scales[1],
    )


def _class_token_head(module: Any, x: torch.Tensor) -> Any:
    return module.classifier(x[:, 0])


def _teacher_head(module: Any, x: torch.Tensor) -> Any:
    return (module.cls_classifier(x[:, 0]) + module.distillation_classifier(x[:, 1])) / 2


def _dino(module: Any, prefix: int) -> Anatomy:
    def head(model: Any, x: torch.Tensor) -> Any:
        return model.classifier(torch.cat([x[:, 0], _mean_of_patches(x, prefix)], dim=1))

    return _transformers(module, prefix, None, head)


# What comes before one of these


def _behind_others(module: Any) -> Anatomy:
    """A Sequential that ends in a known model, behind parts that leave patches where they are: a normalization."""
    _require(len(module) > 1)
    *first, last = module
    anatomy = read_anatomy(last)
    if anatomy is None:
        raise _UnknownError
    embed = anatomy.embed

    def through(images: torch.Tensor) -> torch.Tensor:
        for part in first:
            images = part(images)
        return images

    like = next(last.parameters())
    with evaluating(module), torch.no_grad():
        try:
            _require(_keeps_patches(through, anatomy, like))
        except Exception as error:
            raise _UnknownError from error
    return replace(anatomy, embed=lambda images: embed(through(images)))


def _keeps_patches(through: Callable[[torch.Tensor], torch.Tensor], anatomy: Anatomy, like: torch.Tensor) -> bool:
    """Whether what a function makes of pictures, of whatever size, has each patch from the same patch alone."""
    (height, width), (rows, columns) = anatomy.image_size, anatomy.patch_size
    for size in ((height, width), (height + rows, width + columns)):
        before = torch.linspace(0, 1, 3 * size[0] * size[1], device=like.device, dtype=like.dtype).view(1, 3, *size)
        plain = through(before.clone())
        if plain.shape != before.shape:
            return False
        for row, column in ((0, 0), (size[0] - rows, 0), (rows, columns)):
            inside = torch.zeros(size, dtype=torch.bool, device=like.device)
            inside[row : row + rows, column : column + columns] = True
            changed = through(torch.where(inside, 1 - before, before)) != plain
            if changed[..., ~inside].any() or not changed.any():
                return False
    return True


_HF = "transformers.models"
_READERS: dict[str, Callable[[Any], Anatomy]] = {
    "torch.nn.modules.container.Sequential": _behind_others,
    f"{_TIMM}.VisionTransformer": _timm,
    "timm.models.deit.VisionTransformerDistilled": _timm,
    f"{_TORCHVISION}.VisionTransformer": _torchvision,
    f"{_HF}.vit.modeling_vit.ViTForImageClassification": lambda m: _transformers(m, 1, 1, _class_token_head),
    f"{_HF}.deit.modeling_deit.DeiTForImageClassification": lambda m: _transformers(m, 2, 1, _class_token_head),
    f"{_HF}.deit.modeling_deit.DeiTForImageClassificationWithTeacher": lambda m: _transformers(m, 2, 2, _teacher_head),
    f"{_HF}.dinov2.modeling_dinov2.Dinov2ForImageClassification": lambda m: _dino(m, 1),
    f"{_HF}.dinov2_with_registers.modeling_dinov2_with_registers.Dinov2WithRegistersForImageClassification": (
        lambda m: _dino(m, 1 + m.config.num_register_tokens)
    ),
}
