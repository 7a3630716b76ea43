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


HEIGHT, WIDTH, LABELS, EMBEDDED = 4, 6, 3, 5
WEIGHTS = np.random.default_rng(7).normal(size=(EMBEDDED, 3 * HEIGHT * WIDTH)).astype(np.float32)
IMAGE = np.random.default_rng(8).normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)
REGIONS = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 6
REFERENCES = np.random.default_rng(9).normal(size=(3, EMBEDDED))


def numbers(batch):
    """Not linear, so that patches depend on each other."""
    return np.tanh(batch.reshape(len(batch), -1) @ WEIGHTS.T * 0.4) * 4 + 0.3


def labels(batch):
    return numbers(batch)[:, :LABELS]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Numbers(torch.nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.from_numpy(WEIGHTS))
        self.columns = columns

    def forward(self, batch):
        return (torch.tanh(batch.flatten(1) @ self.weights.T * 0.4) * 4 + 0.3)[:, : self.columns]


def cosines(rows):
    return rows @ REFERENCES.T / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(REFERENCES, axis=1)


def lead(rows, target):
    return rows[:, target] - np.delete(rows, target, axis=1).max(axis=1)


class First(outputs.Output):
    """A user's own: is the same document still first, and by how much?"""

    name = "first"

    def reward(self, rows, target, whole):
        return lead(rows, target)

    def holds(self, rows, target, whole):
        return lead(rows, target) > 0


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
    words = plots.photo_title(again) + plots.group_title(again)
    is_probability = case in ("sigmoid", "strict", "one logit")
    assert ("p = " in words or "p < " in words) == is_probability
    assert (output.quantity in words) != is_probability
    figure = plots.plot_overview(again)
    assert any(output.quantity in ax.get_ylabel() for ax in figure.axes)
    json.dumps(again.summary())
    if not is_probability:
        with pytest.raises(ix.ArgumentError, match="`output`: expected one with probabilities"):
            _ = again.probabilities


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: outputs.Sigmoid(0), "`threshold`: expected a probability between 0 and 1, got 0"),
        (lambda: outputs.Sigmoid("high"), "`threshold`"),
        (lambda: outputs.Value(-1), "`tolerance`: expected a number of at least 0"),
        (lambda: outputs.Value(np.nan), "`tolerance`"),
        (lambda: outputs.Value(1, direction="up"), "`direction`"),
        (lambda: outputs.Probabilities("yes"), "`independent`"),
        (lambda: outputs.Similarity(REFERENCES[0]), "`threshold`: expected a cosine for one reference, got None"),
        (lambda: outputs.Similarity(REFERENCES, threshold=2), "`threshold`"),
        (lambda: outputs.Similarity(np.zeros((2, 3))), "`embedding`: expected finite numbers .*none all zero"),
        (lambda: ix.MoXI(labels, output="sigmoids"), "`output`: expected the name of one, got 'sigmoids'; use sigmoid"),
        (lambda: ix.MoXI(labels, output=outputs.Sigmoid), "`output`: .*with brackets"),
        (lambda: ix.MoXI(labels, output=3), "`output`: expected an object of interpix.outputs"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises((ix.ArgumentError, ix.ArgumentTypeError), match=message):
        make()


@pytest.mark.parametrize(
    ("output", "columns", "target", "options", "message"),
    [
        (
            outputs.Softmax(),
            1,
            None,
            {},
            r"model `.*`: expected logits \(1, classes\) with at least 2 classes, got shape",
        ),
        (
            outputs.Similarity(REFERENCES),
            2,
            None,
            {},
            r"expected embeddings \(B, 5\), as the references are, got shape",
        ),
        (outputs.Value(1), 3, None, {}, "`target`: expected which of the 3 numbers"),
        (outputs.Value(1), 3, 3, {}, r"`target`: expected a class in 0 \.\.\. 2, got 3"),
        (outputs.Value(1), 3, 0, {"min_confidence": 0.5}, "`min_confidence`: expected 0, as value is no probability"),
        (outputs.Probabilities(), 3, 0, {}, r"expected probabilities in 0 \.\.\. 1 that sum to 1, got"),
    ],
)
@pytest.mark.parametrize("kind", ["function", "module"])
def test_an_output_that_does_not_fit_is_refused_before_the_search(output, columns, target, options, message, kind):
    model = Numbers(columns) if kind == "module" else lambda batch: numbers(batch)[:, :columns]
    with pytest.raises(ix.InterpixError, match=message):
        ix.MoXI(model, regions=REGIONS, output=output).explain(IMAGE, target, **options)
    with pytest.raises(ix.ArgumentError, match="`reward`: expected the own one of the output value"):
        ix.MoXI(labels, regions=REGIONS, reward="logit", output=outputs.Value(1)).explain(IMAGE, 0)


def test_one_number_an_image_is_taken_where_the_output_is_said():
    flat = ix.MoXI(lambda batch: numbers(batch)[:, 0], regions=REGIONS, output=outputs.Value(0.3)).explain(IMAGE)
    column = ix.MoXI(lambda batch: numbers(batch)[:, :1], regions=REGIONS, output=outputs.Value(0.3)).explain(IMAGE)
    np.testing.assert_array_equal(flat.rewards, column.rewards)
    with pytest.raises(ix.ModelError, match=r"got shape \(1,\); return \(B, 1\) for one logit each, or say what"):
        ix.MoXI(lambda batch: numbers(batch)[:, 0], regions=REGIONS).explain(IMAGE)


class Own:
    """A classifier of the user's own, which knows nothing of outputs."""

    name, class_names, input_size, token_grid, batch_size = "own", None, None, None, 8
    output = None

    def preprocess(self, image):
        return image

    def display(self, image, tensor=None):
        return image

    def logits(self, batch):
        return labels(batch).astype(np.float32)

    def scorer(self, images, regions, absence):
        return ix.models.protocol.pictures.picture_scorer(self, images, regions, absence)

    def provenance(self):
        return {}


def test_a_classifier_of_the_users_own_reads_rows_as_they_are():
    found = ix.MoXI(Own(), regions=REGIONS, output=outputs.Sigmoid()).explain(IMAGE, 1)
    expected = ix.MoXI(labels, regions=REGIONS, output=outputs.Sigmoid()).explain(IMAGE, 1)
    np.testing.assert_allclose(found.rewards, expected.rewards, atol=1e-6)
    for output in (outputs.Probabilities(), outputs.Similarity(np.eye(LABELS)), outputs.Boxes()):
        with pytest.raises(ix.ArgumentError, match=r"`output`: .* of a class of yours, got .*CallableClassifier"):
            ix.MoXI(Own(), output=output)

    class Frozen(Own):
        __slots__ = ()
        output = property(lambda self: None)

    with pytest.raises(ix.ArgumentError, match="set it when Frozen is made"):
        ix.MoXI(Frozen(), output=outputs.Sigmoid())


def test_outputs_of_the_users_own_are_not_taken_for_each_other():
    class Scaled(First):
        def __init__(self, scale):
            self.scale = scale

        def reward(self, rows, target, whole):
            return self.scale * lead(rows, target)

    classifier = ix.CallableClassifier(labels, output=Scaled(1.0))
    for scale in (1.0, -2.0):
        found = ix.MoXI(classifier, regions=REGIONS, output=Scaled(scale)).explain(IMAGE, 0)
        assert found.full.reward == pytest.approx(scale * lead(labels(IMAGE[None]), 0)[0], rel=1e-5)


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("reward", lambda rows: rows.mean()),
        ("reward", lambda rows: rows[:, :1]),
        ("reward", lambda rows: rows[:1, 0]),
        ("reward", lambda rows: ["much"] * len(rows)),
        ("reward", lambda rows: rows[:, 0] + 1j),
        ("holds", lambda rows: np.ones(len(rows))),
        ("holds", lambda rows: rows > 0),
        ("answer", lambda rows: None),
    ],
)
def test_what_an_output_of_the_users_own_gives_is_checked(method, wrong):
    output = type("Wrong", (First,), {method: lambda self, rows, target, whole: wrong(rows)})()
    message = f"`output`: expected .* for each of . rows of `{method}`, got .*; see what Wrong.{method} returns"
    with pytest.raises(ix.ArgumentError, match=message):
        ix.MoXI(labels, regions=REGIONS, output=output).explain(IMAGE, 0)


