import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpix.errors import ArgumentError, ArgumentTypeError
from interpix.regions import Superpixels, grid_regions, label_regions, read_regions, regions_name


def label(regions, size):
    return label_regions(read_regions(regions), np.zeros((*size, 3), np.uint8))


@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_a_grid_covers_the_image_evenly(height, width, data):
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    labels = grid_regions((height, width), rows, columns)
    assert labels.shape == (height, width)
    # A band of rows by a band of columns, one after the other.
    row, column = labels[:, 0] // columns, labels[0] % columns
    np.testing.assert_array_equal(labels, row[:, None] * columns + column)
    assert (np.diff(row) >= 0).all()
    assert (np.diff(column) >= 0).all()
    sizes = np.bincount(labels.ravel(), minlength=rows * columns)
    assert len(sizes) == rows * columns
    assert (height // rows) * (width // columns) <= sizes.min()
    assert sizes.max() <= -(-height // rows) * -(-width // columns)


def test_all_ways_to_name_a_grid_agree():
    expected = grid_regions((14, 21), 7, 7)
    for regions in ("auto", "7x7", "7 x 7", "7", 7, (7, 7)):
        np.testing.assert_array_equal(label(regions, (14, 21)), expected)
        assert regions_name(read_regions(regions)) == "7x7"
    assert label("2x3", (4, 6)).max() == 5


def test_label_maps_are_compacted():
    labels = np.array([[300, 300, 0], [100, 100, 0]])
    for shaped in (labels, labels[None], labels[None, None], np.stack([labels] * 3)[None]):
        np.testing.assert_array_equal(label(shaped, (2, 3)), [[2, 2, 0], [1, 1, 0]])
    assert labels.max() == 300


def test_torch_feature_mask_is_read():
    import torch

    np.testing.assert_array_equal(label(torch.tensor([[[5, 9]]]), (1, 2)), [[0, 1]])


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ("7by7", "got '7by7'"),
        (0, "at least one row and one column, got 0 x 0"),
        ((2, 7), "coarser grid"),
        (np.zeros((4, 6)), "integer labels"),
        (np.zeros((4, 5), int), r"each pixel of the 4 x 6 image.*got shape \(4, 5\).*nearest"),
        (np.full((4, 6), -1), "labels of 0 or more on all pixels, got 24 negative"),
        (np.arange(48).reshape(2, 4, 6), "same labels in every channel"),
        (np.zeros((0, 6), int), "give every pixel a label"),
    ],
)
def test_bad_regions_say_what_to_do(regions, message):
    with pytest.raises(ArgumentError, match=message):
        label(regions, (4, 6))


@pytest.mark.parametrize("regions", [True, 7.0, (7,), (7.0, 7.0), None])
def test_other_types_are_type_errors(regions):
    with pytest.raises(ArgumentTypeError, match="`regions`"):
        label(regions, (14, 14))


def test_superpixels_take_numbers_of_numpy():
    theirs = Superpixels(np.int64(20), np.float32(5))
    assert theirs == Superpixels(20, 5.0)
    assert regions_name(theirs) == "Superpixels(count=20, compactness=5.0)"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"count": "a"}, ArgumentTypeError, "`count`.*a positive integer, got str"),
        ({"count": 2.5}, ArgumentTypeError, "`count`.*got float"),
        ({"count": True}, ArgumentTypeError, "`count`.*got bool"),
        ({"count": 0}, ArgumentError, "`count`.*got 0"),
        ({"compactness": "a"}, ArgumentTypeError, "`compactness`.*a positive number, got str"),
        ({"compactness": None}, ArgumentTypeError, "`compactness`.*got NoneType"),
        ({"compactness": float("nan")}, ArgumentError, "`compactness`.*got nan"),
        ({"compactness": float("inf")}, ArgumentError, "`compactness`.*got inf"),
    ],
)
def test_superpixels_that_cannot_be_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Superpixels(**options)


def test_superpixels_that_follow_noise_are_said():
    """F31: 50 superpixels of noise were one region, unsaid."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    with pytest.warns(UserWarning, match="SLIC found 1 of 50 superpixels.*raise `compactness`"):
        assert Superpixels(50).label(noise).max() == 0
    assert Superpixels(50, compactness=1000).label(noise).max() > 25
