"""Native architectures with anybody's weights: they say what timm's, torchvision's and transformers' modules say."""

import json
import pickle
import re
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


def small(config, **options):
    return config(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, **options)


IMAGE = {"image_size": (32, 48), "patch_size": 8, "num_labels": 5}
BOTTLENECKS, BASIC = [256, 512, 1024, 2048], [64, 128, 256, 512]
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


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_logits_are_those_of_transformers(name, tmp_path):
    module = transformers_model(name)
    size = (32, 48) if "it" in name else (64, 97)
    native = ix.load_model(f"native:{transformers_folder(module, tmp_path)}")
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


PROCESSORS = {
    "vit": transformers.ViTImageProcessor(size={"height": 32, "width": 48}),
    "vit of other colors": transformers.ViTImageProcessor(
        size={"height": 32, "width": 48}, resample=3, image_std=COLORS["std"]
    ),
    "vit, a number": transformers.ViTImageProcessor(
        size=48, do_center_crop=True, crop_size={"height": 32, "width": 48}
    ),
    "vit, the shortest edge": transformers.ViTImageProcessor(
        size={"shortest_edge": 51}, do_center_crop=True, crop_size={"height": 32, "width": 48}
    ),
    "deit": transformers.DeiTImageProcessor(
        size={"height": 49, "width": 64}, crop_size={"height": 32, "width": 48}, image_mean=COLORS["mean"]
    ),
    "deit, a number": transformers.DeiTImageProcessor(size=55, crop_size={"height": 32, "width": 48}),
    "mobilenet": transformers.MobileNetV2ImageProcessor(
        size={"shortest_edge": 51}, crop_size={"height": 32, "width": 48}, rescale_factor=1 / 127.5
    ),
    "mobilenet, a number": transformers.MobileNetV2ImageProcessor(size=53, crop_size={"height": 32, "width": 48}),
}


def assert_prepared_as(processor, native):
    for photo in ("coffee.jpg", "chelsea.jpg"):
        image = Image.open(PHOTOS / photo).convert("RGB")
        theirs = processor(images=image, return_tensors="pt")["pixel_values"].numpy()[0]
        ours = native.preprocess(np.array(image))
        assert ours.shape == theirs.shape
        # They resize by torch, whose bytes differ by one or two here and there; a crop beside it differs everywhere.
        byte = np.ptp(theirs) / 255
        assert np.abs(ours - theirs).max() < 4 * byte
        assert np.abs(ours - theirs).mean() < 0.2 * byte


@pytest.mark.parametrize("kind", PROCESSORS)
def test_photos_are_prepared_as_transformers_does(kind, tmp_path):
    folder = transformers_folder(transformers_model("vit"), tmp_path, PROCESSORS[kind])
    assert_prepared_as(PROCESSORS[kind], ix.load_model(f"native:{folder}"))


@pytest.mark.parametrize("options", [{"size": 64}, {"size": 70, "crop_pct": 0.8}, {"size": {"shortest_edge": 384}}])
def test_photos_of_a_convnext_processor_are_prepared_as_transformers_does(options, tmp_path):
    processor = transformers.ConvNextImageProcessor(**options)
    folder = transformers_folder(transformers_model("resnet of basic blocks"), tmp_path, processor)
    assert_prepared_as(processor, ix.load_model(f"native:{folder}"))


