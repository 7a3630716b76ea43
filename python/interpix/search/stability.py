"""The same search again, of the photo moved a little and of other meanings of absence."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, count
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from interpix.absence import Absence, AbsenceInput, Fill, read_absence
from interpix.arrays import is_array, to_numpy
from interpix.errors import ArgumentError, bad_type, bad_value, renamed
from interpix.question import Question
from interpix.results.explanation import Explanation
from interpix.results.stability import Stability

__all__ = ["find_stability"]

_FILLS = ("zero", "mean", "blur")


class _Searches(Protocol):
    @property
    def varied(self) -> Callable[..., Any]: ...

    @property
    def absence(self) -> Absence: ...

    @property
    def explain(self) -> Callable[..., Any]: ...

    @property
    def game(self) -> Callable[..., Any]: ...


def find_stability(
    moxi: _Searches, question: Question, absences: Sequence[AbsenceInput] | None, shift: int, options: dict[str, Any]
) -> Stability:
    """See `interpix.MoXI.stability`.

    Args:
        moxi: Searches of the photo as it is.
        question: The photo.
        absences: Other meanings of absence.
        shift: By how many pixels the photo is moved.
        options: Of the search.
    """
    others = _fills(absences)
    base: Explanation = moxi.explain(question, None, **options)
    variants: dict[str, Explanation] = {}
    # The same patches, also where they depend on the picture.
    same = moxi.varied(regions=base.regions)
    if shift:
        ways = [(-shift, 0), (shift, 0), (0, -shift), (0, shift)]
        moved = [_moved(question.tensor, *way) for way in ways]
        targets = [question.output.moved(question.target, question.logits, *way) for way in ways]
        try:
            found = same.explain(moved, targets, **options)
        except ArgumentError as error:  # a detector may lose its box
            need = "a shift at which the model still finds what is explained"
            raise bad_value("shift", need, f"{shift}, at which {error}", "pass shift=0") from error
        variants |= {f"shifted by {way}": one for way, one in zip(ways, found, strict=True)}
    for fill in others:
        if not _are_same(fill, moxi.absence):
            other = moxi.varied(regions=base.regions, absence=fill)
            with renamed(absence="absences"):
                variants[_name_of(fill, variants)] = other.explain(question, None, **options)
    return Stability.of(base, variants, _noise(moxi, question, base))


def _fills(absences: Sequence[AbsenceInput] | None) -> list[Absence]:
    """Other meanings of absence, each once."""
    # One array would be taken apart into its rows.
    if absences is not None and (isinstance(absences, str) or is_array(absences) or not isinstance(absences, Iterable)):
        raise bad_type("absences", "a list of absences", absences, 'pass ["mean", "blur"], for example')
    fills: list[Absence] = []
    for absence in _FILLS if absences is None else absences:
        fill = read_absence(absence, name="absences")
        if not any(_are_same(fill, other) for other in fills):
            fills.append(fill)
    return fills


def _are_same(one: Absence, other: Absence) -> bool:
    """Whether two absences are the same; of arrays, whether their numbers are."""
    if isinstance(one, Fill) and isinstance(other, Fill) and is_array(one.value) and is_array(other.value):
        return np.array_equal(to_numpy(one.value, "absences"), to_numpy(other.value, "absences"))
    return one.name == other.name


def _name_of(absence: Absence, taken: Mapping[str, Any]) -> str:
    """A name that no other variant has."""
    name = f"absence {absence.name}"
    return next(one for one in chain([name], (f"{name} {number}" for number in count(2))) if one not in taken)


def _moved(image: npt.NDArray[np.float32], down: int, right: int) -> npt.NDArray[np.float32]:
    """An image (C, H, W) moved by whole pixels; its edge is repeated where nothing is.

    >>> _moved(np.array([[[1, 2, 3]]], np.float32), 0, 1).tolist()
    [[[1.0, 1.0, 2.0]]]
    """
    height, width = image.shape[1:]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return image[:, rows][:, :, columns]


def _noise(moxi: _Searches, question: Question, found: Explanation) -> float:
    """The greatest difference of the rewards along a ranking, asked in one batch and one by one."""
    game = moxi.game(question, None)
    masks = np.zeros((len(found.ranking) + 1, game.n_players), np.bool_)
    for step, patch in enumerate(found.ranking, start=1):
        masks[step:, patch] = True
    if found.direction == "deletion":
        masks = ~masks
    together = game(masks)
    alone = np.array([game(mask)[0] for mask in masks])
    return float(np.abs([together - alone, together - found.rewards]).max())
