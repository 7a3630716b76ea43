"""Searches beyond MoXI's own two, on the images of a call: both aims at once, beams, exchanges, catalogues.

What they ask about comes in any order and of any size, so it is always scored exactly, coalition by coalition.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from interpix import _core
from interpix.arrays import IntArray
from interpix.errors import InterpixError, bad_value
from interpix.models.protocol.classifier import asking
from interpix.outputs.readout import Score, Scores
from interpix.progress import ProgressCounter
from interpix.question import Question
from interpix.results.catalogue import Catalogue
from interpix.results.coalitions import ScoredCoalitions
from interpix.results.explanation import Explanation
from interpix.search.call import Call, carrying
from interpix.search.games import Found
from interpix.search.rules import CatalogueRules, Rules
from interpix.terms import SearchDirection

__all__ = ["ExplorerLane", "exact", "list_groups", "weigh"]

_CHECKED = 8
"""Of how many known coalitions the model is asked again."""
_NEARLY = 1e-3
"""Rewards of one picture in batches of other sizes differ by less, in units of the greatest; bfloat16's by more."""


class ExplorerLane:
    """Images of one size that share batches, each searched after all of some plans.

    Attributes:
        call: Their games.
        size: Height and width.
        open: How many of them are not done.
        replaces: False: other images wait for a lane of their own.
    """

    replaces = False

    def __init__(self, call: Call, plans: Sequence[_core.Plan], counter: ProgressCounter) -> None:
        """Takes the games of a call, and how groups are looked for in each."""
        games = call.games
        self.call, self._counter = call, counter
        self.size = games.questions[0].size
        self.open = len(games.players)
        self._explorer = _core.Explorer(
            games.players,
            plans,
            batch_size=call.batch_size,
            in_flight=max(1, self.open),
            full=list(games.full),
        )

    def advance(self) -> list[int]:
        """Goes on until all searches have ended; the places of the images."""
        with asking(self.call.games.classifier):
            while (asked := self._explorer.ask()) is not None:
                # A model may compute only what a flip changes.
                self._explorer.tell(*self.call.games.score_flips(asked.owner, *asked.flips()))
                self._counter.add(len(asked))
        self.open = 0
        return list(range(len(self.call.places)))

    def know(self, known: ScoredCoalitions) -> None:
        """Takes what is known of the only image: it is not asked again, and the call's record has it, too."""
        players = self.call.games.players[0]
        if known.players != players:
            need = f"coalitions of the image's {players} patches"
            raise bad_value("known", need, f"of {known.players}", "pass what the same search of the same image kept")
        scores = Scores(known.rewards, known.answers, known.predicted, known.holds)
        self._check_known(known)
        self._explorer.know(0, known.masks, *scores)
        if self.call.games.record is not None:
            self.call.games.record.add(np.zeros(len(known), np.int64), known.masks, scores)

    def _check_known(self, known: ScoredCoalitions) -> None:
        """Refuses coalitions that the model answers otherwise, of which some are asked again.

        Raises:
            ArgumentError: They are of another image, target, model or absence, or were scored in mixed precision.
        """
        if not len(known):
            return
        some = _telling(known)
        again = self.call.games.score(np.zeros(len(some), np.int64), known.masks[some])
        self._counter.add(len(some))
        need = "coalitions that this search answers alike"
        cure = "pass what the same search of the same image and target kept, scored exactly"
        numbers = {"rewards": (again.reward, known.rewards[some]), "answers": (again.answer, known.answers[some])}
        for name, (now, then) in numbers.items():
            differ = float(np.abs(now - then).max())
            if differ > _NEARLY * max(1.0, float(np.abs(now).max())):
                raise bad_value("known", need, f"some whose {name} differ by {differ:.2g}", cure)
        for name, differs in {
            "predicted": again.predicted != known.predicted[some],
            "holds": again.holds != known.holds[some],
        }.items():
            if differs.any():
                raise bad_value("known", need, f"some whose `{name}` differs", cure)

    def found(self, place: int) -> list[list[Found]]:
        """For each plan the groups that were found until now on the image at a place."""
        explored = self._explorer.outcome(place)
        if explored is None:
            return []
        return [[_found(explored, group, self.call.direction, place) for group in groups] for groups in explored.groups]

    def results(self, ended: Sequence[int]) -> dict[int, Explanation]:
        """What the only plan found in some places."""
        first = [found[0][0] for place in ended if (found := self.found(place)) and found[0]]
        return self.call.results(first)

    def unfinished(self) -> dict[int, Explanation]:
        """What was found until now."""
        return self.results(range(len(self.call.places))) if self.open else {}

    def admit(self, asked: Sequence[tuple[int, Question]]) -> None:
        """Takes nobody: see `replaces`."""


