import captum.attr
import numpy as np
import pytest
import timm
import torch
from torch import nn

import interpix as ix
from interpix import methods
from interpix.methods import Gradient, IntegratedGradients

HEIGHT, WIDTH = 8, 11


def linear_model(seed=0):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * HEIGHT * WIDTH, 4))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(model[1].weight.shape, generator=generator))
    return model


def curved_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 5, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(5 * (HEIGHT - 2) * (WIDTH - 2), 4),
    ).eval()


@pytest.fixture
def image():
    return np.random.default_rng(1).normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)


@pytest.fixture
def curved():
    return curved_model()


def weights_of(model, target):
    return model[1].weight[target].detach().numpy().reshape(3, HEIGHT, WIDTH)


def test_gradient_of_a_linear_model_is_its_weights(image):
    model = linear_model()
    result = Gradient().explain(model, image, target=2)
    np.testing.assert_allclose(result.map, weights_of(model, 2).sum(0), rtol=1e-6)
    assert (result.target, result.method) == (2, "gradient")


def test_gradient_is_captums(curved, image):
    theirs = captum.attr.Saliency(curved).attribute(torch.from_numpy(image)[None].requires_grad_(), target=1, abs=False)
    np.testing.assert_allclose(Gradient().explain(curved, image, 1).map, theirs[0].sum(0), rtol=1e-4, atol=1e-7)


def test_gradient_of_the_probability_is_by_the_chain_rule(image):
    model = linear_model()
    probabilities = model(torch.from_numpy(image)[None]).softmax(1)[0].detach().numpy()
    mean = sum(p * weights_of(model, k) for k, p in enumerate(probabilities))
    expected = probabilities[1] * (weights_of(model, 1) - mean)
    result = Gradient(output="probability").explain(model, image, 1)
    np.testing.assert_allclose(result.map, expected.sum(0), rtol=1e-3, atol=1e-9)


def test_integrated_gradients_of_a_linear_model_are_weight_times_difference(image):
    model = linear_model()
    result = IntegratedGradients(steps=3, baseline=0.5).explain(model, image, 2)
    np.testing.assert_allclose(result.map, ((image - 0.5) * weights_of(model, 2)).sum(0), rtol=1e-4, atol=1e-5)
    assert abs(result.provenance["completeness_error"]) < 1e-4


def test_integrated_gradients_are_captums(curved, image):
    tensor = torch.from_numpy(image)[None]
    theirs = captum.attr.IntegratedGradients(curved).attribute(
        tensor, baselines=torch.zeros_like(tensor), target=3, n_steps=20, method="riemann_middle"
    )
    ours = IntegratedGradients(steps=20, baseline="zero").explain(curved, image, 3)
    np.testing.assert_allclose(ours.map, theirs[0].sum(0).detach(), rtol=1e-3, atol=1e-6)


def test_integrated_gradients_are_complete(curved, image):
    result = IntegratedGradients(baseline="zero").explain(curved, image, 0)
    pair = torch.from_numpy(np.stack([image, np.zeros_like(image)]))
    full, empty = curved(pair)[:, 0].tolist()
    assert result.map.sum() == pytest.approx(full - empty, abs=2e-3)
    assert result.provenance["completeness_error"] == pytest.approx(result.map.sum() - (full - empty), rel=0.05)


def test_the_batch_size_changes_nothing(curved, image):
    maps = [
        IntegratedGradients(steps=9, baseline="zero", batch_size=size).explain(curved, image, 0).map
        for size in (1, 4, 9)
    ]
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], rtol=1e-5, atol=1e-7)


def test_black_is_pixel_value_0_before_normalization():
    model = linear_model()
    classifier = ix.TorchClassifier(
        model, preprocess=lambda picture: (np.asarray(picture, np.float32).transpose(2, 0, 1) - 100) / 50
    )
    raw = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    result = IntegratedGradients(steps=2).explain(classifier, raw, 1)
    np.testing.assert_allclose(
        result.map, (raw.transpose(2, 0, 1) / 50 * weights_of(model, 1)).sum(0), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_array_equal(result.image, raw)


def test_the_model_and_the_image_stay_as_they_were(image):
    model = timm.create_model("resnet10t", num_classes=3).train()
    model.conv1.train(mode=False)
    parameters = list(model.parameters())
    parameters[0].requires_grad_(requires_grad=False)
    parameters[1].grad = torch.ones_like(parameters[1])
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes, wanted = [one.training for one in model.modules()], [one.requires_grad for one in parameters]
    picture = np.random.default_rng(0).normal(size=(3, 32, 40)).astype(np.float32)
    before = picture.copy()
    for method in (Gradient(), IntegratedGradients(steps=2, baseline="zero")):
        method.explain(model, picture)
    assert [one.training for one in model.modules()] == modes
    assert [one.requires_grad for one in parameters] == wanted
    assert all(one.grad is None for one in parameters[2:])
    assert bool((parameters[1].grad == 1).all())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())
    np.testing.assert_array_equal(picture, before)


