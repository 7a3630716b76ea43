"""IProp where tensors of a GPU's stay: its torch operations on the CPU, against Rust and slow oracles.

What stays on a device is told by its kind; here the CPU is one of them. Triton's kernels run in Triton's interpreter,
and are compiled for GPUs without one; `test_on_a_gpu` is for a machine that has one.
"""

import contextlib
import functools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import interpix as ix
from interpix import _core
from interpix.images import rgb_pixels
from interpix.propagation.device import choice, run
from interpix.propagation.device.colors import lab_colors, read_pixels
from interpix.propagation.device.products import TorchProducts, stored_bytes
from interpix.propagation.device.series import _Goal, _Series, solve
from interpix.propagation.options import solve_options
from propagation_oracles import EXTREMES, dense_matrix, direct, photo, relative_error, scipy_matrix

CPU = torch.device("cpu")
KINDS = "interpix.propagation.places._STAY"


@contextlib.contextmanager
def staying():
    """Tensors of the CPU stay where they are, as a GPU's do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KINDS, frozenset({"cuda", "cpu"}))
        yield


@pytest.fixture
def stays():
    with staying():
        yield


def drawn_picture(rng, kind, height, width):
    if kind == "extremes":
        return EXTREMES[rng.integers(0, 6, (height, width))]
    picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "noise":
        return picture
    if kind == "smooth":
        return picture // 16 + 100
    picture[:] = (0, 0, 255)
    picture[height // 2, width // 2] = (0, 255, 0)  # unlike all others
    return picture


SIZES = [(1, 1), (1, 13), (12, 1), (1, 2), (2, 1), (5, 8), (11, 6), (9, 14)]
RADII, WEIGHTS = range(1, 10), (0.0, 0.25, 1.0, 1.5)


@given(st.data())
@settings(max_examples=30)
def test_torch_agrees_with_rust_and_with_dense_algebra_within_the_bounds(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    height, width = data.draw(st.sampled_from(SIZES))
    image = drawn_picture(rng, data.draw(st.sampled_from(["extremes", "noise", "smooth", "one pixel"])), height, width)
    maps = rng.normal(size=(data.draw(st.integers(1, 5)), height, width)) * 10.0 ** data.draw(st.integers(-300, 300))
    maps[0] = data.draw(st.sampled_from([0.0, 1.0])) * maps[0]
    options = {
        "radius": data.draw(st.sampled_from(RADII)),
        "color_weight": data.draw(st.sampled_from(WEIGHTS)),
        "memory_budget": data.draw(st.sampled_from([0, 1 << 30])),
    }
    asked = {
        "discount": data.draw(st.lists(st.sampled_from([0.0, 0.3, 0.9, 0.99, 0.999]), min_size=1, max_size=3)),
        "tolerance": data.draw(st.sampled_from([1e-6, 1e-4, 1e-2])),
    }
    host = ix.PixelGraph(image, **options).propagate(maps, **asked)
    with staying():
        graph = ix.PixelGraph(torch.from_numpy(image), **options)
        there = graph.propagate(torch.from_numpy(maps), **asked)
    assert (host.solved_by, there.solved_by) == ("rust", "torch")
    assert graph.weight_bytes == (stored_bytes(height, width, graph.radius) if options["memory_budget"] else 0)
    assert there.error_bound <= asked["tolerance"]
    values = there.values.numpy()
    matrix = dense_matrix(image, options["radius"], options["color_weight"]) if image[..., 0].size > 1 else np.zeros(1)
    for discount, ours, rusts in zip(asked["discount"], values, host.values, strict=True):
        for reward, *found in zip(maps, ours, rusts, strict=True):
            scale = np.abs(reward).max() or 1.0
            mine, rust = (each / scale for each in found)
            system = np.eye(height * width) - discount * matrix
            exact = np.linalg.solve(system, reward.ravel() / scale).reshape(height, width)
            off = there.error_bound * np.abs(mine).max()
            assert np.abs(mine - exact).max() <= off + 1e-11 * np.abs(exact).max()
            assert np.abs(mine - rust).max() <= off + (host.error_bound + 1e-11) * np.abs(rust).max()


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("name", ["coffee", "noise"])
def test_torch_agrees_with_a_direct_sparse_solution(name, radius, stays):
    rng = np.random.default_rng(radius)
    image = rng.integers(0, 256, (23, 31, 3), dtype=np.uint8) if name == "noise" else photo(name, 23, 31)
    attribution = torch.from_numpy(rng.normal(size=(23, 31)).astype(np.float32))
    matrix = scipy_matrix(image, radius)
    discounts = [0.0, 0.5, 0.9, 0.99, 0.999]
    found = ix.PixelGraph(image, radius, device="cpu").propagate(attribution, discount=discounts)
    assert found.solved_by == "torch"
    for values, discount in zip(found.values.numpy(), discounts, strict=True):
        assert relative_error(values, direct(matrix, attribution.numpy(), discount)) < 1e-4


@given(st.data())
@settings(max_examples=12)
def test_several_images_at_once_are_each_image_alone(data):
    """Whatever lies beside an image, and however many are solved together, its answer is the same."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    height, width = data.draw(st.sampled_from(SIZES))
    kinds = data.draw(st.lists(st.sampled_from(["extremes", "noise", "smooth", "one pixel"]), min_size=1, max_size=5))
    images = np.stack([drawn_picture(rng, kind, height, width) for kind in kinds])
    maps = rng.normal(size=(len(kinds), 3, height, width)).astype(np.float32)
    maps[-1] *= data.draw(st.sampled_from([0.0, 1e-20, 1.0, 1e10]))
    options = {
        "radius": data.draw(st.sampled_from(RADII)),
        "color_weight": data.draw(st.sampled_from(WEIGHTS)),
        "discount": data.draw(st.sampled_from([0.0, 0.5, 0.99, 0.999])),
        "tolerance": data.draw(st.sampled_from([1e-6, 1e-4])),
    }
    rust = ix.propagate(torch.from_numpy(maps), images, **options).numpy()
    free = data.draw(st.sampled_from([0, 20_000, 1 << 30]))
    with staying(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_free_bytes", lambda device: free)
        together = ix.propagate(torch.from_numpy(maps), torch.from_numpy(images), **options).numpy()
        alone = [
            ix.propagate(torch.from_numpy(one), image, channel_axis=0, **options).numpy()
            for one, image in zip(maps, images, strict=True)
        ]
    assert together.shape == rust.shape == (len(kinds), 1, height, width)
    for index in range(len(kinds)):
        size = np.abs(rust[index]).max()
        # Vectors of other lengths are rounded otherwise at their ends.
        np.testing.assert_allclose(together[index, 0], alone[index], rtol=0, atol=3e-7 * size)
        assert np.abs(together[index] - rust[index]).max() <= (2 * options["tolerance"] + 1e-6) * size


@pytest.mark.parametrize("tolerance", [1e-3, 2e-5, 1e-6])
def test_an_image_that_is_done_is_left_alone(tolerance, stays):
    """Maps that need from 10 to 200 products, in one and in two passes, side by side: each ends as it does alone."""
    rng = np.random.default_rng(0)
    flat, noise = np.full((12, 9, 3), 90, np.uint8), rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)
    images = [photo("coffee", 12, 9), noise, flat, noise, photo("rocket", 12, 9), flat]
    point = np.zeros((12, 9))
    point[4, 7] = 1
    maps = np.stack([rng.normal(size=(12, 9)), point, np.ones((12, 9)), 0 * point, np.ones((12, 9)), point])[:, None]
    options = solve_options(discount=[0.9, 0.99], tolerance=tolerance, solver="auto")

    def solved(part):
        rewards = torch.from_numpy(maps[part])
        colors = lab_colors([torch.from_numpy(image) for image in images[part]], 1.0)
        return solve(TorchProducts(colors, 2, 1 << 30), rewards, np.abs(maps[part]).max((-2, -1)), options)

    together, alone = solved(slice(None)), [solved(slice(index, index + 1)) for index in range(len(images))]
    assert len({one.iterations for one in alone}) > 3
    for index, one in enumerate(alone):
        # Longer vectors may be rounded otherwise at their ends; another term, or pass, would be tens of times more.
        off = 2e-7 * float(one.values.abs().max())
        torch.testing.assert_close(together.values[index], one.values[0], rtol=0, atol=off)
    assert together.iterations >= max(one.iterations for one in alone)


