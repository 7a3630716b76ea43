import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

import interpix as ix
from interpix.methods import IntegratedGradients

HEIGHT, WIDTH = 8, 11


@pytest.fixture
def model():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Dropout(), nn.Flatten(), nn.Linear(6 * HEIGHT * WIDTH, 4)]
    return nn.Sequential(*layers).train()


@pytest.fixture
def image():
    return np.random.default_rng(1).normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)


def test_any_method_is_propagated_over_what_the_model_sees(model, image):
    method = IntegratedGradients(steps=5, baseline="zero", magnitude="channels")
    plain = method.explain(model, image, 2)
    result = ix.propagated(method, radius=2, discount=0.9).explain(model, image, 2)
    np.testing.assert_array_equal(result.map, ix.propagate(plain.map, plain.image, radius=2, discount=0.9))
    assert result.method == ix.propagated(method).name == "IProp(integrated_gradients)"
    assert result.provenance["steps"] == 5


@pytest.mark.parametrize("kind", ["Saliency", "IntegratedGradients", "Occlusion"])
def test_any_object_of_captum(kind, model, image):
    tensor = torch.from_numpy(image)[None].requires_grad_()
    method = getattr(captum.attr, kind)(model)
    attribute = method.attribute
    if kind == "Occlusion":
        method.attribute = lambda inputs, target: attribute(inputs, (3, 2, 2), target=target)
    result = ix.propagated(method, radius=2).explain(model, image, 1)
    assert model.training
    model.eval()
    expected = method.attribute(tensor, target=1)
    propagated = ix.propagate(expected.detach().sum(1)[0].numpy(), result.image, radius=2)
    np.testing.assert_allclose(result.map, propagated, rtol=1e-3, atol=1e-5)
    assert result.method == f"IProp({kind})"


def test_moxi_speaks_captum(classifier, image):
    moxi = ix.MoXI(classifier, regions="2x3")
    result = ix.propagated(moxi, radius=1).explain(classifier, image)
    expected = ix.propagate(3 * moxi.explain(image).attribution().map, result.image, radius=1)
    np.testing.assert_allclose(result.map, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (1, HEIGHT, WIDTH), (1, 3, HEIGHT, WIDTH)])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_any_function(shape, kind, model, image):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    asked = []

    def method(model, image, target):
        asked.append((model, image.shape, target))
        image[:] = 0
        return kind(values)

    before = image.copy()
    result = ix.propagated(method, radius=1).explain(model, image, 3)
    flat = values.reshape(-1, HEIGHT, WIDTH).sum(0)
    np.testing.assert_allclose(result.map, ix.propagate(flat, result.image, radius=1), rtol=1e-4, atol=1e-5)
    assert asked == [(model, (3, HEIGHT, WIDTH), 3)]
    np.testing.assert_array_equal(image, before)


def test_a_map_of_another_size_is_refused(model, image):
    with pytest.raises(ix.ArgumentError, match="a map of 8 x 11"):
        ix.propagated(lambda model, image, target: np.ones((2, 3))).explain(model, image)


def test_options_are_checked_at_once():
    with pytest.raises(ix.ArgumentTypeError, match="`method`"):
        ix.propagated("gradient")
    with pytest.raises(ix.ArgumentTypeError, match="`method`"):
        ix.propagated(IntegratedGradients)
    with pytest.raises(ix.ArgumentError, match="`radius`"):
        ix.propagated(IntegratedGradients(), radius=0)
    with pytest.raises(ix.ArgumentError, match="`discount`"):
        ix.propagated(IntegratedGradients(), discount=1)
