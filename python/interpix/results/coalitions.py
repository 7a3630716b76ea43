"""Every coalition that a search scored, compactly: a bit for each patch, and what the model said."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray, describe, read_only
from interpix.errors import bad_type, bad_value
from interpix.outputs.readout import Score, Scores
from interpix.results.base import check_field

__all__ = ["ScoredCoalitions"]

_BITS = 8
_NAMES = ("packed", "rewards", "answers", "predicted", "holds")


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredCoalitions:
    """The coalitions of one image that the model was asked about, each once.

    >>> masks = np.array([[False, True, True], [True, True, True]])
    >>> scores = Scores(np.zeros(2), np.array([0.25, 0.5]), np.array([1, 0]), np.array([False, True]))
    >>> known = ScoredCoalitions.of(masks, scores)
    >>> len(known), known.masks.tolist() == masks.tolist()
    (2, True)
    >>> known.look_up([0, 1, 2]).answer, known.look_up([0])
    (0.5, None)

    Attributes:
        players: The number of patches n.
        packed: A bit for each patch, True = present, the first in the highest bit of the first byte, (c, ceil(n / 8)).
        rewards: In the units of the run's reward (c,).
        answers: What the model says of the target (c,), as `Explanation.answers`.
        predicted: The most probable class (c,); -1 where the output knows no classes.
        holds: Whether the model still says what is explained (c,).
    """

    players: int
    packed: npt.NDArray[np.uint8]
    rewards: npt.NDArray[np.float64]
    answers: npt.NDArray[np.float64]
    predicted: IntArray
    holds: BoolArray

    def __post_init__(self) -> None:
        """Copies every array, so that nobody else can write to them."""
        for name, array in self.arrays().items():
            object.__setattr__(self, name, read_only(array))

    @classmethod
    def of(cls, masks: BoolArray, scores: Scores) -> Self:
        """Coalitions (c, n), True = present, and what the model says to them; one that comes twice is kept once."""
        return cls.of_packed(masks.shape[1], np.packbits(masks, axis=1), scores)

    @classmethod
    def of_packed(cls, players: int, packed: npt.NDArray[np.uint8], scores: Scores) -> Self:
        """The same of coalitions that are packed; the first of equal ones counts."""
        first = np.sort(np.unique(packed, axis=0, return_index=True)[1]) if len(packed) else np.empty(0, np.int64)
        return cls(
            players=players,
            packed=packed[first],
            rewards=scores.reward[first],
            answers=scores.answer[first],
            predicted=scores.predicted[first].astype(np.int64),
            holds=scores.holds[first],
        )

    def with_whole(self, score: Score) -> Self:
        """The same where the whole image has another score, in other units."""
        whole = self.masks.all(axis=1)
        columns = dict(zip(("rewards", "answers", "predicted", "holds"), score, strict=True))
        changed: dict[str, Any] = {name: np.where(whole, one, getattr(self, name)) for name, one in columns.items()}
        return replace(self, **changed)

    @classmethod
    def restored(cls, players: int, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Those whose `arrays` were saved."""
        return cls(players=players, **{name: arrays[name] for name in _NAMES})

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by field."""
        return {name: getattr(self, name) for name in _NAMES}

    def __len__(self) -> int:
        """How many there are."""
        return len(self.packed)

    def __repr__(self) -> str:
        """One line for people."""
        return f"<{len(self)} coalitions of {self.players} patches>"

    @property
    def masks(self) -> BoolArray:
        """The coalitions (c, n), True = present."""
        return np.unpackbits(self.packed, axis=1, count=self.players).astype(bool)

    def look_up(self, present: Iterable[int]) -> Score | None:
        """What the model said to the coalition of the patches `present`; None if it was not asked.

        Raises:
            ArgumentError: There is no such patch.
        """
        need, cure = f"numbers of patches, 0 ... {self.players - 1}", "pass [0, 2] for the first and the third patch"
        if not isinstance(present, Iterable):
            raise bad_type("present", need, present, cure)
        given = list(present)
        for patch in given:
            if isinstance(patch, bool | np.bool_) or not isinstance(patch, int | np.integer):
                raise bad_type("present", need, patch, cure)
            if not 0 <= patch < self.players:
                raise bad_value("present", need, patch, "leave it out")
        mask, patches = np.zeros(self.players, bool), [int(patch) for patch in given]
        mask[patches] = True
        row = self._rows.get(np.packbits(mask).tobytes())
        return None if row is None else self._score(row)

    def _score(self, row: int) -> Score:
        return Score(*(column[row].item() for column in (self.rewards, self.answers, self.predicted, self.holds)))

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        """The row of each."""
        return {one.tobytes(): row for row, one in enumerate(self.packed)}

    def check(self, classes: int | None, *, is_probability: bool) -> None:
        """Refuses what no search would have filled so, for `classes` names of classes; see `Result.check`."""
        count, width = len(self.packed), -(-self.players // _BITS)
        packed = self.packed
        fine = packed.dtype == np.uint8 and packed.shape == (count, width)
        check_field("coalitions.packed", fine, f"{width} bytes for each, got {describe(packed)}")
        spare = width * _BITS - self.players
        check_field("coalitions.packed", not (packed[:, -1:] & ((1 << spare) - 1)).any(), "no bit of a patch too many")
        check_field("coalitions.packed", len(self._rows) == count, "each coalition once")
        for name, dtype in (("rewards", "f8"), ("answers", "f8"), ("predicted", "i8"), ("holds", "?")):
            array = getattr(self, name)
            check_field(f"coalitions.{name}", array.dtype == dtype and array.shape == (count,), f"{count} values")
        check_field("coalitions.rewards", np.isfinite(self.rewards).all(), "finite numbers")
        in_range = not is_probability or bool(((self.answers >= 0) & (self.answers <= 1)).all())
        check_field("coalitions.answers", np.isfinite(self.answers).all() and in_range, "what the model can answer")
        named = classes is None or bool((self.predicted < classes).all())
        check_field("coalitions.predicted", (self.predicted >= -1).all() and named, "classes")
