"""PyTorch models that fail, run out of memory, or do not fit what is asked."""

import numpy as np
import pytest
import torch
from torch import nn

import interpix as ix
from interpix.models import as_classifier
from interpix.models.protocol.classifier import Coalitions
from interpix.models.windows.scorer import WindowScorer
from torch_models import HEIGHT, WIDTH, convolutions, picture, vit

timm = pytest.importorskip("timm")


class Halting(nn.Module):
    """Fits `most` pictures into its memory."""

    def __init__(self, most, error=torch.OutOfMemoryError):
        super().__init__()
        self.inner, self.most, self.error, self.refused = convolutions().eval(), most, error, []

    def forward(self, x):
        if len(x) > self.most:
            self.refused.append(len(x))
            raise self.error("CUDA out of memory. Tried to allocate 2 GiB")
        return {"logits": self.inner(x)}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_memory_that_runs_out_halves_the_batch_and_is_remembered(error):
    model = Halting(5, error)
    result = ix.MoXI(model, regions="3x4").explain(picture(), 2, stop="all")
    expected = ix.MoXI(convolutions().eval(), regions="3x4").explain(picture(), 2, stop="all")
    assert result.ranking.tolist() == expected.ranking.tolist()
    assert model.refused == [12, 6]
    assert result.provenance["batch_size_reduced_to"] == 3
    with pytest.raises(ix.ModelError, match="a batch of 1 does not fit into memory"):
        ix.MoXI(Halting(0, error), regions="3x4").explain(picture())


def test_a_transformer_that_is_filled_gets_no_more_pictures_than_fit():
    model, sizes = vit(), []
    hook = model.register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
    ix.MoXI(model, absence="zero", regions="4x6").explain(picture(count=5), stop=1)
    hook.remove()
    assert max(sizes) == ix.TorchClassifier(model).batch_size == 64
    # Tokens have a budget of their own, so all candidates come at once.
    assert ix.MoXI(model).explain(picture(), stop=1).provenance["batch_size"] == 1024


class Answering(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def fail(_x):
    raise ZeroDivisionError("my own bug")


def stop(_x):
    return next(iter(()))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (fail, r"raised ZeroDivisionError for a batch \(1, 3, 32, 48\): my own bug"),
        (stop, r"raised StopIteration for a batch \(1, 3, 32, 48\)"),
        (lambda x: torch.full((len(x), 4), torch.nan), "NaN or infinity"),
        (lambda x: torch.zeros(len(x) + 1, 4), r"expected logits \(1, classes\)"),
        (lambda x: torch.zeros(len(x), 4, 2), "expected logits"),
        (lambda x: "cat", "expected logits, got str"),
    ],
)
def test_models_that_fail_are_named(answer, message):
    """A StopIteration came out bare (R37)."""
    with pytest.raises(ix.ModelError, match=message) as caught:
        ix.MoXI(Answering(answer), regions="2x3").explain(picture())
    if answer in (fail, stop):
        assert isinstance(caught.value.__cause__, ZeroDivisionError if answer is fail else StopIteration)


class Failing(nn.Module):
    """A norm that raises where more than `most` sequences come."""

    def __init__(self, inner, most, error):
        super().__init__()
        self.inner, self.most, self.error = inner, most, error

    def forward(self, x):
        if len(x) > self.most:
            raise self.error
        return self.inner(x)


@pytest.mark.parametrize("absence", [ix.DropTokens(), ix.MaskAttention(1)])
@pytest.mark.parametrize("part", ["first", "last"])
def test_a_part_of_a_vision_transformer_that_fails_is_the_models_error(absence, part):
    model = vit(global_pool="avg")
    block = model.blocks[0 if part == "first" else 1]
    block.norm1 = Failing(block.norm1, 0, ValueError("no norm today"))
    tokens = np.kron(np.arange(24).reshape(1, 4, 6), np.ones((1, 8, 8), np.int64))
    scorer = as_classifier(model).scorer(picture(count=1), tokens, absence)
    message = r"model `VisionTransformer` raised ValueError for images with.*: no norm today"
    with pytest.raises(ix.ModelError, match=message):
        scorer.score(Coalitions.of_masks(np.array([0]), np.arange(24)[None] > 3, np.array([[0]])))


def test_a_vision_transformer_that_runs_out_of_memory_gets_fewer_at_once():
    model = vit()
    expected = ix.MoXI(model).explain(picture(), 2, stop=2)
    model.blocks[1].norm1 = Failing(model.blocks[1].norm1, 5, RuntimeError("not enough memory"))
    result = ix.MoXI(model).explain(picture(), 2, stop=2)
    assert result.ranking.tolist() == expected.ranking.tolist()
    # 24 candidates of a class token and one patch: of 48 tokens half, a quarter, an eighth, in whole candidates.
    assert result.provenance["tokens_at_once_reduced_to"] == 3 * 2


def test_many_images_are_embedded_in_parts_that_fit():
    """F41: all images of a call at once, outside of any limit on batches."""
    model = vit()
    images = [picture(seed) for seed in range(9)]
    expected = [one.ranking.tolist() for one in ix.MoXI(model).explain(images, 2, stop=1)]
    model.patch_embed.norm = Failing(model.patch_embed.norm, 2, RuntimeError("not enough memory"))
    assert [one.ranking.tolist() for one in ix.MoXI(model, batch_size=2).explain(images, 2, stop=1)] == expected


