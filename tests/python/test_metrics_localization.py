import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

import interpix as ix
from conftest import HEIGHT, WIDTH
from interpix.metrics import PointingGame, RocAuc, Sample, annotation_as_seen, boxes_mask, pointing_hit, roc_auc

RAMP = np.arange(HEIGHT * WIDTH, dtype=float).reshape(HEIGHT, WIDTH)


@given(
    values=hnp.arrays(float, (3, 5), elements=st.integers(-3, 3).map(float)),
    inside=hnp.arrays(bool, (3, 5)).filter(lambda mask: mask.any() and not mask.all()),
)
def test_roc_auc_is_sklearns_with_ties(values, inside):
    assert roc_auc(values, inside) == pytest.approx(roc_auc_score(inside.ravel(), values.ravel()), abs=1e-12)


def test_a_constant_map_knows_nothing():
    assert roc_auc(np.ones((4, 6)), np.eye(4, 6, dtype=bool)) == 0.5


def near_by_hand(inside, row, column, tolerance):
    return any((r - row) ** 2 + (c - column) ** 2 <= tolerance**2 for r, c in np.argwhere(inside))


@given(
    values=hnp.arrays(float, (4, 6), elements=st.integers(0, 2).map(float)),
    inside=hnp.arrays(bool, (4, 6)).filter(np.any),
    tolerance=st.sampled_from([0, 1, 1.5, 2.5, 15]),
)
def test_pointing_by_hand(values, inside, tolerance):
    peaks = np.argwhere(values == values.max())
    expected = np.mean([near_by_hand(inside, row, column, tolerance) for row, column in peaks])
    assert pointing_hit(values, inside, tolerance) == pytest.approx(expected)


def test_pointing_of_a_constant_map_is_the_chance(classifier, image):
    sample = Sample.of(classifier, image, annotation=[(0, 0, 2, 3)])
    assert PointingGame().score(sample, np.zeros((HEIGHT, WIDTH))).value == 6 / 24


def test_boxes_and_masks_are_the_same(classifier, image):
    boxes = [(0, 1, 2, 4), (1, 0, 5, 2)]
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[1:4, 0:2] = True
    mask[0:2, 1:5] = True
    np.testing.assert_array_equal(boxes_mask(boxes, (HEIGHT, WIDTH)), mask)
    for metric in (RocAuc(), PointingGame()):
        values = [metric.score(Sample.of(classifier, image, annotation=one), RAMP).value for one in (boxes, mask)]
        assert values[0] == values[1]


@pytest.mark.parametrize("metric", [RocAuc(), PointingGame(tolerance=15)])
def test_empty_and_full_annotations_are_counted_and_left_out(classifier, image, metric):
    masks = np.zeros((3, HEIGHT, WIDTH), bool)
    masks[1], masks[2, -1] = True, True
    scores = [metric.score(Sample.of(classifier, image, annotation=mask), RAMP) for mask in masks]
    summary = metric.aggregate(scores)
    assert summary.value == 1
    assert summary.count == 1
    assert summary.skipped == {"the annotation is empty": 1, "the annotation is the whole image": 1}
    np.testing.assert_array_equal(np.isnan(summary.scores), [True, True, False])


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (np.ones((WIDTH, HEIGHT), bool), "a mask of 4 x 6"),
        ([(0, 0, 7, 2)], r"inside of 4 x 6 pixels, got \(0, 0, 7, 2\)"),
        ([(2, 0, 2, 2)], "inside of 4 x 6"),
        ([(0, 0, 1)], r"integer boxes \(n, 4\)"),
        ([(0, 0, 1.5, 2)], "integer boxes"),
    ],
)
def test_bad_annotations_are_refused(classifier, image, annotation, message):
    with pytest.raises(ix.ArgumentError, match=message):
        Sample.of(classifier, image, annotation=annotation)


@pytest.mark.parametrize("metric", [RocAuc(), PointingGame()])
def test_no_annotation_and_bad_maps_are_refused(classifier, image, metric):
    with pytest.raises(ix.ArgumentError, match=r"Sample\.of"):
        metric.score(Sample.of(classifier, image), RAMP)
    with pytest.raises(ix.ArgumentError, match="NaN"):
        metric.score(Sample.of(classifier, image, annotation=[(0, 0, 2, 3)]), RAMP * np.nan)


@pytest.mark.parametrize("tolerance", [-1, float("nan"), True, "15"])
def test_bad_tolerances_are_refused(tolerance):
    with pytest.raises(ix.InterpixError, match="tolerance"):
        PointingGame(tolerance)


def test_an_annotation_is_cropped_as_the_image_is():
    class Crops(ix.CallableClassifier):
        def display(self, image, tensor=None):
            return image[1:5, 2:8]

    mask = np.zeros((9, 11), bool)
    mask[3:, 4:] = True
    seen = annotation_as_seen(Crops(lambda batch: batch.sum(axis=(2, 3))), mask)
    np.testing.assert_array_equal(seen, mask[1:5, 2:8])


def test_pointing_with_values_clipped_and_the_first_of_ties():
    values = np.arange(200.0).reshape(10, 20)[::-1]  # the greatest in the first row, at its end
    inside = np.zeros((10, 20), bool)
    inside[0, -1] = True
    assert pointing_hit(values, inside) == 1
    assert pointing_hit(values, inside, clip=99) == 0.5  # 198 and 199 lie above the 99th percentile of 0 ... 199
    assert pointing_hit(values, inside, clip=99, ties="first") == 0
    assert pointing_hit(values, inside, clip=100, ties="first") == 1


def test_the_pointing_game_of_iprop(classifier, image):
    sample = Sample.of(classifier, image, annotation=[(WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT)])
    values = np.zeros((HEIGHT, WIDTH))
    values[0, 0] = values[-1, -1] = 1
    assert PointingGame().score(sample, values).value == 0.5
    found = PointingGame(preset="iprop").score(sample, values)
    assert (found.value, found.options["clip"], found.options["ties"]) == (0, 99.0, "first")
    assert PointingGame(preset="iprop", ties="expected").score(sample, values).value == 0.5
    for bad in ({"preset": "rise"}, {"clip": 101}, {"clip": float("nan")}, {"ties": "last"}):
        with pytest.raises(ix.ArgumentError, match=next(iter(bad))):
            PointingGame(**bad)
