"""IProp against scipy (direct solution), scikit-image (CIELAB) and answers by hand."""

import signal

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spl
import torch
from PIL import Image
from skimage import color, data, transform

import interpix as ix
from interpix import _core

PHOTOS = {"chelsea": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}


def photo(name, height, width):
    """A photo from scikit-image, small and not square, as uint8."""
    small = transform.resize(PHOTOS[name](), (height, width), anti_aliasing=True)
    return np.rint(255 * small).astype(np.uint8)


def scipy_matrix(image, radius):
    """P as the paper's formula says, from scikit-image's colors, vectorized over pixels, edge by edge."""
    lab = color.rgb2lab(image)
    height, width = lab.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    rows, columns, weights = [], [], []
    for down in range(-min(radius, height - 1), min(radius, height - 1) + 1):
        for right in range(-min(radius, width - 1), min(radius, width - 1) + 1):
            if down == right == 0:
                continue
            here = (slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right)))
            there = (slice(max(0, down), height - max(0, -down)), slice(max(0, right), width - max(0, -right)))
            distance = np.hypot(down, right) + np.linalg.norm(lab[here] - lab[there], axis=-1)
            rows.append(index[here].ravel())
            columns.append(index[there].ravel())
            weights.append(np.exp(-distance).ravel())
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    matrix = sp.csr_array(sp.coo_array(entries, shape=(height * width, height * width)))
    return sp.diags_array(1 / matrix.sum(axis=1)) @ matrix


def direct(matrix, attribution, discount):
    system = sp.eye_array(matrix.shape[0]) - discount * matrix
    return spl.spsolve(system.tocsc(), attribution.ravel().astype(float)).reshape(attribution.shape)


def relative_error(values, exact):
    return np.abs(values - exact).max() / np.abs(exact).max()


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


def test_ctrl_c_stops_a_solve():
    image = np.random.default_rng(0).integers(0, 256, (500, 600, 3), dtype=np.uint8)
    graph = ix.PixelGraph(image, 9, memory_budget=0)
    calls = []

    def press(_signal, _frame):
        calls.append(1)
        # Signals that nobody answered during the solve would be one when it is over.
        if len(calls) == 3:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        with pytest.raises(KeyboardInterrupt):
            graph.propagate(np.ones((500, 600)) * image[..., 0], discount=0.999)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
