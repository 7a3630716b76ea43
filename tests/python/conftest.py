"""Models with an answer by hand, and settings shared by all tests."""

import os
import signal

# Several threads on busy cores slow torch down by an order of magnitude.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis
import numpy as np
import pytest

from interpix import CallableClassifier

hypothesis.settings.register_profile("default", deadline=None, max_examples=30)
hypothesis.settings.load_profile("default")

# A shell starts its background jobs with Ctrl-C ignored, and Python inherits that; the tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

HEIGHT, WIDTH = 4, 6


def sum_of_pixels(batch):
    """Three classes: the sums of the red, green and blue pixels."""
    assert batch.dtype == np.float32
    return batch.sum(axis=(2, 3))


@pytest.fixture
def image():
    """2 x 3 regions of 2 x 2 pixels. Red sums 4 0 8 / 12 0 0; green 0 10 0 / 0 0 0; blue none.

    The whole image is red (24 against 10); without regions 3 and 2, in this order, it is green (4 against 10).
    """
    pixels = np.zeros((3, HEIGHT, WIDTH), np.float32)
    for channel, region, value in [(0, 0, 1), (0, 2, 2), (0, 3, 3), (1, 1, 2.5)]:
        row, column = divmod(region, 3)
        pixels[channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = value
    return pixels


@pytest.fixture
def classifier():
    return CallableClassifier(
        sum_of_pixels,
        name="sum of pixels",
        class_names=["red", "green", "blue"],
        preprocess=lambda raw: np.ascontiguousarray(raw.transpose(2, 0, 1), np.float32) / 255,
    )
