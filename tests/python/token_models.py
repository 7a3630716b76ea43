"""Small Vision Transformers of many families, with random weights, that several test files share."""

import warnings
from functools import cache, partial

import pytest
import torch

CLASSES = 7
TIMM = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": CLASSES}
HF = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": (32, 48),
    "patch_size": 8,
    "num_labels": CLASSES,
}


def timm_vit(**options):
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(**{**TIMM, **options})


def timm_hybrid(**options):
    """A convolution before the embedding, whose patches are 2 x 2 of its features: 8 x 8 pixels."""
    from timm.layers import HybridEmbed

    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 7, 4, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    return timm_vit(embed_layer=partial(HybridEmbed, backbone), patch_size=2, **options)


def timm_own_embedding(**facts):
    """An embedding of a class of the user's own, with `facts` of its own."""
    from timm.layers import PatchEmbed

    class Centered(PatchEmbed):
        def forward(self, x):
            return super().forward(x - x.mean(dim=(2, 3), keepdim=True))

    module = timm_vit(embed_layer=Centered)
    for name, value in facts.items():
        setattr(module.patch_embed, name, value)
    return module


def timm_distilled():
    from timm.models.deit import VisionTransformerDistilled

    return VisionTransformerDistilled(**TIMM)


def torchvision_vit():
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 8, 3, 2, 32, 64, num_classes=CLASSES)


def hf(model, config, **options):
    transformers = pytest.importorskip("transformers")
    return getattr(transformers, model)(getattr(transformers, config)(**{**HF, **options}))


def timm_of(home, kind, **options):
    import timm.models

    return getattr(getattr(timm.models, home), kind)(**{**TIMM, **options})


def hf_beit(**options):
    positions = {"use_absolute_position_embeddings": False, "use_relative_position_bias": True}
    return hf("BeitForImageClassification", "BeitConfig", layer_scale_init_value=0.5, **positions, **options)


def hf_tower(kind, **options):
    """A classifier behind the vision tower of CLIP or SigLIP."""
    transformers = pytest.importorskip("transformers")
    sizes = {key: value for key, value in HF.items() if key != "num_labels"} | {"image_size": 32}
    config = getattr(transformers, f"{kind}Config")(vision_config=sizes | options, num_labels=CLASSES)
    return getattr(transformers, f"{kind}ForImageClassification")(config)


def _timm_layers():
    import timm.layers

    return timm.layers


DINOV3 = {
    "use_rot_pos_emb": True,
    "use_abs_pos_emb": False,
    "rope_type": "dinov3",
    "rope_rotate_half": True,
    "num_reg_tokens": 4,
    "init_values": 0.1,
    "dynamic_img_size": True,
    "use_fc_norm": False,
    "qkv_bias": False,
}
ROTARY = {"use_rot_pos_emb": True, "class_token": True}
SQUARE = {"torchvision", "transformers CLIP", "transformers SigLIP"}

