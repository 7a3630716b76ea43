"""Rewards, answers, and whether they still hold, of every output by hand, and in every method, metric and picture."""

import json
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

import interpix as ix
from interpix import methods, metrics, outputs, plots
from interpix.errors import ArgumentError
from interpix.methods import METHODS
from interpix.outputs.readout import read_logits
from interpix.terms import Reward, check_reward
from interpix.words import group_title, photo_title
from output_models import (
    EMBEDDED,
    HEIGHT,
    IMAGE,
    LABELS,
    REFERENCES,
    REGIONS,
    WIDTH,
    First,
    Numbers,
    cosines,
    labels,
    lead,
    numbers,
    sigmoid,
)

LOGITS = st.lists(st.floats(-30, 30), min_size=2, max_size=6)


def score(logits, targets, reward):
    owner = np.arange(len(logits))
    return outputs.Softmax().scores(read_logits(logits, targets[:, None]), owner, targets, logits, reward)


@given(LOGITS, st.data())
def test_rewards_agree_with_the_textbook(row, data):
    target = data.draw(st.integers(0, len(row) - 1))
    logits, targets = np.array([row]), np.array([target])
    log_p = log_softmax(logits[0])[target]
    expected = {"log_probability": log_p, "probability": np.exp(log_p), "logit": row[target]}
    if np.exp(log_p) < 0.99:
        expected["log_odds"] = log_p - np.log1p(-np.exp(log_p))
    for name, value in expected.items():
        reward, probability, predicted, holds = score(logits, targets, name)
        np.testing.assert_allclose(reward[0], value, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(probability[0], np.exp(log_p), rtol=1e-9)
        assert predicted[0] == np.argmax(row)
        assert holds[0] == (np.argmax(row) == target)


def test_a_certain_model_still_has_finite_log_odds():
    reward, probability, *_ = score(np.array([[1000.0, 0.0], [0.0, 1000.0]]), np.array([0, 0]), "log_odds")
    np.testing.assert_array_equal(reward, [1000, -1000])
    np.testing.assert_array_equal(probability, [1, 0])


def test_an_unknown_reward_is_refused():
    with pytest.raises(ArgumentError, match=r"log_odds.*got 'odds'"):
        check_reward("odds")


# An output, how many numbers the model answers with, the target, and by hand: reward, answer, whether it holds.
CASES = {
    "softmax": (outputs.Softmax(), LABELS, 1, lambda r, _: r[:, 1] - np.logaddexp(r[:, 0], r[:, 2]), None, None),
    "sigmoid": (outputs.Sigmoid(), LABELS, 2, lambda r, _: r[:, 2], sigmoid, lambda r, _: r[:, 2] >= 0),
    "strict": (outputs.Sigmoid(0.8), LABELS, 0, lambda r, _: r[:, 0], sigmoid, lambda r, _: r[:, 0] >= np.log(4)),
    "one logit": (outputs.Sigmoid(), 1, 0, lambda r, _: r[:, 0], sigmoid, lambda r, _: r[:, 0] >= 0),
    "near": (
        outputs.Value(0.8),
        LABELS,
        1,
        lambda r, whole: -abs(r[:, 1] - whole[1]),
        lambda r, _: r[:, 1],
        lambda r, whole: abs(r[:, 1] - whole[1]) <= 0.8,
    ),
    "above": (
        outputs.Value(0.5, direction="above"),
        LABELS,
        0,
        lambda r, _: r[:, 0],
        lambda r, _: r[:, 0],
        lambda r, whole: r[:, 0] >= whole[0] - 0.5,
    ),
    "below": (
        outputs.Value(0, reference=1.5, direction="below"),
        1,
        0,
        lambda r, _: -r[:, 0],
        lambda r, _: r[:, 0],
        lambda r, _: r[:, 0] <= 1.5,
    ),
    "nearest": (
        outputs.Similarity(REFERENCES),
        EMBEDDED,
        None,
        lambda r, whole: lead(cosines(r), cosines(whole[None])[0].argmax()),
        lambda r, whole: cosines(r)[:, cosines(whole[None])[0].argmax()],
        lambda r, whole: cosines(r).argmax(axis=1) == cosines(whole[None])[0].argmax(),
    ),
    "similar": (
        outputs.Similarity(REFERENCES[1], threshold=0.2),
        EMBEDDED,
        0,
        lambda r, _: cosines(r)[:, 1],
        lambda r, _: cosines(r)[:, 1],
        lambda r, _: cosines(r)[:, 1] >= 0.2,
    ),
    "own": (First(), LABELS, 2, lambda r, _: lead(r, 2), lambda r, _: lead(r, 2), lambda r, _: lead(r, 2) > 0),
}


def by_hand(case):
    output, columns, target, reward, answer, holds = CASES[case]
    if answer is sigmoid:
        return output, columns, target, reward, lambda r, whole: sigmoid(reward(r, whole)), holds
    if answer is None:  # softmax
        share = lambda r, _: np.exp(r[:, target]) / np.exp(r).sum(axis=1)  # noqa: E731
        return output, columns, target, reward, share, lambda r, _: r.argmax(axis=1) == target
    return output, columns, target, reward, answer, holds


def rows_of(masks, columns):
    shown = np.asarray(masks)[:, REGIONS][:, None]
    return numbers(np.where(shown, IMAGE, np.float32(0)))[:, :columns].astype(np.float64)


def greedy(case, direction, stop):
    """The search in plain words."""
    _, columns, _, reward, _, holds = by_hand(case)
    whole = rows_of([np.ones(6, bool)], columns)[0]
    present = np.zeros(6, bool) if direction == "insertion" else np.ones(6, bool)
    sign = 1 if direction == "insertion" else -1
    ranking, masks = [], [present.copy()]

    def done():
        return holds(rows_of([masks[-1]], columns), whole)[0] == (direction == "insertion")

    while len(ranking) < 6 and not (stop == "flip" and done()) and len(ranking) != stop:
        flips = [player for player in range(6) if player not in ranking]
        tried = np.array([np.where(np.arange(6) == player, ~present, present) for player in flips])
        best = int(np.argmax(sign * reward(rows_of(tried, columns), whole)))
        ranking.append(flips[best])
        present = tried[best]
        masks.append(present.copy())
    return ranking, rows_of(masks, columns), whole


@pytest.mark.parametrize("kind", ["function", "module"])
@pytest.mark.parametrize("stop", ["flip", "all", 2])
@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("case", CASES)
def test_every_output_is_searched_as_by_hand(case, direction, stop, kind):
    output, columns, target, reward, answer, holds = by_hand(case)
    model = Numbers(columns) if kind == "module" else lambda batch: numbers(batch)[:, :columns]
    moxi = ix.MoXI(model, regions=REGIONS, absence="zero", output=output)
    found = moxi.explain(IMAGE, target, direction=direction, stop=stop)
    ranking, rows, whole = greedy(case, direction, stop)
    assert found.ranking.tolist() == ranking
    np.testing.assert_allclose(found.rewards, reward(rows, whole), atol=2e-5)
    np.testing.assert_allclose(found.answers, answer(rows, whole), atol=2e-5)
    np.testing.assert_array_equal(found.holds, holds(rows, whole))
    assert found.full.holds == holds(whole[None], whole)[0]
    flipped = np.flatnonzero(found.holds == (direction == "insertion"))
    assert found.stopped_at == (flipped[0] if len(flipped) else None)
    assert found.output["name"] == output.name
    # Where there are no classes, the answer itself is what is predicted.
    classes = cosines(whole[None])[0] if case == "nearest" else whole
    assert found.prediction == (int(classes.argmax()) if output.among_classes else found.target)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["insertion", "deletion"]), st.sampled_from(get_args(Reward)))