def test_groups_are_halved_when_memory_runs_out(stays, monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 6, 9, 3), dtype=np.uint8)
    maps = torch.from_numpy(rng.normal(size=(7, 1, 6, 9)))
    expected, tried = ix.propagate(maps, images), []

    def products(most, colors, radius, memory_budget):
        tried.append(len(colors))
        if len(colors) > most:
            raise torch.cuda.OutOfMemoryError
        return choice.choose_products(colors, radius, memory_budget)

    monkeypatch.setattr(run, "choose_products", functools.partial(products, 2))
    torch.testing.assert_close(ix.propagate(maps, images), expected, rtol=1e-7, atol=1e-7)
    assert tried == [7, 4, 2, 2, 2, 1]
    monkeypatch.setattr(run, "choose_products", functools.partial(products, 0))
    with pytest.raises(MemoryError, match="`attribution`: the solver needs more memory than cpu has; propagate fewer"):
        ix.propagate(maps, images)


def test_colors_are_rusts(stays):
    rng = np.random.default_rng(0)
    gray = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    colors = rng.integers(0, 256, (1, 300_000, 3), dtype=np.uint8)
    corners = np.stack(np.meshgrid(*[[0, 10, 11, 255]] * 3), axis=-1).reshape(1, -1, 3).astype(np.uint8)
    floats = rng.random((3, 300, 200), np.float32)
    for image in (gray, colors, corners, floats, floats * np.float32(0.05)):
        expected = _core.rgb_to_lab(rgb_pixels(image))
        found = lab_colors([read_pixels(torch.from_numpy(image), CPU)], 1.0)[0].numpy()
        assert found.shape == expected.shape
        assert (found != expected).mean() < 1e-4  # where the last bit turns
        np.testing.assert_allclose(found, expected, rtol=1.3e-7, atol=1e-11)
    half = lab_colors([read_pixels(torch.from_numpy(floats), CPU)], 0.25)[0].numpy()
    np.testing.assert_allclose(half, _core.rgb_to_lab(rgb_pixels(floats)) * np.float32(0.25), rtol=1.3e-7, atol=1e-11)


