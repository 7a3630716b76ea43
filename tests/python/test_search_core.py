"""The compiled search and games, as Python sees them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from interpix import _core
from interpix.errors import ArgumentError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

TARGET = 2


def rewards(masks: Bools) -> Floats:
    """Players 0 and 2 only count together (4), player 1 counts alone (1)."""
    return 4.0 * (masks[:, 0] & masks[:, 2]) + 1.0 * masks[:, 1]


def answer(masks: Bools) -> tuple[Floats, Floats, NDArray[np.int64], Bools]:
    reward = rewards(masks)
    return reward, reward / 5, np.where(reward >= 4, TARGET, 0), reward >= 4


def new_search(images: int = 1, **options: Any) -> _core.Search:
    options = {"direction": "insertion", "stop": "all"} | options
    return _core.Search([3] * images, **options)


def run(search: _core.Search) -> list[_core.Outcome]:
    while (batch := search.ask()) is not None:
        search.tell(*answer(batch.masks()))
    return search.outcomes()


def test_deletion_finds_the_pair() -> None:
    search = new_search(direction="deletion")
    (outcome,) = run(search)
    assert search.done
    assert search.steps == [3]
    assert search.evaluations == outcome.evaluations == 2 + 3 + 2
    np.testing.assert_array_equal(outcome.ranking, [0, 1, 2])
    np.testing.assert_array_equal(outcome.reward, [5, 1, 0, 0])
    np.testing.assert_array_equal(outcome.answer, [1, 0.2, 0, 0])
    np.testing.assert_array_equal(outcome.predicted, [TARGET, 0, 0, 0])
    np.testing.assert_array_equal(outcome.holds, [True, False, False, False])
    np.testing.assert_array_equal(outcome.gaps, [0, 1, np.inf])
    assert outcome.full == (5.0, 1.0, TARGET, True)
    assert outcome.empty == (0.0, 0.0, 0, False)
    assert outcome.stopped_at == 1


@pytest.mark.parametrize(("stop", "ranking"), [("all", [1, 0, 2]), ("flip", [1, 0, 2]), (1, [1])])
def test_stop_rules(stop: str | int, ranking: list[int]) -> None:
    (outcome,) = run(new_search(stop=stop))
    np.testing.assert_array_equal(outcome.ranking, ranking)
    assert outcome.stopped_at == (3 if len(ranking) == 3 else None)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("in_flight", [1, 3, 64])
def test_packing_changes_nothing(batch_size: int, in_flight: int) -> None:
    outcomes = run(new_search(5, batch_size=batch_size, in_flight=in_flight))
    assert [outcome.image for outcome in outcomes] == [0, 1, 2, 3, 4]
    for outcome in outcomes:
        np.testing.assert_array_equal(outcome.ranking, [1, 0, 2])
        assert outcome.evaluations == 7


def test_batches_are_arrays() -> None:
    search = new_search(2)
    start = search.ask()
    assert start is not None
    assert (len(start), start.size) == (2, 0)
    np.testing.assert_array_equal(start.owner, [0, 1])
    np.testing.assert_array_equal(start.flip, [-1, -1])
    assert start.masks().dtype == np.bool_
    assert start.kept().shape == (2, 0)
    search.tell(*answer(start.masks()))
    full = search.ask()
    assert full is not None
    assert full.masks().all()
    search.tell(*answer(full.masks()))
    step = search.ask()
    assert step is not None
    assert step.size == 1
    np.testing.assert_array_equal(step.owner, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(step.flip, [0, 1, 2] * 2)
    np.testing.assert_array_equal(step.masks(1), np.eye(3, dtype=bool))
    np.testing.assert_array_equal(step.kept(), [[0], [1], [2]] * 2)
    assert step.kept().dtype == step.owner.dtype == step.flip.dtype == np.int64


def test_known_ends_are_not_asked() -> None:
    search = new_search(2, full=[(5.0, 1.0, TARGET, True), None], empty=[(0.0, 0.0, 0, False)] * 2)
    first, second = run(search)
    assert (first.evaluations, second.evaluations) == (5, 6)
    np.testing.assert_array_equal(first.ranking, second.ranking)


def test_a_loop_keeps_the_users_exception_and_can_go_on() -> None:
    search = new_search()
    cause = RuntimeError("CUDA out of memory")

    def loop(evaluate: Callable[[Bools], Any]) -> None:
        while (batch := search.ask()) is not None:
            search.tell(*evaluate(batch.masks()))

    def fail(masks: Bools) -> Any:
        if masks.sum() == 3 and len(masks) == 3:
            raise cause
        return answer(masks)

    with pytest.raises(RuntimeError) as caught:
        loop(fail)
    assert caught.value is cause
    loop(answer)
    np.testing.assert_array_equal(search.outcomes()[0].ranking, [1, 0, 2])


def test_messages_name_image_and_coalition() -> None:
    search = new_search(full=[(5.0, 1.0, TARGET, True)], empty=[(0.0, 0.0, 0, False)])
    batch = search.ask()
    assert batch is not None
    reward, probability, predicted, holds = answer(batch.masks())
    reward[1] = np.nan
    with pytest.raises(ArgumentError, match=r"got reward NaN .* for image 0, coalition \[1\]; .*float32"):
        search.tell(reward, probability, predicted, holds)
    with pytest.raises(ArgumentError, match="`answer`: expected 3 entries, got 2"):
        search.tell(reward, probability[:2], predicted, holds)
    with pytest.raises(ArgumentError, match="`holds`: expected 3 entries, got 1"):
        search.tell(reward, probability, predicted, holds[:1])
    with pytest.raises(ArgumentError, match="`scores`: expected 3 of them"):
        search.tell(reward[:2], probability[:2], predicted[:2], holds[:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "both"}, '`direction`: expected "insertion" or "deletion", got "both"'),
        ({"stop": "never"}, """`stop`: expected "all", "flip" or a number of steps from 0 on, got 'never'; pass"""),
        ({"stop": -1}, "a number of steps from 0 on, got -1"),
        ({"stop": 1.5}, "a number of steps from 0 on, got 1.5"),
        ({"min_confidence": 0.5}, '`min_confidence`: expected 0 unless `stop` is "flip", got 0.5'),
        ({"stop": "flip", "min_confidence": 2.0}, "`min_confidence`: expected a probability from 0 to 1, got 2"),
        ({"batch_size": 0}, "`batch_size`: expected at least 1, got 0"),
        ({"in_flight": 0}, "`in_flight`: expected at least 1, got 0"),
        ({"full": []}, "`full`: expected 1 entries, got 0"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        new_search(**options)
    assert message in str(caught.value)


def test_sequences_may_be_arrays() -> None:
    players: Any = np.array([3, 3], np.int32)
    search = _core.Search(players, direction="insertion", stop=np.int64(1))  # type: ignore[arg-type]
    assert [len(outcome.ranking) for outcome in run(search)] == [1, 1]
