"""Whole steps where the model is, against asking about each candidate from here."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import interpix as ix
from compared import candidate_by_candidate
from interpix.models.protocol.steps import Step
from interpix.models.torch import readout
from interpix.models.torch import steps as torch_steps
from interpix.models.torch.products import exact_products
from interpix.models.torch.recheck import MixedFirst
from interpix.models.torch.transfer import Later, on_device, to_device
from interpix.outputs.readout import log_odds
from interpix.search import recheck
from torch_models import convolutions, picture, vit

seeds = st.integers(0, 2**32 - 1)


def both(model, images, target=None, *, arguments=None, **options):
    moxi = ix.MoXI(model, **options)
    arguments = {"stop": "all"} | (arguments or {})
    found = moxi.explain(images, target, **arguments)
    with candidate_by_candidate():
        return found, moxi.explain(images, target, **arguments)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.ranking.tolist() == other.ranking.tolist()
        assert (one.stopped_at, one.evaluations, one.target) == (other.stopped_at, other.evaluations, other.target)
        for name in ("rewards", "answers", "gaps"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-5)
        for name in ("predicted", "holds"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def permuted():
    """One player for each token, in an order that is not the tokens'."""
    order = np.random.default_rng(5).permutation(24).reshape(4, 6)
    return np.kron(order, np.ones((8, 8), np.int64))


def uneven():
    """Players of one to several tokens."""
    tokens = np.random.default_rng(6).integers(0, 9, (4, 6))
    tokens.flat[:9] = np.arange(9)
    return np.kron(tokens, np.ones((8, 8), np.int64))


TOKENS = {
    "tokens": (vit, {}),
    "permuted": (vit, {"regions": permuted()}),
    "several tokens": (vit, {"regions": uneven()}),
    "two by three": (vit, {"regions": "2x3"}),
    "mean of patches": (lambda: vit(global_pool="avg", class_token=False), {}),
    "mean of patches, several": (lambda: vit(global_pool="avg"), {"regions": uneven()}),
    "registers": (lambda: vit(reg_tokens=3), {}),
    "masked from 0": (vit, {"absence": ix.MaskAttention(0)}),
    "masked from 1": (vit, {"absence": ix.MaskAttention(1)}),
    "masked, mean": (lambda: vit(global_pool="avg"), {"absence": ix.MaskAttention(1), "regions": permuted()}),
    "zero": (vit, {"absence": "zero", "regions": 3}),
}


def watched(model):
    """Hooks keep a model of convolutions out of windows, and a Vision Transformer out of a pass of our own."""
    model.register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("precision", ["exact", "mixed"])
@pytest.mark.parametrize("name", TOKENS)
def test_tokens(name, precision, direction):
    make, options = TOKENS[name]
    images = picture(3, count=3)
    arguments = {"direction": direction}
    assert_same(*both(make(), images, precision=precision, arguments=arguments, **options))


def test_a_watched_vision_transformer_runs_itself():
    found, expected = both(watched(vit()), picture(1, count=2), arguments={"stop": 2})
    assert found[0].provenance["scored_as"] == "pictures without tokens"
    assert_same(found, expected)


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("precision", ["exact", "mixed"])
@pytest.mark.parametrize("regions", ["4x5", "superpixels", "labels"])
def test_pictures(regions, precision, direction):
    given_regions = {"superpixels": ix.Superpixels(9, compactness=300), "labels": uneven()}.get(regions, regions)
    model, images = watched(convolutions()), picture(4, count=3)
    found, expected = both(
        model, images, precision=precision, regions=given_regions, arguments={"direction": direction}
    )
    assert found[0].provenance["scored_as"] == "pictures"
    assert_same(found, expected)


@pytest.mark.parametrize("reward", ["log_odds", "log_probability", "probability", "logit"])
@pytest.mark.parametrize("output", ["softmax", "sigmoid", "probabilities", "labels"])
@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_outputs_and_rewards(output, reward, direction):
    model = watched(convolutions())
    if output == "probabilities":
        model, meaning = watched(nn.Sequential(*model, nn.Softmax(1))), ix.outputs.Probabilities()
    elif output == "labels":
        model = watched(nn.Sequential(*model, nn.Sigmoid()))
        meaning = ix.outputs.Probabilities(independent=True, threshold=0.3)
    else:
        meaning = {"softmax": ix.outputs.Softmax(), "sigmoid": ix.outputs.Sigmoid(0.7)}[output]
    arguments = {"direction": direction, "stop": "flip", "min_patches": 3}
    options = {"regions": "4x5", "reward": reward, "output": meaning, "arguments": arguments}
    assert_same(*both(model, picture(7, count=2), 1, **options))


