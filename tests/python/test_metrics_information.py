import dataclasses
import io
import signal
import time

import numpy as np
import pytest
from PIL import Image
from skimage import data, transform

import interpix as ix
from interpix.metrics import (
    AccuracyInformation,
    InformationTrace,
    Sample,
    SoftmaxInformation,
    information,
    seed_mask,
    trace_information,
)
from interpix.metrics.information import THRESHOLDS, blur_between, webp_bytes

HEIGHT, WIDTH = 48, 64


def sharpness(batch):
    """Two classes: sharp, against a constant; sharp is what a blurred picture is not."""
    gray = batch.mean(axis=1)
    sharp = np.abs(np.diff(gray, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(gray, axis=2)).mean(axis=(1, 2))
    return np.stack([60 * sharp, np.full(len(batch), 1.8)], axis=1)


@pytest.fixture(scope="module")
def model():
    return ix.CallableClassifier(sharpness, preprocess=lambda raw: raw.transpose(2, 0, 1) / 255)


@pytest.fixture(scope="module")
def photo():
    small = transform.resize(data.chelsea(), (HEIGHT, WIDTH), anti_aliasing=True)
    return np.rint(255 * small).astype(np.uint8)


@pytest.fixture(scope="module")
def attribution():
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.exp(-((rows - HEIGHT / 2) ** 2 + (columns - WIDTH / 3) ** 2) / 256)


@pytest.fixture
def pair(monkeypatch):
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    return pytest.importorskip("saliency.metrics.pic", exc_type=ImportError)


def pair_auc(pair, sample, photo, attribution, answers):
    def predict(pictures):
        logits = sharpness(sample.normalization.apply(pictures)).astype(np.float64)
        probability = 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))
        return probability if answers == "softmax" else (probability > 0.5).astype(float)

    seeds = seed_mask((HEIGHT, WIDTH), seed=sample.seed)
    return pair.compute_pic_metric(photo, attribution, seeds, predict, THRESHOLDS)


KINDS = [(SoftmaxInformation(), "softmax"), (AccuracyInformation(), "accuracy")]


@pytest.mark.parametrize(("metric", "answers"), KINDS)
@pytest.mark.parametrize("noise", [0, 0.3])
def test_with_pairs_own_interpolation_it_is_pairs_curve(
    monkeypatch, pair, model, photo, attribution, metric, answers, noise
):
    monkeypatch.setattr(information, "blur_between", pair.create_blurred_image)
    sample = Sample.of(model, photo, target=0)
    noisy = attribution + noise * np.random.default_rng(0).random((HEIGHT, WIDTH))
    score, theirs = metric.score(sample, noisy), pair_auc(pair, sample, photo, noisy, answers)
    np.testing.assert_allclose(score.curve.x, theirs.curve_x, atol=1e-12)
    np.testing.assert_allclose(score.curve.y, theirs.curve_y, atol=1e-6)
    assert score.value == pytest.approx(theirs.auc, abs=1e-6)


def test_with_our_interpolation_it_is_as_near_as_pairs_own_mirror_image(monkeypatch, pair, model, photo, attribution):
    # Where more than three known pixels lie on a circle there are several Delaunay triangulations, and ours is not
    # always Qhull's. So the areas differ, for one image by more than 1e-3; but no more than those of PAIR's
    # interpolation differ when it gets the pixels in another order.
    def turned(pixels, shown):
        return np.ascontiguousarray(pair.create_blurred_image(pixels[::-1, ::-1], shown[::-1, ::-1])[::-1, ::-1])

    areas = []
    for blur in (blur_between, pair.create_blurred_image, turned):
        monkeypatch.setattr(information, "blur_between", blur)
        samples = [Sample.of(model, photo, target=0, seed=seed) for seed in range(4)]
        areas.append([SoftmaxInformation().score(sample, attribution).value for sample in samples])
    ours, theirs, mirrored = np.array(areas)
    assert np.abs(ours - theirs).mean() < 1e-3
    assert np.abs(ours - theirs).mean() < 2 * np.abs(mirrored - theirs).mean()


def trace(sizes, probabilities, predicted):
    thresholds = tuple(np.linspace(0, 1, len(sizes))[1:-1])
    return InformationTrace(np.array(sizes), np.array(probabilities), np.array(predicted), 1, 0, thresholds, 0.01)


