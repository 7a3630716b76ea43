"""What outputs refuse, outputs of a user's own, and numbers at their limits."""

import numpy as np
import pytest
import torch

import interpix as ix
from interpix import methods, outputs
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
    labels,
    lead,
    numbers,
    sigmoid,
)


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
