"""A minimal group: of what a search found, nothing can be left out.

Greedy search may find a patch that is needed no longer once others are there. Here, round by round, each patch of a
group is left out by itself; of those that the answer does not miss, the one that is missed least goes.
"""

import numpy as np

from interpix.arrays import BoolArray, IntArray
from interpix.outputs.readout import Score, Scores
from interpix.progress import ProgressCounter
from interpix.search.games import Found, Games
from interpix.terms import Direction

__all__ = ["prune"]


def prune(
    games: Games,
    found: list[Found],
    direction: Direction,
    min_confidence: float,
    batch_size: int,
    counter: ProgressCounter,
) -> None:
    """Sets `pruned` and `pruned_score` of each of `found` that has a group, and counts what that took.

    The rounds of all images share batches. A patch whose removal leaves the answer is removed: that of the greatest
    reward (insertion) or, of those put back, of the least (deletion), the lowest of equal ones.

    Args:
        games: The games that were searched.
        found: What was found in them.
        direction: Of the search.
        min_confidence: What an insertion had to reach.
        batch_size: The greatest number of coalitions asked about at once.
        counter: Shows the number of evaluations.
    """
    insertion = direction == "insertion"
    active = {}
    for index, one in enumerate(found):
        if one.stopped_at:
            one.pruned = tuple(one.ranking[: one.stopped_at].tolist())
            one.pruned_score = Score(
                *(column[one.stopped_at].item() for column in (one.reward, one.answer, one.predicted, one.holds))
            )
            active[index] = one
    first = True
    while active:
        # A single patch is needed: without it the search would have been over at the start. So is the last one found.
        asked = [
            (index, patch)
            for index, one in active.items()
            for patch in (one.pruned or ())[: -1 if first else None]
            if len(one.pruned or ()) > 1
        ]
        first = False
        scores = _without(games, active, asked, insertion=insertion, batch_size=batch_size, counter=counter)
        rows = scores.rows() if scores is not None else []
        going: dict[int, tuple[int, Score]] = {}
        for (index, patch), score in zip(asked, rows, strict=True):
            one = active[index]
            one.evaluations += 1
            sure = not min_confidence or score.answer >= min_confidence
            fine = score.holds and sure if insertion else not score.holds
            best = going.get(index)
            if fine and (best is None or _is_better(score, patch, best, insertion=insertion)):
                going[index] = patch, score
        for index, (patch, score) in going.items():
            one = active[index]
            one.pruned = tuple(other for other in one.pruned or () if other != patch)
            one.pruned_score = score
        active = {index: active[index] for index in going}


def _is_better(score: Score, patch: int, best: tuple[int, Score], *, insertion: bool) -> bool:
    """The patch that is missed less than the best until now, or as little with a lower number."""
    mine, other = (one if insertion else -one for one in (score.reward, best[1].reward))
    return mine > other or (mine == other and patch < best[0])


def _without(
    games: Games,
    active: dict[int, Found],
    asked: list[tuple[int, int]],
    *,
    insertion: bool,
    batch_size: int,
    counter: ProgressCounter,
) -> Scores | None:
    """What the model says to each group without one of its patches; None where nothing is asked."""
    if not asked:
        return None
    bases: BoolArray = np.zeros((len(active), max(games.players)), bool)
    row = {index: position for position, index in enumerate(active)}
    for index, one in active.items():
        players = games.players[one.image]
        bases[row[index], :players] = not insertion
        bases[row[index], list(one.pruned or ())] = insertion
    owner: IntArray = np.array([active[index].image for index, _ in asked])
    rows, flip = np.array([row[index] for index, _ in asked]), np.array([patch for _, patch in asked])
    parts = []
    for start in range(0, len(asked), batch_size):
        part = slice(start, start + batch_size)
        parts.append(games.score_flips(owner[part], bases, rows[part], flip[part]))
        counter.add(len(owner[part]))
    return Scores.joined(parts)
