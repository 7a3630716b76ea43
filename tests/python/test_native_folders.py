"""Native models of folders as hubs give them: configurations, image processors, labels."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from interpix.models.adapters.native import describe_models

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")

from native_models import (  # noqa: E402 - which need torch
    COLORS,
    PHOTOS,
    TRANSFORMERS,
    check,
    pictures,
    timm_folder,
    transformers_folder,
    transformers_model,
    with_weights,
    write,
)


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