def test_a_sigmoid_says_what_a_softmax_says_of_zero_and_the_logit(seed, direction, reward):
    weights = np.random.default_rng(seed).normal(size=(1, 3 * HEIGHT * WIDTH)).astype(np.float32)

    def logit(batch):
        # Nothing is not at 0, where a softmax has a tie, which the lower class wins.
        return np.tanh(batch.reshape(len(batch), -1) @ weights.T) * 3 + 0.01

    def both(batch):
        return np.concatenate([np.zeros((len(batch), 1)), logit(batch)], axis=1)

    alone = ix.MoXI(logit, regions=REGIONS, reward=reward, output=outputs.Sigmoid())
    among = ix.MoXI(both, regions=REGIONS, reward=reward)
    for stop in ("flip", "all"):
        found = alone.explain(IMAGE, direction=direction, stop=stop)
        expected = among.explain(IMAGE, 1, direction=direction, stop=stop)
        np.testing.assert_array_equal(found.ranking, expected.ranking)
        np.testing.assert_allclose(found.rewards, expected.rewards, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=1e-12)
        np.testing.assert_array_equal(found.holds, expected.holds)
        assert found.stopped_at == expected.stopped_at
    values = [one.shapley(IMAGE, target, sampler="exact").values for one, target in ((alone, 0), (among, 1))]
    np.testing.assert_allclose(*values, atol=1e-12)