RNG = np.random.default_rng(3)
GOOD_IMAGES = {
    "bytes": RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8),
    "one of a batch": RNG.integers(0, 256, (1, 4, 6, 3), dtype=np.uint8),
    "gray bytes": RNG.integers(0, 256, (4, 6), dtype=np.uint8),
    "gray bytes, axis": RNG.integers(0, 256, (4, 6, 1), dtype=np.uint8),
    "floats last": RNG.random((4, 6, 3)),
    "floats first": RNG.random((3, 4, 6), np.float32),
    "half": RNG.random((1, 3, 4, 6)).astype(np.float16),
    "gray floats": RNG.random((4, 6), np.float32),
    "three rows": RNG.random((3, 3, 5), np.float32),
    "three columns": RNG.random((5, 3, 3), np.float32),
}
BAD_IMAGES = {
    "four channels": np.zeros((4, 6, 4), np.uint8),
    "channels first": np.zeros((3, 4, 6), np.uint8),
    "empty": np.zeros((0, 6, 3), np.uint8),
    "no pixels": np.zeros((3, 4, 0), np.float32),
    "integers": np.zeros((4, 6, 3), np.int32),
    "truth": np.zeros((4, 6, 3), bool),
    "above 1": np.full((3, 4, 6), 1.5, np.float32),
    "just above 1": np.full((3, 4, 6), 1 + 1e-12),
    "below 0": np.full((4, 6, 3), -0.25, np.float32),
    "not a number": np.full((4, 6, 3), np.nan, np.float32),
    "infinite": np.full((4, 6, 3), np.inf),
    "two images": np.zeros((2, 4, 6, 3), np.uint8),
    "a row": np.zeros(6, np.float32),
}


