"""Class-discriminative localization (MoXI, Appendix F): where is a class that is not the prediction?

Two deletions. While the model answers with another class y, the patch goes whose removal lowers the log-odds of y
most against those of the target t, so reward log-odds(y) - log-odds(t) (the paper drops the second log; y is the answer
to what is left, anew at each step). Once t is the answer, the patches go that lower its own log-odds most, until it no
longer is: these patches are t's region.

One insertion says which patches make it t rather than a rival: each adds most to t's lead over it.
"""

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.arrays import IntArray
from interpix.outputs.readout import Score, Scores
from interpix.progress import ProgressCounter
from interpix.search.games import Found, Games

__all__ = ["rival_of", "search_contrast", "search_lead"]


def rival_of(whole: npt.NDArray[np.float64], target: int) -> int:
    """The most probable class of a row of logits (classes,) that is not the target.

    >>> rival_of(np.array([3.0, 5.0, 4.0]), 1), rival_of(np.array([3.0, 5.0, 4.0]), 0)
    (2, 1)
    """
    others = whole.copy()
    others[target] = -np.inf
    return int(others.argmax())


def search_lead(games: Games, rival: int, batch_size: int, counter: ProgressCounter) -> tuple[Found, Score]:
    """Insertion on the only image of `games`, until the target is more probable than its `rival`.

    Returns:
        What was found, whose rewards are the target's lead, and the score of the whole image.
    """
    search = _core.Search([games.players[0]], direction="insertion", stop="flip", batch_size=batch_size)
    while (batch := search.ask()) is not None:
        lead = games.lead(batch.owner, (batch.bases, batch.row, batch.flip), games.targets[0], rival)
        scores = Scores(lead.by, lead.answer, lead.predicted, lead.by > 0)
        search.tell(*scores)
        if games.record is not None:
            games.record.add(batch.owner, lead.masks, scores)
        counter.add(len(batch))
    outcome = search.outcomes()[0]
    return Found.of(outcome), Score(*outcome.full)


def search_contrast(games: Games, batch_size: int, counter: ProgressCounter) -> tuple[list[int], Found]:
    """The two phases on the only image of `games`.

    Returns:
        The players that the first phase removed, and what the second one found among the rest. Its `stopped_at` is None
        and its ranking empty if the target never became the answer.
    """
    removed, scored = _until_predicted(games, batch_size, counter)
    rest = np.setdiff1d(np.arange(games.players[0]), removed)
    found = _until_no_longer(games, rest, batch_size, counter)
    found.evaluations += scored
    return removed, found


def _until_predicted(games: Games, batch_size: int, counter: ProgressCounter) -> tuple[list[int], int]:
    """The players to remove, in order, until the target is the answer, and the number of evaluations."""
    players, target = games.players[0], games.targets[0]
    if games.questions[0].prediction == target:
        return [], 0
    answers = {np.ones(players, bool).tobytes(): games.questions[0].prediction}
    search = _core.Search([players], direction="deletion", stop="flip", batch_size=batch_size)
    while (batch := search.ask()) is not None:
        rival = answers.get(batch.bases[0].tobytes(), games.questions[0].prediction)
        pair = [games.questions[0].prediction if rival == target else rival, target]
        lead = games.lead(batch.owner, (batch.bases, batch.row, batch.flip), *pair)
        answers |= {mask.tobytes(): int(answer) for mask, answer in zip(lead.masks, lead.predicted, strict=True)}
        # It ends where another class than the target is no longer the answer.
        search.tell(lead.by, lead.answer, lead.predicted, lead.predicted != target)
        counter.add(len(batch))
    outcome = search.outcomes()[0]
    return np.asarray(outcome.ranking).tolist(), outcome.evaluations


def _until_no_longer(games: Games, rest: IntArray, batch_size: int, counter: ProgressCounter) -> Found:
    """Deletion for the target among the players `rest`; the others stay absent."""
    if len(rest) == 0:
        nothing = games.score(np.zeros(1, np.int64), np.zeros((1, games.players[0]), bool)).rows()[0]
        found = Found.nothing(nothing._replace(holds=nothing.predicted == games.targets[0]))
        found.evaluations = 1
        return found
    search = _core.Search([len(rest)], direction="deletion", stop="flip", batch_size=batch_size)
    while (batch := search.ask()) is not None:
        bases = np.zeros((len(batch.bases), games.players[0]), bool)
        bases[:, rest] = batch.bases
        flip = np.where(batch.flip < 0, -1, rest[batch.flip])
        scores = games.score_candidates(batch.owner, bases, batch.row, flip, "deletion")
        search.tell(*scores._replace(holds=scores.predicted == games.targets[0]))
        counter.add(len(batch))
    return Found.of(search.outcomes()[0], rest)
