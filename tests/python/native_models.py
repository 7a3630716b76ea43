"""Modules of timm, torchvision and transformers, and their files, for the tests of native models."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")
from safetensors.torch import save_file  # noqa: E402 - torch is optional

PHOTOS = Path(__file__).parents[2] / "examples"
COLORS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
BOTTLENECKS, BASIC = [256, 512, 1024, 2048], [64, 128, 256, 512]


def with_weights(module):
    """Random weights of a fixed seed: no norm is the identity and no bias is small, so that one left out is seen."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(noise.abs() + 0.5)
            elif name.endswith(("bias", "running_mean", "gamma")) or "token" in name or "pos" in name:
                value.copy_(noise * 0.3)
            elif value.ndim == 1:
                value.copy_(1 + noise * 0.3)
            elif not value.any():
                value.copy_(noise * 0.05)
    return module.eval()


def write(module, file, dtype=None):
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    if dtype is not None:
        state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    save_file(state, file)
    return file


def pictures(count, size):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def answers(module, batch):
    with torch.no_grad():
        answer = module(batch)
    return getattr(answer, "logits", answer).numpy()


def assert_same(found, expected, tolerance=1e-4):
    assert np.abs(expected).max() > 0.05
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def check(native, module, size):
    """Both, for one picture and for eight."""
    batch = pictures(8, size)
    expected = answers(module, batch)
    found = native.logits(batch.numpy())
    assert_same(found, expected)
    np.testing.assert_array_equal(native.logits(batch[:1].numpy()), found[:1])


def timm_folder(folder, name="vit_tiny_patch16_224", config=None, cfg=None, **options):
    """A folder as timm pushes it to a hub."""
    module = with_weights(timm.create_model(name, **options))
    write(module, folder / "model.safetensors")
    own = {key: value for key, value in module.pretrained_cfg.items() if key != "url"}
    described = {"architecture": name, "num_classes": module.num_classes, "model_args": options}
    described |= {"pretrained_cfg": own | (cfg or {})} | (config or {})
    (folder / "config.json").write_text(json.dumps(described))
    return module


def hostile(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def write_holes(shapes, file):
    """Zeros of these shapes, which take no place."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    content = hostile(header)
    with file.open("wb") as out:
        out.write(content)
        out.truncate(len(content) + end)
    return file


def library_of(name):
    """The whole module without memory, and how its weights' photos are prepared."""
    if timm.is_model(name):
        cfg = timm.models.get_pretrained_cfg(name).to_dict()
        photos = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=cfg))
        with torch.device("meta"):
            return timm.create_model(name, num_classes=7), photos
    # Some have weights for larger pictures, too.
    every = [weights.transforms() for weights in torchvision.models.get_model_weights(name)]
    with torch.device("meta"):
        module = torchvision.models.get_model(name, num_classes=7)
    return module, next(photos for photos in every if photos.crop_size == [224])


def small(config, **options):
    return config(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, **options)


IMAGE = {"image_size": (32, 48), "patch_size": 8, "num_labels": 5}
TRANSFORMERS = {
    "vit": (transformers.ViTForImageClassification, lambda: small(transformers.ViTConfig, **IMAGE)),
    "vit without bias": (
        transformers.ViTForImageClassification,
        lambda: small(transformers.ViTConfig, **IMAGE, qkv_bias=False),
    ),
    "deit": (transformers.DeiTForImageClassification, lambda: small(transformers.DeiTConfig, **IMAGE)),
    "deit with teacher": (
        transformers.DeiTForImageClassificationWithTeacher,
        lambda: small(transformers.DeiTConfig, **IMAGE),
    ),
    "resnet of basic blocks": (
        transformers.ResNetForImageClassification,
        lambda: transformers.ResNetConfig(depths=[2, 1, 2, 1], layer_type="basic", hidden_sizes=BASIC, num_labels=5),
    ),
    "resnet of bottlenecks": (
        transformers.ResNetForImageClassification,
        lambda: transformers.ResNetConfig(depths=[1, 1, 2, 1], hidden_sizes=BOTTLENECKS, num_labels=5),
    ),
    "mobilenet": (
        transformers.MobileNetV2ForImageClassification,
        lambda: transformers.MobileNetV2Config(num_labels=5),
    ),
    "mobilenet with even padding": (
        transformers.MobileNetV2ForImageClassification,
        lambda: transformers.MobileNetV2Config(num_labels=5, tf_padding=False, layer_norm_eps=0.1),
    ),
}


def transformers_model(name):
    model, config = TRANSFORMERS[name]
    return with_weights(model(config()))


def transformers_folder(module, folder, processor=None):
    module.config.id2label = {index: f"class {index}" for index in range(module.config.num_labels)}
    module.save_pretrained(folder)
    (processor or transformers.ViTImageProcessor()).save_pretrained(folder)
    return folder
