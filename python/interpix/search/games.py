"""The games that are played on images: the players are regions, and what a coalition earns is the model's answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.absence import Absence
from interpix.arrays import BoolArray, IntArray, as_batch, read_only
from interpix.errors import bad_value
from interpix.models.protocol.classifier import Classifier, Coalitions, Scorer
from interpix.models.protocol.steps import Step, StepScorer
from interpix.outputs.base import Output
from interpix.outputs.readout import Readout, Score, Scores
from interpix.question import Question, score_all
from interpix.regions import Regions, Superpixels, label_regions
from interpix.search.recheck import MixedFirst
from interpix.search.record import Record
from interpix.terms import Direction, Precision, Reward

__all__ = ["Found", "Games", "ImageGame", "Told", "make_games"]

Told: TypeAlias = tuple[IntArray, Scores, npt.NDArray[np.float64]]
"""The best player of each image of a step, the scores of the sets with it flipped, and the gaps to the second best."""


@dataclass(frozen=True)
class Games:
    """One game for each image of a call.

    Attributes:
        classifier: The model.
        questions: The images, with the class that each game is about.
        regions: The player of each pixel (H, W), of each image.
        players: The number of players of each image.
        scorer: Asks the model.
        reward: What a coalition earns.
        precision: How a search asks first; what decides is always exact.
        mixed_first: Asks in mixed precision, and remembers for which images that pays.
        label: Gives each image regions of its own; None: all have the same.
        record: Keeps what is scored; None: nobody asked for that.
    """

    classifier: Classifier
    questions: list[Question]
    regions: list[IntArray]
    players: list[int]
    scorer: Scorer
    reward: Reward
    precision: Precision
    mixed_first: MixedFirst = field(default_factory=MixedFirst)
    label: Callable[[Question], IntArray] | None = None
    record: Record | None = None

    @property
    def replaces(self) -> bool:
        """Whether other images can take the places of those that are done."""
        return bool(getattr(self.scorer, "replaces_images", False))

    def replace(self, places: list[int], questions: list[Question]) -> None:
        """Puts questions about images of the same size in the places of others."""
        for place, question in zip(places, questions, strict=True):
            self.questions[place] = question
            self.targets[place] = question.target
            if self.label is not None:
                self.regions[place] = self.label(question)
                self.players[place] = int(self.regions[place].max()) + 1
        for place, score in zip(places, score_all(questions, self.reward).rows(), strict=True):
            self.full[place] = score
        self._columns[places] = _columns_of(questions)
        images = as_batch([question.tensor for question in questions])
        own = None if self.label is None else np.stack([self.regions[place] for place in places])
        self.mixed_first.forget(places)
        if self.record is not None:
            self.record.forget(places)
        scorer: Any = self.scorer
        scorer.replace(np.array(places), images, own)

    @cached_property
    def targets(self) -> list[int]:
        """The class that each game is about."""
        return [question.target for question in self.questions]

    @cached_property
    def full(self) -> list[Score]:
        """The score of each whole image."""
        return score_all(self.questions, self.reward).rows()

    def score(self, owner: IntArray, masks: BoolArray) -> Scores:
        """What the model says to any coalitions (c, n), exactly."""
        columns = self._columns[owner]
        coalitions = Coalitions.of_masks(owner, masks, columns, relative=self.output.relative, width=self._width)
        return self._recorded(coalitions, self._read(self.scorer.score(coalitions), owner))

    def score_flips(self, owner: IntArray, bases: BoolArray, row: IntArray, flip: IntArray) -> Scores:
        """The same for coalitions (c,) that are sets `bases` (b, n) with one player flipped in each."""
        coalitions = Coalitions(owner, bases, row, flip, self._columns[owner], self.output.relative, self._width)
        return self._recorded(coalitions, self._read(self.scorer.score(coalitions), owner))

    def _recorded(self, asked: Coalitions, scores: Scores) -> Scores:
        if self.record is not None:
            self.record.add(asked.owner, asked.masks, scores)
        return scores

    def lead(self, owner: IntArray, flips: tuple[BoolArray, IntArray, IntArray], rival: int, target: int) -> "Lead":
        """By how much the log-odds of one class exceed those of another.

        Args:
            owner: The image of each coalition, (c,).
            flips: As of `score_flips`: bases, row, flip.
            rival: The one class.
            target: The other.
        """
        sides = []
        for one in (rival, target):
            columns = np.tile(list(self.output.columns(one, self._width)), (len(owner), 1))
            sides.append(columns)
        both = Coalitions(owner, *flips, np.concatenate(sides, axis=1), self.output.relative, self._width)
        readout, split = self.scorer.score(both), sides[0].shape[1]
        wholes, aims = [one.logits for one in self.questions], len(self.questions)
        scores = [
            self.output.scores(
                Readout(readout.log_odds[:, part], readout.logits[:, part], readout.predicted),
                owner,
                [one] * aims,
                wholes,
                "log_odds",
            )
            for one, part in ((rival, slice(None, split)), (target, slice(split, None)))
        ]
        return Lead(scores[0].reward - scores[1].reward, scores[0].answer, scores[0].predicted, both.masks)

    def score_candidates(
        self,
        owner: IntArray,
        bases: BoolArray,
        row: IntArray,
        flip: IntArray,
        direction: Direction,
    ) -> Scores:
        """The same for the candidates of a step: with mixed precision those that cannot be the best stay inexact."""
        coalitions = Coalitions(owner, bases, row, flip, self._columns[owner], self.output.relative, self._width)

        def ask(rows: IntArray | slice, *, mixed: bool) -> Scores:
            precision: Precision = "mixed" if mixed else "exact"
            return self._read(self.scorer.score(coalitions[rows], precision), owner[rows])

        if self.precision == "exact":
            return self._recorded(coalitions, ask(slice(None), mixed=False))
        return self._recorded(coalitions, self.mixed_first.score(owner, direction, ask))

    @cached_property
    def steps(self) -> StepScorer | None:
        """Who takes whole steps; None where each candidate's reward must be seen here."""
        if self.record is not None:
            return None
        # What others compare is theirs to compute.
        own = type(self.output).__module__.startswith("interpix.")
        takes = self.output.takes_rewards and own and getattr(self.scorer, "takes_steps", False)
        return self.scorer if takes else None  # type: ignore[return-value]

    def begin_step(self, scorer: StepScorer, round_: _core.Round, direction: Direction) -> Callable[[], Told]:
        """Begins a step; what is returned waits for what `_core.Search.tell_best` is told."""
        images = round_.images
        targets, relative = self._columns[images, 0], self.output.relative
        finish = scorer.best(
            Step(
                images=images,
                bases=round_.bases,
                size=round_.size,
                targets=targets,
                direction=direction,
                reward=self.reward,
                relative=relative,
                width=self._width,
                precision=self.precision,
            )
        )

        def wait() -> Told:
            best = finish()
            return best.player, self._read(best.readout, images), best.gap

        return wait

    @property
    def _width(self) -> int:
        return len(self.questions[0].logits)

    @property
    def output(self) -> Output:
        """What the model's answers mean."""
        return self.questions[0].output

    @cached_property
    def _columns(self) -> IntArray:
        """The columns that are read of the model's rows, for each image (K, t)."""
        return _columns_of(self.questions)

    def _read(self, readout: Readout, owner: IntArray) -> Scores:
        wholes = [question.logits for question in self.questions]
        return self.output.scores(readout, owner, self.targets, wholes, self.reward)


