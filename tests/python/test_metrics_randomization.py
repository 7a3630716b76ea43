import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

import interpix as ix
from interpix.metrics import model_randomization, reinitialize, spearman

torch = pytest.importorskip("torch")

numbers = hnp.arrays(float, (3, 4), elements=st.integers(-4, 4).map(float))


@given(numbers.filter(lambda a: np.ptp(a) > 0), numbers.filter(lambda a: np.ptp(a) > 0))
def test_spearman_is_scipys_with_ties(first, second):
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first.ravel(), second.ravel())[0], abs=1e-12)


class Transformer(torch.nn.Module):
    """Has all kinds of parameters: layers, torch's attention, and raw ones."""

    def __init__(self):
        super().__init__()
        self.cls_token = torch.nn.Parameter(torch.full((1, 1, 8), 5.0))
        self.pos_embed = torch.nn.Parameter(torch.full((1, 25, 8), 5.0))
        self.embed = torch.nn.Conv2d(3, 8, 2, stride=2)
        self.norm = torch.nn.BatchNorm2d(8)
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = torch.nn.Linear(8, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(5.0)
            self.norm.running_mean.fill_(5.0)

    def forward(self, batch):
        tokens = self.norm(self.embed(batch)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(batch), -1, -1), tokens], dim=1) + self.pos_embed
        return self.head(self.attention(tokens, tokens, tokens)[0][:, 0])


def test_nothing_learned_is_left():
    module = Transformer()
    fresh = reinitialize(module, 0)
    for name, parameter in fresh.named_parameters():
        assert (parameter != 5).all(), name
    assert (fresh.norm.running_mean == 0).all()
    for name in ("cls_token", "pos_embed"):
        assert 0.005 < float(getattr(fresh, name).detach().std()) < 0.04


def test_seeds_repeat_and_torchs_generator_is_left_alone():
    module = Transformer()
    before = copy.deepcopy(module.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    states = [reinitialize(module, seed).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(2), expected)
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert not torch.equal(states[0]["pos_embed"], states[2]["pos_embed"])
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


class Scale(torch.nn.Module):
    """Its one parameter is the map."""

    def __init__(self):
        super().__init__()
        self.map = torch.nn.Parameter(-torch.arange(30.0).reshape(5, 6))


def test_by_hand():
    module = Scale()
    score = model_randomization(lambda model: model.map.detach(), module, seeds=(4, 5))
    expected = [
        stats.spearmanr(np.arange(30), np.abs(reinitialize(module, seed).map.detach().numpy().ravel()))[0]
        for seed in (4, 5)
    ]
    assert score.value == pytest.approx(np.mean(expected))
    assert score.parts == {"seed 4": pytest.approx(expected[0]), "seed 5": pytest.approx(expected[1])}
    assert score.higher_is_better is None


def test_a_map_that_ignores_the_model_is_found_out():
    attribution = np.arange(-12.0, 12).reshape(4, 6)
    assert model_randomization(lambda _: attribution, Transformer()).value == pytest.approx(1)


def test_a_gradient_of_the_module_itself_by_hand():
    image = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))

    def gradient(module):
        asked = image.clone().requires_grad_()
        return torch.autograd.grad(module.eval()(asked)[0, 1], asked)[0]

    torch.manual_seed(0)
    trained = reinitialize(Transformer(), 9)
    score = model_randomization(gradient, trained, seeds=(0, 1))
    modules = trained, reinitialize(trained, 0), reinitialize(trained, 1)
    maps = [gradient(module)[0].sum(0).abs().numpy().ravel() for module in modules]
    expected = [stats.spearmanr(maps[0], one)[0] for one in maps[1:]]
    assert score.value == pytest.approx(np.mean(expected))
    assert score.parts == {"seed 0": pytest.approx(expected[0]), "seed 1": pytest.approx(expected[1])}


def test_constant_and_bad_maps():
    constant = model_randomization(lambda _: np.ones((4, 6)), Scale())
    assert constant.skipped == "a map is constant"
    assert np.isnan(constant.value)
    with pytest.raises(ix.ArgumentError, match="NaN"):
        model_randomization(lambda _: np.full((4, 6), np.nan), Scale())
    with pytest.raises(ix.ArgumentError, match="at least one seed"):
        model_randomization(lambda _: np.ones((4, 6)), Scale(), seeds=())
