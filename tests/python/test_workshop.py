"""Pictures that are made where a torch model is must be those that numpy makes, to the bit."""

import copy
import dataclasses
from types import SimpleNamespace

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from torch import nn

import interpix as ix
from interpix import outputs
from interpix.methods import RISE
from interpix.metrics import (
    AccuracyDeletion,
    AccuracyInsertion,
    CorruptionAccuracy,
    Deletion,
    DeletionInsertionRatio,
    Insertion,
    Sample,
    SoftmaxInformation,
)
from interpix.metrics.sample import ranked_scores
from interpix.models.adapters import torch as adapter
from interpix.models.protocol.workshop import HostWorkshop, workshop_of
from interpix.models.torch import workshop as torch_workshop
from interpix.models.torch.module import TorchModule
from interpix.models.torch.transfer import on_device
from interpix.models.torch.workshop import TorchWorkshop
from interpix.normalization import Normalization
from prompt_models import build, photo
from torch_models import convolutions

HEIGHT, WIDTH = 20, 34
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def image(size=(HEIGHT, WIDTH), seed=0):
    return np.random.default_rng(seed).normal(size=(3, *size)).astype(np.float32)


def pixels(size=(HEIGHT, WIDTH), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def ready(raw):
    """How a PIL image becomes the model's input."""
    return torch.from_numpy((np.asarray(raw, np.float32) / 255 - 0.45).transpose(2, 0, 1) / np.float32(0.23))


class Seen(nn.Module):
    """A network that keeps copies of the batches that it is asked about, and may write to them afterwards."""

    def __init__(self, dtype=torch.float32, *, writes=False):
        super().__init__()
        self.net = convolutions().to(dtype).eval()
        self.writes, self.batches = writes, []

    def forward(self, batch):
        self.batches.append(batch.clone())
        assert batch.is_contiguous()
        rows = self.net(batch)
        if self.writes:
            batch.mul_(-7).add_(3)
        return rows


class OnHost(ix.TorchClassifier):
    """A class of a user's own with `logits` of its own, which must be what is asked: so pictures are numpy's."""

    asked = 0

    def logits(self, batch):
        self.asked += len(batch)
        return super().logits(batch)


def pair(module, **options):
    """The same model with pictures made by numpy, and where it is."""
    options = {"preprocess": ready, **options}
    return OnHost(module, **options), ix.TorchClassifier(module, **options)


def assert_equal(one, other):
    """Scores or maps, to the bit."""
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
        return
    np.testing.assert_array_equal(one.value, other.value)
    if one.curve is not None:
        np.testing.assert_array_equal(one.curve.y, other.curve.y)


def measure(one, sample):
    """A metric's score of a map, or a method's map."""
    return one.score(sample, sample.tensor[0]) if hasattr(one, "score") else one.explain_question(sample).map


@st.composite
def ways(draw):
    """Two pictures, the step of each pixel, how many steps, and batches of how many."""
    size = draw(st.tuples(st.integers(7, 13), st.integers(7, 13)).filter(lambda size: size[0] != size[1]))
    steps = draw(st.integers(1, 9))
    # Some pixels never change.
    step = np.random.default_rng(draw(st.integers(0, 99))).integers(1, steps + 3, size)
    step[0, -1] = np.iinfo(np.int64).max
    return image(size, 1), image(size, 2), step, steps, draw(st.integers(1, 12))


@hypothesis.given(ways(), st.sampled_from(DTYPES), st.booleans())
@hypothesis.settings(max_examples=60)
def test_the_model_sees_what_was_composed_pixel_by_pixel(way, dtype, writes):
    start, end, step, steps, batch_size = way
    module = Seen(dtype, writes=writes)
    classifier = ix.TorchClassifier(module)
    sample = Sample.of(classifier, start, batch_size=batch_size)
    before = start.copy(), end.copy(), step.copy()
    module.batches.clear()
    found = ranked_scores(sample, start, end, step, steps)

    slow = []
    for now in range(steps + 1):
        one = start.copy()
        for row, column in np.argwhere(step <= now):
            one[:, row, column] = end[:, row, column]
        slow.append(one)
    seen = torch.cat(module.batches)
    assert seen.dtype == dtype
    assert torch.equal(seen, torch.from_numpy(np.stack(slow)).to(dtype))
    parts = [np.stack(slow[first : first + batch_size]) for first in range(0, steps + 1, batch_size)]
    rows = np.concatenate([classifier.logits(part) for part in parts])
    expected = sample.scores(rows)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip((start, end, step), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


MEASURES = {
    "insertion": Insertion(steps=13),
    "insertion, blurred": Insertion("rise", steps=13),
    "deletion": Deletion(steps=13),
    "dir": DeletionInsertionRatio(steps=5),
    "accuracy_insertion": AccuracyInsertion("2x3", replacement="mean"),
    "accuracy_deletion": AccuracyDeletion("2x3"),
    "sic": SoftmaxInformation(min_confidence=0.0),
    "sic, blurred": SoftmaxInformation(min_confidence=0.0, preset="iprop"),
}


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MEASURES)
def test_measures_are_those_of_numpys_pictures(name, dtype, batch_size):
    samples = [Sample.of(classifier, pixels(), batch_size=batch_size) for classifier in pair(Seen(dtype, writes=True))]
    assert_equal(*(measure(MEASURES[name], sample) for sample in samples))


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rise_is_that_of_numpys_pictures(dtype, batch_size):
    # Products of matrices are not the same to the bit in both.
    one = RISE(count=21, grid=(2, 3), batch_size=batch_size)
    here, there = (one.explain(classifier, pixels()).map for classifier in pair(Seen(dtype, writes=True)))
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)


