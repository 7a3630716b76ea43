"""IProp against scipy (direct solution), scikit-image (CIELAB) and answers by hand."""

import copy
import functools
import pickle
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import color

import interpix as ix
from interpix import _core
from propagation_oracles import EXTREMES, PHOTOS, dense_matrix, direct, photo, relative_error, scipy_matrix


@pytest.mark.parametrize("name", PHOTOS)
def test_colors_agree_with_scikit_image(name):
    image = PHOTOS[name]()
    for variant in (image, (image / 255).astype(np.float32)):
        lab = _core.rgb_to_lab(variant)
        assert np.abs(np.moveaxis(lab, 0, -1) - color.rgb2lab(image)).max() < 2e-4


@pytest.mark.parametrize("radius", range(1, 10))
@pytest.mark.parametrize("name", [*PHOTOS, "noise"])
def test_agrees_with_a_direct_sparse_solution(name, radius):
    rng = np.random.default_rng(radius)
    image = rng.integers(0, 256, (23, 31, 3), dtype=np.uint8) if name == "noise" else photo(name, 23, 31)
    attribution = rng.normal(size=(23, 31)).astype(np.float32)
    matrix = scipy_matrix(image, radius)
    graph = ix.PixelGraph(image, radius)
    discounts = [0.0, 0.5, 0.9, 0.99, 0.999]
    several = graph.propagate(attribution, discount=discounts)
    assert several.values.shape == (5, 23, 31)
    for values, discount in zip(several.values, discounts, strict=True):
        exact = direct(matrix, attribution, discount)
        assert relative_error(values, exact) < 1e-4
        alone = graph.propagate(attribution, discount=discount, solver="conjugate_gradients")
        assert relative_error(alone.values, exact) < 1e-4


def test_a_photo_at_the_papers_settings():
    image = photo("coffee", 224, 180)
    rows, columns = np.mgrid[:224, :180]
    attribution = np.exp(-((rows - 90) ** 2 + (columns - 70) ** 2) / 2000).astype(np.float32)
    exact = direct(scipy_matrix(image, 2), attribution, 0.99)
    solved = ix.PixelGraph(image, 2).propagate(attribution)
    assert relative_error(solved.values, exact) <= solved.error_bound + 1e-5
    assert solved.error_bound <= 1e-4


def test_transition_matrix_is_the_papers():
    image = photo("chelsea", 17, 23)
    ours = ix.PixelGraph(image, 3).transition_matrix()
    assert np.abs((ours - scipy_matrix(image, 3)).toarray()).max() < 1e-5
    assert np.allclose(ours.sum(axis=1), 1)


def test_value_iteration_warns_where_its_rule_misleads():
    image = photo("rocket", 20, 30)
    attribution = np.zeros((20, 30), np.float32)
    attribution[4, 7] = 1e-4
    with pytest.warns(UserWarning, match="the rule is absolute"):
        ix.propagate(attribution, image, solver="value_iteration")


def test_keeps_the_kind_of_array():
    image = photo("coffee", 20, 30)
    attribution = np.random.default_rng(0).random((20, 30))
    before = attribution.copy()
    plain = ix.propagate(attribution, image)
    assert plain.dtype == np.float64
    assert plain.shape == (20, 30)
    assert (attribution == before).all()
    tensor = ix.propagate(torch.from_numpy(attribution).float().requires_grad_(), image)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == torch.float32
    assert np.allclose(tensor, plain, rtol=1e-4)
    as_stack = ix.propagate(np.stack([attribution, 2 * attribution]), Image.fromarray(image))
    assert np.allclose(as_stack[1], 2 * plain, rtol=1e-3)


def test_captums_layout_sums_channels():
    images = np.stack([photo("coffee", 20, 30), photo("rocket", 20, 30)])
    attribution = np.random.default_rng(0).normal(size=(2, 3, 20, 30))
    together = ix.propagate(attribution, images)
    assert together.shape == (2, 1, 20, 30)
    for index, image in enumerate(images):
        alone = ix.propagate(attribution[index].sum(axis=0), image)
        assert np.allclose(together[index, 0], alone)
        assert np.allclose(ix.propagate(attribution[index], image, channel_axis=0), alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attribution": np.zeros((30, 20))}, r"`attribution`: expected maps of the image's size \(20, 30\).*resize"),
        ({"attribution": np.full((20, 30), np.nan)}, "`attribution`: expected finite values, got NaN"),
        ({"attribution": np.zeros((20, 30), complex)}, "`attribution`: expected real numbers"),
        ({"attribution": np.zeros(600)}, "`attribution`: expected .* got shape"),
        ({"discount": 1.0}, "`discount`: expected 0 <= discount < 1, got 1"),
        ({"radius": 0}, "`radius`: expected at least 1, got 0"),
        ({"tolerance": 0.0}, "`tolerance`: expected .* got 0"),
        ({"solver": "magic"}, "`solver`: expected \"auto\".* got 'magic'"),
        ({"image": np.zeros((0, 30, 3), np.uint8)}, "`image`"),
        ({"image": np.full((20, 30, 3), 1.5, np.float32)}, "`image`.*before normalization"),
    ],
)
def test_bad_arguments_are_named_with_their_cure(arguments, message):
    good = {"attribution": np.zeros((20, 30)), "image": photo("coffee", 20, 30)}
    with pytest.raises(ValueError, match=message):
        ix.propagate(**{**good, **arguments})


