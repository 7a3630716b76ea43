"""What a call asked its model, for results that keep it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray
from interpix.outputs.readout import Score, Scores
from interpix.results.coalitions import ScoredCoalitions

__all__ = ["Record"]


class Record:
    """The coalitions that were scored in each place of a call.

    >>> record = Record()
    >>> scores = Scores(np.zeros(1), np.array([0.25]), np.array([1]), np.array([False]))
    >>> record.add(np.array([0]), np.array([[True, False]]), scores)
    >>> record.of(0, 2, Score(0.0, 0.75, 0, True)).masks
    array([[ True,  True],
           [ True, False]])
    """

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._parts: dict[int, list[tuple[npt.NDArray[np.uint8], Scores]]] = {}

    def add(self, owner: IntArray, masks: BoolArray, scores: Scores) -> None:
        """Coalitions (c, n) of the images `owner` (c,)."""
        packed = np.packbits(masks, axis=1)
        for place in np.unique(owner).tolist():
            mine = owner == place
            self._parts.setdefault(place, []).append((packed[mine], Scores(*(column[mine] for column in scores))))

    def forget(self, places: Sequence[int]) -> None:
        """Other images are in these places now."""
        for place in places:
            self._parts.pop(place, None)

    def of(self, place: int, players: int, full: Score) -> ScoredCoalitions:
        """What was asked of the image in a place, which has so many players; `full`: the score of all of it."""
        whole = np.packbits(np.ones((1, players), bool), axis=1)
        parts = self._parts.get(place, [])
        # Images of one batch may have more players than this one: their bits come after its own.
        packed = np.concatenate([whole, *(part[:, : whole.shape[1]] for part, _ in parts)])
        packed[:, -1] &= whole[0, -1]
        scores = Scores.joined([Scores(*(np.array([one]) for one in full)), *(one for _, one in parts)])
        return ScoredCoalitions.of_packed(players, packed, scores)
