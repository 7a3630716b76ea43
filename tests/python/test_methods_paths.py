import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from torch import nn

import interpix as ix
from interpix.blur import convolve, gaussian_taps
from interpix.methods import XRAI, BlurIG, GuidedIG, IntegratedGradients
from interpix.methods.paths import guided_steps

HEIGHT, WIDTH = 8, 11


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * HEIGHT * WIDTH, 4)
    ).eval()


@pytest.fixture
def image():
    return np.random.default_rng(1).normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)


@pytest.fixture
def gradient(model):
    """What saliency asks a model: the gradients of the logit of class 2, channels last."""

    def call(batch, call_model_args=None, expected_keys=None):
        pictures = torch.from_numpy(np.asarray(batch, np.float32).transpose(0, 3, 1, 2)).requires_grad_()
        (gradients,) = torch.autograd.grad(model(pictures)[:, 2].sum(), pictures)
        return {"INPUT_OUTPUT_GRADIENTS": gradients.numpy().transpose(0, 2, 3, 1)}

    return call


@pytest.fixture
def saliency(monkeypatch):
    core = pytest.importorskip("saliency.core")
    quantile = np.quantile
    # It still uses the name that numpy 2.4 has dropped.
    monkeypatch.setattr(np, "quantile", lambda values, q, interpolation: quantile(values, q, method=interpolation))
    return core


@pytest.mark.parametrize(("fraction", "corridor"), [(0.25, 0.02), (0.25, 0.3), (0.1, 1.0), (1.0, 0.1)])
def test_guided_ig_is_saliencys(fraction, corridor, model, image, gradient, saliency):
    theirs = saliency.GuidedIG().GetMask(
        image.transpose(1, 2, 0).astype(np.float64), gradient, x_steps=20, fraction=fraction, max_dist=corridor
    )
    ours = GuidedIG(steps=20, fraction=fraction, corridor=corridor, baseline="zero").explain(model, image, 2)
    np.testing.assert_allclose(ours.map, theirs.sum(2), rtol=1e-3, atol=1e-6)


def test_guided_ig_without_a_corridor_goes_straight(model, image):
    guided = GuidedIG(steps=300, corridor=0, baseline="zero").explain(model, image, 2)
    straight = IntegratedGradients(steps=300, baseline="zero").explain(model, image, 2)
    np.testing.assert_allclose(guided.map, straight.map, atol=2e-4)


@hypothesis.given(
    steps=st.integers(1, 12),
    fraction=st.floats(0.01, 1),
    corridor=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_guided_steps_end_at_the_image(steps, fraction, corridor, seed):
    rng = np.random.default_rng(seed)
    # Some inputs do not differ from the start.
    start, end = rng.integers(-2, 3, (2, 3, 4, 5)).astype(np.float64)
    options = GuidedIG(steps=steps, fraction=fraction, corridor=corridor)
    ones = sum(guided_steps(start, end, np.ones_like, options))
    np.testing.assert_allclose(ones, end - start, atol=1e-7)
    weights = rng.normal(size=start.shape)
    linear = sum(guided_steps(start, end, lambda point: weights, options))
    np.testing.assert_allclose(linear, (end - start) * weights, atol=1e-6)


def test_blur_ig_is_saliencys(model, image, gradient, saliency):
    theirs = saliency.BlurIG().GetMask(
        image.transpose(1, 2, 0).astype(np.float64), gradient, max_sigma=4, steps=15, batch_size=4
    )
    ours = BlurIG(steps=15, sigma=4, batch_size=6).explain(model, image, 2)
    np.testing.assert_allclose(ours.map, theirs.sum(2), rtol=1e-3, atol=1e-5)


def test_blur_ig_is_nearly_complete(model, image):
    blurred = convolve(image, gaussian_taps(4.0, 16), "zero").astype(np.float32)
    full, empty = model(torch.from_numpy(np.stack([image, blurred])))[:, 2].tolist()
    assert BlurIG(steps=400, sigma=4).explain(model, image, 2).map.sum() == pytest.approx(full - empty, abs=2e-3)


@pytest.fixture
def photo():
    raw = np.full((40, 56, 3), 30, np.uint8)
    raw[8:28, 30:50] = (200, 60, 90)
    return raw


class Red(nn.Module):
    """How much red there is in the square of the photo."""

    def forward(self, batch):
        score = batch[:, 0, 8:28, 30:50].mean((1, 2))
        return torch.stack([-score, score], 1)


@pytest.mark.parametrize("algorithm", ["full", "fast"])
def test_xrai_finds_the_segment(algorithm, photo):
    core = pytest.importorskip("saliency.core")
    classifier = ix.TorchClassifier(
        Red(), preprocess=lambda picture: np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
    )
    result = XRAI(steps=2, algorithm=algorithm).explain(classifier, photo, 1)
    square = np.zeros((40, 56), bool)
    square[8:28, 30:50] = True
    # By hand: in red, inside of the square, the gradient is 1 / 400; on the ways from the least and the greatest value.
    seen = classifier.preprocess(photo)
    ways = np.mean([seen - seen.min(), seen - seen.max()], axis=0) * square / 400 * np.eye(3)[0][:, None, None]
    expected = core.XRAI().GetMask(
        photo.astype(float),
        None,
        base_attribution=ways.transpose(1, 2, 0),
        extra_parameters=core.XRAIParameters(algorithm=algorithm),
    )
    np.testing.assert_allclose(result.map, expected, rtol=1e-4, atol=1e-8)
    assert result.map[square].mean() > 30 * result.map[~square].mean()


def test_xrai_needs_colors():
    pytest.importorskip("saliency")
    with pytest.raises(ix.ArgumentError, match="more than one color"):
        XRAI(steps=1).explain(Red(), np.ones((3, 40, 56), np.float32))


def test_xrai_names_the_command_that_installs_it(monkeypatch, image, model):
    monkeypatch.setitem(sys.modules, "saliency", None)
    with pytest.raises(ix.MissingDependencyError, match=r'pip install "interpix\[xrai\]"'):
        XRAI(steps=1).explain(model, image)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GuidedIG(fraction=0), "`fraction`"),
        (lambda: GuidedIG(corridor=2), "`corridor`"),
        (lambda: BlurIG(sigma=0), "`sigma`"),
        (lambda: BlurIG(steps=0), "`steps`"),
        (lambda: XRAI(algorithm="slow"), "`algorithm`"),
    ],
)
def test_options_are_checked_at_once(make, message):
    with pytest.raises(ix.ArgumentError, match=message):
        make()
