"""The recheck of low-precision rewards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpix.search.recheck import MixedFirst, recheck

seeds = st.integers(0, 2**32 - 1)
directions = st.sampled_from(["insertion", "deletion"])


def draw(seed, count, noise):
    rng = np.random.default_rng(seed)
    exact = rng.standard_normal(count)
    return exact, exact + rng.normal(0, 3) + noise * rng.uniform(-1, 1, count)


def best(rewards, direction):
    return int(rewards.argmax() if direction == "insertion" else rewards.argmin())


@given(seeds, st.integers(1, 200), st.sampled_from([0.0, 1e-3, 0.1, 1.0]), directions)
def test_the_best_is_exact_and_beats_all_others(seed, count, noise, direction):
    exact, mixed = draw(seed, count, noise)
    found = recheck(mixed, lambda some: exact[some], direction)
    winner = best(found.rewards, direction)
    assert found.exact[winner]
    assert (found.rewards[found.exact] == exact[found.exact]).all()
    assert winner == np.flatnonzero(found.exact)[best(exact[found.exact], direction)]


@given(seeds, st.integers(2, 200), directions)
def test_an_infinite_kappa_scores_all(seed, count, direction):
    exact, mixed = draw(seed, count, 1.0)
    found = recheck(mixed, lambda some: exact[some], direction, kappa=np.inf)
    assert found.exact.all()
    assert best(found.rewards, direction) == best(exact, direction)


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_the_best_is_found_and_few_are_scored(direction):
    right, wrong_without, scored = 0, 0, 0
    for seed in range(1000):
        exact, mixed = draw(seed, 150, 0.2)
        found = recheck(mixed, lambda some: exact[some], direction)
        right += best(found.rewards, direction) == best(exact, direction)
        wrong_without += best(mixed, direction) != best(exact, direction)
        scored += found.exact.sum()
    assert right == 1000
    assert wrong_without > 25
    assert scored < 1000 * 12


@given(seeds, st.integers(1, 60), directions)
def test_no_candidate_is_scored_twice(seed, count, direction):
    exact, mixed = draw(seed, count, 0.5)
    asked = []
    recheck(mixed, lambda some: asked.extend(some) or exact[some], direction)
    assert len(asked) == len(set(asked)) >= min(count, 8)


@given(seeds, st.integers(2, 60))
def test_deletion_mirrors_insertion(seed, count):
    exact, mixed = draw(seed, count, 0.5)
    up = recheck(mixed, lambda some: exact[some], "insertion")
    down = recheck(-mixed, lambda some: -exact[some], "deletion")
    assert np.array_equal(up.rewards, -down.rewards)
    assert np.array_equal(up.exact, down.exact)


def test_ties_of_exact_rewards_go_to_the_lowest_index():
    exact = np.array([0.0, 1.0, 1.0, 1.0, 0.5])
    mixed = np.array([0.0, 1.0, 1.01, 1.02, 0.5])
    assert recheck(mixed, lambda some: exact[some], "insertion", first=4).rewards.argmax() == 1


@pytest.mark.parametrize(
    ("name", "options"), [("kappa", {"kappa": -1}), ("kappa", {"kappa": np.nan}), ("first", {"first": 1})]
)
def test_options_are_checked(name, options):
    with pytest.raises(ValueError, match=f"`{name}`"):
        recheck(np.zeros(3), lambda some: np.zeros(len(some)), "insertion", **options)


class Table:
    """Candidates whose rewards are known; it counts what it is asked."""

    def __init__(self, exact, mixed):
        self.exact, self.mixed = exact, mixed
        self.asked = {True: [], False: []}
        self.calls = 0

    def __call__(self, rows, *, mixed):
        self.calls += 1
        self.asked[mixed].extend(rows.tolist())
        rewards = (self.mixed if mixed else self.exact)[rows]
        return rewards.copy(), rewards / 10, np.full(len(rows), int(mixed)), rewards > 0


def several(seed, counts, noise):
    owner = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    exact, mixed = np.empty(len(owner)), np.empty(len(owner))
    for image, count in enumerate(counts):
        exact[owner == image], mixed[owner == image] = draw(seed + image, count, noise)
    return owner, exact, mixed


@given(seeds, st.lists(st.integers(1, 60), min_size=1, max_size=4), st.sampled_from([0.0, 0.01, 0.3, 10.0]), directions)
def test_every_image_of_a_step_gets_an_exact_best(seed, counts, noise, direction):
    first = MixedFirst()
    for step in range(3):
        owner, exact, mixed = several(seed % 2**31 + step, counts, noise)
        table = Table(exact, mixed)
        reward, probability, predicted, holds = first.score(owner, direction, table)
        for image in range(len(counts)):
            rows = np.flatnonzero(owner == image)
            winner = rows[best(reward[rows], direction)]
            assert reward[winner] == exact[winner]
            assert probability[winner] == exact[winner] / 10
            assert predicted[winner] == 0
            assert holds[winner] == (exact[winner] > 0)
        for asked in table.asked.values():
            assert len(asked) == len(set(asked))


def test_mixed_goes_on_where_it_pays_and_asks_for_all_images_at_once():
    first = MixedFirst()
    owner, exact, mixed = several(5, [90, 90, 90], 1e-3)
    table = Table(exact, mixed)
    assert best(first.score(owner, "insertion", table)[0], "insertion") == exact.argmax()
    assert len(table.asked[True]) == len(owner)
    assert len(table.asked[False]) < 0.25 * len(owner)
    again = Table(exact, mixed)
    first.score(owner, "insertion", again)
    assert again.calls == 2
    assert len(again.asked[False]) == 3 * 8


def test_mixed_stops_where_rewards_are_nearer_than_its_error():
    first = MixedFirst()
    for seed in range(5):
        owner, exact, mixed = several(seed, [90, 90], 100.0)
        table = Table(exact, mixed)
        reward, _, predicted, _ = first.score(owner, "deletion", table)
        assert np.array_equal(reward, exact)
        assert not predicted.any()
        assert len(table.asked[True]) <= 24


def test_few_candidates_are_scored_exactly_at_once():
    owner, exact, mixed = several(3, [15], 1e-3)
    table = Table(exact, mixed)
    assert np.array_equal(MixedFirst().score(owner, "insertion", table)[0], exact)
    assert not table.asked[True]
