"""The same search again, of the photo moved a little and of other meanings of absence."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from interpix.absence import AbsenceInput, read_absence
from interpix.question import Question
from interpix.results.explanation import Explanation
from interpix.results.stability import Stability

__all__ = ["find_stability"]

_FILLS = ("zero", "mean", "blur")


class _Searches(Protocol):
    @property
    def varied(self) -> Callable[..., Any]: ...

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
    base: Explanation = moxi.explain(question, None, **options)
    variants: dict[str, Explanation] = {}
    # The same patches, also where they depend on the picture.
    same = moxi.varied(regions=base.regions)
    if shift:
        ways = [(-shift, 0), (shift, 0), (0, -shift), (0, shift)]
        moved = [_moved(question.tensor, *way) for way in ways]
        found = same.explain(moved, question.target, **options)
        variants |= {f"shifted by {way}": one for way, one in zip(ways, found, strict=True)}
    for absence in _FILLS if absences is None else absences:
        fill = read_absence(absence, name="absences")
        if fill.name != base.provenance["absence"]:
            other = moxi.varied(regions=base.regions, absence=fill)
            variants[f"absence {fill.name}"] = other.explain(question.tensor, question.target, **options)
    return Stability(explanation=base, variants=variants, noise=_noise(moxi, question, base))


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