@pytest.mark.parametrize("independent", [True, False])
@pytest.mark.parametrize("kind", ["function", "module"])
def test_probabilities_say_what_their_logits_say(independent, kind):
    class Squashed(Numbers):
        def forward(self, batch):
            z = super().forward(batch)
            return z.sigmoid() if independent else z.softmax(1)

    squashed = Squashed(LABELS)
    if kind == "function":
        module = squashed
        squashed = lambda batch: module(torch.from_numpy(batch)).detach().numpy()  # noqa: E731
    output = outputs.Probabilities(independent)
    plain = outputs.Sigmoid() if independent else outputs.Softmax()
    for direction in ("insertion", "deletion"):
        found, expected = (
            ix.MoXI(model, regions=REGIONS, absence="zero", output=one).explain(
                IMAGE, 2, direction=direction, stop="all"
            )
            for model, one in ((squashed, output), (Numbers(LABELS), plain))
        )
        np.testing.assert_array_equal(found.ranking, expected.ranking)
        np.testing.assert_allclose(found.rewards, expected.rewards, atol=1e-4)
        np.testing.assert_array_equal(found.holds, expected.holds)


def test_certain_probabilities_are_clipped_and_finite():
    certain = outputs.Probabilities().rows(np.array([[1.0, 0.0], [0.0, 1.0]]), "net")
    rewards = outputs.Probabilities().reward(certain, 0, certain[0])
    np.testing.assert_allclose(rewards, [np.log(2**24 - 1), -np.log(2**24 - 1)])
    for given_rows in ([[0.7, 0.7]], [[1.2, -0.2]], [[3.0, 4.0]]):
        with pytest.raises(
            ix.ModelError, match=r"model `net`: expected probabilities in 0 \.\.\. 1 that sum to 1, got"
        ):
            outputs.Probabilities().rows(np.array(given_rows), "net")


def test_what_softmax_says_is_the_same_to_the_bit_where_it_is_named():
    for model in (labels, Numbers(LABELS)):
        for direction in ("insertion", "deletion"):
            known, named = (
                ix.MoXI(model, regions=REGIONS, output=output).explain(IMAGE, direction=direction, stop="all")
                for output in ("auto", outputs.Softmax())
            )
            for name, array in known.arrays().items():
                np.testing.assert_array_equal(array, getattr(named, name))
            assert known.provenance["output"]["chosen"] == "by the number of logits"
            assert "chosen" not in named.provenance["output"]


def test_one_logit_is_a_sigmoid_and_the_result_says_so():
    found = ix.MoXI(lambda batch: numbers(batch)[:, :1], regions=REGIONS).explain(IMAGE)
    assert found.output["name"] == "sigmoid"
    assert found.output["chosen"] == "by the number of logits"
    with pytest.warns(UserWarning, match=r"its only number is taken for the logit of yes, but could be a probability"):
        ix.MoXI(lambda batch: sigmoid(numbers(batch)[:, :1]), regions=REGIONS).explain(IMAGE)


