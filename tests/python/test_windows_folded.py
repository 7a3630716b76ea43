"""Whole pictures by the layers with folded norms, as on a GPU, against the module itself."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import interpix as ix
from compared import candidate_by_candidate
from interpix.models.adapters.adapt import as_classifier
from interpix.models.protocol.classifier import Coalitions
from interpix.models.torch.pictures import PictureScorer, TorchPictureScorer
from interpix.models.windows.folded import FoldedModel
from interpix.models.windows.model import WindowModel, find_stack
from interpix.models.windows.pictures import FoldedScorer
from interpix.regions import grid_regions
from torch_models import HEIGHT, WIDTH, convolutions, picture

FOLDED = "layers with folded norms"
LAYOUTS = {"as on a CPU": None, "the module's own": torch.preserve_format}


@pytest.fixture(autouse=True)
def no_windows(monkeypatch):
    """As on a GPU."""
    # First who imports it: what is patched already would be what it keeps.
    for module in ("adapters.torch", "windows.model"):
        monkeypatch.setattr(f"interpix.models.{module}.windows_serve", lambda device: False)


@pytest.fixture(params=LAYOUTS)
def layout(request, monkeypatch):
    """On a GPU single precision keeps the module's own layout."""
    if (found := LAYOUTS[request.param]) is not None:
        for module in ("layers", "folded"):
            monkeypatch.setattr(f"interpix.models.windows.{module}.layout_of", lambda device, dtype: found)


def watched(model):
    """Hooks keep a model out of its traced layers."""
    model = copy.deepcopy(model, {id(lock): lock for part in model.modules() if (lock := getattr(part, "lock", None))})
    model.register_forward_hook(lambda *_: None)
    return model


