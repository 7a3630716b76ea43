"""The compiled games: values and interactions of Python functions, against shapiq as an oracle."""

import itertools
import math
from typing import Any, Literal

import numpy as np
import pytest
import shapiq
from numpy.typing import NDArray

from interpix import _core
from interpix.errors import ArgumentError

PLAYERS = 6


class Game(shapiq.Game):
    """Whole random rewards, one for each coalition."""

    def __init__(self, seed: int) -> None:
        self.table = np.random.default_rng(seed).integers(-20, 20, 2**PLAYERS).astype(float)
        super().__init__(n_players=PLAYERS, normalize=False)

    def value_function(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        rewards: NDArray[np.float64] = self.table[coalitions @ (1 << np.arange(PLAYERS))]
        return rewards


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_shapiq(seed: int) -> None:
    game = Game(seed)
    exact = shapiq.ExactComputer(game=game, n_players=PLAYERS)
    expected = exact("SV", order=1)
    values, errors, evaluations = _core.shapley_values(PLAYERS, game.value_function)
    np.testing.assert_allclose(values, [expected[(i,)] for i in range(PLAYERS)], atol=1e-9)
    np.testing.assert_array_equal(errors, 0)
    assert evaluations == 2**PLAYERS

    expected = exact("SII", order=2)
    interactions = _core.shapley_interactions(PLAYERS, game.value_function, batch_size=7)
    np.testing.assert_array_equal(interactions, interactions.T)
    for i in range(PLAYERS):
        for j in range(i + 1, PLAYERS):
            assert interactions[i, j] == pytest.approx(expected[(i, j)], abs=1e-9)


def marginals(game: Game) -> NDArray[np.float64]:
    """What each player adds (orders, players), in all orders in which they may come."""
    found = np.zeros((math.factorial(PLAYERS), PLAYERS))
    for row, order in enumerate(itertools.permutations(range(PLAYERS))):
        before = np.cumsum([0, *(1 << player for player in order)])
        found[row, order] = np.diff(game.table[before])
    return found


@pytest.mark.parametrize("sampler", ["moxi", "permutation"])
def test_samples_approach_the_exact_values(sampler: Literal["moxi", "permutation"]) -> None:
    game = Game(7)
    exact, _, _ = _core.shapley_values(PLAYERS, game.value_function)
    values, errors, evaluations = _core.shapley_values(PLAYERS, game.value_function, sampler=sampler, rounds=5000)
    assert (np.abs(values - exact) < 4 * errors).all()
    np.testing.assert_allclose(errors, marginals(game).std(axis=0) / np.sqrt(5000), rtol=0.05)
    assert evaluations <= 2**PLAYERS
    again, _, _ = _core.shapley_values(PLAYERS, game.value_function, sampler=sampler, rounds=5000, batch_size=3)
    np.testing.assert_array_equal(values, again)


def set_sum(masks: NDArray[np.bool_]) -> list[int]:
    values = np.array([3, 7, 7, 1])
    return [sum(set(values[mask].tolist())) for mask in masks]


def test_one_shot() -> None:
    ranking, values = _core.one_shot(4, set_sum, direction="insertion")
    np.testing.assert_array_equal(ranking, [1, 2, 0, 3])
    np.testing.assert_array_equal(values, [3, 7, 7, 1])
    ranking, values = _core.one_shot(4, set_sum, direction="deletion", batch_size=2)
    np.testing.assert_array_equal(ranking, [0, 3, 1, 2])
    np.testing.assert_array_equal(values, [0.75, 0, 0, 0.25])


def test_the_functions_exception_comes_out_as_itself() -> None:
    cause = KeyError("missing")

    def fail(masks: NDArray[np.bool_]) -> Any:
        raise cause

    calls: list[Any] = [
        lambda: _core.shapley_values(3, fail),
        lambda: _core.shapley_values(3, fail, sampler="moxi"),
        lambda: _core.shapley_interactions(3, fail),
        lambda: _core.one_shot(3, fail, direction="deletion"),
    ]
    for call in calls:
        with pytest.raises(KeyError) as caught:
            call()
        assert caught.value is cause


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.float64])
def test_any_kind_of_numbers_will_do(kind: type[np.generic]) -> None:
    values, _, _ = _core.shapley_values(3, lambda masks: masks.sum(1).astype(kind))
    np.testing.assert_allclose(values, 1)


def test_unusable_answers() -> None:
    with pytest.raises(ArgumentError, match=r"`evaluate`: expected a function that returns numbers") as caught:
        _core.shapley_values(3, lambda masks: masks[:, :2].astype(float))
    assert caught.value.__cause__ is not None
    with pytest.raises(ArgumentError, match=r"expected 8 rewards, one for each coalition, got 1"):
        _core.shapley_values(3, lambda masks: [0.0])
    with pytest.raises(ArgumentError, match=r"expected finite rewards, got NaN for coalition \[0, 2\]"):
        _core.shapley_values(3, lambda masks: np.where(masks @ [1, 2, 4] == 5, np.nan, 0.0))


@pytest.mark.parametrize(
    ("players", "options", "message"),
    [
        (0, {}, "`players`: expected at least 1, got 0"),
        (17, {}, "`players`: expected at most 16 for an exact answer, got 17; sample the values"),
        (3, {"sampler": "antithetic"}, '`sampler`: expected "exact", "moxi" or "permutation", got "antithetic"'),
        (3, {"sampler": "moxi", "rounds": 0}, "`rounds`: expected at least 1, got 0"),
        (3, {"batch_size": 0}, "`batch_size`: expected at least 1, got 0"),
    ],
)
def test_bad_arguments(players: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        _core.shapley_values(players, lambda masks: masks.sum(1).astype(float), **options)
    assert message in str(caught.value)