def test_what_a_file_of_old_leaves_out_is_as_its_models_processor_has_it(tmp_path):
    """Files of old transformers have whole numbers for sizes, and often no class."""
    for name, processor in (
        ("mobilenet", transformers.MobileNetV2ImageProcessor(size=70, crop_size=48)),
        ("resnet of basic blocks", transformers.ConvNextImageProcessor(size=70)),
        ("deit", transformers.DeiTImageProcessor(size=48, crop_size={"height": 32, "width": 48})),
    ):
        folder = transformers_folder(transformers_model(name), tmp_path / name, processor)
        crop = json.loads((folder / "preprocessor_config.json").read_text()).get("crop_size")
        size = 48 if name == "deit" else 70
        (folder / "preprocessor_config.json").write_text(json.dumps({"size": size, "crop_size": crop}))
        assert_prepared_as(processor, ix.load_model(f"native:{folder}"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image_processor_type": "CLIPImageProcessor"},
            '`image_processor_type`: .* got "CLIPImageProcessor"; load it as',
        ),
        ({"rescale_offset": True}, "`rescale_offset`: expected nothing, .* got true; load it as a torch model"),
        ({"do_normalize": False}, "`do_normalize`: expected true, got false"),
        ({"do_resize": "yes"}, '`do_resize`: expected true, got "yes"'),
        ({"do_pad": True}, "`do_pad`: expected false, got true"),
        ({"crop_pct": 0.9}, "`crop_pct`: expected nothing, but of ConvNext's"),
        ({"resample": 4}, "`resample`: expected 1, 2 or 3, got 4"),
        ({"resample": "2"}, '`resample`: expected a whole number .* got "2"'),
        ({"size": {"shortest_edge": 48}}, "`do_center_crop`: expected true"),
        (
            {"size": {"shortest_edge": 48, "longest_edge": 60}},
            "`size`: expected height and width, or the shortest edge",
        ),
        (
            {"size": {"shortest_edge": 1 << 20}, "do_center_crop": True},
            "`size.shortest_edge`: .* to 16384, got 1048576",
        ),
        ({"size": [32, 48, 3, 4]}, "`size`: expected height and width"),
        ({"do_center_crop": True, "crop_size": 99}, "expected a crop that is not larger .* got 99 x 99 from 32 x 48"),
        ({"rescale_factor": 0}, "`rescale_factor`: expected a positive number"),
        ({"rescale_factor": 1e-300}, "`rescale_factor`: expected a positive number"),
        ({"image_std": [1, 1, 0]}, "`image_std`: expected three numbers"),
        ({"image_mean": 0.5}, "`image_mean`: expected three numbers"),
    ],
)
def test_processors_that_cannot_be_followed_are_named(changes, message, tmp_path):
    folder = transformers_folder(transformers_model("vit"), tmp_path, PROCESSORS["vit"])
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ix.ModelError, match=f"preprocessor_config.json`: .*{message}"):
        ix.load_model(f"native:{folder}")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("vit", {"model_type": "swin"}, '`model_type`: expected "vit" or "deit" or "resnet" .* got "swin"'),
        ("vit", {"model_type": 3}, "`model_type`: expected a text, got 3"),
        ("vit", {"hidden_act": "gelu_new"}, '`hidden_act`: expected "gelu", got "gelu_new"'),
        ("vit", {"num_attention_heads": "4"}, '`num_attention_heads`: expected a whole number .* got "4"'),
        ("vit", {"num_attention_heads": 5}, "heads that share 64 channels evenly, got 5; say `num_heads`"),
        ("vit", {"num_hidden_layers": 1}, "left over: `vit.encoder.layer.1"),
        ("vit", {"num_hidden_layers": 3}, "missing: `vit.encoder.layer.2"),
        ("vit", {"hidden_size": 32}, "of another shape: .*expected .32"),
        ("vit", {"qkv_bias": False}, "left over: .*query.bias"),
        ("vit without bias", {"qkv_bias": True}, "missing: .*query.bias"),
        ("vit", {"qkv_bias": 1}, "`qkv_bias`: expected true or false, got 1; correct the file"),
        ("vit", {"layer_norm_eps": 0}, "`layer_norm_eps`: expected a positive number"),
        ("vit", {"layer_norm_eps": 1e300}, "`layer_norm_eps`: expected a positive number"),
        ("vit", {"image_size": 1 << 40}, "`image_size`: expected height and width in pixels"),
        ("vit", {"id2label": {"0": "one"}}, "says 1 classes, its weights have 5"),
        ("vit", {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "says 2 classes, its weights have 5"),
        ("vit", {"id2label": ["one"]}, "`id2label`: expected a name for each class from 0 on"),
        ("vit", {"problem_type": "regression"}, '`problem_type`: expected a classification, got "regression"; load it'),
        ("vit", {"problem_type": "ranking"}, '`problem_type`: expected "single_label_classification" or'),
        (
            "resnet of basic blocks",
            {"layer_type": "wide"},
            '`layer_type`: expected "bottleneck" or "basic", got "wide"',
        ),
        ("resnet of basic blocks", {"depths": [2, 1, 2]}, "`depths`: expected four whole numbers"),
        ("resnet of basic blocks", {"depths": [2, 1, 2, "1"]}, "`depths`: expected four whole numbers"),
        ("resnet of basic blocks", {"downsample_in_first_stage": True}, "`downsample_in_first_stage`: expected false"),
        ("resnet of basic blocks", {"hidden_act": "gelu"}, '`hidden_act`: expected "relu"'),
        ("mobilenet", {"output_stride": 16}, "`output_stride`: expected 32, got 16"),
        ("mobilenet", {"tf_padding": "no"}, '`tf_padding`: expected true or false, got "no"'),
        ("mobilenet", {"hidden_act": "relu"}, '`hidden_act`: expected "relu6", got "relu"'),
    ],
)
def test_what_transformers_configurations_say_is_followed_or_refused(name, changes, message, tmp_path):
    folder = transformers_folder(transformers_model(name), tmp_path)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ix.ModelError, match=message):
        ix.load_model(f"native:{folder}")


