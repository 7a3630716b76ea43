"""Folders as transformers saves them: classifiers, models of images and texts, detectors, segmentation."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from interpix.cli import main
from prompt_models import PROMPTS, build, photo

transformers = pytest.importorskip("transformers")


def save(tmp_path, *parts):
    for part in parts:
        part.save_pretrained(tmp_path / "model")
    return f"hf:{tmp_path / 'model'}"


def test_prompts_of_a_folder_are_those_of_zero_shot(tmp_path, monkeypatch, capsys):
    model, processor = build("CLIP")
    name = save(tmp_path, model, processor)
    found = ix.load_model(name, prompts=PROMPTS)
    expected = ix.zero_shot(model, processor, PROMPTS)
    picture = expected.preprocess(photo())
    np.testing.assert_array_equal(found.preprocess(photo()), picture)
    np.testing.assert_allclose(found.logits(picture[None]), expected.logits(picture[None]), atol=1e-6)
    assert found.class_names == PROMPTS
    with pytest.raises(ix.ArgumentError, match=r"`name`: expected a model of images alone, or prompts, got CLIPModel"):
        ix.load_model(name)

    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo()).save("photo.png")
    arguments = ["explain", "photo.png", "-m", name, "--steps", "1", "--direction", "insertion", "--quiet"]
    assert main([*arguments, "--prompts", *PROMPTS, "--target", PROMPTS[1]]) == 0
    (result,) = json.loads((tmp_path / "out" / "photo.json").read_text())["results"]
    assert result["target"] == {"index": 1, "name": PROMPTS[1]}
    assert main(arguments) == 2
    assert "`--model`: expected a model of images alone, or prompts" in capsys.readouterr().err
    assert main([*arguments, "--prompts", "a husky"]) == 2
    assert "`--prompts`" in capsys.readouterr().err


def test_prompts_are_for_models_of_images_and_texts():
    with pytest.raises(ix.ArgumentError, match='`prompts`: expected None but for models of images and texts, "hf:ID"'):
        ix.load_model("efficientnet_lite0", prompts=PROMPTS)


def test_a_detector_of_a_folder_finds_boxes(tmp_path):
    config = transformers.YolosConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=[32, 48],
        num_detection_tokens=4, id2label={0: "cat", 1: "dog"},
    )  # fmt: skip
    processor = transformers.YolosImageProcessor(size={"height": 32, "width": 48}, do_pad=False)
    name = save(tmp_path, transformers.YolosForObjectDetection(config), processor)
    model = ix.load_model(name)
    found = ix.MoXI(model, regions="2x3", output=ix.outputs.Boxes(min_score=0.0)).explain(photo(50, 75), stop=1)
    assert found.image.shape == (32, 48, 3)
    assert found.name_of(found.target).split()[0] in ("cat", "dog")


def test_a_segmentation_of_a_folder_explains_a_region(tmp_path):
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, num_labels=3,
    )  # fmt: skip
    processor = transformers.SegformerImageProcessor(size={"height": 32, "width": 48})
    name = save(tmp_path, transformers.SegformerForSemanticSegmentation(config), processor)
    mask = np.zeros((32, 48), bool)
    mask[4:20, 6:30] = True
    found = ix.MoXI(ix.load_model(name), regions="2x3", output=ix.outputs.Segments(mask)).explain(photo(50, 75), stop=2)
    assert 0 < found.full.answer <= 1
    assert found.full.holds


def test_a_path_in_the_place_of_a_name_says_how_it_is_loaded(tmp_path, monkeypatch):
    with pytest.raises(ix.ArgumentError, match=re.escape(f'a folder; use "native:{tmp_path}"')):
        ix.load_model(str(tmp_path))
    (tmp_path / "net.onnx").touch()
    with pytest.raises(ix.ArgumentError, match=re.escape(f'a folder; use "{tmp_path / "net.onnx"}"')):
        ix.load_model(str(tmp_path))
    weights = tmp_path / "net.safetensors"
    weights.touch()
    with pytest.raises(ix.ArgumentError, match=re.escape(f'a file; use load_model(NAME, weights="{weights}")')):
        ix.load_model(str(weights))
    # A name stays a name where a folder has it, too.
    (tmp_path / "resnet18").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ix.MissingDependencyError, match="no package brings weights of `resnet18`"):
        ix.load_model("resnet18")


@pytest.mark.parametrize("source", ["", "timm:", "torchvision:"])
def test_a_misspelled_name_is_told_with_near_ones(source):
    for library in filter(None, [source.rstrip(":")]):
        pytest.importorskip(library)
    with pytest.raises(ix.ArgumentError, match=f"near names: .*{source}resnet18") as raised:
        ix.load_model(f"{source}resnet81")
    names = str(raised.value).split("near names: ")[1].split(";")[0].split(", ")
    assert len(names) <= 5
    assert all(name.startswith(source) for name in names)


@pytest.mark.parametrize("name", ["", " ", "\udce4", "no\0name"])
def test_what_is_no_name_is_told(name):
    with pytest.raises(ix.ArgumentError, match="`name`: expected the name of a model"):
        ix.load_model(name)
