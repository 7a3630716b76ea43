"""What a method assigns to each patch: values, the ranking by them, and the curve along it."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray
from interpix.progress import ProgressCounter
from interpix.search.call import Call
from interpix.search.games import Found

__all__ = ["Assign", "Game", "assign_all"]

Game: TypeAlias = Callable[[BoolArray], npt.NDArray[np.float64]]
"""From coalitions (c, n) to what they earn (c,)."""
Assign: TypeAlias = Callable[[Game, int, int], tuple[npt.NDArray[np.float64], int]]
"""From a game, its number of players and a batch size to a value for each player, and the evaluations it took."""


def assign_all(call: Call, assign: Assign, ranked: list[Found], counter: ProgressCounter) -> None:
    """Adds to `ranked` what each image's players are assigned, with the curve along their ranking."""
    for index, players in enumerate(call.games.players):

        def game(masks: BoolArray, index: int = index) -> npt.NDArray[np.float64]:
            counter.add(len(masks))
            return call.games.score(np.full(len(masks), index), masks).reward

        values, evaluations = assign(game, players, call.batch_size)
        found = call.along(index, np.asarray(values), counter)
        found.evaluations += evaluations
        ranked.append(found)