class Lead(NamedTuple):
    """How two classes stand to each other.

    Attributes:
        by: The log-odds of the one less those of the other (c,).
        answer: The probability of the one (c,).
        predicted: The greatest class of all (c,).
        masks: The sets that were asked about (c, n).
    """

    by: npt.NDArray[np.float64]
    answer: npt.NDArray[np.float64]
    predicted: IntArray
    masks: BoolArray


def _columns_of(questions: Sequence[Question]) -> IntArray:
    """The columns that are read of the model's rows, for each question (k, t)."""
    read = [one.output.columns(one.target, len(one.logits)) for one in questions]
    return np.array([list(columns) for columns in read], np.int64)


class ImageGame:
    """The game on one image, as shapiq and others take it: `n_players`, and a call from coalitions to values.

    Attributes:
        n_players: The number of regions.
        regions: The player of each pixel (H, W).
        target: The class that the game is about.
    """

    def __init__(self, games: Games, batch_size: int) -> None:
        """Takes the games of a call with one image."""
        self._games = games
        self._batch_size = batch_size
        self.n_players: int = games.players[0]
        self.regions: IntArray = games.regions[0]
        self.target: int = games.targets[0]

    def __call__(self, coalitions: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """What coalitions (c, n_players) earn, (c,); True = present. One coalition (n_players,) is taken too."""
        return self.scores(coalitions).reward

    def scores(self, coalitions: npt.ArrayLike) -> Scores:
        """All that the model says to coalitions, as of a call: reward, answer, class, and whether it holds."""
        try:
            given = np.atleast_2d(np.asarray(coalitions))
        except ValueError as error:  # ragged
            cure = "give every coalition one column for each region"
            raise bad_value("coalitions", f"shape (c, {self.n_players})", "rows of several lengths", cure) from error
        masks = given.astype(bool)
        if given.dtype.kind not in "biuf" or not (given == masks).all():
            raise bad_value("coalitions", "True or False, 1 or 0", f"others, of {given.dtype}", "compare with 0.5, say")
        if masks.ndim > 2 or masks.shape[1] != self.n_players:
            cure = "pass one column for each region"
            raise bad_value("coalitions", f"shape (c, {self.n_players})", f"shape {masks.shape}", cure)
        parts = [masks[start : start + self._batch_size] for start in range(0, len(masks), self._batch_size)]
        found = [self._games.score(np.zeros(len(part), np.int64), part) for part in parts]
        return Scores.joined(found) if found else Scores.unknown(0)

    @property
    def full(self) -> Score:
        """The score of the whole image."""
        return self._games.full[0]


def make_games(
    classifier: Classifier,
    questions: list[Question],
    *,
    regions: Regions,
    absence: Absence,
    reward: Reward,
    precision: Precision,
    record: Record | None = None,
) -> Games:
    """The games of some questions to one model.

    Args:
        classifier: The model.
        questions: About images of one size.
        regions: See `interpix.regions`.
        absence: See `interpix.absence`.
        reward: What a coalition earns.
        precision: How a search asks first.
        record: Keeps what is scored.
    """
    images = as_batch([question.tensor for question in questions])
    if isinstance(regions, Superpixels):
        label = partial(_label, regions)
        own = [label(question) for question in questions]
        scorer = classifier.scorer(images, np.stack(own), absence)
    else:  # the same for all, and for their results
        label, shared = None, read_only(label_regions(regions, questions[0].image))
        own = [shared] * len(questions)
        scorer = classifier.scorer(images, np.broadcast_to(shared, (len(questions), *shared.shape)), absence)
    players = [int(one.max()) + 1 for one in own] if label is not None else [int(own[0].max()) + 1] * len(own)
    return Games(classifier, list(questions), own, players, scorer, reward, precision, label=label, record=record)


def _label(regions: Regions, question: Question) -> IntArray:
    """The player of each pixel of one image (H, W), which nobody can write to."""
    return read_only(label_regions(regions, question.image))


@dataclass
class Found:
    """What a search, or a ranking, found on one image.

    Attributes:
        ranking: The players in the order found (k,).
        reward: After 0 ... k players (k + 1,).
        answer: Of the target, after 0 ... k players (k + 1,).
        predicted: After 0 ... k players (k + 1,).
        holds: After 0 ... k players (k + 1,).
        gaps: By how much each player beat the second best (k,).
        stopped_at: The number of players at the flip, if there was one.
        empty: The score with all players absent.
        evaluations: The number of coalitions scored.
        image: Which image of the call.
        values: What each player was assigned (n,), where that is what ranks them.
        pruned: The group without what can be left out, where that was looked for.
        pruned_score: What the model says to it.
        without: What the model says without 0 ... k players, where that was asked for, too.
        pruned_without: What it says without the pruned group, likewise.
        none_up_to: All groups of up to so many players were tried, and none does what it shall.
        all_parts_tried: All parts of the pruned group were tried, and none does what it shall.
    """

    ranking: IntArray
    reward: npt.NDArray[np.float64]
    answer: npt.NDArray[np.float64]
    predicted: IntArray
    holds: BoolArray
    gaps: npt.NDArray[np.float64]
    stopped_at: int | None
    empty: Score
    evaluations: int
    image: int = 0
    values: npt.NDArray[np.float64] | None = None
    pruned: tuple[int, ...] | None = None
    pruned_score: Score | None = None
    without: Scores | None = None
    pruned_without: Score | None = None
    none_up_to: int | None = None
    all_parts_tried: bool = False

    @classmethod
    def of(cls, outcome: _core.Outcome, players: IntArray | None = None) -> "Found":
        """What the search's `outcome` says, its players renamed by `players` if these are given."""
        ranking = np.asarray(outcome.ranking)
        return cls(
            ranking if players is None else players[ranking],
            np.asarray(outcome.reward),
            np.asarray(outcome.answer),
            np.asarray(outcome.predicted),
            np.asarray(outcome.holds),
            np.asarray(outcome.gaps, np.float64),
            outcome.stopped_at,
            Score(*outcome.empty),
            outcome.evaluations,
            outcome.image,
        )

    @classmethod
    def nothing(cls, start: Score) -> "Found":
        """No player was there to be found."""
        none = np.empty(0)
        reward, answer, predicted, holds = (np.array([column]) for column in start)
        return cls(none.astype(np.int64), reward, answer, predicted, holds, none, None, start, 0)