def test_too_few_iterations_are_an_error():
    graph = ix.PixelGraph(photo("coffee", 40, 30))
    with pytest.raises(ix.errors.ConvergenceError, match="max_iterations"):
        graph.propagate(np.random.default_rng(0).random((40, 30)), max_iterations=3)


def press(work, after):
    """Presses Ctrl-C `after` seconds of `work`; seconds until it has stopped."""

    def handler(_signal, _frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    start = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return time.perf_counter() - start - after


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="there is no timer")
@pytest.mark.parametrize("after", [0.05, 0.4])
@pytest.mark.parametrize("work", ["build", "solve", "matrix"])
def test_ctrl_c_is_heard_soon(work, after):
    """R12: at a large radius one tile of the graph took seconds, and the matrix was not asked."""
    image = np.random.default_rng(0).integers(0, 256, (900, 1000, 3), dtype=np.uint8)
    if work == "build":
        assert press(lambda: ix.PixelGraph(image, 200), after) < 0.5
        return
    graph = ix.PixelGraph(image[:500], 9, memory_budget=0)
    attribution = np.ones((500, 1000)) * image[:500, :, 0]
    solve = functools.partial(graph.propagate, attribution, discount=0.999)
    assert press(solve if work == "solve" else graph.transition_matrix, after) < 0.5


DTYPES = {np.float16: (-7, 4), np.float32: (-45, 38), np.float64: (-320, 307)}


