"""Images of one, two, four and twelve channels, and what people see of them."""

import numpy as np
import pytest
import torch
from torch import nn

import interpix as ix
from interpix.normalization import Normalization

HEIGHT, WIDTH = 24, 36


def network(channels):
    torch.manual_seed(channels)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    ).eval()  # fmt: skip


def image_of(channels):
    return np.random.default_rng(channels).normal(size=(channels, HEIGHT, WIDTH)).astype(np.float32)


def as_function(module):
    return lambda batch: module(torch.from_numpy(batch)).detach().numpy()


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("channels", [1, 2, 4, 8, 12])
def test_any_number_of_channels_is_searched_as_by_the_module_itself(channels, direction):
    module, image = network(channels), image_of(channels)
    found = ix.MoXI(module, regions="4x6").explain(image, direction=direction, stop=4)
    expected = ix.MoXI(as_function(module), regions="4x6").explain(image, direction=direction, stop=4)
    np.testing.assert_array_equal(found.ranking, expected.ranking)
    np.testing.assert_allclose(found.rewards, expected.rewards, atol=1e-4)
    assert found.provenance["scored_as"] == "windows"
    assert found.image.shape == (HEIGHT, WIDTH, 3)
    assert found.provenance["colors"] == "stretched"
    # The mean of the channels, in gray.
    mean = image.mean(axis=0)
    gray = np.rint(255 * (mean - mean.min()) / (mean.max() - mean.min())).astype(np.uint8)
    np.testing.assert_array_equal(found.image, np.repeat(gray[..., None], 3, axis=2))
    assert found.propagate(radius=1).map.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("channels", [1, 4, 12])
@pytest.mark.parametrize("absence", ["zero", "mean", "blur", 0.5])
def test_fills_have_the_images_channels(channels, absence):
    module, image = network(channels), image_of(channels)
    both = [
        ix.MoXI(model, regions="2x3", absence=absence).explain(image, stop="all")
        for model in (module, as_function(module))
    ]
    np.testing.assert_allclose(both[0].rewards, both[1].rewards, atol=1e-4)
    np.testing.assert_array_equal(both[0].ranking, both[1].ranking)


@pytest.mark.parametrize("name", sorted(ix.methods.METHODS.keys() - {"attention_rollout", "superpixel_rise", "lime"}))
@pytest.mark.parametrize("channels", [1, 4])
def test_methods_take_any_number_of_channels(name, channels):
    kind = ix.methods.METHODS[name]
    fields = kind.__dataclass_fields__
    options = {"steps": 2} if "steps" in fields else {}
    options |= {"baseline": "zero"} if "baseline" in fields else {}
    options |= {"count": 10, "grid": (2, 3)} if name == "rise" else {}
    options |= {"regions": "2x3"} if "regions" in fields else {}
    found = kind(**options).explain(network(channels), image_of(channels))
    assert found.map.shape == (HEIGHT, WIDTH)
    assert np.isfinite(found.map).all()


def test_a_gray_photo_goes_through_the_preprocessing_of_a_gray_model():
    def preprocess(raw):
        return (raw.astype(np.float32).mean(axis=2)[None] - 100) / 50

    module = network(1)
    gray = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    for model in (
        ix.CallableClassifier(as_function(module), preprocess=preprocess),
        ix.TorchClassifier(module, preprocess=lambda image: preprocess(np.asarray(image))),
    ):
        found = ix.MoXI(model, regions="4x6").explain(gray, stop=3)
        np.testing.assert_array_equal(found.image, np.repeat(gray[..., None], 3, axis=2))
        assert "colors" not in found.provenance
        known = Normalization.of(model)
        np.testing.assert_allclose([*known.mean, *known.scale], [100, 50], rtol=1e-5)
        assert known.order == (0,)
        np.testing.assert_array_equal(known.restore(known.apply(found.image)), found.image)
        sample = ix.metrics.Sample.of(model, gray)
        score = ix.metrics.AccuracyInformation(min_confidence=0).score(sample, found.attribution())
        assert score.skipped == "the blurred picture's score is no lower than the original's"
        black = ix.MoXI(model, regions="4x6", absence="black").explain(gray, stop=1)
        assert black.empty.reward == pytest.approx(
            ix.MoXI(as_function(module), regions="4x6", absence=-2.0)
            .explain(preprocess(gray[..., None]), black.target, stop=1)
            .empty.reward,
            rel=1e-4,
        )