def test_areas_by_hand():
    # Information 0 .5 .25 1, answer 0 .5 (.25 raised to .5) 1.
    one = trace([100, 150, 125, 200], [0.1, 0.5, 0.3, 0.9], [0, 1, 0, 1])
    score = SoftmaxInformation().from_trace(one)
    np.testing.assert_allclose(score.points, [(0.5, 0.5), (0.25, 0.5)])
    np.testing.assert_allclose(score.curve.at([0.125, 0.25, 0.4, 0.75]), [0.25, 0.5, 0.5, 0.75])
    assert score.value == pytest.approx(0.25 * 0.25 + 0.25 * 0.5 + 0.5 * 0.75, abs=1e-6)
    falling = SoftmaxInformation(monotonous=False).from_trace(one)
    np.testing.assert_allclose(falling.curve.at([0.25, 0.5]), [0.25, 0.5])
    accuracy = AccuracyInformation().from_trace(one)
    np.testing.assert_allclose(accuracy.points, [(0.5, 1), (0.25, 1)])
    assert accuracy.value == pytest.approx(0.25 / 2 + 0.75, abs=1e-6)


def test_what_is_skipped_is_counted_with_its_reason():
    traces = [
        trace([100, 150, 200], [0.1, 0.5, 0.7], [0, 1, 1]),
        trace([200, 150, 200], [0.1, 0.5, 0.9], [0, 1, 1]),
        trace([100, 150, 200], [0.9, 0.5, 0.9], [1, 1, 1]),
        trace([100, 150, 200], [0.1, 0.5, 0.9], [0, 1, 1]),
    ]
    metric = SoftmaxInformation()
    summary = metric.aggregate([metric.from_trace(one) for one in traces])
    assert summary.count == 1
    assert summary.skipped == {
        "the original's score is below min_confidence": 1,
        "the blurred picture holds no less information than the original": 1,
        "the blurred picture's score is no lower than the original's": 1,
    }
    assert summary.value == pytest.approx(0.5, abs=1e-6)
    empty = metric.aggregate([metric.from_trace(traces[0])])
    assert empty.count == 0
    assert np.isnan(empty.value)


def test_sic_is_the_median_and_aic_the_mean_of_curves():
    traces = [trace([0, 50, 100], [0, y, 1], [0, int(y > 0.5), 1]) for y in (0.2, 0.4, 1.0)]
    soft, accurate = SoftmaxInformation(), AccuracyInformation()
    sic = soft.aggregate([soft.from_trace(one) for one in traces])
    aic = accurate.aggregate([accurate.from_trace(one) for one in traces])
    assert sic.curve.at(0.5) == pytest.approx(0.4)
    assert aic.curve.at(0.5) == pytest.approx(1 / 3)
    assert sic.value == pytest.approx(sic.curve.auc)


def test_bins_by_hand():
    metric = SoftmaxInformation(aggregate_by="bins", bins=4)
    traces = [trace([0, 10, 60, 100], [0, y, 0.8, 1], [0, 0, 1, 1]) for y in (0.1, 0.2, 0.6)]
    summary = metric.aggregate([metric.from_trace(one) for one in traces])
    # The first bin's median is .2, the third's .8, the second and the fourth are empty.
    np.testing.assert_allclose(summary.curve.x, [0, 0.125, 0.625, 1])
    np.testing.assert_allclose(summary.curve.y, [0, 0.2, 0.8, 1])
    assert summary.options["bins"] == 4


def test_a_constant_map_shows_everything_at_once(model, photo):
    sample = Sample.of(model, photo, target=0)
    found = trace_information(sample, np.ones((HEIGHT, WIDTH)))
    assert set(found.sizes[1:]) == {webp_bytes(photo)}


def test_batch_size_changes_nothing_and_seeds_repeat(model, photo, attribution):
    traces = [
        trace_information(Sample.of(model, photo, batch_size=size, seed=seed), attribution)
        for size, seed in [(1, 5), (4, 5), (100, 5), (4, 6)]
    ]
    for other in traces[1:3]:
        np.testing.assert_array_equal(traces[0].sizes, other.sizes)
        np.testing.assert_array_equal(traces[0].answers, other.answers)
    assert (traces[0].sizes != traces[3].sizes).any()