@pytest.mark.parametrize("kind", GOOD_IMAGES)
def test_images_are_read_as_on_the_host(kind, stays):
    image = GOOD_IMAGES[kind]
    found = read_pixels(torch.from_numpy(image), CPU)
    np.testing.assert_array_equal(found.numpy(), rgb_pixels(image))
    assert found.dtype == (torch.uint8 if image.dtype == np.uint8 else torch.float32)


def message_of(call):
    with pytest.raises(ix.InterpixError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_images_are_refused_as_on_the_host(kind):
    image = BAD_IMAGES[kind]
    expected = message_of(lambda: ix.PixelGraph(image))
    with staying():
        assert message_of(lambda: ix.PixelGraph(torch.from_numpy(image))) == expected


BAD_CALLS = {
    "size": {"attribution": torch.zeros(30, 20)},
    "nan": {"attribution": torch.full((20, 30), float("nan"))},
    "infinity": {"attribution": torch.full((2, 20, 30), -float("inf"))},
    "complex": {"attribution": torch.zeros(20, 30, dtype=torch.complex64)},
    "truth": {"attribution": torch.zeros(20, 30, dtype=torch.bool)},
    "flat": {"attribution": torch.zeros(600)},
    "none": {"attribution": torch.zeros(0, 20, 30)},
    "sparse": {"attribution": torch.zeros(20, 30).to_sparse()},
    "beyond float32": {"attribution": torch.full((20, 30), 1e37)},
    "beyond float16": {"attribution": torch.full((20, 30), 6e4, dtype=torch.float16)},
    "beyond float64": {"attribution": torch.full((20, 30), 1e307, dtype=torch.float64)},
    "count": {"attribution": torch.zeros(2, 3, 20, 30), "image": [photo("coffee", 20, 30)]},
    "none of none": {"attribution": torch.zeros(0, 3, 20, 30), "image": []},
    "second size": {
        "attribution": torch.zeros(2, 3, 20, 30),
        "image": [photo("coffee", 20, 30), photo("coffee", 30, 20)],
    },
    "second nan": {
        "attribution": torch.zeros(2, 3, 20, 30) / torch.tensor([1.0, 0.0])[:, None, None, None],
        "image": [photo("coffee", 20, 30)] * 2,
    },
    "list of one": {"attribution": torch.zeros(2, 20, 30), "image": [photo("coffee", 20, 30)]},
    "axis": {"channel_axis": 7},
    "image": {"image": np.full((20, 30, 3), 1.5)},
    "no image": {"image": None},
    "discount": {"discount": 1.0},
    "radius": {"radius": 0},
    "tolerance": {"tolerance": 1e-9},
    "solver": {"solver": "magic"},
}


@pytest.mark.parametrize("kind", BAD_CALLS)
def test_bad_arguments_are_refused_as_on_the_host(kind):
    call = {"attribution": torch.zeros(20, 30), "image": photo("coffee", 20, 30), **BAD_CALLS[kind]}
    expected = message_of(lambda: ix.propagate(**call))
    with staying():
        assert message_of(lambda: ix.propagate(**call)) == expected


def test_nothing_is_solved_before_the_last_image_is_read(stays, monkeypatch):
    monkeypatch.setattr(run, "choose_products", None)
    with pytest.raises(ix.ArgumentError, match="`image`"):
        ix.propagate(torch.zeros(2, 1, 4, 6), [np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 7.0)])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int32])
def test_keeps_the_kind_of_tensor(dtype):
    image = photo("rocket", 6, 9)
    attribution = (10 * torch.rand(2, 9, 6, generator=torch.Generator().manual_seed(0))).to(dtype).transpose(1, 2)
    before = attribution.clone()
    expected = ix.propagate(attribution, image, discount=0.9)
    with staying():
        graph = ix.PixelGraph(image, device="cpu")
        if dtype.is_floating_point:
            attribution.requires_grad_()
        found = ix.propagate(attribution, image, discount=0.9)
        known = graph.propagate(attribution, discount=0.9)
    assert found.dtype == known.values.dtype == expected.dtype
    assert not found.requires_grad
    assert not known.values.requires_grad
    assert (attribution == before).all()
    spacing = torch.finfo(found.dtype).eps
    for values in (found, known.values):
        torch.testing.assert_close(
            values.double(), expected.double(), rtol=2 * spacing, atol=2e-4 * float(before.max())
        )
    # What the dtype rounds away counts.
    assert known.error_bound <= 1e-4 + spacing
    if spacing > 1e-3:
        assert known.error_bound > 1e-4


