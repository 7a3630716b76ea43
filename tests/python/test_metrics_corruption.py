import importlib.util
import sys

import numpy as np
import pytest

import interpix as ix
from interpix.metrics import CORRUPTIONS, Sample, accuracy_curve, corrupt, trace_corruptions, trace_patches

PIXELS = np.random.default_rng(0).integers(60, 200, (36, 48, 3), np.uint8)

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("imagecorruptions") is None,
    reason='needs pip install "interpix[corruptions]"',
)
# Its own imports warn.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@needs_package
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_seeds_repeat_and_leave_numpys_generator_alone(name):
    np.random.seed(7)  # noqa: NPY002 - what must be left alone
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    before = PIXELS.copy()
    first, again = corrupt(PIXELS, name, seed=1), corrupt(PIXELS, name, seed=1)
    np.testing.assert_array_equal(np.random.random(3), expected)  # noqa: NPY002
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(PIXELS, before)
    assert first.shape == PIXELS.shape
    assert first.dtype == np.uint8
    assert (first != PIXELS).any()


@needs_package
@pytest.mark.parametrize("name", ["contrast", "gaussian_noise", "impulse_noise"])
def test_it_is_the_packages_corruption(name):
    import imagecorruptions

    own_seed = {"seed": 3} if name == "impulse_noise" else {}
    state = np.random.get_state()  # noqa: NPY002 - what the package draws from
    np.random.seed(3)  # noqa: NPY002
    expected = imagecorruptions.corrupt(PIXELS, severity=2, corruption_name=name, **own_seed)
    np.random.set_state(state)  # noqa: NPY002
    np.testing.assert_array_equal(corrupt(PIXELS, name, severity=2, seed=3), expected)


@needs_package
def test_another_seed_is_another_noise():
    for name in ("gaussian_noise", "impulse_noise"):
        assert (corrupt(PIXELS, name, seed=1) != corrupt(PIXELS, name, seed=2)).any()


@needs_package
def test_the_names_are_the_packages():
    import imagecorruptions

    assert list(CORRUPTIONS) == imagecorruptions.get_corruption_names("all")


@needs_package
def test_traces_are_those_of_the_corrupted_picture():
    # Fades the picture: whoever sees contrast says class 1.
    model = ix.CallableClassifier(
        lambda batch: np.stack([np.full(len(batch), 0.1), batch.std(axis=(1, 2, 3))], axis=1),
        preprocess=lambda raw: raw.transpose(2, 0, 1) / 255,
    )
    sample = Sample.of(model, PIXELS)
    ranking = [5, 0, 4, 1, 3, 2]
    traces = trace_corruptions(sample, ranking, regions=(2, 3), corruptions=("contrast", "jpeg_compression"))
    for trace, name in zip(traces, ("contrast", "jpeg_compression"), strict=True):
        spoiled = model.preprocess(corrupt(PIXELS, name)).astype(np.float32)
        expected = trace_patches(sample, ranking, regions=(2, 3), replacement=spoiled)
        np.testing.assert_array_equal(trace.predicted, expected.predicted)
        assert trace.options["replacement"] == name
        assert trace.options["severity"] == 5
    assert traces[0].correct[0]
    assert not traces[0].correct[-1]
    assert accuracy_curve(traces).count == 2


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ix.MissingDependencyError, match=r'pip install "interpix\[corruptions\]"'):
        corrupt(PIXELS, "fog")


@pytest.mark.parametrize(
    ("pixels", "name", "severity", "message"),
    [
        (PIXELS, "rust", 5, "gaussian_noise, .*, got 'rust'"),
        (PIXELS, "fog", 6, "severity"),
        (PIXELS[:31], "fog", 5, "at least 32 rows"),
    ],
)
def test_bad_arguments_are_refused(pixels, name, severity, message):
    with pytest.raises(ix.ArgumentError, match=message):
        corrupt(pixels, name, severity=severity)