def test_labels_on_their_own_are_a_sigmoid_as_in_torch(tmp_path):
    module = transformers_model("vit")
    module.config.problem_type = "multi_label_classification"
    native = ix.load_model(f"native:{transformers_folder(module, tmp_path, PROCESSORS['vit'])}")
    torch_model = ix.TorchClassifier(module)
    assert native.output == torch_model.output == ix.outputs.Sigmoid()
    image = pictures(1, (32, 48))[0].numpy()
    ours, theirs = (ix.MoXI(model, regions="tokens").explain(image, 3, stop=3) for model in (native, torch_model))
    np.testing.assert_allclose(ours.rewards, theirs.rewards, atol=2e-5)
    np.testing.assert_array_equal(ours.ranking, theirs.ranking)
    assert pickle.loads(pickle.dumps(native)).output == ix.outputs.Sigmoid()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_are_widened(dtype, tmp_path):
    module = with_weights(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2)).to(dtype)
    write(module, tmp_path / "model.safetensors")
    described = {"model_args": {"depth": 2}, "pretrained_cfg": {"input_size": [3, 32, 32]}}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224"} | described))
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


@pytest.fixture(scope="module")
def without_prefix(tmp_path_factory):
    """The same without any token but those of patches, so that where all are masked nobody sees anything."""
    folder = tmp_path_factory.mktemp("without_prefix")
    options = {"img_size": [32, 48], "patch_size": 8, "depth": 2, "num_classes": 6, "embed_dim": 64, "num_heads": 2}
    size = {"input_size": [3, 32, 48]}
    module = timm_folder(folder, "vit_base_patch16_gap_224", cfg=size, **options)
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


@pytest.mark.parametrize("absence", [DropTokens(), MaskAttention(), MaskAttention(1)])
def test_tokens_that_see_nothing_are_as_in_torch(without_prefix, absence):
    assert not MASKS[0].any()
    for ours, theirs in zip(*(rewards(model, absence, MASKS) for model in without_prefix), strict=True):
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_no_coalitions_of_no_images_are_no_logits(vit):
    tokens = vit[0]._model.tokens(np.zeros((0, 3, 32, 48), np.float32))
    for masked in (False, True):
        for from_layer in (0, 1):
            none = tokens.logits(np.zeros(0, np.int64), np.zeros((0, 24), bool), masked=masked, from_layer=from_layer)
            assert none.shape == (0, 6)


def test_attention_between_more_tokens_than_fit_into_memory_is_refused(tmp_path):
    """262,144 tokens: the weights take 8 MB, what one head says of each to each 256 GiB."""
    options = {"patch_size": 1, "depth": 1, "embed_dim": 8, "num_heads": 1, "num_classes": 2, "mlp_ratio": 1.0}
    timm_folder(tmp_path, cfg={"input_size": [3, 512, 512]}, img_size=512, **options)
    native = ix.load_model(f"native:{tmp_path}")
    image = np.zeros((1, 3, 512, 512), np.float32)
    with pytest.raises(MemoryError, match=r"`batch`: the network needs .* bytes"):
        native.logits(image)
    with pytest.raises(MemoryError, match=r"`batch`: the network needs .* bytes"):
        native._model.tokens(image)


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


