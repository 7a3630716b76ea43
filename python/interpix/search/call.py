"""One call of a search: the games on its images, how it began, and the results that it gives."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray
from interpix.errors import InterpixError
from interpix.outputs.readout import Scores
from interpix.progress import ProgressCounter
from interpix.results.explanation import Explanation
from interpix.search.games import Found, Games
from interpix.terms import SearchDirection

__all__ = ["Call", "carrying", "in_order"]


@dataclass(frozen=True)
class Call:
    """The games of one call.

    Attributes:
        games: One for each image.
        places: Which of the images that the user gave each is; those of other sizes are in other calls.
        direction: Which patches suffice, which are needed, or which do both.
        batch_size: The greatest number of coalitions handed out at once.
        provenance: What the results shall remember of model and search. It is known before the search begins: after
            Ctrl-C nobody waits for the hash of all weights.
        started: When the call began, on `time.perf_counter`.
    """

    games: Games
    places: list[int]
    direction: SearchDirection
    batch_size: int
    provenance: dict[str, Any]
    started: float = field(default_factory=time.perf_counter)

    def replace(self, index: int, place: int) -> None:
        """Another image of the call is at this index of its games now."""
        self.places[index] = place

    def along(self, index: int, values: npt.NDArray[np.float64], counter: ProgressCounter) -> Found:
        """The curve along the ranking of an image's players by their `values` (n,), greatest first."""
        players, insertion = len(values), self.direction == "insertion"
        ranking = np.argsort(-values, kind="stable")
        steps = np.zeros((players + 1, players), np.bool_)
        for step, player in enumerate(ranking, start=1):
            steps[step:, player] = True
        curve = self._scores(index, steps if insertion else ~steps, counter)
        done = curve.holds == insertion
        ends = curve.rows()
        return Found(
            ranking,
            *curve,
            gaps=np.append(-np.diff(values[ranking]), np.inf),
            stopped_at=int(done.argmax()) if done.any() else None,
            empty=ends[0] if insertion else ends[-1],
            evaluations=len(steps),
            image=index,
            values=values,
        )

    def _scores(self, index: int, masks: BoolArray, counter: ProgressCounter) -> Scores:
        parts = []
        for start in range(0, len(masks), self.batch_size):
            part = masks[start : start + self.batch_size]
            parts.append(self.games.score(np.full(len(part), index), part))
            counter.add(len(part))
        return Scores.joined(parts)

    def results(self, found: Sequence[Found], removed_before: tuple[int, ...] = ()) -> dict[int, Explanation]:
        """What was found on some of the images, as people get it, by the images' places."""
        provenance = self.provenance | self.games.scorer.facts
        results = {}
        for one in found:
            known = provenance | dict(self.games.questions[one.image].facts)
            results[self.places[one.image]] = self._result(one, known, removed_before)
        return results

    def _result(self, found: Found, provenance: dict[str, Any], removed_before: tuple[int, ...]) -> Explanation:
        without = {} if found.without is None else _named_without(found.without)
        question, record, full = self.games.questions[found.image], self.games.record, self.games.full[found.image]
        regions = self.games.regions[found.image]
        return Explanation(
            ranking=found.ranking.astype(np.int64),
            rewards=found.reward,
            answers=found.answer,
            predicted=found.predicted.astype(np.int64),
            holds=found.holds,
            gaps=found.gaps,
            stopped_at=found.stopped_at,
            target=question.target,
            prediction=question.prediction,
            full=full,
            empty=found.empty,
            direction=self.direction,
            # The whole image is scored before the search.
            evaluations=found.evaluations + 1,
            seconds=time.perf_counter() - self.started,
            regions=regions,
            image=question.image,
            class_names=question.class_names,
            provenance=provenance,
            values=found.values,
            minimal_group=found.pruned,
            minimal_score=found.pruned_score,
            minimal_without=found.pruned_without,
            none_up_to=found.none_up_to,
            all_parts_tried=found.all_parts_tried,
            removed_before=removed_before,
            coalitions=None if record is None else record.of(found.image, self.games.players[found.image], full),
            **without,
        )


def _named_without(scores: Scores) -> dict[str, Any]:
    """The curve without the patches, by the fields of a result."""
    return {
        "rewards_without": scores.reward,
        "answers_without": scores.answer,
        "predicted_without": scores.predicted.astype(np.int64),
        "holds_without": scores.holds,
    }


@contextmanager
def carrying(results: Callable[[], dict[int, Explanation]]) -> Iterator[None]:
    """Ctrl-C and errors that are raised inside carry what was found until then, as their `explanations`, in order."""
    try:
        yield
    except (KeyboardInterrupt, InterpixError) as error:
        error.explanations = in_order(results())  # type: ignore[union-attr]
        raise


def in_order(results: dict[int, Explanation]) -> list[Explanation]:
    """Results by place, as the images were given."""
    return [results[place] for place in sorted(results)]
