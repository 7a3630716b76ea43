"""Results that keep every coalition that was scored: against a model that writes down what it was asked."""

import dataclasses

import numpy as np
import pytest

import interpix as ix
from interpix.outputs.readout import Scores
from interpix.results.coalitions import ScoredCoalitions

REGIONS = "3x4"
PLAYERS = 12


def picture(seed=0):
    return np.random.default_rng(seed).random((3, 6, 12)).astype(np.float32)


class Diary:
    """Sums of colors, and all pictures that it was asked about."""

    def __init__(self):
        self.seen = []

    def __call__(self, batch):
        self.seen += list(batch.copy())
        return 9 * batch.mean(axis=(2, 3))

    def told(self):
        """Which patches were there, with the probability of class 1: patches are 2 x 3 and absent is zero."""
        found = {}
        for one in self.seen:
            cells = one.reshape(3, 3, 2, 4, 3).any(axis=(0, 2, 4)).ravel()
            logits = 9 * one.mean(axis=(1, 2))
            found[cells.tobytes()] = float(np.exp(logits[1]) / np.exp(logits).sum())
        return found


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("options", [{"stop": "all"}, {"minimal": True}, {"min_patches": 4}])
def test_every_coalition_that_the_model_was_asked_is_kept_with_its_answer(direction, options):
    diary, image = Diary(), picture()
    found = ix.MoXI(diary, regions=REGIONS, keep_coalitions=True).explain(image, 1, direction=direction, **options)
    kept = {
        mask.tobytes(): answer for mask, answer in zip(found.coalitions.masks, found.coalitions.answers, strict=True)
    }
    # Whether a batch changes answers is seen on pictures with all patches.
    told = diary.told()
    assert kept.keys() == told.keys()
    whole = np.ones(PLAYERS, bool).tobytes()
    for mask, answer in kept.items():
        if mask != whole:
            assert answer == pytest.approx(told[mask], abs=1e-6)
    assert found.coalitions.look_up(range(PLAYERS)) == found.full


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_each_step_is_among_them_and_results_stay_as_they_are(direction):
    plain = ix.MoXI(Diary(), regions=REGIONS).explain(picture(), 1, direction=direction, stop="all")
    found = ix.MoXI(Diary(), regions=REGIONS, keep_coalitions=True).explain(
        picture(), 1, direction=direction, stop="all"
    )
    assert plain.coalitions is None
    assert found.ranking.tolist() == plain.ranking.tolist()
    assert found.answers.tolist() == plain.answers.tolist()
    assert found.evaluations == plain.evaluations
    for step in range(PLAYERS + 1):
        taken = found.ranking[:step].tolist()
        present = taken if direction == "insertion" else sorted(set(range(PLAYERS)) - set(taken))
        assert found.coalitions.look_up(present).answer == found.answers[step]
    # Greedy search asks n + (n - 1) + ... + 1 candidates, of which the last is the whole, and the empty image.
    assert len(found.coalitions) == PLAYERS * (PLAYERS + 1) // 2 + 1


def test_images_that_share_batches_and_take_each_others_places_keep_their_own():
    images = [picture(seed) for seed in range(70)]
    moxi = ix.MoXI(Diary(), regions=REGIONS, keep_coalitions=True)
    for image, found in zip(images, moxi.stream(images, 1), strict=True):
        alone = moxi.explain(image, 1)
        assert dict(_known(found)) == pytest.approx(dict(_known(alone)), abs=1e-9)


def test_images_with_regions_of_their_own_keep_as_many_bits_as_they_have():
    pytest.importorskip("skimage")
    images = [np.ascontiguousarray(picture(seed)) for seed in range(3)]
    for found in ix.MoXI(Diary(), regions=ix.Superpixels(count=9), keep_coalitions=True).explain(images, 1):
        found.check()
        assert found.coalitions.players == found.players


def test_torch_models_whose_steps_are_taken_elsewhere_keep_all_too():
    torch = pytest.importorskip("torch")

    class Sums(torch.nn.Module):
        def forward(self, batch):
            return 9 * batch.mean(dim=(2, 3))

    plain = ix.MoXI(Sums().eval(), regions=REGIONS).explain(picture(), 1, stop="all")
    found = ix.MoXI(Sums().eval(), regions=REGIONS, keep_coalitions=True).explain(picture(), 1, stop="all")
    assert found.ranking.tolist() == plain.ranking.tolist()
    assert len(found.coalitions) == PLAYERS * (PLAYERS + 1) // 2 + 1


def test_they_are_saved_and_loaded(tmp_path):
    found = ix.MoXI(Diary(), regions=REGIONS, keep_coalitions=True).explain(picture(), 1)
    found.save(tmp_path / "one.safetensors")
    again = ix.load(tmp_path / "one.safetensors")
    assert _known(again) == _known(found)
    assert again.scalars() == found.scalars()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("packed", np.zeros((2, 1), np.uint8)),
        ("packed", np.array([[0, 1], [0, 0]], np.uint8)),
        ("packed", np.array([[0, 16], [0, 16]], np.uint8)),
        ("rewards", np.array([np.nan, 0.0])),
        ("rewards", np.zeros(3)),
        ("answers", np.array([1.5, 0.0])),
        ("predicted", np.array([-2, 0])),
        ("holds", np.array([0, 1])),
    ],
)
def test_what_no_search_would_have_filled_so_is_refused(name, value, tmp_path):
    found = ix.MoXI(Diary(), regions=REGIONS).explain(picture(), 1)
    masks = np.zeros((2, PLAYERS), bool)
    masks[1, 3] = True
    good = ScoredCoalitions.of(masks, Scores.unknown(2))
    dataclasses.replace(found, coalitions=good).save(tmp_path / "good.safetensors")
    bad = dataclasses.replace(good, **{name: value})
    with pytest.raises(ix.ArgumentError, match=f"`coalitions.{name}`"):
        dataclasses.replace(found, coalitions=bad).save(tmp_path / "bad.safetensors")


def test_patches_that_are_not_there_are_refused():
    known = ScoredCoalitions.of(np.zeros((1, 3), bool), Scores.unknown(1))
    with pytest.raises(ix.ArgumentError, match=r"`present`: expected numbers of patches, 0 ... 2, got 3"):
        known.look_up([0, 3])


def _known(found):
    kept = found.coalitions
    return sorted((mask.tolist().__repr__(), answer) for mask, answer in zip(kept.masks, kept.answers, strict=True))