def test_a_photo_of_colors_is_shown_as_a_gray_model_sees_it():
    def preprocess(raw):
        return (raw.astype(np.float32) @ np.float32([0.25, 0.5, 0.25]))[None] / 255

    color = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    model = ix.CallableClassifier(as_function(network(1)), preprocess=preprocess)
    found = ix.MoXI(model, regions="4x6").explain(color, stop=1)
    expected = np.rint(color @ np.array([0.25, 0.5, 0.25]))
    assert np.abs(found.image - expected[..., None]).max() <= 1


@pytest.mark.parametrize("kind", ["function", "module"])
def test_bands_and_functions_say_what_people_see(kind):
    module, image = network(12), image_of(12)

    def wrap(display):
        wrapped = module if kind == "module" else as_function(module)
        return (ix.TorchClassifier if kind == "module" else ix.CallableClassifier)(wrapped, display=display)

    found = ix.MoXI(wrap((3, 2, 1)), regions="4x6").explain(image, stop=2)
    shown = image[[3, 2, 1]]
    stretched = np.rint(255 * (shown - shown.min()) / (shown.max() - shown.min())).astype(np.uint8).transpose(1, 2, 0)
    np.testing.assert_array_equal(found.image, stretched)

    def display(tensor):
        tensor[:] = 0  # a copy
        return np.full((HEIGHT, WIDTH, 3), 7, np.uint8)

    before = image.copy()
    found = ix.MoXI(wrap(display), regions="4x6").explain(image, stop=2)
    assert (found.image == 7).all()
    np.testing.assert_array_equal(image, before)


def test_raw_bands_are_preprocessed_by_a_model_that_says_what_people_see():
    module = network(4)
    raw = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)

    def preprocess(given):
        return given.astype(np.float32).transpose(2, 0, 1) / 255

    for make, function in ((ix.TorchClassifier, module), (ix.CallableClassifier, as_function(module))):
        found = ix.MoXI(make(function, preprocess=preprocess, display=(2, 1, 0)), regions="4x6").explain(raw, stop=2)
        expected = ix.MoXI(module, regions="4x6").explain(preprocess(raw), stop=2)
        np.testing.assert_array_equal(found.ranking, expected.ranking)
        with pytest.raises(
            ix.ArgumentError, match=r"`image`: .*shape \(H, W, 3\), got uint8 .*leave out transparency, or say"
        ):
            ix.MoXI(make(function, preprocess=preprocess), regions="4x6").explain(raw)


@pytest.mark.parametrize(
    ("display", "message"),
    [
        ((0, 1), "`display`: expected a function to uint8 .*, or three bands, got"),
        ("rgb", "`display`"),
        ((0, 1, 12), "`display`: expected bands of the 12 channels"),
        (lambda tensor: tensor, r"`display`: expected a function to uint8 \(24, 36, 3\), got float32"),
    ],
)
def test_a_display_that_shows_nothing_is_refused(display, message):
    with pytest.raises(ix.ArgumentError, match=message):
        ix.MoXI(ix.TorchClassifier(network(12), display=display)).explain(image_of(12))


def test_channels_that_the_model_refuses_are_told():
    with pytest.raises(ix.ModelError, match=r"the image has 4 channels: pass as many as the model takes"):
        ix.MoXI(network(3)).explain(image_of(4))


def test_a_number_of_classes_that_changes_is_told():
    def changing(batch):
        return np.zeros((len(batch), 3 if len(batch) < 4 else 5)) + batch.mean(axis=(1, 2, 3))[:, None] * np.arange(
            1, 2
        )

    class Changing(nn.Module):
        def forward(self, batch):
            return torch.from_numpy(changing(batch.numpy())).float()

    for model in (changing, Changing()):
        with pytest.raises(ix.ModelError, match="expected 3 numbers for each picture, as for the whole image, got 5"):
            ix.MoXI(model, regions="2x3", absence="zero").explain(image_of(3), 1, stop="all")
