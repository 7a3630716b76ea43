import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from interpix import Fill
from interpix.blur import blur_matrix, convolve, gaussian_taps

SCIPY_MODES = {"mirror": "reflect", "zero": "constant"}


def pictures(height, width, seed=0):
    return np.random.default_rng(seed).normal(size=(3, height, width))


def outside(values, index, border):
    """The entry of a column that an index stands for, step by step."""
    while not 0 <= index < len(values):
        if border == "zero":
            return 0.0
        index = -1 - index if index < 0 else 2 * len(values) - 1 - index
    return values[index]


def convolved_slowly(values, taps, border):
    reach = len(taps) // 2
    return [
        sum(tap * outside(values, place + offset - reach, border) for offset, tap in enumerate(taps))
        for place in range(len(values))
    ]


@pytest.mark.parametrize("border", ["mirror", "zero"])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.7, 9.0])
@pytest.mark.parametrize("truncate", [3.0, 4.0])
def test_a_gaussian_is_scipys(border, sigma, truncate):
    image = pictures(7, 13)
    taps = gaussian_taps(sigma, int(truncate * sigma + 0.5))
    theirs = ndimage.gaussian_filter(image, (0, sigma, sigma), mode=SCIPY_MODES[border], truncate=truncate)
    np.testing.assert_allclose(convolve(image, taps, border), theirs, atol=1e-12)


@given(st.integers(1, 12), st.integers(0, 30), st.sampled_from(["mirror", "zero"]), st.integers(0, 99))
def test_the_matrix_is_the_obvious_loop(length, reach, border, seed):
    values = np.random.default_rng(seed).normal(size=(reach + 1 + length))
    half, column = values[: reach + 1], values[reach + 1 :]
    taps = np.concatenate([half[:0:-1], half])
    expected = convolved_slowly(column, taps, border)
    np.testing.assert_allclose(blur_matrix(length, taps, border) @ column, expected, atol=1e-12)


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.1, 20))
def test_mirrored_borders_keep_the_mean(height, width, sigma):
    image = pictures(height, width)
    blurred = convolve(image, gaussian_taps(sigma, round(3 * sigma)), "mirror")
    np.testing.assert_allclose(blurred.mean((1, 2)), image.mean((1, 2)), atol=1e-12)


def test_taps_sum_to_one_and_none_is_left_of_a_sharp_one():
    assert gaussian_taps(5.0, 20).sum() == pytest.approx(1)
    np.testing.assert_array_equal(gaussian_taps(0.0, 0), [1])
    np.testing.assert_array_equal(convolve(pictures(4, 6), gaussian_taps(0.0, 0), "zero"), pictures(4, 6))


def test_the_blurred_fill_is_scipys(classifier):
    image = pictures(30, 50).astype(np.float32)
    # The standard deviation is 50 / 20; round(3 * 2.5) = 8 pixels to each side.
    theirs = ndimage.gaussian_filter(image.astype(float), (0, 2.5, 2.5), mode="reflect", radius=(0, 8, 8))
    np.testing.assert_allclose(Fill("blur").make(image, classifier), theirs, atol=1e-6)
