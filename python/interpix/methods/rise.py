"""Methods that show the model parts of the image and watch its answer. They need no gradients, and no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from interpix.absence import AbsenceInput, read_fill
from interpix.arrays import BoolArray, IntArray
from interpix.checks import MOST_SAMPLES, check_grid, check_positive, check_seed
from interpix.methods.base import Facts, Map, MapMethod
from interpix.methods.random_superpixels import RandomSuperpixels, check_keep
from interpix.models.protocol.workshop import workshop_of
from interpix.options import plain_options
from interpix.outputs.base import Output
from interpix.question import Question

__all__ = ["RISE", "Masks", "SuperpixelRISE"]

_FINEST = 1000
"""Cells a side: of one pixel, in most pictures."""


@dataclass(frozen=True)
class RISE(MapMethod):
    """Random smooth masks, weighted by the target's probability behind them (Petsiuk et al. 2018).

    The map is sum_i p_i M_i / (count keep), M_i the masks, p_i the probabilities. A mask is made when the model is
    asked about it and is not kept; the weighted sum is formed on the masks' grids, one matrix product for all.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[1, :, :3] = 1
    >>> found = RISE(count=200, grid=(2, 3), baseline="zero").explain(model, image, target=1)
    >>> bool(found.map[:, :3].mean() > found.map[:, 3:].mean())
    True

    Attributes:
        count: Number of masks.
        grid: Rows and columns of the cells that are on or off.
        keep: Probability that a cell is on.
        seed: Of the masks, which do not depend on the batch size.
        baseline: What is seen where a mask is 0: what `interpix.Fill` takes.
        batch_size: Masks in one batch; None: the model's own choice.
    """

    count: int = 4000
    grid: tuple[int, int] = (7, 7)
    keep: float = 0.5
    seed: int = 0
    baseline: AbsenceInput = "black"
    batch_size: int | None = None

    name = "rise"
    presets: ClassVar = {"iprop": {"count": 4000, "grid": (7, 7), "keep": 0.5, "baseline": "black"}}

    def __post_init__(self) -> None:
        plain_options(self)
        check_positive("count", self.count, greatest=MOST_SAMPLES)
        check_seed("seed", self.seed)
        check_positive("batch_size", self.batch_size, optional=True)
        check_keep(self.keep)
        check_grid("grid", self.grid, greatest=_FINEST)
        read_fill(self.baseline, "baseline")

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        fill = read_fill(self.baseline, "baseline")
        masks = Masks.draw(question.size, self.grid, self.count, self.keep, self.seed)
        empty = fill.make(question.tensor, question.classifier)
        answers = _ask(question, empty, masks, self.batch_size or question.classifier.batch_size)
        values = masks.weighted_sum(answers) / (self.count * self.keep)
        return values, {"grid": list(self.grid), "baseline": fill.name}


@dataclass(frozen=True)
class SuperpixelRISE(RandomSuperpixels):
    """RISE on superpixels: the mean probability of random sets, each counted for the superpixels in it.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[1, :, :3] = 1
    >>> found = SuperpixelRISE(count=200, regions="1x2", baseline="zero").explain(model, image, target=1)
    >>> bool(found.map[0, 0] > found.map[0, -1])
    True
    """

    name = "superpixel_rise"

    def _values(self, on: BoolArray, answers: npt.NDArray[np.float64], output: Output) -> npt.NDArray[np.float64]:  # noqa: ARG002 - see above
        values: npt.NDArray[np.float64] = answers @ on / (self.count * self.keep)
        return values


@dataclass(frozen=True, eq=False)
class Masks:
    """Smooth masks as on/off grids, each enlarged bilinearly by one cell more than the image and cut out at random.

    Mask i is rows[shifts[i, 0]] @ grids[i] @ columns[shifts[i, 1]]^T.

    Attributes:
        grids: 0 or 1, float32 (count, s, t).
        shifts: By how many pixels the cut is shifted, (count, 2).
        rows: The interpolation of each vertical shift (shifts, H, s).
        columns: The interpolation of each horizontal shift (shifts, W, t).
    """

    grids: npt.NDArray[np.float32]
    shifts: IntArray
    rows: npt.NDArray[np.float32]
    columns: npt.NDArray[np.float32]

    @classmethod
    def draw(cls, size: tuple[int, int], grid: tuple[int, int], count: int, keep: float, seed: int) -> "Masks":
        """Masks of the given size, from a seed."""
        random = np.random.default_rng(seed)
        grids = (random.random((count, *grid)) < keep).astype(np.float32)
        rows, columns = (_interpolations(length, cells) for length, cells in zip(size, grid, strict=True))
        return cls(grids, random.integers((len(rows), len(columns)), size=(count, 2)), rows, columns)

    def weighted_sum(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The sum of all masks times their weights (count,): (H, W)."""
        by_shift = np.zeros((len(self.rows), len(self.columns), *self.grids.shape[1:]))
        np.add.at(by_shift, (self.shifts[:, 0], self.shifts[:, 1]), weights[:, None, None] * self.grids)
        across = np.tensordot(by_shift, self.columns, axes=([1, 3], [0, 2]))
        return np.tensordot(self.rows, across, axes=([0, 2], [0, 1]))


def _interpolations(length: int, cells: int) -> npt.NDArray[np.float32]:
    """The matrices (shifts, length, cells) that enlarge `cells` to one cell more than `length`, and cut.

    >>> _interpolations(2, 2)[0]
    array([[1. , 0. ],
           [0.5, 0.5]], dtype=float32)
    """
    cell = -(-length // cells)
    enlarged = (cells + 1) * cell
    # Centers of pixels in units of cells; beyond the outermost centers of cells the value stays.
    where = ((np.arange(enlarged) + 0.5) * cells / enlarged - 0.5).clip(0, cells - 1)
    hat = np.maximum(0, 1 - np.abs(where[:, None] - np.arange(cells))).astype(np.float32)
    return np.stack([hat[shift : shift + length] for shift in range(cell)])


def _ask(question: Question, empty: npt.NDArray[np.float32], masks: Masks, batch_size: int) -> npt.NDArray[np.float64]:
    """The target's probability, or what else the output says, behind each mask (count,)."""
    workshop = workshop_of(question.classifier)
    brought = question.tensor, empty, masks.rows, masks.columns, masks.shifts
    image, black, rows, columns, shifts = (workshop.bring(one) for one in brought)

    def pictures() -> Iterator[Any]:
        for start in range(0, len(masks.grids), batch_size):
            part = slice(start, start + batch_size)
            down, across = shifts[part].T
            mask = rows[down] @ workshop.bring(masks.grids[part]) @ columns[across].swapaxes(1, 2)
            seen = (image - black) * mask[:, None]
            seen += black
            yield seen

    return question.output.sign * question.scores_of(workshop, pictures()).answer
