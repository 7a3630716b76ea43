"""The best of many candidates that were scored in low precision, by scoring few of them exactly.

The error of low precision exceeds the typical gap between the two best, but it is nearly the same for all candidates of
one step. So those that were scored exactly tell how far the others can be off: a candidate is scored exactly if its
score, plus the mean error seen, plus `kappa` times the largest deviation from that mean, could still be the best. This
is a statistical bound, not a proof.

Where nearly all could be the best, low precision only costs. A step that used it tells whether the next one shall; a
few candidates, scored both ways, tell at an image's first step, and after each that did not use it or should not have.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray
from interpix.errors import bad_value
from interpix.models.protocol.steps import FEW, FIRST, GREATEST_SHARE, KAPPA, PILOT
from interpix.outputs.readout import Scores
from interpix.terms import Direction

__all__ = ["Ask", "MixedFirst", "Recheck", "recheck"]

FloatArray = npt.NDArray[np.float64]


class Recheck:
    """One step's candidates, some of which are yet to be scored exactly.

    Attributes:
        rewards: Exact where it is known; elsewhere low precision, corrected by the mean error, (c,).
        exact: True where the reward is exact, (c,).
    """

    def __init__(
        self,
        mixed: FloatArray,
        direction: Direction,
        *,
        known: BoolArray | None = None,
        exact: FloatArray | None = None,
        kappa: float = KAPPA,
        first: int = FIRST,
    ) -> None:
        """Takes rewards of low precision, and where `known` the exact ones; other arguments as `recheck`."""
        if not kappa >= 0:
            raise bad_value("kappa", "at least 0", kappa, "2 kept the exact order in all trials")
        if first < 2:  # one error has no spread
            raise bad_value("first", "at least 2", first, "8 is usual")
        self._sign = 1.0 if direction == "insertion" else -1.0
        self._mixed = self._sign * np.asarray(mixed, np.float64)
        self._near = self._mixed.copy()
        self._kappa = kappa
        self.exact: BoolArray = np.zeros(len(mixed), bool)
        best = np.argsort(-self._mixed, kind="stable")[:first]
        if known is not None and exact is not None and known.any():
            self._learn(np.flatnonzero(known), exact[known])
        self.wanted: IntArray = best[~self.exact[best]]
        if not len(self.wanted):
            self._look_again()

    @property
    def rewards(self) -> FloatArray:
        """See the class."""
        return self._sign * self._near

    def tell(self, rewards: npt.ArrayLike) -> None:
        """The exact rewards of those that are `wanted`, which then are others, or none."""
        self._learn(self.wanted, np.asarray(rewards, np.float64))
        self._look_again()

    def _learn(self, indices: IntArray, rewards: FloatArray) -> None:
        self._near[indices] = self._sign * rewards
        self.exact[indices] = True

    def _look_again(self) -> None:
        error = (self._near - self._mixed)[self.exact]
        self._near[~self.exact] = self._mixed[~self.exact] + error.mean()
        reach = self._kappa * np.abs(error - error.mean()).max()
        self.wanted = np.flatnonzero(~self.exact & (self._near + reach >= self._near[self.exact].max()))


def recheck(
    mixed: FloatArray,
    score: Callable[[IntArray], FloatArray],
    direction: Direction,
    *,
    kappa: float = KAPPA,
    first: int = FIRST,
) -> Recheck:
    """Scores exactly those candidates of one image's step that could be the best.

    Args:
        mixed: Rewards of low precision, (c,).
        score: The exact rewards of the candidates with these indices.
        direction: `"insertion"`: the greatest reward is the best; `"deletion"`: the least.
        kappa: Safety, at least 0; infinity scores all.
        first: The number of candidates that are scored exactly in any case, at least 2.

    Example:
        All are off by about 1, and the first two are too close to tell:

        >>> exact = np.array([0.50, 0.51, 0.2, 0.0])
        >>> off = np.array([1.0, 0.98, 1.01, 1.0])
        >>> found = recheck(exact + off, lambda some: exact[some], "insertion", first=2)
        >>> found.rewards.argmax(), found.exact
        (np.int64(1), array([ True,  True, False, False]))
    """
    found = Recheck(mixed, direction, kappa=kappa, first=first)
    while len(found.wanted):
        found.tell(score(found.wanted))
    return found


class Ask(Protocol):
    """Scores the candidates with these indices, in the precision wanted."""

    def __call__(self, rows: IntArray, *, mixed: bool) -> Scores:
        """What the model says to each."""
        ...


class MixedFirst:
    """Scores the steps of a search in low precision first, for those images where that pays.

    All images of a step are asked about together.
    """

    def __init__(self) -> None:
        """Nothing is known of any image yet."""
        self._pays: set[int] = set()

    def forget(self, images: Iterable[int]) -> None:
        """Other images are in the places of these."""
        self._pays -= set(images)

    def score(self, owner: IntArray, direction: Direction, ask: Ask) -> Scores:
        """Scores of a step's candidates, of which the best of each image is exact.

        Args:
            owner: The image of each candidate, (c,).
            direction: `"insertion"`: the greatest reward is the best; `"deletion"`: the least.
            ask: Scores candidates.
        """
        step = _Step(owner, ask)
        many = {image: rows for image, rows in step.images.items() if len(rows) >= FEW}
        pilot = [_pilot_rows(rows) for image, rows in many.items() if image not in self._pays]
        step.ask(pilot, mixed=True)
        step.ask(pilot, mixed=False)
        promising = {
            image: rows
            for image, rows in many.items()
            if image in self._pays or _could_pay(*step.both(rows), direction)
        }
        step.ask([rows for image, rows in step.images.items() if image not in promising], mixed=False)
        step.ask(list(promising.values()), mixed=True)
        checks = {image: step.recheck(rows, direction) for image, rows in promising.items()}
        while wanted := {image: check.wanted for image, check in checks.items() if len(check.wanted)}:
            step.ask([promising[image][some] for image, some in wanted.items()], mixed=False)
            for image, some in wanted.items():
                checks[image].tell(step.scores.reward[promising[image][some]])
        for image, check in checks.items():
            step.scores.reward[promising[image]] = check.rewards
        self._pays -= set(step.images)
        self._pays |= {image for image, check in checks.items() if check.exact.mean() <= GREATEST_SHARE}
        return step.scores


class _Step:
    """What is known of a step's candidates."""

    def __init__(self, owner: IntArray, ask: Ask) -> None:
        count = len(owner)
        self.images: dict[int, IntArray] = {int(image): np.flatnonzero(owner == image) for image in np.unique(owner)}
        self.scores = Scores.unknown(count)
        self._mixed = np.full(count, np.nan)
        self._exact = np.zeros(count, bool)
        self._ask = ask

    def ask(self, parts: list[IntArray], *, mixed: bool) -> None:
        """Scores what is not yet known of these rows, all together."""
        rows = np.concatenate([*parts, np.empty(0, np.int64)])
        rows = rows[np.isnan(self._mixed[rows]) if mixed else ~self._exact[rows]]
        if not len(rows):
            return
        answers = Scores(*self._ask(rows, mixed=mixed))
        if mixed:
            self._mixed[rows] = answers.reward
            unknown = ~self._exact[rows]
            rows, answers = rows[unknown], Scores(*(column[unknown] for column in answers))
        else:
            self._exact[rows] = True
        for column, values in zip(self.scores, answers, strict=True):
            column[rows] = values

    def both(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Rewards of those rows that were scored both ways: mixed, exact."""
        rows = rows[self._exact[rows] & ~np.isnan(self._mixed[rows])]
        return self._mixed[rows], self.scores.reward[rows]

    def recheck(self, rows: IntArray, direction: Direction) -> Recheck:
        """What is to be scored exactly of an image's rows."""
        return Recheck(self._mixed[rows], direction, known=self._exact[rows], exact=self.scores.reward[rows])


def _pilot_rows(rows: IntArray) -> IntArray:
    """A few of the rows, from all over the image."""
    return rows[:: -(-len(rows) // PILOT)]


def _could_pay(mixed: FloatArray, exact: FloatArray, direction: Direction) -> bool:
    """Whether these few differ by so much more than low precision is off that most of them cannot be the best."""
    gain = exact if direction == "insertion" else -exact
    error = exact - mixed
    reach = KAPPA * np.abs(error - error.mean()).max()
    return bool((gain + reach >= gain.max()).mean() <= GREATEST_SHARE)
