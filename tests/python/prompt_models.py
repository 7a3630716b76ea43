"""Small models of images and texts, with random weights and hand-made tokenizers, that several test files share."""

from functools import cache

import numpy as np
import pytest
import torch

from token_models import shaken

transformers = pytest.importorskip("transformers")

PROMPTS = ["a husky", "a wolf", "two cats on a sofa"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.!'-"
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 3}
VISION = {"image_size": 32, "patch_size": 8, **SIZE}
LENGTH = 40


def clip_tokenizer():
    ends = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    words = {word: index for index, word in enumerate([*ends, "<|startoftext|>", "<|endoftext|>"])}
    return transformers.CLIPTokenizer(words, [], model_max_length=LENGTH)


def siglip_tokenizer():
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", *LETTERS]
    tokenizer = transformers.Siglip2Tokenizer({word: index for index, word in enumerate(words)}, [])
    tokenizer.model_input_names = ["input_ids"]  # as those of the trained models are
    return tokenizer


def text_config(tokenizer, **options):
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {"vocab_size": len(tokenizer), "max_position_embeddings": LENGTH, **SIZE, **ids, **options}


def clip():
    tokenizer = clip_tokenizer()
    config = transformers.CLIPConfig(text_config=text_config(tokenizer), vision_config=VISION, projection_dim=16)
    pictures = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    return transformers.CLIPModel(config), transformers.CLIPProcessor(pictures, tokenizer)


def siglip():
    tokenizer = siglip_tokenizer()
    text = text_config(tokenizer, projection_size=SIZE["hidden_size"])
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    pictures = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    return transformers.SiglipModel(config), transformers.SiglipProcessor(pictures, tokenizer)


def siglip2():
    tokenizer = siglip_tokenizer()
    text = text_config(tokenizer, projection_size=SIZE["hidden_size"])
    vision = {"num_patches": 16, "patch_size": 8, **SIZE}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    processor = transformers.Siglip2Processor(transformers.Siglip2ImageProcessor(), tokenizer)
    processor.images_kwargs = {"patch_size": 8, "max_num_patches": 24}
    return transformers.Siglip2Model(config), processor


MAKERS = {"CLIP": clip, "SigLIP": siglip, "SigLIP 2": siglip2}


@cache
def build(name):
    """A model and its processor; not to be changed."""
    torch.manual_seed(0)
    model, processor = MAKERS[name]()
    return shaken(model), processor


def photo(height=50, width=70, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
