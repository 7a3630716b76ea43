"""Small models of open_clip with random weights, that several test files share."""

from functools import cache

import numpy as np
import pytest
import torch

import interpix as ix
from token_models import shaken

open_clip = pytest.importorskip("open_clip")

PROMPTS = ["a husky", "a wolf", "two cats on a sofa"]
LENGTH = 16
TEXT = {"context_length": LENGTH, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VISION = {"image_size": (32, 48), "patch_size": 8, "width": 32, "head_width": 16, "layers": 3}
SIGLIP = {"init_logit_bias": -1.0, "init_logit_scale": 2.0}


def clip(kind="CLIP", vision=(), **options):
    return getattr(open_clip, kind)(16, VISION | dict(vision), TEXT, **options)


def timm_tower(**vision):
    """As open_clip's SigLIP models are."""
    config = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "image_size": 160, **vision}
    return open_clip.CustomTextCLIP(64, config, TEXT, **SIGLIP)


def coca():
    from open_clip.coca_model import CoCa

    vision = VISION | {
        "attentional_pool": True,
        "attn_pooler_queries": 4,
        "attn_pooler_heads": 2,
        "output_tokens": True,
    }
    text = TEXT | {"embed_cls": True, "output_tokens": True}
    return CoCa(32, {**TEXT, "mlp_ratio": 2}, text, vision)


# For each: how it is made, how many patches it has, and what it was trained with.
MAKERS = {
    "CLIP": (clip, 24, "softmax"),
    "CLIP, mean, norm after it": (
        lambda: clip(vision={"pool_type": "avg", "final_ln_after_pool": True}),
        24,
        "softmax",
    ),
    "CLIP, mean, scales": (lambda: clip(vision={"pool_type": "avg", "ls_init_value": 0.5}), 24, "softmax"),
    "CLIP of custom text, quick GELU": (lambda: clip("CustomTextCLIP", quick_gelu=True), 24, "softmax"),
    "SigLIP of timm": (lambda: timm_tower(timm_pool="map", timm_proj="none"), 100, "sigmoid"),
    "timm, class token, projection": (lambda: timm_tower(timm_pool="token", timm_proj="linear"), 100, "sigmoid"),
    "CoCa": (coca, 24, "softmax"),
    "convolutional": (
        lambda: clip(vision={"layers": (1, 1, 1, 1), "image_size": 64, "head_width": 64}),
        None,
        "softmax",
    ),
}
WITH_TOKENS = [name for name, (_, patches, _) in MAKERS.items() if patches]
MEANS = [name for name in MAKERS if "mean" in name]


def preprocess(image):
    return torch.from_numpy(np.array(image, np.float32).transpose(2, 0, 1)) / 127.5 - 1


@cache
def build(name):
    """A model; not to be changed."""
    torch.manual_seed(0)
    model = shaken(MAKERS[name][0]())
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
    return model


@cache
def tokenizer():
    return open_clip.SimpleTokenizer(context_length=LENGTH)


def zero_shot(name, model=None):
    return ix.zero_shot(model or build(name), (preprocess, tokenizer()), PROMPTS)


def size_of(name):
    if name == "convolutional":
        return 64, 64
    return (160, 160) if "timm" in name else (32, 48)


def photo(name, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size_of(name), 3), dtype=np.uint8)
