import numpy as np
import pytest

import interpix as ix
from interpix.metrics import PatchTrace, Sample, accuracy_curve, trace_explanation, trace_patches
from interpix.metrics.accuracy import sample_regions
from interpix.question import Question


def trace_of(predicted, label=0, prediction=0, direction="deletion"):
    return PatchTrace(np.array(predicted), label, prediction, {"direction": direction})


def test_patches_by_hand(classifier, image):
    # Without regions 3 and 2, in this order, green wins; see conftest.
    sample = Sample.of(classifier, image)
    trace = trace_patches(sample, [3, 2, 0, 1, 4, 5], regions=(2, 3), replacement="zero")
    np.testing.assert_array_equal(trace.predicted, [0, 0, 1, 1, 0, 0, 0])
    back = trace_patches(sample, [1, 0, 2, 3, 4, 5], regions=(2, 3), direction="insertion")
    np.testing.assert_array_equal(back.predicted, [0, 1, 1, 0, 0, 0, 0])
    assert back.options == {"direction": "insertion", "replacement": "zero", "patches": 6}


def test_a_whole_picture_may_replace(classifier, image):
    green = np.zeros_like(image)
    green[1] = 10
    trace = trace_patches(Sample.of(classifier, image), np.arange(6), regions=(2, 3), replacement=green)
    np.testing.assert_array_equal(trace.correct, [True, False, False, False, False, False, False])


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batch_size_changes_nothing(classifier, image, batch_size):
    ranking = [3, 2, 0, 1, 4, 5]
    expected = trace_patches(Sample.of(classifier, image), ranking, regions=(2, 3)).predicted
    found = trace_patches(Sample.of(classifier, image, batch_size=batch_size), ranking, regions=(2, 3))
    np.testing.assert_array_equal(found.predicted, expected)


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_a_search_measured_the_same_curve_on_its_way(classifier, image, direction):
    moxi = ix.MoXI(classifier, regions=(2, 3))
    explanation = moxi.explain(image, direction=direction, stop="all")
    sample = Sample.of(classifier, image)
    measured = trace_patches(sample, explanation.ranking, regions=(2, 3), direction=direction)
    remembered = trace_explanation(explanation)
    np.testing.assert_array_equal(measured.predicted, remembered.predicted)
    assert (measured.label, measured.prediction) == (remembered.label, remembered.prediction)
    assert measured.options == remembered.options


def test_only_images_right_at_the_start_count():
    traces = [
        trace_of([0, 0, 1]),
        trace_of([0, 1, 1]),
        trace_of([1, 1, 1], label=0, prediction=1),
    ]
    summary = accuracy_curve(traces)
    np.testing.assert_allclose(summary.curve.x, [0, 0.5, 1])
    np.testing.assert_allclose(summary.curve.y, [1, 0.5, 0])
    assert summary.value == pytest.approx(0.5)
    assert (summary.count, summary.skipped) == (2, {"the model gets the clean image wrong": 1})
    np.testing.assert_allclose(summary.scores, [0.75, 0.25, np.nan])
    assert not summary.higher_is_better
    assert accuracy_curve([trace_of([1, 0], direction="insertion")]).higher_is_better


def test_no_image_right_is_no_curve():
    summary = accuracy_curve([trace_of([1, 1], prediction=1)])
    assert summary.curve is None
    assert np.isnan(summary.value)


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ix.ArgumentError, match="at least one trace"):
        accuracy_curve([])
    with pytest.raises(ix.ArgumentTypeError, match=r"expected PatchTraces, got str; .*trace_explanation"):
        accuracy_curve(["an explanation, say"])
    with pytest.raises(ix.ArgumentError, match="one number of patches"):
        accuracy_curve([trace_of([0, 0]), trace_of([0, 0, 0])])
    with pytest.raises(ix.ArgumentError, match="one direction"):
        accuracy_curve([trace_of([0, 0]), trace_of([0, 0], direction="insertion")])


@pytest.mark.parametrize("ranking", [[0, 1, 2], [0, 0, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6]])
def test_a_ranking_holds_each_patch_once(classifier, image, ranking):
    with pytest.raises(ix.ArgumentError, match=r"each of the patches 0 \.\.\. 5 once"):
        trace_patches(Sample.of(classifier, image), ranking, regions=(2, 3))


def test_a_search_that_stopped_early_is_refused(classifier, image):
    explanation = ix.MoXI(classifier, regions=(2, 3)).explain(image, direction="deletion")
    with pytest.raises(ix.ArgumentError, match='stop="all"'):
        trace_explanation(explanation)
    with pytest.raises(ix.ArgumentError, match="direction"):
        trace_patches(Sample.of(classifier, image), np.arange(6), regions=(2, 3), direction="sideways")


@pytest.mark.parametrize("regions", ["2x3", ix.Superpixels(20, 1000), np.arange(24 * 36).reshape(24, 36) // 200])
@pytest.mark.parametrize("raw", [True, False])
def test_patches_are_those_of_a_search_and_of_a_method(classifier, regions, raw):
    rng = np.random.default_rng(3)
    # Of so little contrast that superpixels are nearly squares; stretched, they would follow the colors.
    picture = rng.integers(40, 50, (6, 9, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    image = picture if raw else classifier.preprocess(picture)
    found = ix.MoXI(classifier, regions=regions).explain(image, direction="deletion", stop="all")
    sample = Sample.of(classifier, image)
    np.testing.assert_array_equal(sample_regions(sample, regions), found.regions)
    np.testing.assert_array_equal(sample.image, Question.of(classifier, image).image)
    np.testing.assert_array_equal(trace_patches(sample, found.ranking, regions=regions).predicted, found.predicted)