# For each: how it is made, its number of prefix tokens, and whether its head reads the patches.
FAMILIES = {
    "timm": (timm_vit, 1, False),
    "timm pre-norm": (lambda: timm_vit(pre_norm=True), 1, False),
    "timm any size": (lambda: timm_vit(dynamic_img_size=True), 1, False),
    "timm distilled": (timm_distilled, 2, False),
    "timm hybrid": (timm_hybrid, 1, False),
    "timm hybrid, mean, no prefix": (lambda: timm_hybrid(global_pool="avg", class_token=False), 0, True),
    "timm own embedding": (timm_own_embedding, 1, False),
    "timm registers, scales, normed queries": (
        lambda: timm_vit(reg_tokens=4, init_values=0.1, qk_norm=True, no_embed_class=True),
        5,
        False,
    ),
    "timm without qkv bias": (lambda: timm_vit(qkv_bias=False), 1, False),
    "timm one block": (lambda: timm_vit(depth=1), 1, False),
    "timm mean": (lambda: timm_vit(global_pool="avg"), 1, True),
    "timm mean, registers": (lambda: timm_vit(global_pool="avg", class_token=False, reg_tokens=2), 2, True),
    "timm mean, no prefix": (lambda: timm_vit(global_pool="avg", class_token=False), 0, True),
    "timm attention pooling, as SigLIP": (lambda: timm_vit(global_pool="map", class_token=False), 0, False),
    "timm attention pooling, class token": (lambda: timm_vit(global_pool="map"), 1, False),
    "timm SwiGLU": (lambda: timm_vit(mlp_layer=partial(_timm_layers().SwiGLU)), 1, False),
    "timm EVA": (lambda: timm_of("eva", "Eva"), 1, True),
    "timm EVA-02": (
        lambda: timm_of("eva", "Eva", qkv_fused=False, swiglu_mlp=True, scale_mlp=True, global_pool="token", **ROTARY),
        1,
        False,
    ),
    "timm EVA-02, mean": (lambda: timm_of("eva", "Eva", swiglu_mlp=True, **ROTARY), 1, True),
    "timm EVA-02, norms within and after": (
        lambda: timm_of("eva", "Eva", global_pool="token", use_post_norm=True, scale_attn_inner=True, **ROTARY),
        1,
        False,
    ),
    "timm EVA, mixed rotary embeddings": (
        lambda: timm_of("eva", "Eva", global_pool="token", rope_type="mixed", attn_type="rope", **ROTARY),
        1,
        False,
    ),
    "timm DINOv3": (lambda: timm_of("eva", "Eva", **DINOV3), 5, True),
    "timm DINOv3, class token": (lambda: timm_of("eva", "Eva", **DINOV3, global_pool="token"), 5, False),
    "timm Perception Encoder": (
        lambda: timm_of("eva", "Eva", global_pool="map", use_pre_transformer_norm=True, init_values=0.1, **ROTARY),
        1,
        False,
    ),
    "timm BEiT": (
        lambda: timm_of("beit", "Beit", use_rel_pos_bias=True, init_values=0.1, global_pool="token"),
        1,
        False,
    ),
    "timm BEiT, mean, shared bias": (
        lambda: timm_of("beit", "Beit", use_rel_pos_bias=True, use_shared_rel_pos_bias=True, use_abs_pos_emb=False),
        1,
        True,
    ),
    "timm BEiT without bias": (lambda: timm_of("beit", "Beit", global_pool="token", swiglu_mlp=True), 1, False),
    "timm CaiT": (lambda: timm_of("cait", "Cait", init_values=0.1), 0, False),
    "torchvision": (torchvision_vit, 1, False),
    "transformers ViT": (lambda: hf("ViTForImageClassification", "ViTConfig"), 1, False),
    "transformers DeiT": (lambda: hf("DeiTForImageClassification", "DeiTConfig"), 2, False),
    "transformers DeiT distilled": (lambda: hf("DeiTForImageClassificationWithTeacher", "DeiTConfig"), 2, False),
    "transformers DINOv2": (lambda: hf("Dinov2ForImageClassification", "Dinov2Config", image_size=48), 1, True),
    "transformers DINOv2 with registers": (
        lambda: hf("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", image_size=48),
        5,
        True,
    ),
    "transformers BEiT": (lambda: hf_beit(use_mean_pooling=False), 1, False),
    "transformers BEiT, mean, shared bias": (lambda: hf_beit(use_shared_relative_position_bias=True), 1, True),
    "transformers CLIP": (lambda: hf_tower("CLIP"), 1, True),
    "transformers SigLIP": (lambda: hf_tower("Siglip"), 0, True),
}
CLASS_TOKEN = [name for name, (_, _, pools) in FAMILIES.items() if not pools]
POOLED = [name for name, (_, _, pools) in FAMILIES.items() if pools]


def shaken(module, seed=0):
    """`module` with every parameter moved, so that none of them is without effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


@cache
def build(name):
    """One of `FAMILIES`; not to be changed."""
    pytest.importorskip(name.split()[0])
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return shaken(FAMILIES[name][0]())


def images_for(name, count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 32, 32 if name in SQUARE else 48, generator=generator)
