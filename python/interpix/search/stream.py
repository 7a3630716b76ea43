"""Any number of images through one search: some are in flight, and another takes the place of each that is done.

What is held is the model's state of the images in flight, the few that were prepared for the next places, and the
results that an earlier image keeps waiting.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from interpix import _core
from interpix.errors import ModelError
from interpix.models.protocol.classifier import asking
from interpix.progress import ProgressCounter
from interpix.question import Question
from interpix.results.explanation import Explanation
from interpix.search.call import Call
from interpix.search.explore import ExplorerLane
from interpix.search.games import Found, Told
from interpix.search.prune import prune
from interpix.search.rules import Rules
from interpix.search.source import Source
from interpix.terms import Direction

__all__ = ["IN_FLIGHT", "Asked", "Run"]

IN_FLIGHT = 64
"""Images that are searched at the same time: more of them fill a GPU better, fewer need less memory."""
_STEPS_AT_ONCE = 2
# Images that go and come together: to ask about one image alone is dear on a GPU.
_SHARE = 8

Asked: TypeAlias = tuple[int, Question]
"""Which of the images that the user gave, and what is asked of it."""


class Run:
    """The searches of a call, which give results as they end."""

    def __init__(
        self,
        source: Source,
        make: Callable[[Sequence[Asked]], Call],
        rules: Rules,
        counter: ProgressCounter,
        *,
        in_flight: int | None,
        watched: Any = None,
    ) -> None:
        """Takes images, and what makes games of the first ones.

        Args:
            source: The images.
            make: Makes their games.
            rules: How each is searched.
            counter: Shows the number of evaluations.
            in_flight: How many are in flight; None: all that there are.
            watched: A classifier with a `version`, which must not change between two results: what was computed of the
                images in flight is the old one's. None: nobody can change it.
        """
        self._source, self._make, self._rules, self._counter = source, make, rules, counter
        self._in_flight, self._watched = in_flight, watched
        self._lane: _Lane | ExplorerLane | None = None

    def results(self) -> Iterator[tuple[int, Explanation]]:
        """Each image's place and result, as the searches end."""
        while asked := self._source.take(self._in_flight):
            lane = self._lane = self._begun(self._make(asked))
            version = self._version()
            while lane.open:
                ended = lane.advance()
                yield from lane.results(ended).items()
                if version != self._version():
                    name = lane.call.games.classifier.name
                    cure = "change it after the last result, or begin another stream"
                    raise ModelError(f"model `{name}`: its weights changed between two results of a stream; {cure}")
                lane.admit(self._source.take(len(ended), lane.size) if lane.replaces else [])
        self._lane = None

    def _begun(self, call: Call) -> "_Lane | ExplorerLane":
        if self._rules.explores:
            return ExplorerLane(call, [self._rules.plan()], self._counter)
        return _Lane(call, self._rules, self._counter)

    def _version(self) -> object:
        return None if self._watched is None else self._watched.version()

    def unfinished(self) -> dict[int, Explanation]:
        """What was found until now on the images that are in flight."""
        return {} if self._lane is None else self._lane.unfinished()


class _Lane:
    """Images of one size that share batches, searched greedily in one direction.

    Attributes:
        call: Their games.
        size: Height and width.
        open: How many of them are not done.
    """

    def __init__(self, call: Call, rules: Rules, counter: ProgressCounter) -> None:
        self.call, self._rules, self._counter = call, rules, counter
        self._direction: Direction = "insertion" if rules.direction == "insertion" else "deletion"
        games = call.games
        self.size = games.questions[0].size
        self.open = len(games.players)
        self._least = max(1, self.open // _SHARE)
        self._free: list[int] = []
        self._begun: deque[_Begun] = deque()
        self._search = _core.Search(
            games.players,
            direction=self._direction,
            stop=rules.stop if isinstance(rules.stop, str) else min(rules.stop, sys.maxsize),
            min_confidence=rules.min_confidence,
            min_players=min(rules.min_patches, sys.maxsize),
            batch_size=call.batch_size,
            in_flight=min(IN_FLIGHT, self.open),
            full=list(games.full),
        )

    @property
    def replaces(self) -> bool:
        """Whether other images can take the places of those that are done."""
        return self.call.games.replaces

    def advance(self) -> list[int]:
        """Goes on until some searches have ended, or all; the places of those."""
        ended: list[int] = []
        with asking(self.call.games.classifier):
            while len(ended) < min(self._least, self.open):
                self._turn()
                ended += self._search.ended()
        self.open -= len(ended)
        return ended

    def results(self, ended: list[int]) -> dict[int, Explanation]:
        """What was found in some places."""
        found = [Found.of(outcome) for place in ended if (outcome := self._search.outcome(place)) is not None]
        if self._rules.minimal:
            rules, call = self._rules, self.call
            with asking(call.games.classifier):
                prune(call.games, found, self._direction, rules.min_confidence, call.batch_size, self._counter)
        results = self.call.results(found)
        self._free += ended
        return results

    def unfinished(self) -> dict[int, Explanation]:
        """What was found until now in the places that gave no result."""
        places = [place for place in range(len(self.call.places)) if place not in self._free]
        outcomes = [self._search.outcome(place) for place in places]
        return self.call.results([Found.of(outcome) for outcome in outcomes if outcome is not None])

    def admit(self, asked: Sequence[Asked]) -> None:
        """Puts images of the same size into places that are free."""
        if not asked:
            return
        places, self._free = self._free[: len(asked)], self._free[len(asked) :]
        games = self.call.games
        with asking(games.classifier):
            games.replace(places, [question for _, question in asked])
        for place, (number, _) in zip(places, asked, strict=True):
            self.call.replace(place, number)
            self._search.replace(place, games.players[place], full=games.full[place])
        self.open += len(asked)

    def _turn(self) -> None:
        """Asks the model once; while a step is on the device, the next one is begun."""
        games, search, direction = self.call.games, self._search, self._direction
        scorer = games.steps
        while scorer is not None and len(self._begun) < _STEPS_AT_ONCE:
            if (one := search.ask_round(scorer.candidates_at_once)) is None:
                break
            players = one.bases.shape[1]
            count = len(one.images) * (players - one.size if direction == "insertion" else one.size)
            self._begun.append(_Begun(one.ticket, games.begin_step(scorer, one, direction), count))
        if (batch := search.ask()) is not None:
            columns = batch.owner, batch.bases, batch.row, batch.flip
            if scorer is None:
                search.tell(*games.score_candidates(*columns, direction))
            else:  # the ends of images that come next
                search.tell(*games.score_flips(*columns))
            self._counter.add(len(batch))
        elif self._begun:
            step = self._begun.popleft()
            player, scores, gap = step.wait()
            search.tell_best(step.ticket, player, *scores, gap)
            self._counter.add(step.count)


@dataclass(frozen=True)
class _Begun:
    """A step on the device: its round's ticket, what waits for it, and the number of its candidates."""

    ticket: int
    wait: Callable[[], Told]
    count: int