def test_gradients_are_found_where_the_caller_has_turned_them_off(image):
    model = linear_model().requires_grad_(requires_grad=False)
    with torch.inference_mode():
        result = Gradient().explain(model, torch.from_numpy(image), 0)
    np.testing.assert_allclose(result.map, weights_of(model, 0).sum(0), rtol=1e-4, atol=1e-6)


def test_a_model_without_gradients_is_refused(classifier, image):
    with pytest.raises(
        ix.ArgumentError, match=r"needs what goes on inside of it, got `sum of pixels`; without one, use RISE"
    ):
        Gradient().explain(classifier, image)


def test_a_model_that_detaches_is_an_error_of_the_model(image):
    class Detached(nn.Module):
        def forward(self, batch):
            return batch.detach().sum(dim=(2, 3))

    with pytest.raises(ix.ModelError, match="no gradient"):
        Gradient().explain(Detached(), image)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gradient(output="softmax"), "`output`"),
        (lambda: IntegratedGradients(steps=0), "`steps`"),
        (lambda: IntegratedGradients(batch_size=0), "`batch_size`"),
        (lambda: IntegratedGradients(baseline="white"), "`baseline`"),
        (lambda: IntegratedGradients.preset("moxi"), '"iprop" for integrated_gradients'),
    ],
)
def test_options_are_checked_at_once(make, message):
    with pytest.raises(ix.ArgumentError, match=message):
        make()


@pytest.mark.parametrize("method", [methods.Gradient, methods.IntegratedGradients, methods.GuidedIG, methods.BlurIG])
def test_magnitudes_are_those_of_the_sum_or_of_each_channel(method):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(4 * 24, 3))
    image = np.random.default_rng(0).normal(size=(3, 6, 8)).astype(np.float32)
    few = {} if method is methods.Gradient else {"steps": 5}
    few |= {} if method in (methods.Gradient, methods.BlurIG) else {"baseline": "zero"}
    signed = method(**few).explain(net, image, 1).map
    total = method(**few, magnitude="sum").explain(net, image, 1).map
    channels = method(**few, magnitude="channels").explain(net, image, 1).map
    np.testing.assert_array_equal(total, np.abs(signed))
    assert (channels >= total - 1e-6).all()
    assert (channels > total + 1e-3).any()
    gray = np.repeat(image[:1], 3, axis=0)
    same = torch.nn.Sequential(net[0], *net[1:])
    with torch.no_grad():
        same[0].weight[:] = same[0].weight[:, :1]
    pair = [method(**few, magnitude=how).explain(same, gray, 1).map for how in ("sum", "channels")]
    np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-6)  # channels of one kind have one sign
    assert method.preset("iprop").magnitude == "channels"
    with pytest.raises(ix.ArgumentError, match='`magnitude`: expected "sum" or "channels"'):
        method(magnitude="both")


def test_iprop_propagates_magnitudes_of_gradients():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 3))
    image = np.random.default_rng(0).random((3, 6, 8), np.float32)
    plain = methods.Gradient().explain(net, image, 1)
    assert (plain.map < 0).any()
    found = ix.propagated(methods.Gradient(), radius=1).explain(net, image, 1)
    expected = ix.propagate(np.abs(plain.map), plain.image, radius=1)
    np.testing.assert_array_equal(found.map, expected)
    assert found.provenance["magnitude"] == "sum"
    signed = ix.propagated(methods.Gradient(), radius=1, signed=True).explain(net, image, 1)
    np.testing.assert_array_equal(signed.map, ix.propagate(plain.map, plain.image, radius=1))
    compared = ix.compare(net, image, "gradient", "insertion(steps=2,baseline='zero')", targets=1)
    np.testing.assert_array_equal(
        compared.entry("image 1", "IProp(gradient)").attribution.map, ix.propagate(np.abs(plain.map), plain.image)
    )
    channels = ix.propagated(methods.Gradient(magnitude="channels"), radius=1).explain(net, image, 1)
    raw = methods.Gradient(magnitude="channels").explain(net, image, 1)
    np.testing.assert_array_equal(channels.map, ix.propagate(raw.map, raw.image, radius=1))
