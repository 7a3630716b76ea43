"""A minimal group: of what a search found, nothing can be left out.

Greedy search may find a patch that is needed no longer once others are there. Here, round by round, each patch of a
group is left out by itself; of those that the answer does not miss, the one that is missed least goes.
"""

import numpy as np

from interpix import _core
from interpix.outputs.readout import Score
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
    having = [one for one in found if one.stopped_at]
    if not having:
        return
    images = np.array([one.image for one in having])
    plan = _core.Plan(direction, "greedy", stop="flip", min_confidence=min_confidence, minimal=True)
    explorer = _core.Explorer(
        [games.players[image] for image in images],
        [plan],
        batch_size=batch_size,
        in_flight=len(having),
        full=[games.full[image] for image in images],
        empty=[one.empty for one in having],
    )
    for place, one in enumerate(having):
        group = one.ranking[: one.stopped_at].tolist()
        explorer.give(place, group)
        # What the search has asked is not asked again.
        steps = np.zeros((len(group) + 1, games.players[one.image]), np.bool_)
        for step, patch in enumerate(group, start=1):
            steps[step:, patch] = True
        until = slice(len(group) + 1)
        masks = steps if direction == "insertion" else ~steps
        explorer.know(place, masks, one.reward[until], one.answer[until], one.predicted[until], one.holds[until])
    while (asked := explorer.ask()) is not None:
        explorer.tell(*games.score_flips(images[asked.owner], *asked.flips()))
        counter.add(len(asked))
    for place, one in enumerate(having):
        explored = explorer.outcome(place)
        if explored is None or (minimal := explored.groups[0][0].minimal) is None:
            continue
        patches, alone, without = minimal
        score = alone if direction == "insertion" else without
        one.pruned, one.pruned_score = tuple(patches), None if score is None else Score(*score)
        one.evaluations += explored.evaluations