def test_an_output_cannot_change_what_the_next_one_reads():
    class Greedy(First):
        def reward(self, rows, target, whole):
            rows -= whole
            return rows[:, target]

    with pytest.raises(ValueError, match="read-only"):
        ix.MoXI(labels, regions=REGIONS, output=Greedy()).explain(IMAGE, 0)


@pytest.mark.parametrize("scale", [1e25, 1e-13, 1.0])
@pytest.mark.parametrize("kind", ["function", "module"])
def test_an_embedding_of_any_scale_has_a_direction(kind, scale):
    class Scaled(Numbers):
        def forward(self, batch):
            return super().forward(batch) * scale

    module = Scaled(EMBEDDED)
    model = module if kind == "module" else lambda batch: module(torch.from_numpy(batch)).detach().numpy()
    found = ix.MoXI(model, regions=REGIONS, output=outputs.Similarity(ix.embed(model, IMAGE), threshold=0.5)).explain(
        IMAGE
    )
    assert found.full.answer == pytest.approx(1, abs=1e-5)


def test_references_have_names_of_their_own():
    model = ix.CallableClassifier(lambda batch: batch.mean((2, 3)), class_names=["red", "green", "blue"])
    plain = ix.MoXI(model, regions="1x2", output=outputs.Similarity(np.eye(3)[::-1])).explain(IMAGE)
    assert plain.class_names is None
    named = outputs.Similarity(np.eye(3)[::-1], labels=["sea", "grass", "rose"])
    assert ix.MoXI(model, regions="1x2", output=named).explain(IMAGE, "rose").target == 2
    with pytest.raises(ix.ArgumentError, match="`labels`: expected a name for each of 3 references"):
        outputs.Similarity(np.eye(3), labels=["sea"])
    with pytest.raises(ix.ArgumentError, match="`embedding`: expected references of which one can be nearest"):
        outputs.Similarity(np.ones((2, 3)))


