"""Files of weights for native models: what is missing, damaged or hostile is named."""

import json
import pickle
import re

import pytest

import interpix as ix

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")
from safetensors.torch import load_file, save_file  # noqa: E402 - torch is optional

from native_models import (  # noqa: E402 - which need torch
    check,
    hostile,
    timm_folder,
    with_weights,
    write,
)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_are_widened(dtype, tmp_path):
    module = with_weights(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2)).to(dtype)
    write(module, tmp_path / "model.safetensors")
    described = {"model_args": {"depth": 2}, "pretrained_cfg": {"input_size": [3, 32, 32]}}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224"} | described))
    check(ix.load_model(f"native:{tmp_path}"), module.float(), (32, 32))


def test_what_is_missing_left_over_or_of_another_shape_is_named(tmp_path):
    file = write(timm.create_model("vit_tiny_patch16_224"), tmp_path / "w.safetensors")
    state = load_file(file)
    state["extra.weight"] = state.pop("blocks.0.norm2.bias")
    state["blocks.0.mlp.fc2.bias"] = torch.zeros(3)
    state["bn1.num_batches_tracked"] = torch.tensor(3)
    save_file(state, file)
    with pytest.raises(ix.ModelError) as error:
        ix.load_model("vit_tiny_patch16_224", weights=file)
    text = str(error.value)
    assert (
        "missing: `blocks.0.norm2.bias`; left over: `extra.weight`; of another shape: `blocks.0.mlp.fc2.bias`" in text
    )
    assert "(expected [192], got [3])" in text
    assert str(file) in text
    assert "num_batches" not in text


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_base_patch16_clip_224", {"depth": 2, "embed_dim": 48}),
        ("deit_tiny_distilled_patch16_224", {"depth": 2, "embed_dim": 48}),
        ("deit3_small_patch16_224", {"depth": 2, "embed_dim": 48}),
        ("vit_little_patch16_reg4_gap_256", {"depth": 2, "embed_dim": 40}),
        ("resnet18", {}),
        ("mobilenetv2_050", {}),
        ("tf_efficientnet_lite0", {}),
    ],
)
def test_each_tensor_that_is_missing_is_named(name, options, tmp_path):
    """What a network has is known: without a bias, a norm, a token or its last block it is no smaller network."""
    timm_folder(tmp_path, name, num_classes=3, **options)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    names = [key for key in state if not key.endswith("num_batches_tracked")]
    # The blocks of convolutional networks are alike, and 7 is prime to what a block has.
    for missing in names if "blocks.1.attn.qkv.weight" in state else names[::7]:
        save_file({key: value for key, value in state.items() if key != missing}, file)
        with pytest.raises(ix.ModelError, match=f"`{re.escape(missing)}`"):
            ix.load_model(f"native:{tmp_path}")
    if "blocks.1.attn.qkv.weight" in state:
        save_file({key: value for key, value in state.items() if not key.startswith("blocks.1.")}, file)
        with pytest.raises(ix.ModelError, match=r"missing: `blocks\.1\."):
            ix.load_model(f"native:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "`fc.weight` is missing; is this file another architecture's?"),
        ("resnet50", "`fc.weight` is missing; is this file another architecture's?"),
        ("vit_small_patch16_224", r"of another shape: `cls_token` \(expected \[1, 1, 384\], got \[1, 1, 192\]\)"),
        ("vit_tiny_patch16_384", r"of another shape: `pos_embed` \(expected \[1, 577, 192\], got \[1, 197, 192\]\)"),
        ("deit_tiny_distilled_patch16_224", "missing: `dist_token`, `head_dist.weight`, `head_dist.bias`"),
        ("vit_tiny_patch16_224", "missing: `blocks.1.attn.qkv.weight`"),
        ("efficientnet_lite0", "`conv_stem.weight` is missing; is this file another architecture's?"),
        ("mobilenetv2_100", "`conv_stem.weight` is missing; is this file another architecture's?"),
    ],
)
def test_weights_of_another_architecture_are_refused(name, message, tmp_path):
    file = write(timm.create_model("vit_tiny_patch16_224", depth=1), tmp_path / "w.safetensors")
    with pytest.raises(ix.ModelError, match=rf"w\.safetensors: .*{message}"):
        ix.load_model(name, weights=file)


def test_a_second_head_without_its_token_is_left_over(tmp_path):
    """Made so by hand: it must neither be read nor bring the process down."""
    timm_folder(tmp_path, depth=1, num_classes=3)
    file = tmp_path / "model.safetensors"
    more = {"head_dist.weight": torch.zeros(3, 192), "head_dist.bias": torch.zeros(3)}
    save_file(load_file(file) | more, file)
    with pytest.raises(ix.ModelError, match=r"left over: `head_dist\.bias`, `head_dist\.weight`"):
        ix.load_model(f"native:{tmp_path}")


HOSTILE = {
    "empty": (b"", "it is empty"),
    "short": (b"\x05\x00", "not a readable safetensors file"),
    "no header": (hostile(b""), "not a readable safetensors file"),
    "endless header": (hostile({}, length=2**63), "not a readable safetensors file"),
    "header beyond the file": (hostile({}, length=10_000), "not a readable safetensors file"),
    "no JSON": (hostile(b"{" + b"[" * 100_000), "not a readable safetensors file"),
    "huge shape": (
        hostile({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"abcd"),
        "not a readable safetensors file",
    ),
    "offsets beyond": (
        hostile({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]}}, b"abcd"),
        "not a readable safetensors file",
    ),
    "overlap": (
        hostile({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in ("a", "b")}, b"abcd"),
        "not a readable safetensors file",
    ),
    "another type": (
        hostile({"patch_embed.proj.weight": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, b"abcd"),
        "expected 4 dimensions, none of them 0|missing",
    ),
    "a pickle": (pickle.dumps({"a": print}), "cannot read the checkpoint"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + b"\x00" * 100, "not a readable safetensors file"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18", "efficientnet_lite0", "mobilenetv2_100"])
def test_hostile_files_are_refused_by_name(kind, name, tmp_path):
    content, message = HOSTILE[kind]
    file = tmp_path / "w.safetensors"
    file.write_bytes(content)
    with pytest.raises(ix.ModelError, match=rf"w\.safetensors: .*({message})"):
        ix.load_model(name, weights=file)


def test_half_read_types_are_refused(tmp_path):
    timm_folder(tmp_path, depth=1, num_classes=3)
    file = tmp_path / "model.safetensors"
    save_file(load_file(file) | {"norm.bias": torch.zeros(192, dtype=torch.uint8)}, file)
    with pytest.raises(
        ix.ModelError, match=r"`norm\.bias`: expected F32, F16 or BF16, got U8; save it as one of these"
    ):
        ix.load_model(f"native:{tmp_path}")