def lively(module):
    """With norms that do something, and weights that let the picture through."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.2, 0.2)
    return module.eval()


def network(library, name, **options):
    package = pytest.importorskip(library)
    models = package.models if library == "torchvision" else package
    make = getattr(models, name) if library == "torchvision" else lambda **rest: models.create_model(name, **rest)
    return lively(make(**options))


NETWORKS = {
    "resnet18": lambda: network("timm", "resnet18"),
    "resnet50": lambda: network("torchvision", "resnet50", width_per_group=8),
    "efficientnet_lite0": lambda: network("timm", "tf_efficientnet_lite0"),
    "mobilenetv2": lambda: network("timm", "mobilenetv2_050").double(),
    "densenet": lambda: network("torchvision", "DenseNet", growth_rate=8, block_config=(2, 3)),
}


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_module(name):
    module, size = NETWORKS[name](), (48, 67)
    found = find_stack(module, size)
    assert type(found) is FoldedModel
    # The linear bottlenecks of MobileNets amplify float32's rounding when their weights are random.
    dtype = next(module.parameters()).dtype
    pictures = torch.randn(5, 3, *size, generator=torch.Generator().manual_seed(1)).to(dtype)
    kept = pictures.clone()
    with torch.no_grad():
        expected = module(pictures)
    bound = (1e-12 if dtype == torch.float64 else 1e-5) * expected.abs().max()
    assert expected.std(dim=0).max() > 100 * bound
    for batch in (pictures, pictures.to(memory_format=torch.channels_last)):
        got = found.whole_logits(batch)
        assert (got.dtype, got.requires_grad) == (dtype, False)
        assert (got - expected).abs().max() <= bound
    mixed = found.whole_logits(pictures, precision="mixed")
    assert mixed.dtype == dtype
    assert 1e-6 < (mixed - expected).abs().max() / expected.abs().max() < 0.2
    assert torch.equal(pictures, kept)


def test_a_module_that_is_channels_last_stays_so():
    module = lively(convolutions()).to(memory_format=torch.channels_last)
    found, pictures = FoldedModel(module, (HEIGHT, WIDTH)), torch.from_numpy(picture(count=2))
    with torch.no_grad():
        torch.testing.assert_close(found.whole_logits(pictures), module(pictures))


ABSENCES = ["zero", "black", "mean", "blur", 0.3, np.full((3, HEIGHT, WIDTH), -0.5, np.float32)]


@pytest.mark.parametrize("absence", ABSENCES, ids=lambda one: "array" if isinstance(one, np.ndarray) else str(one))
def test_every_absence_gives_the_modules_rows(absence):
    model, rng = convolutions().eval(), np.random.default_rng(6)
    grid = grid_regions((HEIGHT, WIDTH), 4, 6)
    labels = np.stack([grid, 23 - grid])
    if isinstance(absence, str) and absence == "black":  # which needs preprocessing that says what black is
        model = ix.TorchClassifier(model, preprocess=lambda raw: np.float32(raw).transpose(2, 0, 1) / 64 - 2)
    mine, theirs = as_classifier(model), as_classifier(model)
    images, absence = picture(count=2), ix.Fill(absence)
    scorer = mine.scorer(images, labels, absence)
    assert isinstance(scorer, FoldedScorer)
    plain = TorchPictureScorer(
        theirs, images, labels, np.stack([absence.make(image, theirs) for image in images]), refill=lambda more: more
    )
    row, flip, targets = rng.integers(0, 5, 70), rng.integers(-1, 24, 70), rng.integers(0, 5, (70, 2))
    coalitions = Coalitions(np.array([0, 1, 1, 0, 1])[row], rng.random((5, 24)) < 0.5, row, flip, targets)
    expected, largest = plain.score(coalitions), np.abs(plain.score(coalitions).logits).max()
    for name in ("log_odds", "logits", "predicted"):
        np.testing.assert_array_equal(getattr(scorer.score(coalitions), name), getattr(expected, name))
    assert "bfloat16_by" not in scorer.facts
    mixed = scorer.score(coalitions, "mixed")
    assert scorer.facts["bfloat16_by"] == FOLDED
    assert 1e-5 * largest < np.abs(mixed.logits - expected.logits).max() < 0.02 * largest


def assert_same(found, expected, *, evaluations=True):
    for one, other in zip(found, expected, strict=True):
        assert one.ranking.tolist() == other.ranking.tolist()
        assert (one.stopped_at, one.target) == (other.stopped_at, other.target)
        assert one.evaluations == other.evaluations or not evaluations
        for name in ("rewards", "answers", "gaps"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(one.predicted, other.predicted)


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("regions", ["4x5", "labels"])
def test_searches_choose_what_the_modules_do(regions, direction, monkeypatch):
    labels = np.kron(np.random.default_rng(5).permutation(24).reshape(4, 6), np.ones((8, 8), np.int64))
    options = {"regions": labels if regions == "labels" else regions, "precision": "mixed"}
    model, images, arguments = convolutions(), picture(4, count=3), {"direction": direction, "stop": "all"}
    steps = []
    begin = TorchPictureScorer.best
    monkeypatch.setattr(FoldedScorer, "best", lambda self, step: steps.append(step) or begin(self, step))
    found = ix.MoXI(model, **options).explain(images, **arguments)
    assert found[0].provenance["bfloat16_by"] == FOLDED
    assert steps
    expected = ix.MoXI(watched(model), **options).explain(images, **arguments)
    assert "bfloat16_by" not in expected[0].provenance
    # Mixed precision scores exactly what its own rounding leaves open.
    assert_same(found, expected, evaluations=False)
    with candidate_by_candidate():
        assert_same(ix.MoXI(model, **options).explain(images, **arguments), found)
    exact = ix.MoXI(model, **options | {"precision": "exact"}).explain(images, **arguments)
    assert "bfloat16_by" not in exact[0].provenance
    assert_same(found, exact, evaluations=False)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_networks_of_libraries_choose_the_same(name):
    model = NETWORKS[name]()
    nn.init.normal_(model.get_classifier().weight, std=1.0)
    images = np.random.default_rng(2).normal(size=(2, 3, 32, 48)).astype(np.float32)
    options = {"regions": "4x6", "precision": "mixed"}
    for direction in ("insertion", "deletion"):
        found = ix.MoXI(model, **options).explain(images, direction=direction, stop=2)
        expected = ix.MoXI(watched(model), **options).explain(images, direction=direction, stop=2)
        assert found[0].provenance["bfloat16_by"] == FOLDED
        for one, other in zip(found, expected, strict=True):
            assert one.ranking.tolist() == other.ranking.tolist()
            np.testing.assert_allclose(one.answers, other.answers, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"absence": "blur"}], ids=str)
def test_a_stream_replaces_images(options, monkeypatch):
    for module in ("moxi", "stream"):
        monkeypatch.setattr(f"interpix.search.{module}.IN_FLIGHT", 4)
    replaced = []
    replace = PictureScorer.replace
    monkeypatch.setattr(
        PictureScorer, "replace", lambda self, *arguments: replaced.append(type(self)) or replace(self, *arguments)
    )
    images = [picture(seed) for seed in range(9)]
    moxi = ix.MoXI(convolutions(), regions="4x5", precision="mixed", **options)
    found = list(moxi.stream(images, stop=4))
    assert set(replaced) == {FoldedScorer}
    assert_same(found, [moxi.explain(image, stop=4) for image in images], evaluations=False)


class Lying(nn.Module):
    """Rectifies real pictures only, which a trace does not see."""

    def __init__(self):
        super().__init__()
        self.inner = convolutions()

    def forward(self, x):
        return self.inner(torch.relu(x) if isinstance(x, torch.Tensor) else x)


def test_layers_that_answer_otherwise_are_given_up():
    module = Lying()
    with pytest.warns(UserWarning, match="the layers that were traced answer otherwise .* the module is asked instead"):
        found = ix.MoXI(module, regions="4x5", precision="mixed").explain(picture(), 0, stop="all")
    assert found.provenance["layers_differ_by"] > 0
    assert not {"bfloat16_by", "windows_differ_by"} & set(found.provenance)
    assert_same([found], [ix.MoXI(watched(module), regions="4x5").explain(picture(), 0, stop="all")], evaluations=False)


def hooked_inside():
    model = convolutions()
    model[3].register_forward_pre_hook(lambda *_: None)
    return model


def several_kinds():
    model = convolutions()
    model[1].double()
    return nn.Sequential(model[0], Cast(torch.float64), model[1], Cast(torch.float32), *model[2:])


def with_a_lock():
    model = convolutions()
    model[2].lock = threading.Lock()
    return model


class Cast(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        return x.to(self.dtype)


LEFT_ALONE = {
    "hooks": hooked_inside,
    "bfloat16": lambda: convolutions().to(torch.bfloat16),
    "several kinds of numbers": several_kinds,
    "what cannot be copied": with_a_lock,
    "a wrapper": lambda: AveragedModel(convolutions()),
    "more than convolutions": lambda: nn.Sequential(convolutions(), nn.LayerNorm(5)),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_other_modules_are_asked_themselves(name):
    model = LEFT_ALONE[name]().eval()
    found = ix.MoXI(model, regions="4x5", precision="mixed").explain(picture(), 1, stop=3)
    assert "bfloat16_by" not in found.provenance
    assert_same([found], [ix.MoXI(watched(model), regions="4x5", precision="mixed").explain(picture(), 1, stop=3)])


def test_the_module_stays_as_it_is():
    module = convolutions().train()
    module[1].eval()
    before, modes = copy.deepcopy(module.state_dict()), [part.training for part in module.modules()]
    strides = [one.stride() for one in module.parameters()]
    found = ix.MoXI(module, regions="4x5", precision="mixed").explain(picture(), 1, stop=3)
    assert found.provenance["bfloat16_by"] == FOLDED
    assert [part.training for part in module.modules()] == modes
    assert [one.stride() for one in module.parameters()] == strides
    assert all(one.grad is None and one.requires_grad for one in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def unseen(model):
    """As torch does not count it."""
    model[0].weight.data.mul_(-1)


def counted(model):
    with torch.no_grad():
        model[-1].weight.neg_()


def another_norm(model):
    model[1] = nn.BatchNorm2d(6)


@pytest.mark.parametrize("change", [unseen, counted, another_norm, lambda model: model.double()])
def test_changes_between_calls_are_seen(change):
    model = convolutions()
    moxi = ix.MoXI(model, regions="4x5", precision="mixed")
    first = moxi.explain(picture(), 0, stop="all")
    change(model)
    found = moxi.explain(picture(), 0, stop="all")
    assert found.provenance["bfloat16_by"] == FOLDED
    assert_same([found], [ix.MoXI(watched(model), regions="4x5").explain(picture(), 0, stop="all")], evaluations=False)
    assert found.provenance["weights_sha256"] != first.provenance["weights_sha256"]


def test_one_copy_of_the_weights_for_each_precision():
    found = FoldedModel(convolutions().eval(), (HEIGHT, WIDTH))
    pictures = torch.from_numpy(picture(count=2))
    convolution = next(layer.apply for layer in found._network.layers if layer.products)
    copies = []
    for _ in range(2):
        found.whole_logits(pictures)
        found.whole_logits(pictures, precision="mixed")
        copies.append([weight.data_ptr() for weight, _ in convolution._cast.values()])
    assert set(convolution._cast) == {torch.float32, torch.bfloat16}
    assert copies[0] == copies[1]


def test_where_windows_do_not_pay_layers_answer_in_bfloat16(monkeypatch):
    monkeypatch.undo()  # on a CPU
    torch.manual_seed(0)
    body = convolutions()[:3]
    model = nn.Sequential(*body, nn.Flatten(), nn.Linear(6 * HEIGHT * WIDTH // 4, 200), nn.ReLU(), nn.Linear(200, 5))
    assert WindowModel(model, (HEIGHT, WIDTH)).windowed_share < 0.5
    found = ix.MoXI(model, regions="4x5", precision="mixed").explain(picture(), 1, stop="all")
    assert found.provenance["bfloat16_by"] == FOLDED
    assert_same([found], [ix.MoXI(watched(model), regions="4x5").explain(picture(), 1, stop="all")], evaluations=False)