_ITERATIONS = 2000


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_no_scale_breaks_a_bound(data):
    """R3, R34, F16: maps of extreme scale overflowed, vanished or exceeded their bound."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    height, width = data.draw(st.sampled_from([(1, 2), (3, 5), (6, 4), (7, 9)]))
    colors = data.draw(st.sampled_from(["extreme", "one pixel", "noise"]))
    image = (
        EXTREMES[rng.integers(0, 6, (height, width))] if colors == "extreme" else np.zeros((height, width, 3), np.uint8)
    )
    if colors == "one pixel":
        image[height // 2, width // 2] = (0, 255, 0)
    elif colors == "noise":
        image = rng.integers(0, 256, image.shape).astype(np.uint8)
    dtype = data.draw(st.sampled_from(list(DTYPES)))
    exponent = data.draw(st.integers(*DTYPES[dtype]))
    with np.errstate(over="ignore", under="ignore"):
        attribution = (rng.normal(size=(height, width)) * 10.0**exponent).astype(dtype)
    if not np.isfinite(attribution).all():
        return
    radius, discount = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0.0, 0.5, 0.9, 0.99]))
    solver = data.draw(st.sampled_from(["auto", "conjugate_gradients", "value_iteration"]))
    # The rule of value iteration may stop it at once.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph = ix.PixelGraph(image, radius)
            found = graph.propagate(attribution, discount=discount, solver=solver, max_iterations=_ITERATIONS)
        except ix.ArgumentError as error:
            if "propagated" not in str(error):
                raise
            return
        except ix.ConvergenceError:
            # Pixels that no neighbor resembles weigh nothing in its inner product; the paper's rule is absolute.
            assert solver != "auto"
            return
    assert found.values.dtype == dtype
    assert np.isfinite(found.values).all()
    assert np.isfinite(found.error_bound)
    matrix = dense_matrix(image, radius)
    # The greatest value is about 1 for the reference, whatever the scale.
    scale = np.abs(attribution.astype(float)).max() or 1.0
    rewards = (attribution.astype(float) / scale).ravel()
    exact = np.linalg.solve(np.eye(height * width) - discount * matrix, rewards).reshape(height, width)
    values = found.values.astype(float) / scale
    assert np.abs(values - exact).max() <= (found.error_bound + 1e-12) * np.abs(values).max()


def test_half_precision_is_summed_in_double():
    """F16: channels in half precision overflowed in the sum."""
    attribution = np.full((1, 3, 4, 6), 30_000, np.float16)
    attribution[:, 1:] = -29_999
    found = ix.propagate(attribution, [photo("coffee", 4, 6)], discount=0.0)
    assert (found == np.float16(30_000.0 - 2 * 29_999)).all()
    with pytest.raises(ix.ArgumentError, match=r"propagated values fit into float16, got up to .*float64"):
        ix.propagate(np.full((4, 6), 60_000, np.float16), photo("coffee", 4, 6))


@pytest.mark.parametrize("values", [np.full((20, 30), 1e37, np.float32), torch.full((20, 30), 1e37)])
def test_values_beyond_the_dtype_are_refused(values):
    """R3: they were infinite, with a bound of 9e-5."""
    with pytest.raises(ix.ArgumentError, match="fit into float32"):
        ix.propagate(values, photo("coffee", 20, 30))


BAD = {
    "radius": [1.5, "3", True, -1, 0, float("nan"), [3], np.float32(3)],
    "memory_budget": [1e9, "3", True, -1, None],
    "discount": ["0.9", None, True, float("nan"), -0.1, 1, 2**64, [], [0.5, "a"], np.zeros((2, 2)), 1j],
    "tolerance": ["0.1", True, float("nan"), -1, 0, 1, 2**64, 1e-9, [1e-3]],
    "max_iterations": [1.5, "3", True, -1, 0, None, float("nan")],
    "channel_axis": [1.5, "0", True, 2**64, -3, 2],
    "solver": [None, 3, "magic", ["auto"]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_options_are_named(name, value):
    """R23: raw errors of numbers."""
    image, attribution = photo("coffee", 20, 30), np.ones((20, 30))
    if name in {"radius", "memory_budget"}:
        call = functools.partial(ix.PixelGraph, image)
    else:
        call = functools.partial(ix.PixelGraph(image).propagate, attribution)
    with pytest.raises(ix.InterpixError, match=f"`{name}`"):
        call(**{name: value})


def test_numbers_of_any_size_are_taken():
    """R23: 2**64 overflowed."""
    image, attribution = photo("coffee", 6, 9), np.ones((6, 9))
    graph = ix.PixelGraph(image, 2**64, memory_budget=2**100)
    expected = ix.PixelGraph(image, np.int32(9)).propagate(attribution).values
    np.testing.assert_array_equal(graph.propagate(attribution, max_iterations=2**70).values, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attribution": np.zeros((30, 20))}, "`attribution`: expected maps of the image's size"),
        ({"attribution": np.full((20, 30), np.inf)}, "`attribution`: expected finite values, got inf"),
        ({"attribution": np.zeros((0, 20, 30))}, "`attribution`: expected at least one map"),
        (
            {"attribution": np.zeros((1, 3, 20, 30)), "image": [photo("coffee", 20, 30)] * 2},
            "`image`: expected 1 images",
        ),
        (
            {"attribution": np.zeros((2, 3, 20, 30)), "image": [photo("coffee", 20, 30), photo("coffee", 30, 20)]},
            "`attribution`: expected maps of the image's size",
        ),
        ({"discount": 1.0}, "`discount`"),
        ({"tolerance": 1e-9}, "`tolerance`"),
        ({"solver": "magic"}, "`solver`"),
        ({"channel_axis": 7}, "`channel_axis`"),
        ({"radius": 0}, "`radius`"),
    ],
)
def test_what_is_cheap_is_checked_before_the_graph_is_built(arguments, message, monkeypatch):
    """R13: a map of the wrong size was told after the whole graph was built."""
    monkeypatch.setattr(_core, "PixelGraph", None)
    good = {"attribution": np.zeros((20, 30)), "image": photo("coffee", 20, 30)}
    with pytest.raises(ix.ArgumentError, match=message):
        ix.propagate(**{**good, **arguments})


def test_a_map_in_captums_layout_takes_a_pil_image():
    image = photo("coffee", 20, 30)
    attribution = np.random.default_rng(0).normal(size=(1, 3, 20, 30))
    expected = ix.propagate(attribution[0].sum(axis=0), image)
    np.testing.assert_allclose(ix.propagate(attribution, Image.fromarray(image))[0, 0], expected)


def test_a_default_radius_that_takes_long_is_said(monkeypatch):
    """F31: minutes, unsaid."""
    built = []
    monkeypatch.setattr(_core, "PixelGraph", lambda lab, **options: built.append(options))
    image = np.zeros((704, 690, 3), np.uint8)
    with pytest.warns(UserWarning, match=r"704 x 690 pixels is 22.* \d+ times as long as with radius=9") as caught:
        ix.PixelGraph(image)
    assert caught[0].filename == __file__
    ix.PixelGraph(image, 22)
    ix.PixelGraph(image[:500, :450])
    assert [options["radius"] for options in built] == [22, 22, 15]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))])
def test_a_graph_can_be_copied_and_pickled(again):
    """F21: neither could be done."""
    rng = np.random.default_rng(0)
    graph = ix.PixelGraph(rng.integers(0, 256, (33, 21, 3), np.uint8), 3, memory_budget=12)
    other, attribution = again(graph), rng.normal(size=(33, 21))
    assert (other.shape, other.radius, other.weight_bytes) == (graph.shape, 3, 0)
    np.testing.assert_array_equal(other.propagate(attribution).values, graph.propagate(attribution).values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2, "version": "9.0"}, "got format 2 of interpix 9.0; build it again: this is interpix "),
        ({"colors": np.zeros((4, 6))}, r"expected colors \(3, H, W\)"),
        ({"colors": np.full((3, 4, 6), np.nan, np.float32)}, "finite colors"),
        ({"radius": "3"}, "`state`"),
        ({"memory_budget": -1}, "`memory_budget`"),
    ],
)
def test_a_pickle_of_another_kind_is_refused(change, message):
    """F21: versions are checked."""
    state = ix.PixelGraph(photo("coffee", 4, 6)).__getstate__()
    with pytest.raises(ix.ArgumentError, match=message):
        object.__new__(ix.PixelGraph).__setstate__({**state, **change})
    with pytest.raises(ix.ArgumentError, match="a pickled PixelGraph"):
        object.__new__(ix.PixelGraph).__setstate__({})


LITTLE_MEMORY = """
import resource
import numpy as np
import interpix as ix
from interpix import _core