def test_an_output_of_ones_own_is_asked_candidate_by_candidate():
    class Opposite(ix.outputs.Softmax):
        def scores(self, *arguments):
            found = super().scores(*arguments)
            return found._replace(reward=-found.reward)

    model = watched(convolutions())
    found, expected = both(model, picture(7, count=1), 1, regions="4x5", output=Opposite())
    assert_same(found, expected)
    usual = ix.MoXI(model, regions="4x5").explain(picture(7), 1, stop="all")
    assert usual.ranking.tolist() != found[0].ranking.tolist()


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_equal_rewards_go_to_the_lowest_player(direction):
    model = watched(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    found = ix.MoXI(model, regions="2x3").explain(np.ones((3, 4, 6), np.float32), 1, direction=direction, stop="all")
    assert found.ranking.tolist() == list(range(6))
    assert found.gaps.tolist() == [0.0] * 5 + [np.inf]


def test_a_step_waits_for_the_device_once(monkeypatch):
    waits = []
    monkeypatch.setattr(torch_steps, "Later", lambda values: waits.append(values.shape) or Later(values))
    ix.MoXI(vit()).explain(picture(1, count=5), 2, stop=3)
    # Two groups of images, three steps each; six numbers an image.
    assert waits == [(3, 6), (2, 6)] * 3


def test_two_steps_are_begun_before_one_is_waited_for(monkeypatch):
    events = []

    class Told(Later):
        def __init__(self, values):
            events.append("begin")
            super().__init__(values)

        def wait(self):
            events.append("wait")
            return super().wait()

    monkeypatch.setattr(torch_steps, "Later", Told)
    ix.MoXI(vit()).explain(picture(1, count=4), 2, stop=2)
    assert events == ["begin", "begin", "wait", "begin", "wait", "begin", "wait", "wait"]


def test_more_images_than_are_in_flight(monkeypatch):
    monkeypatch.setattr("interpix.search.moxi.IN_FLIGHT", 3)
    arguments = {"stop": "flip", "min_patches": 1}
    assert_same(*both(vit(), picture(2, count=8), 2, arguments=arguments))


class Undefined(nn.Module):
    """Without a finite answer where the first pixel and the last are absent."""

    def forward(self, x):
        rows = x.mean((2, 3))
        missing = (x[:, 0, 0, 0] == 0) & (x[:, 0, -1, -1] == 0) & x.any(3).any(2).any(1)
        return torch.where(missing[:, None], torch.nan, rows)


@pytest.mark.parametrize("precision", ["exact", "mixed"])
def test_an_answer_that_is_not_finite_names_the_coalition(precision):
    moxi = ix.MoXI(watched(Undefined()), regions="4x6", precision=precision)
    # All classes are alike, so that the first patch goes first; then the last one may.
    image = np.ones((3, 8, 12), np.float32)
    message = "NaN or infinity for the image with 2 of its 24 patches absent"
    with pytest.raises(ix.ModelError, match=message) as caught:
        moxi.explain(image, 1, direction="deletion", stop="all")
    assert [one.ranking.tolist() for one in caught.value.explanations] == [[0]]


class Changing(nn.Module):
    """As many classes as it has seen batches of, from the third on."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        rows = x.mean((2, 3))
        return rows if len(x) < 24 else rows[:, :2]


def test_rows_of_another_width_are_refused():
    moxi = ix.MoXI(watched(Changing()), regions="4x6")
    with pytest.raises(ix.ModelError, match="expected 3 numbers for each picture, as for the whole image, got 2"):
        moxi.explain(np.ones((3, 8, 12), np.float32), 1)


def test_the_candidates_of_a_step():
    bases = np.array([[True, False, True, False], [False, False, True, True]])
    step = Step(np.array([0, 4]), bases, 2, np.array([1, 1]), "insertion", "log_odds")
    assert (step.count, step.players.tolist()) == (2, [[1, 3], [0, 1]])
    candidates, present = torch_steps.list_candidates(torch.from_numpy(bases), step)
    assert (candidates.tolist(), present.tolist()) == ([[1, 3], [0, 1]], [[0, 2], [2, 3]])


# Mixed precision ---------------------------------------------------------------------------------------------------


class Table:
    """Candidates (b, C) whose gains are known; it counts what it is asked."""

    def __init__(self, exact, mixed):
        self.exact, self.mixed = torch.from_numpy(exact).flatten(), torch.from_numpy(mixed).flatten()
        self.asked = {True: [], False: []}

    def __call__(self, rows, *, mixed):
        self.asked[mixed].extend(rows.tolist())
        return (self.mixed if mixed else self.exact)[rows]


@settings(max_examples=60)
@given(seeds, st.integers(1, 5), st.integers(1, 60), st.sampled_from([0.0, 1e-3, 0.1, 10.0]))
def test_mixed_first_asks_what_one_image_after_the_other_would(seed, images, count, noise):
    rng = np.random.default_rng(seed)
    together, one_by_one = MixedFirst(), recheck.MixedFirst()
    for _ in range(3):
        exact = rng.normal(size=(images, count)) * rng.choice([0.01, 1.0], size=(images, 1))
        mixed = exact + rng.normal(size=(images, 1)) + noise * rng.uniform(-1, 1, exact.shape)
        table, here = Table(exact, mixed), {True: [], False: []}

        values = exact.ravel(), mixed.ravel()

        def ask(rows, *, mixed, values=values, here=here):
            here[mixed].extend(rows.tolist())
            rewards = values[mixed][rows]
            return rewards, rewards, np.zeros(len(rows), np.int64), rewards > 0

        gains, known = together.gains(list(range(images)), count, table, torch.device("cpu"))()
        expected = one_by_one.score(np.repeat(np.arange(images), count), "insertion", ask)
        np.testing.assert_allclose(gains.numpy().ravel(), expected.reward, rtol=0, atol=1e-12)
        best = gains.argmax(dim=1, keepdim=True)
        assert known.gather(1, best).all()
        assert {kind: sorted(rows) for kind, rows in table.asked.items()} == {
            kind: sorted(rows) for kind, rows in here.items()
        }


def test_where_waiting_is_dear_what_is_still_open_after_two_rounds_is_scored_at_once(monkeypatch):
    """As on a device: what is known is asked again rather than waited for, and no third round is waited for."""
    count, tiny = 60, 1e-6
    mixed = np.full((1, count), -1000.0)
    mixed[0, :8] = 0
    error = np.zeros((1, count))
    error[0, :8] = tiny * np.array([1, -1] * 4)
    # Each could be the best by the error of the one before, and shows a greater one.
    grown = tiny * 10.0 ** np.arange(7)
    mixed[0, 8:15], error[0, 8:15] = -0.8 * grown, -10 * grown
    exact = mixed + error

    def run():
        first, table = MixedFirst(), Table(exact, mixed)
        first.pays = {0}
        waits.clear()
        gains, known = first.gains([0], count, table, torch.device("cpu"))()
        assert gains.argmax() == exact.argmax() == 0
        assert known[0, 0]
        return int(known.sum()), len(waits)

    waits = []
    monkeypatch.setattr("interpix.models.torch.recheck.Later", lambda values: waits.append(1) or Later(values))
    assert run() == (15, 8)
    monkeypatch.setattr("interpix.models.torch.recheck._waits_are_cheap", lambda device: False)
    assert run() == (count, 4)


# Transfers ---------------------------------------------------------------------------------------------------------


def test_arrays_travel_together():
    arrays = [np.arange(6).reshape(2, 3), np.array([7]), np.empty((0, 2), np.int64)]
    for tensor, array in zip(to_device(arrays, torch.device("cpu")), arrays, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_what_must_not_be_written_to_is_copied():
    array = np.arange(3)
    array.flags.writeable = False
    on_device(array, torch.device("cpu")).add_(1)
    assert array.tolist() == [0, 1, 2]


# Precision ---------------------------------------------------------------------------------------------------------


def test_switches_of_the_process_are_as_before_whoever_is_inside_longer():
    cuda = torch.device("cuda")
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        first, second = exact_products(cuda), exact_products(cuda)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
        second.__exit__(None, None, None)
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32 == before[1]
        with exact_products(torch.device("cpu")):
            assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@given(seeds, st.integers(2, 40), st.sampled_from([0.1, 3.0, 50.0]))
def test_log_odds_in_single_precision_with_double_sums(seed, classes, spread):
    """What a GPU computes, on a CPU."""
    logits = spread * np.random.default_rng(seed).normal(size=(5, classes))
    logits = logits.astype(np.float32)
    for column in (0, classes - 1):
        expected = log_odds(logits.astype(np.float64), np.full(5, column))
        found = readout._odds(torch.from_numpy(logits), torch.full((5, 1), column), torch.float64)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_the_lowest_of_equal_classes_is_predicted():
    rows = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, 1.0, 2.0]])
    read = readout.read_out(rows, torch.zeros(3, 1, dtype=torch.long))
    assert read[:, 2].tolist() == [1.0, 0.0, 2.0]
    assert readout.read_rows(rows, torch.zeros(3, 1, dtype=torch.long)).tolist() == read.tolist()