@pytest.mark.parametrize("name", sorted({*METHODS} - {"attention_rollout"}))
@pytest.mark.parametrize("case", ["sigmoid", "near", "similar"])
def test_every_method_speaks_the_outputs_language(name, case):
    output, columns, target, *_ = by_hand(case)
    options = {"rise": {"count": 50, "grid": (2, 3)}, "lime": {"count": 50}, "superpixel_rise": {"count": 50}}.get(
        name, {}
    )
    options |= {"steps": 4} if "steps" in METHODS[name].__dataclass_fields__ else {}
    options |= {"regions": REGIONS} if "regions" in METHODS[name].__dataclass_fields__ else {}
    options |= {"baseline": "zero"} if "baseline" in METHODS[name].__dataclass_fields__ else {}
    if name.startswith("grad_cam"):
        module = torch.nn.Sequential(torch.nn.Conv2d(3, columns, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    else:
        module = Numbers(columns)
    if name in ("rise", "lime", "superpixel_rise", "shapley", "moxi", "moxi_one_shot"):
        options.pop("steps", None)
    found = METHODS[name](**options).explain(ix.TorchClassifier(module, output=output), IMAGE, target)
    assert found.map.shape == (HEIGHT, WIDTH)
    assert np.isfinite(found.map).all()
    assert found.provenance["output"]["name"] == output.name


def test_an_output_without_a_gradient_refuses_methods_that_need_one():
    model = ix.TorchClassifier(Numbers(LABELS), output=First())
    message = "`method`: expected one without gradients, as the output first has none, got one with gradients; use RISE"
    for method in (methods.Gradient(), methods.XRAI(steps=2), methods.GradCAM()):
        with pytest.raises(ix.ArgumentError, match=message):
            method.explain(model, IMAGE)
        with pytest.raises(ix.ArgumentError, match=message):
            method.check_model(model)
    assert methods.RISE(count=8, grid=(2, 3), baseline="zero").explain(model, IMAGE).map.any()


def test_methods_explain_one_label_as_two_classes():
    """RISE, LIME, Shapley values and gradients of a label are those of [0, z]."""

    class Both(Numbers):
        def forward(self, batch):
            z = super().forward(batch)
            return torch.stack([torch.zeros(len(z)), z[:, 0]], dim=1)

    one = ix.TorchClassifier(Numbers(1), output=outputs.Sigmoid())
    two = ix.TorchClassifier(Both(1))
    for method in (
        methods.RISE(count=40, grid=(2, 3), baseline="zero"),
        methods.LIME(count=40, regions=REGIONS, baseline="zero"),
        methods.Shapley(regions=REGIONS, sampler="exact", absence="zero"),
        methods.Gradient(output="probability"),
        methods.IntegratedGradients(steps=4, baseline="zero"),
    ):
        maps = [method.explain(model, IMAGE, target).map for model, target in ((one, 0), (two, 1))]
        np.testing.assert_allclose(*maps, rtol=1e-4, atol=1e-6)
    for metric in (
        metrics.Insertion(baseline="zero", steps=6),
        metrics.Deletion(baseline="zero", steps=6),
        metrics.AccuracyInsertion(regions=REGIONS),
        metrics.AccuracyDeletion(regions=REGIONS),
    ):
        scores = [
            metric.score(metrics.Sample.of(model, IMAGE, target), maps[0]) for model, target in ((one, 0), (two, 1))
        ]
        assert scores[0].value == pytest.approx(scores[1].value, abs=1e-6)


def test_metrics_measure_numbers_and_refuse_what_needs_a_probability():
    sample = metrics.Sample.of(labels, IMAGE, 1, output=outputs.Value(0.5))
    curve = metrics.Insertion(baseline="zero", steps=1).score(sample, IMAGE[0]).curve
    np.testing.assert_allclose(curve.y, [labels(0 * IMAGE[None])[0, 1], labels(IMAGE[None])[0, 1]], rtol=1e-6)
    accuracy = metrics.AccuracyDeletion(regions=REGIONS).score(sample, IMAGE[0]).curve.y
    assert accuracy[0] == 1
    assert set(accuracy) <= {0, 1}
    with pytest.raises(ix.ArgumentError, match="`output`: expected one with probabilities, got value; see `answer`"):
        _ = sample.probability
    trace = metrics.InformationTrace(
        np.array([1, 2, 3]),
        np.array([3.0, 4, 5]),
        np.ones(3, bool),
        0,
        0,
        (0.5,),
        0.1,
        output="value",
        is_probability=False,
    )
    with pytest.raises(ix.ArgumentError, match="needs no probability, as the output is value, got sic; use Accuracy"):
        metrics.SoftmaxInformation().from_trace(trace)


def test_a_comparison_takes_an_output_and_keeps_maps_of_others_apart(tmp_path):
    def compared(output):
        names = "moxi(regions='2x3',stop='all')", "insertion(steps=3,baseline='zero')"
        return ix.compare(labels, IMAGE, *names, targets=[0], output=output, folder=tmp_path, propagate=False)

    first = compared(outputs.Sigmoid())
    count = len(list(tmp_path.iterdir()))
    assert str(compared(outputs.Sigmoid())) == str(first)
    assert len(list(tmp_path.iterdir())) == count
    other = compared(outputs.Value(0.5))
    assert len(list(tmp_path.iterdir())) > count
    assert str(other) != str(first)


def test_an_embedding_is_the_models_own_and_may_be_near_to_another():
    np.testing.assert_allclose(ix.embed(numbers, IMAGE)[0], numbers(IMAGE[None])[0], rtol=1e-6)
    assert ix.embed(Numbers(1), np.stack([IMAGE, IMAGE])).shape == (2, 1)

    class Encoder(torch.nn.Module):  # as transformers' towers answer
        def forward(self, pixel_values):
            return {"last_hidden_state": None, "pooler_output": torch.from_numpy(numbers(pixel_values.numpy()))}

    near = outputs.Similarity(ix.embed(Encoder(), IMAGE), threshold=0.99)
    found = ix.MoXI(Encoder(), regions=REGIONS, output=near).explain(IMAGE)
    assert found.full.answer == pytest.approx(1, abs=1e-6)
    assert found.answers[-1] >= 0.99


def test_a_hugging_face_configuration_says_what_its_logits_are():
    def model(problem_type):
        module = Numbers(LABELS)
        module.config = SimpleNamespace(problem_type=problem_type)
        return module

    assert ix.TorchClassifier(model("multi_label_classification")).output == outputs.Sigmoid()
    assert ix.TorchClassifier(model("single_label_classification")).output is None
    with pytest.raises(ix.ArgumentError, match=r"problem_type is regression.*pass output=interpix.outputs.Value\(tole"):
        ix.TorchClassifier(model("regression"))
    found = ix.MoXI(model("regression"), regions=REGIONS, output=outputs.Value(0.2)).explain(IMAGE, 1)
    assert found.output["name"] == "value"


def test_contrast_compares_labels_and_refuses_numbers():
    low = int(labels(IMAGE[None])[0].argmin())
    found = ix.MoXI(labels, regions=REGIONS, output=outputs.Sigmoid()).contrast(IMAGE, low)
    # What went first has made it the answer, which one patch more unmakes.
    assert (found.stopped_at, found.predicted.tolist()) == (1, [low, 1 - low])
    shown = np.where(np.isin(REGIONS, found.removed_before), np.float32(0), IMAGE)
    assert labels(shown[None])[0].argmax() == low
    with pytest.raises(ix.ArgumentError, match="`output`: expected an output whose classes can be compared, got value"):
        ix.MoXI(labels, regions=REGIONS, output=outputs.Value(1)).contrast(IMAGE, low)


@pytest.mark.parametrize("case", [case for case in CASES if case != "softmax"])
@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_pictures_and_files_speak_the_outputs_language(case, direction, tmp_path):
    output, columns, target, *_ = by_hand(case)
    moxi = ix.MoXI(lambda batch: numbers(batch)[:, :columns], regions=REGIONS, output=output)
    found = moxi.explain(IMAGE, target, direction=direction, minimal=True)
    found.save(tmp_path / "found.safetensors")
    again = ix.load(tmp_path / "found.safetensors")
    assert again.scalars() == found.scalars()
    words = photo_title(again) + group_title(again)
    is_probability = case in ("sigmoid", "strict", "one logit")
    assert ("p = " in words or "p < " in words) == is_probability
    assert (output.quantity in words) != is_probability
    figure = plots.plot_overview(again)
    assert any(output.quantity in ax.get_ylabel() for ax in figure.axes)
    json.dumps(again.summary())
    if not is_probability:
        with pytest.raises(ix.ArgumentError, match="`output`: expected one with probabilities"):
            _ = again.probabilities