rng = np.random.default_rng(0)
image = rng.integers(0, 256, (310, 300, 3), np.uint8)
graph, small = ix.PixelGraph(image, 20), ix.PixelGraph(image[:50], 1)
large = np.zeros((2900, 3000, 3), np.uint8)
maps, known, black = np.ones((40, 310, 300)), np.ones((2900, 3000), bool), np.zeros(3, np.float32)
pixels = large.astype(np.float32)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), -1))
works = {
    "`radius`: the transition matrix": graph.transition_matrix,
    "`radius`: the image's graph": lambda: ix.PixelGraph(large, 9),
    "`memory_budget`": lambda: ix.PixelGraph(image, 60, memory_budget=2**70),
    "`attribution`": lambda: graph.propagate(maps, discount=[0.5] * 20),
    "`known`": lambda: _core.interpolate(pixels, known, black),
    "`image`": lambda: _core.rgb_to_lab(np.broadcast_to(large[:1, :1], (30_000, 30_000, 3))),
}
for name, work in works.items():
    try:
        work()
    except MemoryError as error:
        assert str(error).startswith(name) and " bytes of memory" in str(error), error
    else:
        raise AssertionError(name)
assert small.propagate(np.ones((50, 300))).error_bound <= 1e-4
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems limit memory otherwise")
def test_what_memory_does_not_hold_is_refused():
    """R8, F43: the interpreter was aborted."""
    subprocess.run([sys.executable, "-c", LITTLE_MEMORY], check=True, timeout=120)


def test_color_weight_multiplies_distances_of_colors():
    rng = np.random.default_rng(5)
    pixels = rng.integers(100, 140, (5, 7, 3), np.uint8)
    lab = ix._core.rgb_to_lab(pixels).astype(np.float64)
    for weight in (0.0, 0.25, 1.0, 1.5):
        graph = ix.PixelGraph(pixels, 2, color_weight=weight)
        assert graph.color_weight == weight
        matrix = graph.transition_matrix().toarray()
        rows, columns = np.nonzero(matrix)
        here, there = np.unravel_index(rows, (5, 7)), np.unravel_index(columns, (5, 7))
        spatial = np.hypot(here[0] - there[0], here[1] - there[1])
        color = np.sqrt(((lab[:, *here] - lab[:, *there]) ** 2).sum(axis=0))
        expected = np.zeros_like(matrix)
        expected[rows, columns] = np.exp(-spatial - weight * color)
        np.testing.assert_allclose(matrix, expected / expected.sum(axis=1, keepdims=True), rtol=2e-3, atol=1e-9)
        values = rng.random((5, 7))
        found = ix.propagate(values, pixels, radius=2, color_weight=weight, tolerance=1e-6)
        solved = np.linalg.solve(np.eye(35) - 0.99 * matrix, values.ravel()).reshape(5, 7)
        np.testing.assert_allclose(found, solved, rtol=2e-3)
        again = pickle.loads(pickle.dumps(graph))
        assert again.color_weight == weight
        np.testing.assert_array_equal(again.transition_matrix().toarray(), matrix)


@pytest.mark.parametrize("weight", [-0.1, 1.6, float("nan"), "1", True, None])
def test_a_color_weight_out_of_range_is_refused(weight):
    for call in (ix.PixelGraph, lambda image, **options: ix.propagate(np.ones((2, 3)), image, **options)):
        with pytest.raises(ix.InterpixError, match=r"`color_weight`: expected a number in 0 \.\.\. 1\.5"):
            call(np.zeros((2, 3, 3), np.uint8), color_weight=weight)
