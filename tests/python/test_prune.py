"""Minimal groups: what a search found, without what can be left out."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import interpix as ix
from interpix.words import group_title


def plain_prune(table, players, target, group, *, insertion, min_confidence):
    """In plain words, from a table of logits of all sets of patches."""
    everything = 2**players - 1
    odds = np.exp(table - table.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)

    def shown(some):
        mask = sum(1 << patch for patch in some)
        return mask if insertion else everything ^ mask

    def holds(some):
        answered = table[shown(some)].argmax() == target
        return answered and odds[shown(some), target] >= min_confidence if insertion else not answered

    group = list(group)
    while len(group) > 1:
        fine = [patch for patch in group if holds([other for other in group if other != patch])]
        if not fine:
            break
        earned = {patch: table[shown([other for other in group if other != patch])][target] for patch in fine}
        group.remove(min(fine, key=lambda patch: ((-1 if insertion else 1) * earned[patch], patch)))
    return tuple(group)


@pytest.mark.filterwarnings("ignore:.*look like probabilities")  # rounded at random
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_it_is_pruning_in_plain_words(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    players, classes = data.draw(st.integers(1, 8)), data.draw(st.integers(2, 4))
    tables = rng.normal(size=(3, 2**players, classes))
    if data.draw(st.booleans()):
        tables = np.round(tables)
    tables = np.float32(tables).astype(float)
    direction = data.draw(st.sampled_from(["insertion", "deletion"]))
    confidence = data.draw(st.sampled_from([0.0, 0.4])) if direction == "insertion" else 0.0
    images = np.stack([np.full((3, 2, players), index + 1, np.float32) for index in range(3)])

    def answer(batch):
        which = batch.max(axis=(1, 2, 3), initial=0).astype(int) - 1
        # Nothing shown is nobody's: the same for all.
        return tables[np.maximum(which, 0), (batch[:, 0, 0] > 0) @ (1 << np.arange(players))]

    tables[:, 0] = tables[0, 0]
    moxi = ix.MoXI(answer, regions=(1, players), reward="logit", batch_size=data.draw(st.integers(1, 40)))
    options = {"direction": direction, "min_confidence": confidence}
    targets = rng.integers(0, classes, 3).tolist()
    for table, target, plain, found in zip(
        tables,
        targets,
        moxi.explain(images, targets, **options),
        moxi.explain(images, targets, **options, minimal=True),
        strict=True,
    ):
        np.testing.assert_array_equal(found.ranking, plain.ranking)
        assert found.stopped_at == plain.stopped_at
        if not plain.stopped_at:
            assert found.minimal_group is None
            assert found.group == plain.group
            continue
        insertion = direction == "insertion"
        expected = plain_prune(table, players, target, plain.group, insertion=insertion, min_confidence=confidence)
        assert found.group == found.minimal_group == expected
        mask = sum(1 << patch for patch in expected)
        assert found.group_score.reward == table[mask if insertion else 2**players - 1 ^ mask][target]
        assert plain.group_score.answer == plain.probabilities[plain.stopped_at]


def redundant(batch):
    """Red alone makes class 0 in small steps; green and blue together make it at once."""
    red, green, blue = (batch[:, channel].max(axis=(1, 2)) for channel in range(3))
    return np.stack([0.6 * red + 0.5 * green + 5 * green * blue, np.full(len(batch), 4.0)], axis=1)


@pytest.fixture
def found():
    image = np.zeros((3, 4, 6), np.float32)
    for channel in range(3):
        image[channel, :2, 2 * channel : 2 * channel + 2] = 1
    return ix.MoXI(redundant, regions="2x3").explain(image, 0, minimal=True)


def test_by_hand(found):
    assert found.ranking[: found.stopped_at].tolist() == [0, 1, 2]
    assert found.group == (1, 2)
    assert found.group_score.reward == pytest.approx(1.5)
    assert "none can be left out" in repr(found)
    assert group_title(found).startswith("These 2 of 6 patches are enough")
    assert group_title(found).endswith("; none of them can be left out")
    assert found.mask().sum() == 8
    # The whole image, the empty one, 6 + 5 + 4 candidates; of the three 2 were tried, then of the two 2.
    assert found.evaluations == 2 + 15 + 2 + 2
    assert json.loads(json.dumps(found.summary()))["minimal"] is True


def test_it_is_kept_in_files(found, tmp_path):
    found.save(tmp_path / "found.safetensors")
    again = ix.load(tmp_path / "found.safetensors")
    assert (again.group, again.group_score) == (found.group, found.group_score)
    assert group_title(again) == group_title(found)


def test_what_was_found_is_kept_if_pruning_fails():
    image = np.zeros((3, 4, 6), np.float32)
    for channel in range(3):
        image[channel, :2, 2 * channel : 2 * channel + 2] = 1
    calls = []

    def tired(batch):
        calls.append(len(batch))
        if len(calls) > 6:  # whole, again, empty, and three steps
            raise KeyboardInterrupt
        return redundant(batch)

    with pytest.raises(KeyboardInterrupt) as caught:
        ix.MoXI(tired, regions="2x3").explain(image, 0, minimal=True)
    (partial,) = caught.value.explanations
    assert partial.ranking.tolist() == [0, 1, 2]
    assert partial.stopped_at == 3


def test_it_is_for_searches_to_the_flip():
    with pytest.raises(ix.ArgumentError, match='`minimal`: expected False unless `stop` is "flip"'):
        ix.MoXI(redundant, regions="2x3").explain(np.ones((3, 4, 6), np.float32), stop="all", minimal=True)


@pytest.mark.parametrize("kind", ["windows", "tokens"])
@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_groups_of_torch_models_are_minimal_by_brute_force(kind, direction):
    torch = pytest.importorskip("torch")
    from torch_models import convolutions, picture, vit

    model = ix.TorchClassifier(convolutions() if kind == "windows" else vit())
    if kind == "windows":  # so that the picture and nothing are of different classes
        both = model.logits(np.stack([picture(0), 0 * picture(0)])).mean(axis=0)
        model.module[-1].bias.data -= torch.from_numpy(both)
    moxi, checked = ix.MoXI(model, regions="6x8" if kind == "windows" else "tokens"), 0
    for image, target in itertools.product(map(picture, range(4)), range(4)):
        found = moxi.explain(image, target, direction=direction, minimal=True)
        if len(found.group) < 2:
            continue
        checked += 1
        score = moxi.game(image, target)._games.score
        for patch in found.group:
            rest = np.isin(np.arange(found.players), [one for one in found.group if one != patch])
            predicted = score(np.zeros(1, int), (rest if direction == "insertion" else ~rest)[None]).predicted[0]
            assert (predicted == target) == (direction == "deletion")
    assert checked
