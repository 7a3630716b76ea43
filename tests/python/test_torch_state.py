"""PyTorch models: what a call never changes, and which of the user's changes it sees."""

import pickle
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

import interpix as ix
from interpix.models import as_classifier
from interpix.models.torch import modes
from interpix.models.torch.modes import evaluating
from torch_models import convolutions, picture, vit

timm = pytest.importorskip("timm")


def test_the_model_leaves_as_it_came():
    for model in (convolutions().train(), vit().train()):
        model[-1].eval() if isinstance(model, nn.Sequential) else model.blocks[0].eval()
        seen = []
        hook = model.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        modes = [part.training for part in model.modules()]
        hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        ix.MoXI(model, regions="2x3").explain(picture(), stop="all")
        ix.MoXI(model, regions="2x3", absence="mean").explain(picture(), direction="deletion")
        assert seen, "the user's hook saw the model run"
        assert modes == [part.training for part in model.modules()]
        assert hooks == [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        assert all((parameter.grad == 1).all() and parameter.requires_grad for parameter in model.parameters())
        hook.remove()


class Training(nn.Module):
    """Calls `train` in its forward pass."""

    def __init__(self):
        super().__init__()
        self.inner = convolutions()

    def forward(self, x):
        self.inner[1].train()
        return self.inner(x)


def test_a_model_that_changes_its_own_mode_leaves_as_it_came():
    model = Training().eval()
    # Its norm is in training mode.
    with (
        pytest.warns(UserWarning, match="depends on what else is in the batch"),
        pytest.warns(UserWarning, match="answer otherwise than the module"),
    ):
        ix.MoXI(model, regions="2x3").explain(picture(), stop=1)
    assert not any(part.training for part in model.modules())


def test_threads_that_ask_one_model_share_its_mode():
    model = convolutions().train()
    first, second = evaluating(model), evaluating(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(part.training for part in model.modules()), "the second one is still at it"
    second.__exit__(None, None, None)
    assert all(part.training for part in model.modules())


@pytest.mark.parametrize("whole_first", [True, False])
def test_threads_that_ask_modules_with_common_parts_share_their_modes(whole_first):
    model = convolutions().train()
    model[1].eval()
    before = [part.training for part in model.modules()]
    first, second = map(evaluating, (model, model[0]) if whole_first else (model[0], model))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not model[0].training, "the second one is still at it"
    second.__exit__(None, None, None)
    assert [part.training for part in model.modules()] == before


class Interrupted:
    """A lock at whose first use Ctrl-C comes."""

    def __init__(self):
        self.used = 0

    def __enter__(self):
        self.used += 1
        if self.used == 1:
            raise KeyboardInterrupt

    def __exit__(self, *_):
        pass


def test_an_interrupt_leaves_what_another_thread_asks_as_it_is(monkeypatch):
    model = convolutions().train()
    with evaluating(model):
        monkeypatch.setattr(modes, "_asking", Interrupted())
        with pytest.raises(KeyboardInterrupt), evaluating(model):
            pass
        assert not any(part.training for part in model.modules())
    assert all(part.training for part in model.modules())


def test_who_comes_between_an_interrupt_and_its_cleaning_up_finds_all_parts_evaluated(monkeypatch):
    model = convolutions().train()
    second = evaluating(model)

    def interrupt(*_, **__):
        monkeypatch.undo()
        second.__enter__()
        raise KeyboardInterrupt

    monkeypatch.setattr(modes, "_asking", nullcontext())
    monkeypatch.setattr(modes, "_set_training", interrupt)
    with pytest.raises(KeyboardInterrupt), evaluating(model):
        pass
    assert not any(part.training for part in model.modules())
    second.__exit__(None, None, None)
    assert all(part.training for part in model.modules())


@pytest.mark.filterwarnings("ignore:.torch.jit.*deprecated")
def test_torchscript_in_training_mode_is_evaluated_and_leaves_as_it_came():
    model = torch.jit.script(convolutions().train())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = ix.MoXI(model, regions="2x3").explain(picture(), 2, stop="all")
    expected = ix.MoXI(convolutions().eval(), regions="2x3").explain(picture(), 2, stop="all")
    np.testing.assert_allclose(result.rewards, expected.rewards, atol=1e-4)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class Remembering(nn.Module):
    """Makes a table when it first sees the width of a picture, and keeps it."""

    def __init__(self):
        super().__init__()
        self.inner, self.table = convolutions(), None

    def forward(self, x):
        if self.table is None:
            self.table = torch.linspace(0, 1, x.shape[3])
        return self.inner(x * self.inner[0].weight.mean() * self.table)


def test_a_model_that_was_asked_can_be_trained():
    model = Remembering().train()
    ix.MoXI(model, regions="2x3").explain(picture(), stop=1)
    model(torch.from_numpy(picture(count=2))).sum().backward()
    assert model.inner[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("make", [convolutions, vit, Remembering])
def test_a_callers_context_changes_nothing(make):
    torch.manual_seed(0)
    moxi = ix.MoXI(make().eval(), regions="2x3")
    expected = moxi.explain(picture(), 2, stop="all")
    for context in (torch.autocast("cpu", torch.bfloat16), torch.inference_mode(), torch.enable_grad()):
        with context:
            result = moxi.explain(picture(), 2, stop="all")
        np.testing.assert_array_equal(result.rewards, expected.rewards)
        assert result.full == expected.full


def test_nothing_piles_up():
    import gc

    model = convolutions()
    moxi = ix.MoXI(model, regions="2x3")
    image = picture()
    moxi.explain(image, stop=1)
    gc.collect()
    before = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
    for _ in range(100):
        moxi.explain(image, stop=1)
    gc.collect()
    assert sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects()) == before


@pytest.mark.parametrize("make", [convolutions, vit])
def test_a_used_explainer_can_be_pickled(make):
    moxi = ix.MoXI(make(), regions="2x3")
    result = moxi.explain(picture(), stop="all")
    again = pickle.loads(pickle.dumps(moxi))
    assert again.explain(picture(), stop="all").ranking.tolist() == result.ranking.tolist()


def test_weights_that_change_are_seen():
    model = convolutions()
    moxi = ix.MoXI(model, regions="2x3")
    first = moxi.explain(picture(), 0, stop="all")
    with torch.no_grad():
        model[-1].bias += torch.arange(5.0)
        model[0].weight *= -1
    second = moxi.explain(picture(), 0, stop="all")
    fresh = ix.MoXI(model, regions="2x3").explain(picture(), 0, stop="all")
    np.testing.assert_array_equal(second.rewards, fresh.rewards)
    assert np.abs(second.rewards - first.rewards).max() > 0.1
    assert first.provenance["weights_sha256"] != second.provenance["weights_sha256"]


def negate_data(model):
    model[0].weight.data.mul_(-1)


def negate_in_numpy(model):
    model[0].weight.detach().numpy()[:] *= -1


def widen(model):
    model[1].eps = 1.0


@pytest.mark.parametrize("change", [negate_data, negate_in_numpy, widen])
def test_changes_that_torch_does_not_count_are_seen(change):
    model = convolutions()
    moxi = ix.MoXI(model, regions="2x3")
    first = moxi.explain(picture(), 0, stop="all")
    change(model)
    second = moxi.explain(picture(), 0, stop="all")
    fresh = ix.MoXI(model, regions="2x3").explain(picture(), 0, stop="all")
    np.testing.assert_array_equal(second.rewards, fresh.rewards)
    assert np.abs(second.rewards - first.rewards).max() > 0.1
    assert second.provenance["weights_sha256"] == fresh.provenance["weights_sha256"]


def test_small_changes_of_short_numbers_are_seen():
    classifier = as_classifier(convolutions().to(torch.bfloat16))
    weight = classifier.module[0].weight
    weight.data.fill_(2)
    before = classifier.provenance()["weights_sha256"]
    weight.data[0, 0, 0, 0] += 2**-4
    assert classifier.provenance()["weights_sha256"] != before


@pytest.mark.filterwarnings("ignore")  # torch announces the next way to quantize
def test_quantized_models_are_explained():
    def quantized(seed):
        return torch.ao.quantization.quantize_dynamic(convolutions(seed=seed).eval(), {nn.Linear})

    results = [ix.MoXI(quantized(seed), regions="2x3").explain(picture(), 2, stop="all") for seed in (0, 0, 1)]
    expected = ix.MoXI(convolutions().eval(), regions="2x3").explain(picture(), 2, stop="all")
    assert np.abs(results[0].rewards - expected.rewards).max() < 0.05 * np.abs(expected.rewards).max()
    hashes = [result.provenance["weights_sha256"] for result in results]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("precision", ["exact", "mixed"])
def test_another_default_device_changes_nothing(precision):
    for model in (vit().eval(), convolutions().eval()):
        moxi = ix.MoXI(model, precision=precision)
        expected = moxi.explain(picture(), 1, stop=3)
        with torch.device("meta"):
            assert ix.MoXI(model, precision=precision).explain(picture(), 1, stop=3).ranking.tolist() == (
                expected.ranking.tolist()
            )


def test_windows_are_kept_for_few_sizes_of_pictures():
    """F40: each holds a copy of the weights."""
    classifier = as_classifier(convolutions().eval())
    images = [np.random.default_rng(0).normal(size=(3, 24, width)).astype(np.float32) for width in range(30, 36)]
    first = [ix.MoXI(classifier, regions="2x3").explain(one, 1, stop=2).ranking.tolist() for one in images]
    assert len(classifier._stacks) == 2
    assert first == [ix.MoXI(classifier, regions="2x3").explain(one, 1, stop=2).ranking.tolist() for one in images]
