"""Segmentation models, whose targets are classes of a region."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

import interpix as ix
from interpix import methods, outputs


class Painter(torch.nn.Module):
    """Per-pixel logits, each from a small neighborhood."""

    def __init__(self, scale=1, kind="plain"):
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, padding=2), torch.nn.Tanh(), torch.nn.Conv2d(8, 4, 3, padding=1, stride=scale)
        )
        self.kind = kind

    def forward(self, batch):
        logits = 4 * self.layers(batch)
        if self.kind == "torchvision":
            return {"out": logits, "aux": logits * 0}
        if self.kind == "transformers":
            return type("SemanticSegmenterOutput", (), {"logits": logits})()
        return logits


HEIGHT, WIDTH = 24, 36
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[4:15, 3:20] = True
SCENE = np.random.default_rng(4).normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)


def of_region(module, image, target):
    """Mean log-odds, share and most frequent class, pixel by pixel."""
    with torch.no_grad():
        logits = 4 * module.layers(torch.from_numpy(image[None]))
        if logits.shape[2:] != image.shape[1:]:
            logits = torch.nn.functional.interpolate(logits, image.shape[1:], mode="bilinear", align_corners=False)
    inside = logits[0].numpy().astype(np.float64)[:, MASK]
    odds = [pixel[target] - logsumexp(np.delete(pixel, target)) for pixel in inside.T]
    best = inside.argmax(axis=0)
    return np.mean(odds), (best == target).mean(), np.bincount(best, minlength=4).argmax()


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize(("scale", "kind"), [(1, "plain"), (1, "torchvision"), (2, "transformers")])
def test_a_segment_is_searched_as_by_hand(scale, kind, direction):
    module = Painter(scale, kind)
    found = ix.MoXI(module, regions="2x3", output=outputs.Segments(MASK)).explain(
        SCENE, direction=direction, stop="all"
    )
    assert found.target == of_region(module, SCENE, 0)[2]
    regions = np.arange(6).reshape(2, 3).repeat(12, axis=0).repeat(12, axis=1)
    present = np.full(6, direction == "deletion")
    for step, patch in enumerate([None, *found.ranking.tolist()]):
        if patch is not None:
            rest = [one for one in range(6) if one not in found.ranking[: step - 1]]
            tried = []
            for one in rest:
                changed = present ^ (np.arange(6) == one)
                tried.append(of_region(module, np.where(changed[regions], SCENE, np.float32(0)), found.target)[0])
            best = np.argmax(tried) if direction == "insertion" else np.argmin(tried)
            assert patch == rest[best]
            present[patch] = not present[patch]
        odds, share, most = of_region(module, np.where(present[regions], SCENE, np.float32(0)), found.target)
        assert found.rewards[step] == pytest.approx(odds, abs=1e-4)
        assert found.answers[step] == pytest.approx(share, abs=1e-6)
        assert found.predicted[step] == most
        assert found.holds[step] == (most == found.target)


def test_gradients_go_through_a_segments_mean_log_odds():
    module = Painter()
    model = ix.TorchClassifier(module, output=outputs.Segments(MASK))
    found = methods.IntegratedGradients(steps=200, baseline="zero").explain(model, SCENE, 1)
    difference = of_region(module, SCENE, 1)[0] - of_region(module, 0 * SCENE, 1)[0]
    assert found.map.sum() == pytest.approx(difference, rel=1e-2)
    # Nothing outside of what the region's pixels see.
    assert not found.map[20:, 25:].any()


def test_a_numpy_segmentation_is_taken():
    def function(batch):
        return np.concatenate([batch, -batch[:, :1]], axis=1)

    found = ix.MoXI(function, regions="2x3", output=outputs.Segments(MASK)).explain(SCENE, 2)
    share = (function(SCENE[None])[0][:, MASK].argmax(axis=0) == 2).mean()
    assert found.full.answer == pytest.approx(share)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            np.zeros((4, 6), bool),
            r"`mask`: expected a bool array \(H, W\), True inside, got bool \(4, 6\) without a pixel",
        ),
        (np.ones((4, 6)), r"`mask`.*float64"),
        (np.ones(6, bool), r"`mask`"),
    ],
)
def test_a_mask_of_nothing_is_refused(mask, message):
    with pytest.raises(ix.ArgumentError, match=message):
        outputs.Segments(mask)


def test_a_mask_of_another_size_and_other_answers_are_refused():
    with pytest.raises(
        ix.ArgumentError, match="`mask`: expected the size of the picture that the model sees, 24 x 36, got"
    ):
        ix.MoXI(Painter(), output=outputs.Segments(np.ones((4, 6), bool))).explain(SCENE)
    with pytest.raises(ix.ModelError, match=r"expected logits \(B, classes, h, w\) of at least 2 classes, got shape"):
        ix.MoXI(lambda batch: batch.sum((2, 3)), output=outputs.Segments(MASK)).explain(SCENE)
    with pytest.raises(ix.ModelError, match="expected logits for each of 24 x 36 pixels"):
        ix.MoXI(lambda batch: batch[:, :, ::2], output=outputs.Segments(MASK)).explain(SCENE)


@pytest.mark.parametrize("seed", range(8))
def test_contrast_takes_the_most_frequent_class_for_the_answer(seed):
    torch.manual_seed(seed)
    module = torch.nn.Conv2d(3, 3, 1)
    mask = np.ones((4, 6), bool)
    image = np.random.default_rng(seed).normal(size=(3, 4, 6)).astype(np.float32)
    regions = np.arange(4).reshape(2, 2).repeat(2, axis=0).repeat(3, axis=1)

    def most(present):
        with torch.no_grad():
            shown = torch.from_numpy(np.where(present[regions], image, np.float32(0)))
            return np.bincount(module(shown[None])[0].argmax(0).numpy().ravel(), minlength=3).argmax()

    moxi = ix.MoXI(module, regions="2x2", output=outputs.Segments(mask))
    for target in range(3):
        found = moxi.contrast(image, target)
        present = np.ones(4, bool)
        for patch in found.removed_before:
            assert most(present) != target
            present[patch] = False
        # Then those go that this answer needs, until it is another one.
        answers = [most(present) == target]
        for patch in found.ranking.tolist():
            present[patch] = False
            answers.append(most(present) == target)
        assert found.stopped_at == (answers.index(False) if answers[0] and not all(answers) else None)


def test_a_mask_is_copied():
    mask = MASK.copy()
    output = outputs.Segments(mask)
    mask[:] = False
    np.testing.assert_array_equal(output.mask, MASK)
