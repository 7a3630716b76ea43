"""Native architectures with anybody's weights: they say what timm's, torchvision's and transformers' modules say."""

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from interpix import _core
from interpix.absence import DropTokens, Fill, MaskAttention
from interpix.models.adapters.native import describe_models
from interpix.models.protocol.classifier import Coalitions

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")
from safetensors.torch import load_file, save_file  # noqa: E402 - torch is optional

PHOTOS = Path(__file__).parents[2] / "examples"
COLORS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


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
            elif "gamma" in name or "token" in name or "pos" in name:
                value.copy_(noise * 0.3)
            elif name.endswith("bias") or name.endswith("running_mean"):
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


@pytest.mark.parametrize("name", _core.architectures())
def test_every_name_is_its_librarys_with_all_parts_and_photos(name, tmp_path):
    module, photos = library_of(name)
    shapes = {key: value.shape for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    file = write_holes(shapes | {"not its": (1,)}, tmp_path / "model.safetensors")
    with pytest.raises(ix.ModelError, match=r"architecture; left over: `not its`; name the architecture that they are of$"):
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


@pytest.mark.parametrize("name", ["vit_tiny_patch16_225", "vit_tiny_patch14_224", "vit_tiny_patch16_gap_224", "resnet19"])
def test_names_that_no_library_has_are_refused_with_those_that_are_like_them(name, tmp_path):
    near = {"resnet19": "resnet18"}.get(name, "vit_tiny_patch16_224")
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(ix.ArgumentError, match=f"`name`: expected a native architecture, got `{name}`; near names: .*{near}"):
        ix.load_model(name, weights=tmp_path / "w.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ix.ModelError, match=f"config.json.*got `{name}`; near names: .*{near}"):
        ix.load_model(f"native:{tmp_path}")


def small(config, **options):
    return config(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, **options)


def transformers_models():
    image = {"image_size": (32, 48), "patch_size": 8, "num_labels": 5}
    yield transformers.ViTForImageClassification(small(transformers.ViTConfig, **image)), (32, 48)
    no_bias = small(transformers.ViTConfig, **image, qkv_bias=False)
    yield transformers.ViTForImageClassification(no_bias), (32, 48)
    yield transformers.DeiTForImageClassification(small(transformers.DeiTConfig, **image)), (32, 48)
    yield transformers.DeiTForImageClassificationWithTeacher(small(transformers.DeiTConfig, **image)), (32, 48)
    for kind, widths in (("basic", [64, 128, 256, 512]), ("bottleneck", [256, 512, 1024, 2048])):
        config = transformers.ResNetConfig(depths=[2, 1, 2, 1], layer_type=kind, hidden_sizes=widths, num_labels=5)
        yield transformers.ResNetForImageClassification(config), (64, 96)
    config = transformers.MobileNetV2Config(num_labels=5)
    yield transformers.MobileNetV2ForImageClassification(config), (64, 97)


def transformers_folder(module, folder, processor=None):
    module.config.id2label = {index: f"class {index}" for index in range(module.config.num_labels)}
    module.save_pretrained(folder)
    (processor or transformers.ViTImageProcessor()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("index", range(7))
def test_logits_are_those_of_transformers(index, tmp_path):
    module, size = list(transformers_models())[index]
    native = ix.load_model(f"native:{transformers_folder(with_weights(module), tmp_path)}")
    check(native, module, size)
    assert native.class_names == [f"class {index}" for index in range(5)]


def test_a_timm_folder_tells_size_classes_and_names(tmp_path):
    options = {"img_size": [64, 96], "num_classes": 3, "depth": 2, "embed_dim": 96, "num_heads": 4}
    names = ["cat", "dog", "duck"]
    size = {"input_size": [3, 64, 96]}
    module = timm_folder(tmp_path, config={"label_names": names}, cfg=size, **options)
    native = ix.load_model(f"native:{tmp_path}")
    check(native, module, (64, 96))
    assert (native.class_names, native.input_size, native.token_grid) == (names, (64, 96), (4, 6))
    assert native.name == "vit_tiny_patch16_224"
    assert "3 classes" in repr(native)


@pytest.mark.parametrize("photo", ["coffee.jpg", "chelsea.jpg"])
@pytest.mark.parametrize(
    "cfg",
    [
        {"crop_pct": 0.9, "interpolation": "bicubic"},
        {"crop_pct": 0.875, "interpolation": "bilinear", **COLORS},
        {"crop_pct": 1.0, "interpolation": "lanczos"},
        {"crop_pct": 0.9, "crop_mode": "squash"},
        {"crop_pct": 0.9, "input_size": [3, 64, 96]},
    ],
)
def test_photos_are_prepared_as_timm_does(photo, cfg, tmp_path):
    size = cfg.get("input_size", [3, 64, 64])
    cfg = {"input_size": size} | cfg
    module = timm_folder(tmp_path, cfg=cfg, img_size=size[1:], depth=1)
    native = ix.load_model(f"native:{tmp_path}")
    image = Image.open(PHOTOS / photo).convert("RGB")
    config = timm.data.resolve_data_config({}, pretrained_cfg=module.pretrained_cfg | cfg)
    transform = timm.data.create_transform(**config, is_training=False)
    ours, theirs = native.preprocess(np.array(image)), transform(image).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "processor",
    [
        transformers.ViTImageProcessor(size={"height": 32, "width": 48}),
        transformers.DeiTImageProcessor(
            size={"height": 48, "width": 64}, crop_size={"height": 32, "width": 48}, image_mean=COLORS["mean"]
        ),
        transformers.ViTImageProcessor(size={"height": 32, "width": 48}, resample=3, image_std=COLORS["std"]),
    ],
)
def test_photos_are_prepared_as_transformers_does(processor, tmp_path):
    module = with_weights(next(transformers_models())[0])
    native = ix.load_model(f"native:{transformers_folder(module, tmp_path, processor)}")
    image = Image.open(PHOTOS / "coffee.jpg").convert("RGB")
    theirs = processor(images=image, return_tensors="pt")["pixel_values"]
    ours = native.preprocess(np.array(image))
    assert ours.shape == theirs.shape[1:]
    assert_same(native.logits(ours[None]), answers(module, theirs), tolerance=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_are_widened(dtype, tmp_path):
    module = with_weights(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2)).to(dtype)
    write(module, tmp_path / "w.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"input_size": [3, 32, 32]}})
    )
    (tmp_path / "w.safetensors").rename(tmp_path / "model.safetensors")
    check(ix.load_model(f"native:{tmp_path}"), module.float(), (32, 32))


# Absence


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A small native Vision Transformer and the torch module that it is."""
    folder = tmp_path_factory.mktemp("vit")
    size = {"input_size": [3, 32, 48]}
    module = timm_folder(folder, cfg=size, img_size=[32, 48], patch_size=8, depth=3, num_classes=6)
    return ix.load_model(f"native:{folder}"), ix.TorchClassifier(module)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """The same, with registers and the mean of its patches."""
    folder = tmp_path_factory.mktemp("pooled")
    options = {"img_size": [32, 48], "patch_size": 8, "depth": 2, "num_classes": 6, "embed_dim": 64, "num_heads": 1}
    size = {"input_size": [3, 32, 48]}
    module = timm_folder(folder, "vit_base_patch16_reg4_gap_256", cfg=size, **options)
    return ix.load_model(f"native:{folder}"), ix.TorchClassifier(module)


def rewards(model, absence, masks, owner=None):
    images = pictures(2, (32, 48)).numpy()
    regions = np.tile(np.kron(np.arange(24).reshape(4, 6), np.ones((8, 8), np.int64)), (2, 1, 1))
    owner = np.arange(len(masks)) % 2 if owner is None else owner
    targets = np.tile([0, 3], (len(masks), 1))
    return model.scorer(images, regions, absence).score(Coalitions.of_masks(owner, masks, targets))


MASKS = np.random.default_rng(0).random((9, 24)) < np.linspace(0, 1, 9)[:, None]


@pytest.mark.parametrize("absence", [DropTokens(), MaskAttention(), MaskAttention(1), MaskAttention(2), Fill(0.3)])
def test_absent_patches_are_absent_as_in_torch(vit, absence):
    for ours, theirs in zip(*(rewards(model, absence, MASKS) for model in vit), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("absence", [DropTokens(), MaskAttention(), MaskAttention(1), Fill()])
def test_absent_patches_of_a_pooled_model_are_absent_as_in_torch(pooled, absence):
    for ours, theirs in zip(*(rewards(model, absence, MASKS) for model in pooled), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_dropped_tokens_are_those_that_attention_never_sees(vit):
    dropped, masked = (rewards(vit[0], absence, MASKS) for absence in (DropTokens(), MaskAttention(0)))
    for ours, theirs in zip(dropped, masked, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_neither_batches_nor_threads_change_what_tokens_say(vit):
    together = rewards(vit[0], DropTokens(), MASKS)
    for row in range(len(MASKS)):
        alone = rewards(vit[0], DropTokens(), MASKS[row : row + 1], np.array([row % 2]))
        assert [one[0].tolist() for one in alone] == [one[row].tolist() for one in together]
    _core.set_threads(1)
    try:
        serial = rewards(vit[0], DropTokens(), MASKS)
    finally:
        _core.set_threads(0)
    for one, other in zip(serial, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_block_that_is_not_there_is_named(vit):
    with pytest.raises(ix.ArgumentError, match=r"`from_layer`: expected a block of model .* 0 ... 2, got 3"):
        rewards(vit[0], MaskAttention(3), MASKS)
    images, regions = pictures(1, (32, 48)).numpy(), np.zeros((1, 32, 48), np.int64)
    coalitions = Coalitions.of_masks(np.zeros(1, int), np.ones((1, 1), bool), np.zeros((1, 1), int))
    scorer = vit[0].scorer(images, regions, DropTokens())
    with pytest.raises(ix.ArgumentError, match="`precision`"):
        scorer.score(coalitions, "mixed")


def brute_force(scorer, players, steps, direction):
    """The ranking by asking about every candidate alone."""
    chosen = []
    for _ in range(steps):
        rest = [player for player in range(players) if player not in chosen]
        masks = np.zeros((len(rest), players), bool)
        for row, player in enumerate(rest):
            masks[row, [*chosen, player]] = True
        if direction == "deletion":
            masks = ~masks
        scores = scorer(masks)
        chosen.append(rest[int(scores.argmax() if direction == "insertion" else scores.argmin())])
    return chosen


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_moxi_on_a_native_transformer_is_brute_force_and_the_torch_path(vit, direction):
    image = pictures(1, (32, 48))[0].numpy()
    ours, theirs = (ix.MoXI(model, regions="tokens").explain(image, 3, direction=direction, stop=5) for model in vit)
    np.testing.assert_array_equal(ours.ranking, theirs.ranking)
    np.testing.assert_allclose(ours.rewards, theirs.rewards, atol=2e-5)
    assert "drop_tokens" in json.dumps(ours.summary())
    regions = np.kron(np.arange(24).reshape(4, 6), np.ones((8, 8), np.int64))[None]
    scorer = vit[0].scorer(image[None], regions, DropTokens())

    def reward(masks):
        coalitions = Coalitions.of_masks(np.zeros(len(masks), int), masks, np.full((len(masks), 1), 3))
        return scorer.score(coalitions).log_odds[:, 0]

    assert ours.ranking.tolist() == brute_force(reward, 24, 5, direction)


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_moxi_on_a_native_resnet_is_the_torch_path(direction, tmp_path):
    size = {"input_size": [3, 64, 96], "crop_pct": 1.0}
    module = timm_folder(tmp_path, "resnet18", cfg=size, num_classes=5)
    native = ix.load_model(f"native:{tmp_path}")
    image = pictures(1, (64, 96))[0].numpy()
    ours, theirs = (
        ix.MoXI(model, regions="3x4").explain(image, 2, direction=direction, stop=4)
        for model in (native, ix.TorchClassifier(module))
    )
    np.testing.assert_array_equal(ours.ranking, theirs.ranking)
    np.testing.assert_allclose(ours.rewards, theirs.rewards, atol=1e-3)


def test_methods_and_metrics_without_gradients_work(vit, tmp_path):
    native = vit[0]
    names = ["rise(count=20)", "shapley(rounds=2)", "moxi"]
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(photo)
    comparison = ix.compare(native, [photo], names, ["insertion(steps=4)", "deletion(steps=4)"])
    assert not comparison.failed
    assert len(comparison.entries) > 0


# Files


def test_what_is_missing_left_over_or_of_another_shape_is_named(tmp_path):
    file = write(timm.create_model("vit_tiny_patch16_224", depth=1), tmp_path / "w.safetensors")
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
    "name", ["resnet18", "resnet50", "vit_base_patch16_224", "efficientnet_lite0", "mobilenetv2_100"]
)
def test_weights_of_another_architecture_are_refused(name, tmp_path):
    file = write(timm.create_model("vit_tiny_patch16_224", depth=1), tmp_path / "w.safetensors")
    if name == "vit_base_patch16_224":  # the file's own width; another size of picture is another number of positions
        name = "vit_base_patch16_384"
    with pytest.raises(ix.ModelError, match=r"w\.safetensors"):
        ix.load_model(name, weights=file)


HOSTILE = {
    "empty": b"",
    "short": b"\x05\x00",
    "no header": hostile(b""),
    "endless header": hostile({}, length=2**63),
    "header beyond the file": hostile({}, length=10_000),
    "no JSON": hostile(b"{" + b"[" * 100_000),
    "huge shape": hostile({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"abcd"),
    "offsets beyond": hostile({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]}}, b"abcd"),
    "overlap": hostile({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in ("a", "b")}, b"abcd"),
    "another type": hostile(
        {"patch_embed.proj.weight": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, b"abcd"
    ),
    "a pickle": pickle.dumps({"a": print}),
    "a picture": b"\x89PNG\r\n\x1a\n" + b"\x00" * 100,
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18", "efficientnet_lite0", "mobilenetv2_100"])
def test_hostile_files_are_refused_by_name(kind, name, tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_bytes(HOSTILE[kind])
    with pytest.raises(ix.ModelError, match=r"w\.safetensors"):
        ix.load_model(name, weights=file)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config.json.*no JSON"),
        ("[1]", "no JSON object"),
        ("{}", "`architecture`: expected the name of a timm architecture, got nothing"),
        ('{"architecture": "swin_tiny"}', "expected one of vit_.*got `swin_tiny`"),
        ('{"architecture": "resnet18", "pretrained_cfg": {"mean": [1]}}', "`pretrained_cfg.mean`: expected three"),
        ('{"architecture": "resnet18", "pretrained_cfg": {"std": [1, 0, 1]}}', "std"),
        ('{"architecture": "resnet18", "pretrained_cfg": {"crop_pct": -1}}', "crop_pct.*positive"),
        ('{"architecture": "resnet18", "pretrained_cfg": {"crop_pct": 2}}', "larger than the photo"),
        ('{"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 0, 9]}}', "input_size.*height and width"),
        ('{"architecture": "resnet18", "pretrained_cfg": {"interpolation": "box"}}', "interpolation"),
        ('{"architecture": "resnet18", "label_names": [1]}', "label_names.*list of names"),
        ('{"architecture": "vit_tiny_patch16_224", "global_pool": "map"}', 'expected "token" or "avg"'),
        ('{"architecture": "vit_tiny_patch16_224", "model_args": {"num_heads": 5}}', "5 heads do not share 192"),
        (
            '{"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 100}}',
            "100 x 100 are not made of patches",
        ),
        ('{"model_type": "swin"}', "preprocessor_config.json"),
    ],
)
def test_configurations_that_cannot_be_followed_are_named(config, message, tmp_path):
    write(timm.create_model("vit_tiny_patch16_224", depth=1), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(config)
    with pytest.raises((ix.ModelError, OSError), match=message):
        ix.load_model(f"native:{tmp_path}")


def test_class_names_of_another_number_are_refused(tmp_path):
    timm_folder(tmp_path, config={"label_names": ["one", "two"]}, depth=1, num_classes=3)
    with pytest.raises(ix.ModelError, match="2 class names for 3 classes"):
        ix.load_model(f"native:{tmp_path}")


def test_folders_and_names_that_are_not_there_are_named(tmp_path, monkeypatch):
    with pytest.raises(ix.ArgumentError, match="`name`: expected native: and a folder"):
        ix.load_model("native:no/such/folder")
    with pytest.raises(ix.ArgumentError, match=r"expected a folder with config\.json"):
        ix.load_model(f"native:{tmp_path}")
    with pytest.raises(ix.ArgumentError, match="`name`: expected one of vit_"):
        ix.load_model("swin_tiny")
    with pytest.raises(ix.MissingDependencyError, match="no package brings weights of `resnet18`: set INTERPIX"):
        ix.load_model("resnet18")
    module = with_weights(torchvision.models.resnet18())
    write(module, tmp_path / "resnet18.safetensors")
    monkeypatch.setenv("INTERPIX_WEIGHTS", str(tmp_path))
    assert ix.load_model("resnet18").class_names[967] == "espresso"
    assert f"found   {tmp_path / 'resnet18.safetensors'}" in describe_models()


def test_a_model_of_a_folder_can_be_pickled_until_the_folder_changes(tmp_path):
    timm_folder(tmp_path, img_size=32, depth=1, num_classes=3, cfg={"input_size": [3, 32, 32]})
    native = ix.load_model(f"native:{tmp_path}")
    batch = pictures(2, (32, 32)).numpy()
    pickled = pickle.dumps(native)
    assert len(pickled) < 10_000
    np.testing.assert_array_equal(pickle.loads(pickled).logits(batch), native.logits(batch))
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text().replace("bicubic", "bilinear"))
    with pytest.raises(ix.ModelError, match="is not as it was when the model was made"):
        pickle.loads(pickled)