def test_layouts_are_those_of_the_host():
    image, rng = photo("coffee", 8, 5), np.random.default_rng(0)
    picture = Image.fromarray(image)
    for shape, options in [
        ((8, 5), {}),
        ((3, 8, 5), {}),
        ((1, 3, 8, 5), {}),
        ((3, 8, 5), {"channel_axis": 0}),
        ((8, 5, 3), {"channel_axis": -1}),
        ((2, 3, 8, 5), {"channel_axis": 1}),
        ((3, 8, 5), {"discount": [0.5, 0.9]}),
        ((1, 3, 8, 5), {"discount": [0.5]}),
    ]:
        maps = torch.from_numpy(rng.normal(size=shape))
        expected = ix.propagate(maps, picture, **options)
        with staying():
            for where in (picture, torch.from_numpy(image)):
                found = ix.propagate(maps, where, **options)
                assert found.shape == expected.shape, (shape, options)
                torch.testing.assert_close(found, expected, rtol=0, atol=2.1e-4 * float(expected.abs().max()))


def test_a_graph_takes_maps_from_elsewhere(stays):
    image, maps = torch.from_numpy(photo("coffee", 8, 5)), np.random.default_rng(0).random((2, 8, 5)).astype(np.float16)
    graph = ix.PixelGraph(image, 2)
    found = graph.propagate(maps, discount=0.5)
    assert isinstance(found.values, np.ndarray)
    assert found.values.dtype == np.float16
    assert (found.solved_by, found.note) == ("torch", "Triton compiles for GPUs only")
    expected = ix.PixelGraph(image.numpy(), 2).propagate(maps, discount=0.5)
    assert np.abs(found.values - expected.values).max() <= 2e-3
    assert expected.error_bound == pytest.approx(found.error_bound, rel=0.5)


def test_arrays_of_any_kind_are_brought_to_a_graph(stays):
    image, maps = photo("coffee", 8, 5), np.random.default_rng(0).normal(size=(2, 8, 5))
    expected = ix.PixelGraph(torch.from_numpy(image), 2).propagate(maps).values
    frozen = [np.array(array) for array in (image, maps)]
    for array in frozen:
        array.setflags(write=False)
    turned = [np.ascontiguousarray(array[:, ::-1])[:, ::-1] for array in (image, maps)]
    swapped = [image, maps.astype(">f8")]
    for picture, values in (frozen, turned, swapped):
        found = ix.PixelGraph(picture, 2, device="cpu").propagate(values)
        assert found.solved_by == "torch"
        np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    counts = np.arange(80).reshape(2, 8, 5)
    known = ix.PixelGraph(image, 2).propagate(counts.astype(np.float32), discount=0.5).values
    for kind in (np.uint8, np.uint16, np.int64):
        for values in (counts.astype(kind), torch.from_numpy(counts.astype(kind))):
            found = ix.PixelGraph(image, 2, device="cpu").propagate(values, discount=0.5).values
            np.testing.assert_allclose(found, known, rtol=0, atol=3e-4 * known.max())
        summed = ix.propagate(torch.from_numpy(counts.astype(kind)), image, radius=2, discount=0.5, channel_axis=0)
        np.testing.assert_allclose(summed, known.sum(axis=0), rtol=0, atol=6e-4 * known.max())


def test_the_other_solvers_and_the_matrix_are_rusts(stays):
    image, maps = photo("coffee", 8, 5), torch.rand(2, 8, 5, generator=torch.Generator().manual_seed(0))
    graph, host = ix.PixelGraph(torch.from_numpy(image), 2), ix.PixelGraph(image, 2)
    for solver in ("conjugate_gradients", "value_iteration"):
        found, expected = (each.propagate(maps, solver=solver) for each in (graph, host))
        assert isinstance(found.values, torch.Tensor)
        assert found.solved_by == "rust"
        torch.testing.assert_close(found.values, expected.values, rtol=1e-6, atol=0)
        torch.testing.assert_close(ix.propagate(maps, image, radius=2, solver=solver), expected.values)
    assert abs(graph.transition_matrix() - host.transition_matrix()).max() < 1e-6