def test_a_layer_that_fails_in_windows_is_the_models_error():
    model = convolutions().eval()
    labels = np.arange(4).repeat(HEIGHT * WIDTH // 4).reshape(1, HEIGHT, WIDTH)
    scorer = as_classifier(model).scorer(picture(count=1), labels, ix.Fill())
    assert isinstance(scorer, WindowScorer)
    model[-1].to("meta")  # another device
    base, zeros = np.ones((1, 4), bool), np.zeros(4, np.int64)
    for flip in (np.arange(4), np.full(4, -1)):
        with pytest.raises(ix.ModelError, match=r"model `Sequential` raised \w+ for (a batch|the picture)"):
            scorer.score(Coalitions(zeros, base, zeros, flip, zeros[:, None]))


def test_a_failure_on_the_way_keeps_what_was_found():
    calls = []

    def tired(x):
        calls.append(len(x))
        if len(calls) > 5:
            raise ZeroDivisionError("tired")
        return x.sum(dim=(2, 3))

    whole = ix.MoXI(Answering(lambda x: x.sum(dim=(2, 3))), regions="2x3").explain(picture(), stop="all")
    with pytest.raises(ix.ModelError, match="tired") as caught:
        ix.MoXI(Answering(tired), regions="2x3", batch_size=6).explain(picture(), stop="all")
    # The whole image, twice and beside two others once, the empty one, six candidates, and five; it failed at the four.
    assert calls == [1, 3, 1, 6, 5, 4]
    (partial,) = caught.value.explanations
    assert partial.ranking.tolist() == whole.ranking[:2].tolist()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (convolutions, {"absence": "drop_tokens"}, "`absence`: expected a Fill"),
        (convolutions, {"regions": "tokens"}, "this model has no tokens"),
        (vit, {"regions": "3x5"}, "whole patches of the 4 x 6 token grid"),
        (vit, {"absence": ix.MaskAttention(2)}, "`from_layer`: expected a block"),
        (convolutions, {"precision": "half"}, '"exact" or "mixed"'),
    ],
)
def test_what_does_not_fit_the_model_is_refused(model, options, message):
    with pytest.raises(ix.ArgumentError, match=message):
        ix.MoXI(model(), **options).explain(picture())


class Branching(nn.Module):
    """F3: takes another branch for pictures than for the symbols of a trace."""

    gain = 1.0

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        if isinstance(x, torch.Tensor):
            x = 2 * x - 1
        return self.head((self.body(x) * self.gain).relu().mean((2, 3)))


class Conv2dSame(nn.Conv2d):
    """F3b: named as a layer of timm's, and another."""

    def forward(self, x):
        return 2 * super().forward(x)


def one_by_one(module):
    """The module as a function that is asked about each picture alone."""
    return lambda batch: np.concatenate([module(torch.from_numpy(one[None])).detach().numpy() for one in batch])


def test_a_trace_that_answers_otherwise_than_the_module_is_given_up():
    torch.manual_seed(0)
    module = Branching()
    expected = ix.MoXI(one_by_one(module), regions="3x3").explain(picture(), 0, stop="all")
    with pytest.warns(UserWarning, match="model `Branching`: the layers that were traced answer otherwise"):
        found = ix.MoXI(module, regions="3x3", absence="zero").explain(picture(), 0, stop="all")
    np.testing.assert_array_equal(found.ranking, expected.ranking)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=1e-4)


def test_a_layer_is_known_by_its_full_name():
    torch.manual_seed(0)
    module = nn.Sequential(Conv2dSame(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    expected = ix.MoXI(one_by_one(module), regions="3x3").explain(picture(), 0, stop="all")
    found = ix.MoXI(module, regions="3x3", absence="zero").explain(picture(), 0, stop="all")
    np.testing.assert_array_equal(found.ranking, expected.ranking)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=1e-4)


class Rectifying(nn.Module):
    """Rectifies real pictures only, which shows where something is below zero."""

    def __init__(self, more=0.0):
        super().__init__()
        self.inner, self.more = convolutions(), more

    def forward(self, x):
        if isinstance(x, torch.Tensor):
            x = torch.relu(x)
        return self.inner(x) + self.more


@pytest.mark.parametrize("more", [0.0, 1e4])
def test_a_branch_that_the_first_picture_hides_is_found(more):
    """F3: in the picture of nothing, in another image of the call, or beneath a large constant."""
    image = picture() - picture().min()
    with pytest.warns(UserWarning, match="the layers that were traced answer otherwise"):
        ix.MoXI(Rectifying(more), regions="2x3", absence=-3.0).explain(image, 0, stop=1)
    with pytest.warns(UserWarning, match="the layers that were traced answer otherwise"):
        ix.MoXI(Rectifying(more), regions="2x3").explain([image, image - 3], 0, stop=1)


def test_chance_beneath_a_class_that_is_ruled_out_is_found():
    """F7: the tolerance was a share of its logit."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = convolutions()

        def forward(self, x):
            logits = self.inner(torch.nn.functional.dropout(x, 0.5, training=True)) / 30
            return torch.cat([logits, logits.new_full((len(x), 1), -1e4)], dim=1)

    with pytest.warns(UserWarning, match="depends on chance"):
        ix.metrics.Sample.of(Masked().eval(), picture(), 0)


def test_a_norm_that_mixes_tokens_is_found():
    """F3: with all patches there is no difference."""

    class Mixing(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x - x.mean(1, keepdim=True))

    model = vit()
    model.blocks[0].norm1 = Mixing(model.embed_dim)
    with pytest.warns(UserWarning, match="the blocks as they were read answer otherwise"):
        found = ix.MoXI(model).explain(picture(), 0, stop=1)
    assert found.provenance["scored_as"] == "pictures without tokens"