VIT = '{"architecture": "vit_tiny_patch16_224", '
RESNET = '{"architecture": "resnet18", '


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "it is no JSON .*; correct the file"),
        ("[1]", "it is no JSON object; correct the file"),
        ("{}", "`architecture`: expected the name of a timm architecture, got nothing; correct"),
        ('{"architecture": 3}', "`architecture`: expected a text, got 3; correct"),
        ('{"architecture": "swin_tiny"}', "expected a native architecture, got `swin_tiny`; near names: "),
        (RESNET + '"pretrained_cfg": 3}', "`pretrained_cfg`: expected an object, got 3"),
        (RESNET + '"model_args": [3]}', "`model_args`: expected an object, got .3."),
        (RESNET + '"pretrained_cfg": {"mean": [1]}}', "`pretrained_cfg.mean`: expected three numbers .* got .1."),
        (RESNET + '"pretrained_cfg": {"mean": "dark"}}', '`pretrained_cfg.mean`: expected three .* got "dark"'),
        (RESNET + '"pretrained_cfg": {"std": [1, 0, 1]}}', "`pretrained_cfg.std`: expected three .* got .1,0,1."),
        (RESNET + '"pretrained_cfg": {"crop_pct": -1}}', "crop_pct`: expected a positive .* got -1; correct"),
        (RESNET + '"pretrained_cfg": {"crop_pct": "0.9"}}', 'crop_pct`: expected a positive .* got "0.9"'),
        (RESNET + '"pretrained_cfg": {"crop_pct": 1e-300}}', "crop_pct`: expected a positive .* got 1e-300"),
        (RESNET + '"pretrained_cfg": {"crop_pct": 0.002}}', "`crop_pct`.*: expected sides of 1 to 16384 pixels"),
        (RESNET + '"pretrained_cfg": {"crop_pct": 2}}', "not larger than the photo .* got 224 x 224 from 112 x 112"),
        (RESNET + '"pretrained_cfg": {"crop_mode": "border"}}', 'crop_mode`: expected "center" or "squash"'),
        (RESNET + '"pretrained_cfg": {"input_size": [3, 0, 9]}}', "input_size`: expected height and width"),
        (RESNET + '"pretrained_cfg": {"input_size": [3, 99999, 9]}}', "input_size`: expected height and width"),
        (RESNET + '"pretrained_cfg": {"input_size": [1, 64, 64]}}', "input_size`: expected .* of three colors"),
        (RESNET + '"pretrained_cfg": {"interpolation": "box"}}', 'interpolation`: expected "bicubic" or'),
        (RESNET + '"label_names": [1]}', "`label_names`: expected a list of names, got .1."),
        (RESNET + '"num_classes": 3}', "says 3 classes, its weights have 1000"),
        (RESNET + '"model_args": {"output_stride": 8}}', "`model_args.output_stride`: expected 32, got 8; load it"),
        (RESNET + '"model_args": {"act_layer": "silu"}}', '`model_args.act_layer`: expected "relu", got "silu"'),
        (RESNET + '"model_args": {"global_pool": "max"}}', '`model_args.global_pool`: expected "avg", got "max"'),
        (RESNET + '"model_args": {"stem_type": "deep"}}', '`model_args.stem_type`: expected "", got "deep"'),
        (RESNET + '"model_args": {"aa_layer": "blur"}}', "`model_args.aa_layer`: expected nothing, .* got .blur"),
        (RESNET + '"model_args": {"in_chans": 1}}', "`model_args.in_chans`: expected 3, got 1"),
        (VIT + '"global_pool": "map"}', '`global_pool`: expected "token" or "avg", got "map"'),
        (VIT + '"model_args": {"act_layer": "quick_gelu"}}', '`model_args.act_layer`: expected "gelu", got "quick'),
        (VIT + '"model_args": {"norm_layer": "rmsnorm"}}', "`model_args.norm_layer`: expected nothing"),
        (VIT + '"model_args": {"qk_norm": true}}', "`model_args.qk_norm`: expected false, got true"),
        (VIT + '"model_args": {"qkv_bias": "no"}}', '`model_args.qkv_bias`: expected true or false, got "no"'),
        (VIT + '"model_args": {"num_heads": 5}}', "heads that share 192 channels evenly, got 5; say `num_heads`"),
        (VIT + '"model_args": {"num_heads": 1e3}}', "`model_args.num_heads`: expected a whole number"),
        (VIT + '"model_args": {"class_token": false}}', "expected a class token, or the mean"),
        (VIT + '"model_args": {"img_size": 100}}', "made of patches of 16 x 16, got 100 x 100; correct"),
        (VIT + '"model_args": {"img_size": [224, 1e30]}}', "`model_args.img_size`: expected height and width"),
        (
            '{"architecture": "mobilenetv2_100", "model_args": {"bn_eps": 0}}',
            "`model_args.bn_eps`: expected a positive",
        ),
        (
            '{"architecture": "efficientnet_lite0", "model_args": {"pad_type": "valid"}}',
            'pad_type`: expected "" or "same"',
        ),
    ],
)
def test_configurations_that_cannot_be_followed_are_named(config, message, tmp_path):
    name = "resnet18" if config.startswith(RESNET) else "vit_tiny_patch16_224"
    write(timm.create_model(name), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ix.ModelError, match=f"(config.json|model.safetensors|resnet18)`?: .*{message}"):
        ix.load_model(f"native:{tmp_path}")


def test_a_folder_of_transformers_needs_its_processor(tmp_path):
    write(timm.create_model("vit_tiny_patch16_224", depth=1), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(OSError, match=r"preprocessor_config\.json"):
        ix.load_model(f"native:{tmp_path}")


def test_a_configuration_is_read_to_a_bound(tmp_path):
    timm_folder(tmp_path, "resnet18")
    with (tmp_path / "config.json").open("ab") as file:
        file.truncate(17 << 20)
    with pytest.raises(ix.ModelError, match=r"config\.json`: expected at most 16777216 bytes, got more; correct"):
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
    with pytest.raises(ix.ArgumentError, match="`name`: expected a native architecture, got `swin_tiny`"):
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