@pytest.mark.parametrize("most", [1, 3, 9, 30])
def test_too_few_products_are_an_error_as_in_rust(most, stays):
    image, maps = photo("coffee", 20, 15), torch.rand(20, 15, generator=torch.Generator().manual_seed(0))
    told = []
    for place in (torch.from_numpy(image), image):
        with pytest.raises(ix.ConvergenceError, match="chebyshev did not converge") as caught:
            ix.PixelGraph(place, 2).propagate(maps, max_iterations=most)
        told.append([float(word.strip(",;:")) for word in str(caught.value).split() if word[0].isdigit()])
    there, host = told
    assert there[:2] == host[:2]  # the tolerance, and how many products there were
    np.testing.assert_allclose(there[2:], host[2:], rtol=0.01)


class Wrong(TorchProducts):
    """A kernel with a fault: what it is asked for in single precision is a little off."""

    def step(self, values):
        return super().step(values) * 1.02


class Rough(TorchProducts):
    """One that rounds much."""

    def step(self, values):
        return super().step(values) * 1.0002


def test_wrong_products_are_not_certified():
    """The certificate is computed from weights of its own: what comes out has the error that it says, or does not."""
    image, rng = photo("coffee", 12, 9), np.random.default_rng(0)
    colors = lab_colors([torch.from_numpy(image)], 1.0)
    rewards = torch.from_numpy(rng.normal(size=(1, 1, 12, 9)))
    peaks = rewards.abs().amax((-2, -1)).numpy()
    options = solve_options(discount=0.99, tolerance=1e-6, solver="auto")
    with pytest.raises(ix.ConvergenceError):
        solve(Wrong(colors, 2, 1 << 20), rewards, peaks, options)
    right = solve(TorchProducts(colors, 2, 1 << 20), rewards, peaks, options)
    rough = solve(Rough(colors, 2, 1 << 20), rewards, peaks, options)
    assert rough.iterations > right.iterations  # it was solved for again
    exact = np.linalg.solve(np.eye(108) - 0.99 * dense_matrix(image, 2), rewards.numpy().ravel())
    assert relative_error(rough.values.numpy().ravel(), exact) <= rough.bounds.max() <= 1e-6


def test_a_graph_can_be_pickled_and_asked_by_threads(stays):
    rng = np.random.default_rng(0)
    image, maps = torch.from_numpy(rng.integers(0, 256, (9, 14, 3), np.uint8)), torch.from_numpy(rng.random((9, 14)))
    graph = ix.PixelGraph(image, 3, color_weight=0.5, memory_budget=0)
    again = pickle.loads(pickle.dumps(graph))
    assert (again.shape, again.radius, again.color_weight, again.weight_bytes) == ((9, 14), 3, 0.5, 0)
    expected = graph.propagate(maps)
    assert again.propagate(maps).solved_by == expected.solved_by == "torch"
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(again.propagate, [maps] * 8):
            assert (found.values == expected.values).all()


def test_a_pickle_of_a_gpu_that_is_not_here_says_so():
    state = {**ix.PixelGraph(photo("coffee", 4, 6)).__getstate__(), "device": "cuda:99"}
    with pytest.raises(ix.ArgumentError, match="a PixelGraph of a device that is here, got one of 'cuda:99'; build it"):
        object.__new__(ix.PixelGraph).__setstate__(state)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "mps", None])
