import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from interpix import DropTokens, Fill, MaskAttention
from interpix.absence import read_absence
from interpix.errors import ArgumentError, ArgumentTypeError


def test_fills_by_hand(image, classifier):
    assert (Fill().make(image, classifier) == 0).all()
    assert (Fill("black").make(image, classifier) == 0).all()
    np.testing.assert_allclose(Fill("mean").make(image, classifier)[:, 1, 1], [1, 10 / 24, 0], rtol=1e-6)
    color = Fill(np.array([1, 2, 3])).make(image, classifier)
    np.testing.assert_array_equal(color[:, 3, 5], [1, 2, 3])
    assert (Fill(0.5).make(image, classifier) == 0.5).all()


def test_blur_keeps_a_constant_and_is_scipys(image, classifier):
    constant = np.full((3, 30, 50), 2.5, np.float32)
    np.testing.assert_allclose(Fill("blur").make(constant, classifier), constant, rtol=1e-6)
    noise = np.random.default_rng(0).random((3, 30, 50), dtype=np.float32)
    blurred = Fill("blur").make(noise, classifier)
    # A twentieth of the longer side, up to three standard deviations, mirrored at the border.
    expected = [gaussian_filter(channel.astype(float), 50 / 20, mode="reflect", truncate=3) for channel in noise]
    np.testing.assert_allclose(blurred, expected, atol=1e-6)


def test_black_needs_a_preprocessing(image):
    from interpix import CallableClassifier

    with pytest.raises(ArgumentError, match="preprocess"):
        Fill("black").make(image, CallableClassifier(lambda batch: batch))


def test_bad_fills_say_what_to_do(image, classifier):
    with pytest.raises(ArgumentError, match="got 'white'"):
        read_absence("white")
    message = 'a fill: "zero", "black", "mean", "blur", a number or an array, got \'drop_tokens\'; .*own: DropTokens'
    with pytest.raises(ArgumentError, match=message):
        Fill("drop_tokens")
    with pytest.raises(ArgumentTypeError, match="got NoneType"):
        read_absence(None)
    with pytest.raises(ArgumentError, match=r"broadcasts to \(3, 4, 6\)"):
        Fill(np.zeros((2, 2))).make(image, classifier)
    with pytest.raises(ArgumentError, match="finite"):
        Fill(np.nan).make(image, classifier)


def test_names_that_results_remember_are_read_again():
    for absence in (DropTokens(), MaskAttention(), MaskAttention(11), Fill("blur")):
        assert read_absence(absence.name).name == absence.name
    for name in ("mask_attention(from_layer=-1)", "mask_attention(4)", "mask_attention(from_layer=4", "drop_tokens()"):
        with pytest.raises(ArgumentError, match="`absence`: expected a fill"):
            read_absence(name)
