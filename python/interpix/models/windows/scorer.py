"""Candidates of a plain stack of convolutions: of each, only what its flipped region changes is computed."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpix.arrays import IntArray
from interpix.models.protocol.classifier import Coalitions
from interpix.models.torch.module import TorchModule
from interpix.models.torch.pictures import PictureScorer, Refill
from interpix.models.torch.readout import read_out, to_readout
from interpix.models.torch.transfer import on_device
from interpix.models.windows.model import WindowModel, WindowState
from interpix.outputs.readout import Readout
from interpix.terms import Precision

__all__ = ["WindowScorer"]

# Fewer candidates of one base picture than this are evaluated in full: the base's own maps cost one evaluation.
_LEAST_CANDIDATES = 3


class WindowScorer(PictureScorer):
    """Pictures for a plain stack of convolutions: of a candidate only what its flipped region changes is computed."""

    def __init__(
        self,
        net: TorchModule,
        windows: WindowModel,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        fill: npt.NDArray[np.float32],
        *,
        refill: Refill,
    ) -> None:
        """Takes what `PictureScorer` takes."""
        super().__init__(net, images, regions, fill, refill=refill)
        self._windows = windows
        # The base pictures' maps of the images in the last batch, by image, with the base set and the direction.
        self._states: dict[int, tuple[bytes, WindowState]] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """See `Scorer`."""
        return super().facts | {"scored_as": "windows"}

    def replace(self, places: IntArray, images: npt.NDArray[np.float32], regions: IntArray | None) -> None:
        """See `PictureScorer`."""
        super().replace(places, images, regions)
        self._states = {image: state for image, state in self._states.items() if image not in places}

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """See `Scorer`."""
        images = np.unique(coalitions.owner)
        self._states = {image: state for image, state in self._states.items() if image in images}
        parts, order, rest = [], [], [np.flatnonzero(coalitions.flip < 0)]
        with self._net.evaluating():
            for rows in _rows_alike(coalitions):
                state = self._state(coalitions[rows])
                if state is None:
                    rest.append(rows)
                else:
                    parts.append(self._candidates(state, coalitions[rows], precision))
                    order.append(rows)
            order.append(np.concatenate(rest))
            if len(order[-1]):
                parts += self._whole(coalitions[order[-1]], precision)
            return to_readout(parts, self._net.name, coalitions, np.concatenate(order))

    def _candidates(self, state: WindowState, candidates: Coalitions, precision: Precision) -> Tensor:
        with self._net.errors_named("windows of pictures"):
            logits = self._windows.logits(state, candidates.flip, precision=precision)
        targets = on_device(candidates.targets, logits.device)
        return read_out(self._net.rows(logits), targets, relative=candidates.relative)

    def _evaluate(self, pictures: Tensor, precision: Precision) -> Tensor:
        with self._net.errors_named(f"a batch {tuple(pictures.shape)}"):
            return self._net.rows(self._windows.whole_logits(pictures, precision=precision))

    def _state(self, candidates: Coalitions) -> WindowState | None:
        """The maps of the candidates' base picture; None where they would not pay."""
        image = int(candidates.owner[0])
        base = candidates.bases[candidates.row[0]]
        added = not base[candidates.flip[0]]
        key = base.tobytes() + bytes([added])
        if image in self._states and self._states[image][0] == key:
            return self._states[image][1]
        if len(candidates) < _LEAST_CANDIDATES:
            return None
        device = self._net.device
        owner = torch.tensor([image], device=device)
        picture = self._compose(owner, on_device(base[None], device))[0]
        other = self._images[image] if added else self._fill[image if len(self._fill) > 1 else 0]
        with self._net.errors_named("the picture that candidates differ from"):
            state = self._windows.state_of(picture, other, self._labels_of(owner)[0].long())
        self._states[image] = key, state
        return state


def _rows_alike(coalitions: Coalitions) -> list[IntArray]:
    """The rows with a flip, apart by base set, and by whether the flipped player is in it."""
    rows = np.flatnonzero(coalitions.flip >= 0)
    row = coalitions.row[rows]
    kinds = 2 * row + coalitions.bases[row, coalitions.flip[rows]]
    return [rows[kinds == kind] for kind in np.unique(kinds)]