def test_numbers_are_as_exact_as_the_function_that_gives_them():
    def model(batch):
        return 1.7e9 + np.round(batch.astype(np.float64).sum(axis=(1, 2, 3)))[:, None]

    image = np.abs(IMAGE)
    found = ix.MoXI(model, regions=REGIONS, output=outputs.Value(35)).explain(image, stop="all")
    shown = np.zeros(6, bool)
    expected = [1.7e9]
    for player in found.ranking:
        shown[player] = True
        expected.append(model(np.where(shown[REGIONS], image, 0)[None].astype(np.float32))[0, 0])
    np.testing.assert_array_equal(found.answers, expected)


def test_maps_of_what_must_stay_low_point_the_same_way():
    def model(batch):
        return (batch[:, :, : HEIGHT // 2].sum((1, 2, 3)) - batch[:, :, HEIGHT // 2 :].sum((1, 2, 3)))[:, None]

    image = np.ones((3, HEIGHT, WIDTH), np.float32)
    low = outputs.Value(0, reference=0, direction="below")
    classifier = ix.CallableClassifier(model, output=low)
    for method in (
        methods.RISE(count=100, grid=(2, 1), baseline="zero"),
        methods.LIME(count=100, regions="2x1", baseline="zero"),
        methods.SuperpixelRISE(count=100, regions="2x1", baseline="zero"),
        methods.Shapley(regions="2x1", sampler="exact"),
    ):
        values = method.explain(classifier, image).map
        assert values[0].mean() < values[-1].mean()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_saturated_probabilities_of_half_precision_are_finite(dtype):
    class Sure(Numbers):
        def forward(self, batch):
            return (30 * super().forward(batch.float())).sigmoid().to(dtype)

    output = outputs.Probabilities(independent=True)
    found = ix.MoXI(Sure(2), regions=REGIONS, absence="zero", output=output).explain(IMAGE, 0, stop="all")
    assert np.isfinite(found.rewards).all()
    one = ix.MoXI(lambda batch: sigmoid(numbers(batch)[:, :1]), regions=REGIONS, output=output).explain(IMAGE)
    assert np.isfinite(one.rewards).all()


def test_probabilities_of_labels_that_nobody_named_are_told():
    weights = np.random.default_rng(1).normal(size=(12, 3 * HEIGHT * WIDTH)).astype(np.float32)

    def logits(batch):
        return batch.reshape(len(batch), -1) @ weights.T

    def squashed(batch):
        return sigmoid(logits(batch))

    with pytest.warns(UserWarning, match=r"its logits are all in 0 \.\.\. 1, as the probabilities of labels are"):
        ix.MoXI(squashed, regions=REGIONS).explain(IMAGE, 1, stop=1)
    with pytest.warns(UserWarning, match=r"all in 0 \.\.\. 1 and look like probabilities"):
        ix.MoXI(squashed, regions=REGIONS, output="sigmoid").explain(IMAGE, 1, stop=1)
    for model, output in (
        (squashed, outputs.Probabilities(independent=True)),
        (squashed, outputs.Softmax()),
        (logits, "auto"),
        (logits, "sigmoid"),
    ):
        ix.MoXI(model, regions=REGIONS, output=output).explain(IMAGE, 1, stop=1)  # pytest raises what warns