def test_corrupted_patches():
    pytest.importorskip("imagecorruptions")
    metric = CorruptionAccuracy("2x3", ("brightness", "gaussian_noise"))
    samples = [Sample.of(classifier, pixels((32, 48))) for classifier in pair(Seen())]
    assert_equal(*(metric.score(sample, sample.tensor[0]) for sample in samples))


class Detector(nn.Module):
    """One box, whose score and side depend on the picture."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.pictures = 0

    def forward(self, batch):
        self.pictures += len(batch)
        scores = torch.sigmoid(self.weight * batch.mean((1, 2, 3)) * 3 + 1)
        return [
            {"scores": one[None], "labels": torch.ones(1, dtype=torch.long), "boxes": 8 * one + torch.arange(4.0)[None]}
            for one in scores
        ]


def mean_colors(dtype=torch.float64):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)).to(dtype)


MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[4:15, 3:20] = True
OTHERS = {
    "boxes": (Detector, outputs.Boxes(), 1),
    "segments": (lambda: nn.Conv2d(3, 4, 3, padding=1), outputs.Segments(MASK), 2),
    "numbers in double precision": (mean_colors, outputs.Value(tolerance=0.1), 1),
    "probabilities": (lambda: nn.Sequential(mean_colors(torch.float32), nn.Softmax(1)), outputs.Probabilities(), 1),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("one", [Insertion(steps=9), Deletion("rise", steps=6)])
def test_outputs_of_other_kinds(name, one):
    make, output, target = OTHERS[name]
    torch.manual_seed(0)
    module, found, asked = make(), [], []
    for classifier in pair(module, output=output):
        before = getattr(module, "pictures", 0)
        sample = Sample.of(classifier, pixels(), None if name == "boxes" else target, batch_size=4)
        found.append(measure(one, sample))
        asked.append(getattr(module, "pictures", 0) - before)
    assert_equal(*found)
    assert asked[0] == asked[1]  # what was answered once is remembered by both


def test_prompts():
    model, processor = build("CLIP")
    classifier = ix.zero_shot(model, processor, prompts=["a husky", "a wolf"])
    sample = Sample.of(classifier, photo(), batch_size=3)
    assert isinstance(workshop_of(classifier), TorchWorkshop)
    found = Deletion(steps=7).score(sample, sample.tensor[0])
    assert_equal(found, Deletion(steps=7).score(host(sample), sample.tensor[0]))


def host(sample):
    """The same sample, whose classifier's own `logits` somebody has wrapped."""
    wrapped = copy.copy(sample.classifier)
    wrapped.logits = lambda batch: type(wrapped).logits(wrapped, batch)
    assert isinstance(workshop_of(wrapped), HostWorkshop)
    return dataclasses.replace(sample, classifier=wrapped)


def test_somebodys_own_logits_are_asked():
    class Proxy:
        """It has all that the classifier has, but for its own `logits`."""

        def __init__(self, inner):
            self.inner, self.asked = inner, 0

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def logits(self, batch):
            self.asked += len(batch)
            return self.inner.logits(batch)

    derived, plain = pair(Seen())
    for classifier in (derived, Proxy(plain)):
        sample = Sample.of(classifier, image())
        before = classifier.asked
        Insertion(baseline="zero", steps=10).score(sample, image()[0])
        assert classifier.asked - before == 11


@pytest.mark.parametrize(
    "with_steps",
    [
        lambda steps: Insertion(steps=steps),
        lambda steps: Deletion("rise", steps=steps),
        lambda steps: SoftmaxInformation(min_confidence=0.0, start="blur", thresholds=np.arange(1, steps) / steps),
        lambda steps: RISE(count=steps, grid=(2, 3), batch_size=4),
    ],
)
def test_two_pictures_get_there_however_many_steps(monkeypatch, with_steps):
    sample = Sample.of(ix.TorchClassifier(Seen(), preprocess=ready), pixels(), batch_size=4)
    sent = []
    for home in (torch_workshop, adapter):
        monkeypatch.setattr(home, "on_device", lambda array, device: sent.append(array) or on_device(array, device))
    whole = sample.tensor.size
    for steps in (5, 40):
        sent.clear()
        measure(with_steps(steps), sample)
        assert [array.size for array in sent if array.size >= whole] == [whole, whole]
        # The rest is small: which pixel changes when, or the cells of masks.
        assert sum(array.nbytes for array in sent if array.size < whole) < 2 * sample.tensor.nbytes