def weigh(call: Call, rules: Sequence[Rules], counter: ProgressCounter) -> list[Explanation]:
    """What each of some rules finds on the only image of a call."""
    lane = ExplorerLane(exact(call), [one.plan() for one in rules], counter)

    def done() -> dict[int, Explanation]:
        found = enumerate(zip(rules, lane.found(0), strict=False))
        place = lane.call.places[0]
        return {n: _with(lane.call, one.options()).results(groups)[place] for n, (one, groups) in found if groups}

    with carrying(done):
        lane.advance()
    return list(done().values())


def list_groups(
    call: Call, rules: CatalogueRules, counter: ProgressCounter, known: ScoredCoalitions | None = None
) -> Catalogue:
    """The groups that a catalogue has of the only image of a call, of which something may be `known`."""
    players = call.games.players[0]
    tried = rules.tried(players)
    options, complete = rules.options() | {"exhaust": tried}, tried == players
    about = options | {"complete": complete}
    lane = ExplorerLane(exact(_with(call, about)), [rules.plan(players)], counter)
    if known is not None:
        lane.know(known)
    try:
        with carrying(lambda: dict(enumerate(_groups(lane)))):
            lane.advance()
    except (KeyboardInterrupt, InterpixError) as error:
        if call.games.record is not None:
            error.coalitions = call.games.record.of(0, players, call.games.full[0])  # type: ignore[union-attr]
        raise
    groups = tuple(_groups(lane))
    return Catalogue(
        groups=groups,
        none_up_to=groups[0].none_up_to if groups else tried,
        complete=complete,
        options=options,
    )


def _groups(lane: ExplorerLane) -> list[Explanation]:
    """The results of all groups that a catalogue has until now of the only image."""
    return [lane.call.results([one])[lane.call.places[0]] for groups in lane.found(0) for one in groups]


def exact(call: Call) -> Call:
    """The same call, whose results say that all was scored exactly, as it is here."""
    return _with(call, {"precision": "exact"})


def _with(call: Call, facts: dict[str, Any]) -> Call:
    """The same call, whose results remember more."""
    return dataclasses.replace(call, provenance=call.provenance | facts)


def _telling(known: ScoredCoalitions) -> IntArray:
    """Coalitions that tell whether they are answered alike: some of all, and the nearest to where answers change."""
    order = np.argsort(known.rewards, kind="stable")
    do, do_not = order[known.holds[order]], order[~known.holds[order]]
    some = np.linspace(0, len(known) - 1, _CHECKED // 2).astype(np.int64)
    return np.unique(np.concatenate([some, do[: _CHECKED // 4], do_not[-_CHECKED // 4 :]]))


def _found(explored: _core.Explored, group: _core.Group, direction: SearchDirection, place: int) -> Found:
    """A group as other searches give theirs."""
    # A deletion's curve is that of the image without the patches.
    main = _scores(group.without if direction == "deletion" else group.alone)
    found = Found(
        np.asarray(group.ranking),
        *main,
        gaps=np.asarray(group.gaps, np.float64),
        stopped_at=group.stopped_at,
        empty=Score(*explored.empty),
        evaluations=explored.evaluations,
        image=place,
        without=_scores(group.without) if direction == "both" else None,
        none_up_to=group.none_up_to,
        all_parts_tried=group.all_parts_tried,
    )
    # Of nothing nothing can be left out.
    if group.minimal is not None and group.stopped_at:
        patches, alone, without = group.minimal
        score = without if direction == "deletion" else alone
        found.pruned = tuple(patches)
        found.pruned_score = None if score is None else Score(*score)
        found.pruned_without = Score(*without) if direction == "both" and without is not None else None
    return found


def _scores(rows: Sequence[tuple[float, float, int, bool]]) -> Scores:
    reward, answer, predicted, holds = zip(*rows, strict=True)
    return Scores(np.array(reward), np.array(answer), np.array(predicted, np.int64), np.array(holds, np.bool_))
