"""Searches beyond greedy: sufficient and needed at once, beams, exchanges, both ends, catalogues."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import interpix as ix
from interpix.plots import plot_curves
from interpix.results import load_all, save_all
from interpix.words import group_title
from torch_models import convolutions, picture, vit

QUIET = pytest.mark.filterwarnings("ignore:.*look like probabilities")
SEARCHES = [
    {"direction": "both"},
    {"direction": "both", "weight": 0.8, "search": "bidirectional"},
    {"search": "beam", "width": 3},
    {"search": "swap"},
    {"direction": "deletion", "search": "beam"},
]


class Table:
    """A model whose logits are a table over all sets of the patches that are shown of a picture of ones."""

    def __init__(self, rng, players, classes=3, *, whole=False):
        table = rng.normal(size=(2**players, classes))
        self.table = (np.round(table) if whole else table).astype(np.float32)
        self.players, self.asked = players, []
        self.image = np.ones((3, 2, players), np.float32)

    def __call__(self, batch):
        codes = (batch[:, 0, 0] > 0) @ (1 << np.arange(self.players))
        self.asked += codes.tolist()
        return self.table[codes]

    def logit(self, some, target):
        return float(self.table[sum(1 << patch for patch in some)][target])

    def holds(self, some, target):
        return int(self.table[sum(1 << patch for patch in some)].argmax()) == target

    def rest(self, some):
        return [patch for patch in range(self.players) if patch not in some]

    def reached(self, some, target, direction):
        fine = {"insertion": self.holds(some, target), "deletion": not self.holds(self.rest(some), target)}
        return all(fine.values()) if direction == "both" else fine[direction]

    def value(self, some, target, direction, weight):
        share = {"insertion": 1.0, "deletion": 0.0, "both": weight}[direction]
        return share * self.logit(some, target) - (1 - share) * self.logit(self.rest(some), target)

    def moxi(self, **options):
        return ix.MoXI(self, regions=(1, self.players), reward="logit", **options)


def drawn(data, players=7):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    return Table(rng, data.draw(st.integers(1, players)), data.draw(st.integers(2, 4)), whole=data.draw(st.booleans()))


@QUIET
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_both_is_greedy_search_in_plain_words(data):
    game, weight = drawn(data), data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    found = game.moxi(batch_size=data.draw(st.integers(1, 40))).explain(game.image, direction="both", weight=weight)
    target, order = found.target, []
    while not game.reached(order, target, "both") and len(order) < game.players:
        values = {patch: game.value([*order, patch], target, "both", weight) for patch in game.rest(order)}
        order.append(min(values, key=lambda patch: (-values[patch], patch)))
    assert found.ranking.tolist() == order
    assert found.stopped_at == (len(order) if game.reached(order, target, "both") else None)
    for length in range(len(order) + 1):
        part, others = order[:length], game.rest(order[:length])
        assert found.rewards[length] == game.logit(part, target)
        assert found.rewards_without[length] == game.logit(others, target)
        assert found.holds[length] == game.holds(part, target)
        assert found.holds_without[length] == game.holds(others, target)
    assert found.empty.reward == game.logit([], target)
    # The whole image is asked about several times before the search, to see whether it gets one answer.
    assert found.evaluations <= 2 ** (game.players) + 1


@QUIET
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_a_search_finds_does_what_it_says(data):
    game, options = drawn(data), dict(data.draw(st.sampled_from(SEARCHES)))
    direction = options.get("direction", "insertion")
    found = game.moxi().explain(game.image, minimal=True, **options)
    if found.stopped_at is None:
        assert found.group == ()
        return
    group = list(found.group)
    assert game.reached(group, found.target, direction)
    for patch in group:
        assert not game.reached([other for other in group if other != patch], found.target, direction)
    said = group if direction != "deletion" else game.rest(group)
    assert found.group_score.reward == game.logit(said, found.target)
    if direction == "both":
        assert found.group_score_without.reward == game.logit(game.rest(group), found.target)
    assert found.proven in ("", "no single patch can be left out")


@QUIET
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_catalogue_of_few_patches_is_all_there_is(data):
    game, direction = drawn(data, players=6), data.draw(st.sampled_from(["insertion", "deletion", "both"]))
    found = game.moxi().catalogue(game.image, direction=direction, count=1000, overlap=1)
    target = int(game.table[-1].argmax())
    sets = itertools.chain.from_iterable(
        itertools.combinations(range(game.players), size) for size in range(game.players + 1)
    )
    truth = []
    for some in sets:  # the smallest first
        if game.reached(some, target, direction) and not any(set(part) <= set(some) for part in truth):
            truth.append(some)
    assert sorted(tuple(sorted(one.group)) for one in found) == sorted(truth)
    assert found.complete
    if truth:
        assert found.none_up_to == (len(truth[0]) - 1 if len(truth[0]) else None)
        assert all(one.none_up_to == found.none_up_to and one.all_parts_tried for one in found)
        counts = [sum(patch in some for some in truth) / len(truth) for patch in range(game.players)]
        np.testing.assert_allclose(found.frequency(), counts)
    else:
        assert found.none_up_to == game.players


@QUIET
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_a_catalogue_says_of_its_groups_is_so(data):
    game, overlap = drawn(data, players=8), data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    found = game.moxi().catalogue(game.image, overlap=overlap, exhaust=data.draw(st.integers(0, 2)), width=2)
    for place, one in enumerate(found):
        group = set(one.group)
        assert game.reached(group, one.target, "insertion")
        assert one.stopped_at == len(group)
        for other in (set(other.group) for other in found[:place]):
            assert not group <= other
            assert not other <= group
            assert len(group & other) <= overlap * min(len(group), len(other))
        parts = [set(part) for size in range(len(group)) for part in itertools.combinations(group, size)]
        tried = parts if one.all_parts_tried else [part for part in parts if len(part) == len(group) - 1]
        assert not any(game.reached(part, one.target, "insertion") for part in tried)
    if found.none_up_to is not None:
        small = itertools.combinations(range(game.players), min(found.none_up_to, game.players))
        assert not any(game.reached(some, int(game.table[-1].argmax()), "insertion") for some in small)


@QUIET
def test_a_frontier_asks_about_no_set_twice():
    game, weights = Table(np.random.default_rng(3), 7), [0.0, 0.5, 1.0]
    found = game.moxi().frontier(game.image, weights=weights, minimal=True)
    single = [game.moxi().explain(game.image, direction="both", weight=one, minimal=True) for one in weights]
    assert [one.ranking.tolist() for one in found] == [one.ranking.tolist() for one in single]
    assert [one.group for one in found] == [one.group for one in single]
    assert [one.provenance["weight"] for one in found] == weights
    assert found[0].evaluations < sum(one.evaluations for one in single)
    game.asked.clear()
    found = game.moxi().frontier(game.image, weights=weights)
    # Before a search the model is asked about three pictures, to see whether each gets one answer.
    asked, before = game.asked, 2**game.players - 2
    assert asked.count(before) <= 2
    assert len(set(asked)) == found[0].evaluations
    assert all(asked.count(code) == 1 for code in set(asked) - {0, before, before + 1})


MODELS = {
    "tokens": (vit, {}),
    "windows": (convolutions, {"regions": "4x5"}),
    "superpixels": (convolutions, {"regions": ix.Superpixels(9, compactness=300)}),
}


@pytest.mark.parametrize("options", SEARCHES, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("name", MODELS)
def test_lists_and_streams_give_what_each_image_gives_alone(name, options, monkeypatch):
    for module in ("moxi", "stream"):
        monkeypatch.setattr(f"interpix.search.{module}.IN_FLIGHT", 2)
    make, about = MODELS[name]
    moxi, images = ix.MoXI(make(), **about), [picture(seed) for seed in range(3)]
    alone = [moxi.explain(image, **options) for image in images]
    for others in (moxi.explain(images, **options), list(moxi.stream(images, **options))):
        for one, other in zip(alone, others, strict=True):
            assert one.ranking.tolist() == other.ranking.tolist()
            assert (one.group, one.evaluations) == (other.group, other.evaluations)
            np.testing.assert_allclose(one.rewards, other.rewards, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("absence", ["drop_tokens", "zero"])
def test_both_on_a_vision_transformer_is_brute_force(absence):
    model, image = vit(), picture(1)
    found = ix.MoXI(model, regions="tokens", absence=ix.DropTokens() if absence == "drop_tokens" else "zero").explain(
        image, direction="both", stop=2
    )
    players, target, order = found.players, found.target, []
    alone = ix.MoXI(model, regions="tokens", absence=ix.DropTokens() if absence == "drop_tokens" else "zero")
    game = alone.game(image)
    for _ in range(2):
        values = {}
        for patch in set(range(players)) - set(order):
            mask = np.zeros(players, bool)
            mask[[*order, patch]] = True
            values[patch] = 0.5 * game(mask)[0] - 0.5 * game(~mask)[0]
        order.append(max(values, key=values.get))
    assert found.ranking.tolist() == order
    assert game.target == target


@pytest.mark.parametrize("name", MODELS)
def test_mixed_precision_scores_these_exactly_and_says_so(name):
    make, about = MODELS[name]
    exact, mixed = (
        ix.MoXI(make(), precision=precision, **about).explain(picture(0), direction="both", stop=3)
        for precision in ("exact", "mixed")
    )
    assert mixed.provenance["precision"] == "exact"
    assert exact.ranking.tolist() == mixed.ranking.tolist()
    np.testing.assert_array_equal(exact.rewards, mixed.rewards)


@pytest.mark.parametrize("name", ["tokens", "windows"])
def test_what_searches_cost(name):
    make, about = MODELS[name]
    moxi, image = ix.MoXI(make(), **about), picture(2)
    cost = {way: moxi.explain(image, direction=way, stop=3).evaluations for way in ("insertion", "deletion", "both")}
    # As many sets of the same sizes; both ends are known to either.
    assert cost["both"] <= cost["insertion"] + cost["deletion"]
    beams = {width: moxi.explain(image, stop=3, search="beam", width=width).evaluations for width in (1, 4)}
    assert beams[1] <= cost["insertion"]
    assert beams[4] <= 4 * cost["insertion"]


def test_results_say_how_they_were_found():
    game = Table(np.random.default_rng(1), 6)
    beam = game.moxi().explain(game.image, search="beam", width=2)
    assert {name: beam.provenance[name] for name in ("method", "search", "width")} == {
        "method": "beam search",
        "search": "beam",
        "width": 2,
    }
    assert beam.attribution().method == "beam search (insertion)"
    plain = game.moxi().explain(game.image)
    assert plain.provenance["method"] == "MoXI"
    assert "search" not in plain.provenance
    one = game.moxi().catalogue(game.image, count=2)[0]
    assert {name: one.provenance[name] for name in ("method", "count", "exhaust", "tries")} == {
        "method": "catalogue",
        "count": 2,
        "exhaust": 6,
        "tries": 8,
    }


def test_results_of_both_are_saved_and_loaded(tmp_path):
    game = Table(np.random.default_rng(5), 6)
    found = game.moxi().explain(game.image, direction="both", minimal=True)
    assert found.stopped_at is not None
    found.save(tmp_path / "both.safetensors")
    again = ix.load(tmp_path / "both.safetensors")
    for name in ("rewards", "rewards_without", "answers_without", "predicted_without", "holds_without"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert (again.group, again.minimal_without, again.proven) == (found.group, found.minimal_without, found.proven)
    groups = game.moxi().catalogue(game.image)
    groups.save(tmp_path / "groups.safetensors")
    for one, other in zip(groups, load_all(tmp_path / "groups.safetensors"), strict=True):
        assert (one.group, one.none_up_to, one.all_parts_tried) == (
            other.group,
            other.none_up_to,
            other.all_parts_tried,
        )
    json.dumps(groups.summary())
    said = found.summary()
    assert len(said["steps_without"]) == len(said["steps"]) == len(found.ranking) + 1
    assert said["group_score_without"]["holds"] is False


def test_a_second_curve_belongs_to_both_alone(tmp_path):
    game = Table(np.random.default_rng(5), 6)
    found = game.moxi().explain(game.image, direction="both")
    for change in ({"direction": "insertion"}, {"holds_without": None}, {"answers_without": found.answers[:-1]}):
        with pytest.raises(ix.ArgumentError, match="_without`"):
            dataclasses.replace(found, **change).save(tmp_path / "bad.safetensors")


class Sums:
    """Classes by color, of a picture with two patches of red and one of green; nothing is green."""

    image = np.zeros((3, 4, 6), np.float32)
    image[0, :2, :2], image[0, 2:, 4:], image[1, :2, 2:4] = 3, 4, 2

    def __call__(self, batch):
        return batch.sum(axis=(2, 3)) + np.array([0, 0.5, 0])


def test_pictures_and_words_of_both():
    found = ix.MoXI(Sums(), regions="2x3").explain(Sums.image, direction="both")
    assert found.group == (5, 0)
    said = group_title(found)
    assert said.startswith("These 2 of 6 patches are enough for the answer 'class 0' (p")
    assert said.endswith("; without them it is 'class 1'")
    ax = plot_curves(found, ax=Figure().subplots())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "the same patches removed from the photo" in labels
    assert "2 patches are enough, and needed" in labels
    one = ix.MoXI(Sums(), regions="2x3").explain(Sums.image, 2, direction="both")
    assert group_title(one).startswith("No group of up to 6 patches was found that is enough for the answer 'class 2'")


def test_words_of_what_needs_no_patch():
    moxi = ix.MoXI(lambda batch: -batch.sum(axis=(2, 3)) + np.array([0, 0.5, 0]), regions="2x3")
    found = moxi.explain(Sums.image, 1, direction="both", minimal=True)
    assert (found.group, found.minimal_group, found.proven) == ((), None, "")
    assert repr(found) == "<Explanation both of 'class 1': 0 of 6 patches>"
    assert group_title(found) == "An empty image is enough for the answer 'class 1' already, and the photo is not"
    assert [one.group for one in moxi.catalogue(Sums.image, 1)] == [()]


def test_pictures_of_a_catalogue(tmp_path):
    moxi = ix.MoXI(Sums(), regions="2x3")
    found = moxi.catalogue(Sums.image)
    assert [one.group for one in found] == [(5,), (0,)]
    figure = found.plot()
    assert len(figure.axes) == 2
    assert figure.get_suptitle() == "Each of these groups is enough for the answer 'class 0'"
    said = figure.axes[0].get_title()
    assert " ".join(said.split()) == "1 patch of 6, p > .99; no part of it does"
    assert found.attribution().map[3, 5] == 0.5
    nothing = moxi.catalogue(Sums.image, 2, direction="insertion")
    assert repr(nothing) == "<Catalogue: no group found; none of up to 6 patches exists>"
    for use in (nothing.plot, nothing.frequency, nothing.attribution):
        with pytest.raises(ix.ArgumentError, match="none_up_to"):
            use()


APART = {"exhaust": 1, "count": 3, "overlap": 0.0, "width": 1}


def test_groups_found_until_ctrl_c_are_kept():
    game = Table(np.random.default_rng(0), 8)
    # Each of three pairs is enough, and nothing smaller.
    game.table[:] = [2, 0, 0]
    for code in range(2**8):
        if any(code & pair == pair for pair in (0b11, 0b1100, 0b110000)):
            game.table[code] = [0, 2, 0]
    whole = game.moxi().catalogue(game.image, **APART)
    assert sorted(sorted(one.group) for one in whole) == [[0, 1], [2, 3], [4, 5]]
    # Near the end everything but the last question is known.
    for most in (len(game.asked) // 2, len(game.asked) - 5):
        calls = 0

        def stops(batch, most=most):
            nonlocal calls
            calls += len(batch)
            if calls > most:
                raise KeyboardInterrupt
            return game(batch)

        with pytest.raises(KeyboardInterrupt) as raised:
            ix.MoXI(stops, regions=(1, 8), reward="logit", batch_size=8).catalogue(game.image, **APART)
        kept = raised.value.explanations
        assert [one.group for one in kept] == [one.group for one in whole[: len(kept)]]
    assert kept


@QUIET
def test_a_catalogue_goes_on_where_it_was():
    game = Table(np.random.default_rng(4), 12)
    game.table[:, 0] += 5
    for code in range(2**12):
        if any(code & triple == triple for triple in (0o7, 0o70, 0o700)):
            game.table[code, 1] += 10
    whole = game.moxi().catalogue(game.image, count=3)
    assert len(whole) == 3
    asked, left = len(game.asked), 60

    def stops(batch):
        nonlocal left
        left -= len(batch)
        if left < 0:
            raise KeyboardInterrupt
        return game(batch)

    options = {"regions": (1, 12), "reward": "logit", "batch_size": 8, "keep_coalitions": True}
    with pytest.raises(KeyboardInterrupt) as raised:
        ix.MoXI(stops, **options).catalogue(game.image, count=3)
    known = raised.value.coalitions
    assert len(known) > 30
    game.asked.clear()
    again = ix.MoXI(game, **options).catalogue(game.image, count=3, known=known)
    assert [one.group for one in again] == [one.group for one in whole]
    assert len(game.asked) < asked - 30
    # What was known and what was asked now: all is there for a third time.
    game.asked.clear()
    third = ix.MoXI(game, **options).catalogue(game.image, count=3, known=again[0].coalitions)
    assert [one.group for one in third] == [one.group for one in whole]
    assert len(game.asked) <= 5 + 8  # the whole image, whether it gets one answer, and whether what is known is so
    # What is known of something else is not taken.
    for wrong in ({"target": 0}, {}):
        other = Table(np.random.default_rng(4 if wrong else 9), 12)
        with pytest.raises(ix.ArgumentError, match="`known`: expected coalitions that this search answers alike"):
            ix.MoXI(other, **options).catalogue(game.image, **wrong, known=known)
    with pytest.raises(ix.ArgumentError, match="`known`: expected coalitions of the image's 6 patches, got of 12"):
        ix.MoXI(game, regions=(1, 6)).catalogue(game.image, known=known)


@pytest.mark.parametrize(
    ("options", "need"),
    [
        ({"direction": "sideways"}, '"insertion", "deletion" or "both"'),
        ({"search": "magic"}, '"greedy", "beam", "bidirectional" or "swap"'),
        ({"weight": 0.5}, "`weight`: expected None unless `direction` is"),
        ({"direction": "both", "weight": 2}, "`weight`: expected a number in 0 ... 1, got 2"),
        ({"width": 4}, "`width`: expected None unless `search` is"),
        ({"search": "beam", "width": 0}, "`width`: expected a positive integer, got 0"),
        ({"search": "beam", "min_patches": 3}, "`min_patches`: expected 0 with search="),
        ({"search": "swap", "stop": "all"}, '`stop`: expected "flip" with search'),
    ],
)
def test_bad_options_are_told(options, need):
    with pytest.raises((ix.ArgumentError, ix.ArgumentTypeError)) as raised:
        ix.MoXI(Sums(), regions="2x3").explain(Sums.image, **options)
    assert need in str(raised.value)


@pytest.mark.parametrize(
    ("options", "need"),
    [
        ({"count": 0}, "`count`: expected a positive integer"),
        ({"overlap": 1.5}, "`overlap`: expected a number in 0 ... 1"),
        ({"exhaust": -1}, "`exhaust`: expected a number of patches, got -1"),
        ({"exhaust": 99}, "`exhaust`: expected less than all 20 patches"),
        ({"tries": 0}, "`tries`: expected a positive integer"),
        ({"direction": "up"}, '"insertion", "deletion" or "both"'),
    ],
)
def test_bad_options_of_catalogues_are_told(options, need):
    image = np.ones((3, 4, 10), np.float32)
    with pytest.raises(ix.ArgumentError) as raised:
        ix.MoXI(Sums(), regions="2x10").catalogue(image, **options)
    assert need in str(raised.value)


def test_catalogues_and_frontiers_are_of_one_image():
    moxi = ix.MoXI(Sums(), regions="2x3")
    for ask in (moxi.catalogue, moxi.frontier):
        with pytest.raises(ix.ArgumentError, match="expected one image, got several"):
            ask([Sums.image, Sums.image])
    with pytest.raises(ix.ArgumentError, match="`weights`: expected at least one"):
        moxi.frontier(Sums.image, weights=[])
    with pytest.raises(ix.ArgumentError, match="`weights`: expected a number in 0"):
        moxi.frontier(Sums.image, weights=[0.5, -1])


def test_a_torch_model_is_left_as_it_was():
    model = vit().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ix.MoXI(model).catalogue(picture(0), count=1, exhaust=0, tries=1, direction="deletion")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def far(batch):
    """A number for each picture of 1 x 4 patches: minus the sum of its red."""
    return -batch[:, 0].sum(axis=(1, 2))[:, None]


FAR = np.zeros((3, 1, 4), np.float32)
FAR[0, 0] = [1, 5, 1, 3]


@pytest.mark.parametrize(
    "options",
    [
        {"minimal": True},
        {"direction": "both"},
        {"direction": "deletion", "search": "beam"},
        *({"search": search} for search in ("beam", "swap", "bidirectional")),
    ],
)
def test_answers_that_are_negative_are_answers(options):
    """They are no probabilities, and a confidence of 0 asks for nothing."""
    moxi, mirrored = (
        ix.MoXI(model, regions="1x4", output=ix.outputs.Value(tolerance=2.5))
        for model in (far, lambda batch: -far(batch))
    )
    found, expected = (one.explain(FAR, **options) for one in (moxi, mirrored))
    assert found.stopped_at is not None
    assert (found.group, found.ranking.tolist(), found.proven) == (
        expected.group,
        expected.ranking.tolist(),
        expected.proven,
    )


def test_a_catalogue_of_negative_answers():
    moxi = ix.MoXI(far, regions="1x4", output=ix.outputs.Value(tolerance=2.5))
    found = moxi.catalogue(FAR)
    assert [set(one.group) for one in found] == [{1, 3}]
    assert (found.complete, found.none_up_to) == (True, 1)


def test_what_is_known_must_hold_for_the_same_thing():
    """Rewards of another tolerance are the same; whether they hold is not."""
    image = np.zeros((3, 1, 12), np.float32)
    image[0] = np.arange(1, 13)

    def moxi(tolerance):
        output = ix.outputs.Value(tolerance=tolerance)
        return ix.MoXI(lambda batch: -far(batch), regions="1x12", output=output, keep_coalitions=True)

    for loose, strict in ((40, 1), (1, 40)):
        known = moxi(loose).catalogue(image, exhaust=1, count=2)[0].coalitions
        with pytest.raises(ix.ArgumentError, match=r"`known`: expected coalitions .*, got some whose `holds` differs"):
            moxi(strict).catalogue(image, exhaust=1, count=2, known=known)
        assert len(moxi(loose).catalogue(image, exhaust=1, count=2, known=known))


def test_a_catalogue_is_read_again(tmp_path):
    moxi = ix.MoXI(Sums(), regions="2x3")
    found = moxi.catalogue(Sums.image, count=3)
    found.save(tmp_path / "groups.safetensors")
    again = ix.Catalogue.load(tmp_path / "groups.safetensors")
    assert again.summary() == found.summary()
    assert [one.group for one in again] == [one.group for one in found]
    save_all(tmp_path / "two.safetensors", [*found, *ix.MoXI(Sums(), regions="1x2").catalogue(Sums.image)])
    with pytest.raises(ix.ArgumentError, match="`path`: expected a file of a catalogue"):
        ix.Catalogue.load(tmp_path / "two.safetensors")
    moxi.explain(Sums.image).save(tmp_path / "one.safetensors")
    with pytest.raises(ix.ArgumentError, match="`path`: expected a file of a catalogue"):
        ix.Catalogue.load(tmp_path / "one.safetensors")
    first = found[0]
    strange = dataclasses.replace(first, provenance={**first.provenance, "count": "three"})
    elsewhere = dataclasses.replace(found[1], image=255 - first.image)
    for groups in ([first, first], [first, elsewhere], [strange]):
        with pytest.raises(ix.ArgumentError, match="`groups`: expected distinct groups of one image"):
            dataclasses.replace(found, groups=tuple(groups)).save(tmp_path / "odd.safetensors")
        save_all(tmp_path / "odd.safetensors", groups, overwrite=True)
        with pytest.raises(ix.ArgumentError, match="`path`: expected a file of a catalogue"):
            ix.Catalogue.load(tmp_path / "odd.safetensors")
    with pytest.raises(ix.ArgumentError, match="at least one group"):
        moxi.catalogue(Sums.image, 2).save(tmp_path / "none.safetensors")
    assert not (tmp_path / "none.safetensors").exists()


def test_ctrl_c_keeps_the_weights_that_are_done():
    game = Table(np.random.default_rng(2), 8)
    whole = game.moxi().frontier(game.image, weights=[0.5, 0.0, 1.0])
    calls = 0

    def stops(batch):
        nonlocal calls
        calls += len(batch)
        if calls > len(game.asked) - 3:
            raise KeyboardInterrupt
        return game.table[(batch[:, 0, 0] > 0) @ (1 << np.arange(8))]

    with pytest.raises(KeyboardInterrupt) as raised:
        ix.MoXI(stops, regions=(1, 8), reward="logit", batch_size=8).frontier(game.image, weights=[0.5, 0.0, 1.0])
    kept = raised.value.explanations
    assert 0 < len(kept) < 3
    weights = {one.provenance["weight"]: one.group for one in whole}
    assert all(weights[one.provenance["weight"]] == one.group for one in kept)


@pytest.mark.parametrize(
    ("ask", "need"),
    [
        *(
            (lambda moxi, known=known: moxi.catalogue(Sums.image, known=known), "`known`: expected ScoredCoalitions")
            for known in ({}, "x", 5, [1])
        ),
        (lambda moxi: moxi.frontier(Sums.image, weights=0.5), "`weights`: expected a list of numbers"),
        (lambda moxi: moxi.frontier(Sums.image, weights=None), "`weights`: expected a list of numbers"),
        (lambda moxi: moxi.explain(Sums.image, direction="both", min_patches=10**30), "`min_patches`"),
        (lambda moxi: moxi.game(Sums.image)([[1, 0], [1]]), "rows of several lengths"),
        (lambda moxi: moxi.game(Sums.image)(np.full((1, 6), np.nan)), "True or False, 1 or 0"),
    ],
)
def test_wrong_arguments_are_told(ask, need):
    moxi = ix.MoXI(Sums(), regions="2x3")
    with pytest.raises((ix.ArgumentError, ix.ArgumentTypeError)) as raised:
        ask(moxi)
    assert need in str(raised.value)


def test_more_groups_than_anybody_waits_for_are_refused():
    with pytest.raises(ix.ArgumentError, match="`exhaust`: expected so few of 49 patches"):
        ix.MoXI(Sums(), regions="7x7").catalogue(np.ones((3, 7, 7), np.float32), exhaust=30)
