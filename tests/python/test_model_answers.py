"""Answers of a model that are none: its exceptions, NaN, probabilities, shapes."""

import itertools

import numpy as np
import pytest
import torch

from conftest import sum_of_pixels
from interpix import Fill, MoXI
from interpix.errors import ModelError

REGIONS = "2x3"
BLUE = Fill(np.array([0.0, 0.0, 1.0]))


class OwnError(Exception):
    pass


def standardizing(batch):
    """Nothing is left of a flat picture to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = batch - batch.mean(axis=(1, 2, 3), keepdims=True)
        return (spread / spread.std(axis=(1, 2, 3), keepdims=True)).max(axis=(2, 3))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda batch: np.full((len(batch), 3), np.nan), "NaN or infinity"),
        (lambda batch: np.zeros((len(batch) + 1, 3)), r"logits \(1, classes\).*got shape \(2, 3\)"),
        (lambda batch: np.zeros(len(batch)), r"got shape \(1,\); return \(B, 1\) for one logit each, or say"),
        (lambda batch: np.zeros((len(batch), 0)), r"logits \(1, classes\).*got shape \(1, 0\)"),
        (lambda batch: "cat", "got str"),
    ],
)
def test_unusable_answers_are_model_errors(image, answer, message):
    with pytest.raises(ModelError, match=message):
        MoXI(answer, regions=REGIONS).explain(image, stop=1, direction="deletion")


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_an_exception_of_the_model_comes_out_as_itself(image, calls):
    error, count = OwnError("mine"), itertools.count()

    def model(batch):
        if next(count) == calls:
            raise error
        return sum_of_pixels(batch)

    with pytest.raises(OwnError) as caught:
        MoXI(model, regions=REGIONS).explain(image, direction="deletion", stop="all")
    assert caught.value is error


@pytest.mark.parametrize("calls", [0, 1])
@pytest.mark.parametrize("method", ["explain", "one_shot", "shapley"])
def test_a_model_that_raises_stop_iteration_is_told(image, calls, method):
    """It became "generator raised StopIteration" where a generator was under way (R37)."""
    answers = iter([None] * calls)

    def model(batch):
        next(answers)
        return sum_of_pixels(batch)

    moxi = MoXI(model, regions=REGIONS, absence="zero", batch_size=3)
    with pytest.raises(ModelError, match=r"model `model` raised StopIteration for a batch \(\d, 3, 4, 6\)") as raised:
        getattr(moxi, method)(image)
    assert isinstance(raised.value.__cause__, StopIteration)


def test_probabilities_instead_of_logits_are_told(image):
    def model(batch):
        odds = np.exp(sum_of_pixels(batch) / 100)
        return odds / odds.sum(axis=1, keepdims=True)

    with pytest.warns(UserWarning, match="model `model`: its logits look like probabilities"):
        MoXI(model, regions=REGIONS).explain(image, stop=1)


def test_probabilities_of_which_one_is_exactly_zero_are_recognized():
    """F8: a class that is never given anything kept the others from being noticed."""

    def shares(batch):
        bright = (batch[:, 0] > 0.5).mean((1, 2))
        return np.stack([bright, 1 - bright, 0 * bright], axis=1)

    with pytest.warns(UserWarning, match="its logits look like probabilities"):
        MoXI(shares, regions="2x3", absence="zero").explain(np.ones((3, 4, 6), np.float32), 0, stop="all")


@pytest.mark.parametrize("kind", ["bfloat16", "percent", "one-hot"])
def test_probabilities_of_other_kinds_are_recognized(image, kind):
    """F8: rounded to eight bits, in percent, or decided."""

    def model(batch):
        logits = np.concatenate([sum_of_pixels(batch), np.arange(6.0)[None].repeat(len(batch), 0)], axis=1)
        proba = np.exp(logits - logits.max(axis=1, keepdims=True))
        proba /= proba.sum(axis=1, keepdims=True)
        if kind == "percent":
            return 100 * proba
        if kind == "one-hot":
            return np.eye(logits.shape[1])[(10 * np.abs(batch).sum(axis=(1, 2, 3))).astype(int) % 7]
        return torch.from_numpy(proba).bfloat16()

    with pytest.warns(UserWarning, match="its logits look like probabilities"):
        MoXI(model, regions=REGIONS).explain(image, stop=1)


@pytest.mark.parametrize("in_torch", [False, True])
def test_a_coalition_without_a_finite_answer_is_named(image, in_torch):
    """F30: a model that standardizes its input has no answer to the picture of nothing."""
    model = standardizing
    if in_torch:
        torch = pytest.importorskip("torch")

        class Standardizing(torch.nn.Module):
            def forward(self, x):
                return ((x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)).amax((2, 3))

        model = Standardizing()
    message = 'for the image with all of its patches absent; .*another absence, as "mean" or "blur"'
    with pytest.raises(ModelError, match=message):
        MoXI(model, regions=REGIONS).explain(image)
    MoXI(model, regions=REGIONS, absence="blur").explain(image)  # the cure


def test_a_few_absent_patches_without_a_finite_answer_are_named(image):
    """F30: the number of patches is said."""

    def model(batch):
        flat = (batch[:, 2, :, :2] == 0).all(axis=(1, 2)) & (batch != 0).any(axis=(1, 2, 3))
        return batch.sum(axis=(2, 3)) + np.where(flat, np.nan, 0)[:, None]

    with pytest.raises(ModelError, match=r"for the image with \d of its 6 patches absent"):
        MoXI(model, regions=REGIONS).explain(
            image + np.eye(3, dtype=np.float32)[2][:, None, None], direction="deletion", stop="all"
        )
