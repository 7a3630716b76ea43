import itertools

import numpy as np
import pytest

import interpix as ix
from interpix.outputs.readout import log_odds

# Five patches in a row; the evidence of each for the classes cat, dog and bird.
EVIDENCE = np.array([[4.0, 0, 0], [3, 0, 1], [0, 3, 0], [0, 2.5, 0], [0.5, 0.5, 0.4]])
IMAGE = np.zeros((3, 2, 10), np.float32)
IMAGE[0] = np.repeat(np.arange(1, 6), 2)


def model(batch):
    present = batch[:, 0, 0, ::2] > 0
    return (present @ EVIDENCE).astype(np.float32)


def slow(target):
    """The two phases by their definition."""
    left, removed, region = list(range(5)), [], []

    def logits(players):
        return EVIDENCE[players].sum(axis=0, keepdims=True)

    def odds(players, index):
        return log_odds(logits(players), np.array([index]))[0]

    def without(player):
        return [other for other in left if other != player]

    while (answer := int(logits(left).argmax())) != target and left:
        gone = min(left, key=lambda p: odds(without(p), answer) - odds(without(p), target))
        left.remove(gone)
        removed.append(gone)
    while left and int(logits(left).argmax()) == target:
        gone = min(left, key=lambda p: odds(without(p), target))
        left.remove(gone)
        region.append(gone)
    return removed, region


@pytest.mark.parametrize("target", [0, 1])
def test_the_two_phases_are_their_definition(target):
    classifier = ix.CallableClassifier(model, class_names=["cat", "dog", "bird"])
    result = ix.MoXI(classifier, regions="1x5").contrast(IMAGE, target)
    removed, region = slow(target)
    assert (list(result.removed_before), list(result.group)) == (removed, region)
    assert result.prediction == 0
    assert result.target == target


def test_the_dog_is_found_by_hand():
    # Without patch 0 the dog wins, 6 against 3.5; without patch 2, too, the cat wins again, 3.5 against 3.
    result = ix.MoXI(model, regions="1x5").contrast(IMAGE, 1)
    assert result.removed_before == (0,)
    assert result.group == (2,)


def test_a_class_that_never_wins_has_no_region():
    result = ix.MoXI(lambda batch: model(batch) - np.array([0, 0, 50], np.float32), regions="1x5").contrast(IMAGE, 2)
    assert result.stopped_at is None
    assert result.group == ()
    assert len(result.removed_before) == 5
    result.plot()


def test_results_with_values_and_removed_patches_are_kept(tmp_path):
    moxi = ix.MoXI(model, regions="1x5")
    for result in (moxi.contrast(IMAGE, 1), moxi.shapley(IMAGE, sampler="exact")):
        result.save(tmp_path / "result.safetensors")
        again = ix.load(tmp_path / "result.safetensors")
        assert again.removed_before == result.removed_before
        np.testing.assert_array_equal(again.values, result.values)
        np.testing.assert_array_equal(again.attribution().map, result.attribution().map)


def test_shapley_values_are_their_definition():
    result = ix.MoXI(model, regions="1x5", reward="logit").shapley(IMAGE, 0, sampler="exact")
    np.testing.assert_allclose(result.values, EVIDENCE[:, 0], atol=1e-6)
    assert result.ranking.tolist() == [0, 1, 4, 2, 3]
    np.testing.assert_allclose(result.rewards, np.append(0, np.cumsum(EVIDENCE[result.ranking, 0])), atol=1e-6)
    # All coalitions, and the image, the empty image, and the curve along the ranking.
    assert result.evaluations == 32 + 7


def test_a_game_plugs_into_shapiq():
    shapiq = pytest.importorskip("shapiq")
    game = ix.MoXI(model, regions="1x5").game(IMAGE, 1)
    everything = np.array(list(itertools.product([False, True], repeat=5)))
    direct = [log_odds((row @ EVIDENCE)[None], np.array([1]))[0] for row in everything]
    np.testing.assert_allclose(game(everything), direct, atol=1e-6)
    assert game(everything[3]).shape == (1,)
    exact = shapiq.ExactComputer(n_players=5, game=game)(index="SV", order=1)
    ours = ix.MoXI(model, regions="1x5").shapley(IMAGE, 1, sampler="exact").values
    np.testing.assert_allclose([exact[(player,)] for player in range(5)], ours, atol=1e-6)
    with pytest.raises(ix.ArgumentError, match=r"`coalitions`: expected shape \(c, 5\)"):
        game(np.ones((2, 4), bool))
