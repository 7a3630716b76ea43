"""PyTorch models: preprocessing, class names and the module itself, as the model's own package has them."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import interpix as ix
from interpix.models import as_classifier
from interpix.models.protocol.classifier import Classifier
from torch_models import HEIGHT, WIDTH, convolutions, picture, vit

timm = pytest.importorskip("timm")


def test_timm_brings_its_preprocessing_and_class_names():
    model = timm.create_model("test_vit", pretrained=False)
    classifier = as_classifier(model)
    assert isinstance(classifier, Classifier)
    assert classifier.name.startswith("timm:test_vit")
    assert classifier.class_names[967] == "espresso"
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 310, 3), dtype=np.uint8))
    config = timm.data.resolve_model_data_config(model)
    expected = timm.data.create_transform(**config, is_training=False)(photo)
    raw = np.asarray(photo)
    np.testing.assert_array_equal(classifier.preprocess(raw), expected.numpy())
    mean, std = (np.array(config[key])[:, None, None] for key in ("mean", "std"))
    shown = classifier.display(raw)
    np.testing.assert_allclose(shown.transpose(2, 0, 1), (expected.numpy() * std + mean) * 255, atol=0.51)
    result = ix.MoXI(model, regions="2x2").explain(photo, stop=1)
    assert "Normalize" in result.provenance["preprocessing"]
    assert result.target == int(model.eval()(expected[None]).argmax())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_vit", {}),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4}),
    ],
)
def test_timm_models_made_for_another_size_are_preprocessed_for_it(name, options):
    model = timm.create_model(name, img_size=(64, 96), **options)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 80, 3), dtype=np.uint8))
    result = ix.MoXI(model).explain(photo, stop=1)
    config = timm.data.resolve_model_data_config(model) | {"input_size": (3, 64, 96)}
    expected = timm.data.create_transform(**config, is_training=False)(photo).numpy()
    mean, std = (np.array(config[key])[:, None, None] for key in ("mean", "std"))
    np.testing.assert_allclose(result.image.transpose(2, 0, 1), (expected * std + mean) * 255, atol=0.51)


def test_preprocessing_to_a_size_that_the_model_does_not_take_is_refused():
    model = ix.TorchClassifier(vit(), preprocess=lambda image: np.zeros((3, 24, 40), np.float32))
    with pytest.raises(
        ix.ArgumentError, match=r"`preprocess`: expected \(32, 48\) pixels.*got 24 x 40; make the preproc"
    ):
        ix.MoXI(model).explain(np.zeros((30, 40, 3), np.uint8))


def test_torchvision_weights_and_hugging_face_processors_preprocess():
    models = pytest.importorskip("torchvision.models")
    transformers = pytest.importorskip("transformers")
    raw = np.random.default_rng(0).integers(0, 255, (300, 420, 3), dtype=np.uint8)
    weights = models.ResNet18_Weights.DEFAULT
    classifier = ix.TorchClassifier(convolutions(1000), preprocess=weights)
    assert classifier.class_names[967] == "espresso"
    np.testing.assert_array_equal(classifier.preprocess(raw), weights.transforms()(Image.fromarray(raw)).numpy())
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    config.id2label = {0: "cat", 1: "dog"}
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(config)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    pipeline = transformers.pipeline("image-classification", model=model, image_processor=processor)
    classifier = as_classifier(pipeline)
    assert classifier.module is model
    assert classifier.class_names == ["cat", "dog"]
    assert classifier.token_grid == (4, 4)
    expected = processor(images=Image.fromarray(raw), return_tensors="pt")["pixel_values"][0]
    np.testing.assert_array_equal(classifier.preprocess(raw), expected.numpy())
    result = pickle.loads(pickle.dumps(ix.MoXI(pipeline))).explain(raw, "dog", stop=2)
    assert result.provenance["absence"] == "drop_tokens"
    assert len(result.ranking) == 2


def test_names_of_other_classes_are_left_out_or_refused():
    weights = pytest.importorskip("torchvision.models").ResNet18_Weights.DEFAULT
    model = convolutions(5)  # as after the last layer of a pretrained model was replaced
    assert (
        ix.MoXI(ix.TorchClassifier(model, preprocess=weights), regions="2x3").explain(picture(), stop=1).class_names
        is None
    )
    wrong = ix.TorchClassifier(model, class_names=["cat", "dog"])
    with pytest.raises(
        ix.ArgumentError, match="`class_names`: expected a name for each of the model's 5 classes, got 2"
    ):
        ix.MoXI(wrong).explain(picture())
    right = ix.TorchClassifier(model, preprocess=weights, class_names=list("abcde"))
    assert ix.MoXI(right, regions="2x3").explain(picture(), "E", stop=1).target == 4
    for names in ("abcde", {0: "a", 1: "b"}, range(5)):
        with pytest.raises(ix.ArgumentTypeError, match="`class_names`: expected a list of names"):
            ix.TorchClassifier(model, class_names=names)


class Holding:
    """A function of numpy arrays that happens to keep a torch module as its `model`."""

    model = nn.Conv2d(3, 2, 1)

    def __call__(self, batch):
        assert isinstance(batch, np.ndarray)
        return batch.mean(axis=(2, 3))


class Named(nn.Module):
    """A module whose own `model` is a name."""

    model = "named"

    def forward(self, x):
        return x.mean(dim=(2, 3))


def test_only_a_pipeline_is_taken_for_the_model_that_it_holds():
    function = Holding()
    classifier = as_classifier(function)
    assert isinstance(classifier, ix.CallableClassifier)
    assert classifier.function is function
    assert ix.MoXI(function, regions="2x3").explain(picture(), 0, stop=1).target == 0
    with pytest.raises(ix.ArgumentTypeError, match=r"`module`.*got Holding"):
        ix.TorchClassifier(function)
    holder = Named()
    assert as_classifier(holder).module is holder
    assert ix.TorchClassifier(holder).module is holder
    # A module is taken itself even if it has another one, and a processor, as its parts.
    holder.model, holder.image_processor = nn.Identity(), None
    assert as_classifier(holder).module is holder


def test_a_raw_image_needs_preprocessing():
    with pytest.raises(ix.ArgumentError, match=r"interpix.TorchClassifier\(model, preprocess=...\)"):
        ix.MoXI(convolutions()).explain(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(ix.ArgumentError, match=r"pixels for model"):
        ix.MoXI(vit()).explain(picture()[:, :, :40])


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_torchs_own_wrappers_are_looked_into(wrap):
    model = vit()
    wrapped = ix.TorchClassifier(wrap(model))
    plain = ix.TorchClassifier(model)
    assert (wrapped.name, wrapped.token_grid) == (plain.name, (4, 6))
    mine, theirs = (ix.MoXI(one).explain(picture(), 1, stop=3) for one in (plain, wrapped))
    assert mine.ranking.tolist() == theirs.ranking.tolist()
    assert mine.provenance == theirs.provenance


def test_names_lead_to_libraries(monkeypatch):
    for name, message in [
        ("timm:no_such_net", "one of timm's models"),
        ("tf:resnet", "timm:NAME"),
        ("torchvision:x", "torchvision"),
        ("torch:resnet50", "`name`: expected torch:efficientnet_lite0, got torch:resnet50; or a model of another"),
    ]:
        with pytest.raises(ix.ArgumentError, match=message):
            ix.load_model(name)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: vit() if pretrained else None)
    assert ix.load_model("timm:vit_tiny_patch16_224").token_grid == (4, 6)


def test_class_names_are_in_the_order_of_their_numbers_and_not_of_their_text():
    """F5: a configuration from JSON has text for keys, and "10" sorts before "2"."""
    model = convolutions(12)
    model.config = SimpleNamespace(id2label={str(index): f"kind{index}" for index in range(12)})
    found = ix.MoXI(model, regions="2x3").explain(picture(), "kind2", stop=1)
    assert (found.target, found.name_of(2)) == (2, "kind2")


@pytest.mark.parametrize("labels", [{"1": "cat", "2": "dog"}, {"a": "cat", "b": "dog"}])
def test_class_names_without_their_classes_are_none(labels):
    model = convolutions(2)
    model.config = SimpleNamespace(id2label=labels)
    assert ix.TorchClassifier(model).class_names is None


def test_a_name_says_what_a_model_is_and_not_what_its_weights_might_be():
    """N4: the configuration of a pretrained model is there without its weights, too."""
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    assert model.pretrained_cfg["tag"]
    assert as_classifier(model).name == "timm:vit_tiny_patch16_224"


def test_a_sigmoid_at_the_end_is_told():
    """N2: its answers are no logits; one inside of the model is none of ours."""
    layers = [nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    image = np.random.default_rng(0).normal(size=(3, 8, 12)).astype(np.float32)
    ix.MoXI(nn.Sequential(*layers), regions="2x2").explain(image)
    model = ix.TorchClassifier(nn.Sequential(*layers, nn.Sigmoid()))
    with pytest.warns(UserWarning, match="it ends in a Sigmoid, .* pass it without that part"):
        ix.MoXI(model, regions="2x2").explain(image)
    ix.MoXI(model, regions="2x2").explain(image)  # said once
