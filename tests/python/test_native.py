"""Native architectures with anybody's weights: they say what timm's, torchvision's and transformers' modules say."""

import json

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from interpix import _core

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")

from native_models import (  # noqa: E402 - which need torch
    PHOTOS,
    answers,
    assert_same,
    check,
    library_of,
    pictures,
    timm_folder,
    with_weights,
    write,
    write_holes,
)


@pytest.mark.parametrize(
    ("name", "library", "options", "size"),
    [
        ("vit_tiny_patch16_224", timm, {}, (224, 224)),
        ("deit_tiny_distilled_patch16_224", timm, {}, (224, 224)),
        ("vit_b_32", torchvision.models, {"representation_size": 40}, (224, 224)),
        ("resnet18", timm, {}, (64, 96)),
        ("resnet34", torchvision.models, {"num_classes": 7}, (97, 64)),
        ("resnet50", timm, {}, (96, 64)),
        ("resnet101", torchvision.models, {}, (64, 64)),
        ("resnet152", timm, {}, (64, 32)),
        ("mobilenetv2_100", timm, {}, (64, 96)),
        ("mobilenetv2_050", timm, {"num_classes": 11}, (65, 96)),
        ("mobilenetv2_140", timm, {}, (64, 64)),
        ("mobilenet_v2", torchvision.models, {}, (96, 65)),
        *((f"tf_efficientnet_lite{number}", timm, {}, (64, 97 - number)) for number in range(5)),
        *((f"efficientnet_lite{number}", timm, {}, (96 + number, 65)) for number in range(5)),
    ],
)
def test_logits_are_those_of_the_library(name, library, options, size, tmp_path):
    make = library.create_model if library is timm else getattr(library, name)
    module = with_weights(make(name, **options) if library is timm else make(**options))
    check(ix.load_model(name, weights=write(module, tmp_path / "model.safetensors")), module, size)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"depth": 1, "mlp_ratio": 2.0}),
        ("vit_tiny_patch16_224", {"depth": 2, "qkv_bias": False, "init_values": 0.1}),
        ("vit_tiny_patch16_224", {"depth": 1, "class_token": False, "global_pool": "avg", "fc_norm": False}),
        ("vit_tiny_patch16_224", {"depth": 2, "global_pool": "avg", "reg_tokens": 3, "drop_path_rate": 0.1}),
        ("vit_tiny_patch16_224", {"depth": 1, "pre_norm": True, "no_embed_class": True, "reg_tokens": 2}),
        ("vit_tiny_patch16_224", {"depth": 1, "final_norm": False, "act_layer": "gelu"}),
        ("vit_medium_patch16_gap_240", {"depth": 1, "fc_norm": True}),
        ("deit3_small_patch16_224", {"depth": 1, "num_heads": 4, "num_classes": 9}),
        ("resnet18", {"drop_rate": 0.2, "output_stride": 32}),
        ("efficientnet_lite0", {"bn_eps": 0.01, "pad_type": "same"}),
        ("mobilenetv2_050", {"bn_eps": 0.1, "act_layer": "relu6"}),
    ],
)
def test_what_model_args_say_is_followed(name, options, tmp_path):
    module = timm_folder(tmp_path, name, **options)
    native = ix.load_model(f"native:{tmp_path}")
    check(native, module, native.input_size)


@pytest.mark.parametrize("name", _core.architectures())
def test_every_name_is_its_librarys_with_all_parts_and_photos(name, tmp_path):
    module, photos = library_of(name)
    shapes = {key: value.shape for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    file = write_holes(shapes | {"not its": (1,)}, tmp_path / "model.safetensors")
    with pytest.raises(
        ix.ModelError, match=r"architecture; left over: `not its`; name the architecture that they are of$"
    ):
        _core.NativeModel(name, file)
    image = Image.open(PHOTOS / "coffee.jpg").convert("RGB")
    found, expected = _core.prepare(name, np.array(image)), photos(image).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in _core.architectures() if name.startswith(("vit_", "deit"))])
def test_heads_are_known_by_name(name, tmp_path):
    if not timm.is_model(name):
        with torch.device("meta"):
            heads = torchvision.models.get_model(name).encoder.layers[0].num_heads
        assert heads == {"b": 12, "l": 16, "h": 16}[name[4]]
        return
    with torch.device("meta"):
        heads = timm.create_model(name, depth=1).blocks[0].attn.num_heads
    module = timm_folder(tmp_path, name, depth=1, embed_dim=heads * 4, mlp_ratio=2.0, num_classes=5)
    native = ix.load_model(f"native:{tmp_path}")
    batch = pictures(1, native.input_size)
    assert_same(native.logits(batch.numpy()), answers(module, batch), tolerance=3e-4)


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_225", "vit_tiny_patch14_224", "vit_tiny_patch16_gap_224", "resnet19"]
)
def test_names_that_no_library_has_are_refused_with_those_that_are_like_them(name, tmp_path):
    near = {"resnet19": "resnet18"}.get(name, "vit_tiny_patch16_224")
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(
        ix.ArgumentError, match=f"`name`: expected a native architecture, got `{name}`; near names: .*{near}"
    ):
        ix.load_model(name, weights=tmp_path / "w.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ix.ModelError, match=f"config.json.*got `{name}`; near names: .*{near}"):
        ix.load_model(f"native:{tmp_path}")