def test_where_no_gpu_is_named_rust_answers_to_the_bit(device):
    image, maps = photo("coffee", 8, 5), torch.rand(8, 5)
    found = ix.PixelGraph(torch.from_numpy(image), 2, device=device).propagate(maps)
    assert found.solved_by == "rust"
    assert found.note == ""
    assert (found.values == ix.PixelGraph(image, 2).propagate(maps).values).all()


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "`device`: expected the name of a torch device.* got 'gpu'"),
        ("cuda:99", "`device`: expected a device that is here, got 'cuda:99'"),
        (3, "`device`: expected a torch device or its name.* got int"),
    ],
)
def test_devices_that_are_none_are_named(device, message):
    with pytest.raises(ix.InterpixError, match=message):
        ix.PixelGraph(photo("coffee", 8, 5), device=device)


def test_a_default_radius_that_takes_long_is_said(stays, monkeypatch):
    monkeypatch.setattr("interpix.propagation.options._MANY_EDGES", 100)
    image = torch.zeros(70, 75, 3, dtype=torch.uint8)
    calls = [lambda: ix.PixelGraph(image), lambda: ix.propagate(torch.zeros(70, 75), image)]
    for call in calls:
        with pytest.warns(UserWarning, match="the default radius for 70 x 75 pixels is 2") as caught:
            call()
        assert caught[0].filename == __file__
    monkeypatch.setattr("interpix.propagation.options._MANY_EDGES", 70 * 75 * 12 / 50 + 1)
    for call in calls:
        call()


def test_settings_of_the_caller_change_nothing(stays):
    image, maps = torch.from_numpy(photo("coffee", 8, 5)), torch.rand(8, 5)
    expected = ix.propagate(maps, image)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = ix.propagate(maps, image)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    assert (found == expected).all()


def test_no_operation_mixes_the_devices():
    """Torch's fake tensors say where numbers would lie, on a GPU that need not be there."""
    gpu = torch.device("cuda", 0)
    with FakeTensorMode():
        pictures = [torch.zeros(6, 9, 3, dtype=torch.uint8, device=gpu), torch.zeros(6, 9, 3, device=gpu)]
        colors, rhs = lab_colors(pictures, 0.5), torch.zeros(2, 1, 3, 6, 9, dtype=torch.float64, device=gpu)
        for budget in (0, 1 << 30):
            products = TorchProducts(colors, 2, budget)
            found = _Series(products, rhs, np.ones((2, 1, 3)), np.array([0.5, 0.9])[None, :, None])
            found.add_term()
            found.add_term()
            assert (found.sums.device, found.sums.dtype, found.sums.shape) == (gpu, torch.float64, (2, 2, 3, 6, 9))
            assert products.step_exactly(rhs.flatten(1, 2)).device == gpu
            # The one number that the host waits for.
            goal = _Goal(torch.ones(2, 2, 3, 1, 1, device=gpu), torch.ones(1, 2, 1, 1, 1, device=gpu), 1e-4)
            with pytest.raises(DataDependentOutputException, match="_local_scalar_dense"):
                found.stop_what_is_done(goal)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize(("size", "radius"), [((1, 1), 1), ((1, 40), 3), ((33, 21), 9), ((224, 180), 7)])
def test_on_a_gpu(size, radius):
    rng = np.random.default_rng(0)
    images = np.stack([drawn_picture(rng, kind, *size) for kind in ("noise", "smooth", "extremes", "one pixel")])
    maps = rng.normal(size=(4, 3, *size)).astype(np.float32)
    expected = ix.propagate(torch.from_numpy(maps), images, radius=radius)
    found = ix.propagate(torch.from_numpy(maps).cuda(), torch.from_numpy(images).cuda(), radius=radius)
    assert found.is_cuda
    for ours, rusts in zip(found.cpu(), expected, strict=True):
        assert (ours - rusts).abs().max() <= 2.1e-4 * rusts.abs().max()
    graph = ix.PixelGraph(torch.from_numpy(images[0]).cuda(), radius)
    for discount in (0.0, 0.5, 0.999):
        several = graph.propagate(torch.from_numpy(maps[0]).cuda(), discount=discount, tolerance=1e-6)
        assert several.solved_by in {"triton", "torch"}
        assert (several.solved_by == "triton") == (several.note == "")
        known = ix.PixelGraph(images[0], radius).propagate(maps[0], discount=discount, tolerance=1e-6).values
        assert relative_error(several.values.cpu().numpy(), known) <= 3e-6