def test_interpolated_pictures_get_there_as_bytes(monkeypatch):
    sent = []
    sample = Sample.of(ix.TorchClassifier(Seen(), preprocess=ready), pixels(), batch_size=4)
    monkeypatch.setattr(
        torch_workshop, "on_device", lambda array, device: sent.append(array) or on_device(array, device)
    )
    SoftmaxInformation(min_confidence=0.0).score(sample, sample.tensor[0])
    assert [len(array) for array in sent if array.shape[1:] == (HEIGHT, WIDTH, 3)] == [4, 4, 4, 3]
    assert [array.shape for array in sent if array.dtype != np.uint8] == [(3, 256)]


def test_gray_models_look_their_one_channel_up():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def gray(raw):
        return torch.from_numpy((np.asarray(raw.convert("L"), np.float32) / 255)[None])

    found = []
    for classifier in pair(module, preprocess=gray):
        sample = Sample.of(classifier, np.repeat(pixels()[..., :1], 3, axis=2), batch_size=4)
        assert len(sample.normalization.order) == 1
        found.append(SoftmaxInformation(min_confidence=0.0).score(sample, sample.tensor[0]))
    assert_equal(*found)


def test_a_device_chooses_as_a_cpu_does():
    rng = np.random.default_rng(0)
    arrays = (
        rng.integers(0, 9, (5, 7), np.int16),
        rng.integers(0, 9, (4, 1, 1, 1), np.int16),
        image((5, 7)),
        image((5, 7), 1),
    )
    cpu = TorchWorkshop(TorchModule(Seen(), name="net"))
    step, now, before, after = map(cpu.bring, arrays)
    # Anything that is no CPU, but that its tensors are.
    device = TorchWorkshop(SimpleNamespace(device=SimpleNamespace(type="cuda")))
    here, there = (workshop.where(step <= now, after, before) for workshop in (cpu, device))
    assert torch.equal(here, there)
    assert (here.dtype, here.stride()) == (there.dtype, there.stride()) == (torch.float32, (105, 35, 7, 1))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_every_level_is_normalized_as_in_numpy(order):
    normalization = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), order)
    levels = np.arange(256, dtype=np.uint8)
    shown = np.stack([levels, levels[::-1], np.roll(levels, 7)], axis=-1).reshape(2, 4, 32, 3)
    normalize = TorchWorkshop(TorchModule(Seen(), name="net")).normalizing(normalization)
    for part in (shown, shown[1:, :3]):
        np.testing.assert_array_equal(normalize(part).numpy(), normalization.apply(part))


@pytest.mark.parametrize("one", [Insertion(steps=9, baseline="zero"), RISE(count=9, baseline="zero")])
def test_what_the_caller_has_switched_changes_nothing(one):
    sample = Sample.of(ix.TorchClassifier(Seen()), image())
    expected = measure(one, sample)
    for switched in (
        torch.device("meta"),
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16),
        torch.enable_grad(),
    ):
        with switched:
            assert_equal(measure(one, sample), expected)


def test_a_module_in_training_is_evaluated_and_left_so():
    module = nn.Sequential(Seen(), nn.Dropout(0.5)).train()
    sample = Sample.of(ix.TorchClassifier(module), image())
    first, second = (Insertion(steps=9, baseline="zero").score(sample, image()[0]) for _ in range(2))
    assert_equal(first, second)
    assert module.training


class Small(nn.Module):
    """It has memory for two pictures."""

    def __init__(self):
        super().__init__()
        self.net, self.sizes = convolutions().eval(), []

    def forward(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return self.net(batch)


def test_where_memory_runs_out_both_go_in_the_same_parts():
    module, found = Small(), []
    for classifier in pair(module):
        sample = Sample.of(classifier, pixels(), batch_size=7)
        module.sizes.clear()
        score = Deletion(steps=10).score(sample, sample.tensor[0])
        found.append((score.curve.y.tolist(), list(module.sizes)))
    assert found[0] == found[1]


class Failing(nn.Module):
    def forward(self, batch):
        if len(batch) > 3:
            raise ValueError("so many")
        return batch.mean((2, 3))


def test_what_the_module_raises_names_it_both_ways():
    told = []
    for classifier in pair(Failing(), name="net"):
        sample = Sample.of(classifier, pixels(), batch_size=5)
        with pytest.raises(ix.ModelError, match="model `net` raised ValueError for a batch") as caught:
            Deletion(steps=10).score(sample, sample.tensor[0])
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_one_transfer_a_batch(monkeypatch):
    asked = []
    real = TorchModule.tensor_logits
    monkeypatch.setattr(TorchModule, "tensor_logits", lambda net, batch: asked.append(len(batch)) or real(net, batch))
    sample = Sample.of(ix.TorchClassifier(Seen()), image(), batch_size=4)
    asked.clear()
    Insertion(steps=10, baseline="zero").score(sample, image()[0])
    assert asked == [4, 4, 3]