def test_the_seed_mask_holds_its_share_and_the_corners():
    mask = seed_mask((40, 60), seed=3)
    np.testing.assert_array_equal(mask, seed_mask((40, 60), seed=3))
    assert 24 <= mask.sum() <= 28
    assert mask[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert seed_mask((40, 60), fraction=0).sum() == 4


def test_pixels_on_the_way_are_interpolated_and_rounded():
    pixels = np.array([[[0, 0, 0], [9, 9, 9], [5, 250, 4]]], np.uint8)
    shown = np.array([[True, False, True]])
    np.testing.assert_array_equal(blur_between(pixels, shown)[0, 1], [2, 125, 2])
    outside = blur_between(pixels, np.array([[False, False, True]]))
    np.testing.assert_array_equal(outside[0, 0], np.rint(pixels.mean(axis=(0, 1))))


def test_sizes_are_those_of_lossless_files(photo):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "webp", lossless=True, quality=100)
    assert webp_bytes(photo) == len(buffer.getvalue())
    np.testing.assert_array_equal(np.asarray(Image.open(buffer)), photo)


def test_a_preprocessed_image_is_as_good_as_the_raw_one(model, photo, attribution):
    raw = trace_information(Sample.of(model, photo), attribution)
    tensor = trace_information(Sample.of(model, model.preprocess(photo)), attribution)
    np.testing.assert_array_equal(raw.sizes, tensor.sizes)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"thresholds": (0.5, 0.1)}, "ascending"), ({"thresholds": ()}, "ascending"), ({"fraction": 2}, "fraction")],
)
def test_bad_arguments_are_refused(model, photo, attribution, options, message):
    with pytest.raises(ix.ArgumentError, match=message):
        trace_information(Sample.of(model, photo), attribution, **options)


def test_bad_options_and_maps_are_refused(model, photo, attribution):
    with pytest.raises(ix.ArgumentError, match="aggregate_by"):
        SoftmaxInformation(aggregate_by="mean")
    with pytest.raises(ix.ArgumentError, match="bins"):
        dataclasses.replace(AccuracyInformation(), bins=0)
    with pytest.raises(ix.ArgumentError, match="NaN"):
        SoftmaxInformation().score(Sample.of(model, photo), attribution * np.nan)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="there is no timer")
@pytest.mark.parametrize("after", [0.02, 0.8])
def test_ctrl_c_does_not_wait_for_pictures(model, after):
    """R12: it took seconds, until all were encoded."""
    noise = np.random.default_rng(0).integers(0, 256, (500, 600, 3), np.uint8)
    sample = Sample.of(model, noise)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    start = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        with pytest.raises(KeyboardInterrupt):
            trace_information(sample, noise[..., 0] / 255)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.perf_counter() - start - after < 0.5


def test_a_start_that_is_blurred_is_seen_through_a_gaussian(model, photo, attribution):
    from scipy.ndimage import gaussian_filter

    sample = Sample.of(model, photo)
    values = attribution.map if hasattr(attribution, "map") else attribution
    sigma = 20 / 224 * max(sample.size)
    soft = gaussian_filter(sample.pixels.astype(np.float64), (sigma, sigma, 0), mode="reflect")
    first = np.rint(soft).astype(np.uint8)
    shown = values >= np.quantile(values, 0.9)
    half = np.where(shown[..., None], sample.pixels, first)
    trace = trace_information(sample, attribution, thresholds=[0.1], start="blur")
    assert trace.start == "blur"
    np.testing.assert_array_equal(trace.sizes, [webp_bytes(one) for one in (first, half, sample.pixels)])
    expected = [Sample.of(model, one, target=sample.target).probability for one in (first, half, sample.pixels)]
    np.testing.assert_allclose(trace.answers, expected, rtol=1e-5)


def test_the_preset_of_iprop_starts_from_a_blur(model, photo, attribution):
    sample = Sample.of(model, photo)
    plain, blurred = (SoftmaxInformation(min_confidence=0, preset=name) for name in ("pair", "iprop"))
    assert (plain.first, blurred.first) == ("interpolation", "blur")
    assert SoftmaxInformation(preset="iprop", start="interpolation").first == "interpolation"
    both = ix.metrics.score_map(sample, attribution, {"plain": plain, "blurred": blurred})
    for name, one in (("plain", plain), ("blurred", blurred)):
        np.testing.assert_equal(both[name].value, one.score(sample, attribution).value)
    assert both["plain"].value != both["blurred"].value
    assert [both[name].options["start"] for name in both] == ["interpolation", "blur"]
    for bad in ({"preset": "pic"}, {"start": "black"}):
        with pytest.raises(ix.ArgumentError, match=next(iter(bad))):
            SoftmaxInformation(**bad)
