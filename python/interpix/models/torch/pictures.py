"""Coalitions scored as pictures: the image where a region is present, the fill elsewhere, composed on the device."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpix.arrays import IntArray
from interpix.models.protocol.classifier import Coalitions
from interpix.models.torch.memory import Chunks, memory_of
from interpix.models.torch.module import TorchModule
from interpix.models.torch.readout import read_out, to_readout
from interpix.outputs.readout import Readout
from interpix.terms import Precision

__all__ = ["TorchPictureScorer", "on_device"]


class TorchPictureScorer:
    """Coalitions as pictures: the image where a region is present, the fill elsewhere, composed on the device."""

    def __init__(
        self,
        net: TorchModule,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        fill: npt.NDArray[np.float32],
        *,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Takes images and fill (K, C, H, W) and regions (K, H, W), and what a result shall remember beside them."""
        self._facts = facts
        self._net = net
        self._images, self._fill = (on_device(array, net.device).to(net.dtype) for array in (images, fill))
        self._regions = on_device(regions, net.device)
        memory = memory_of(net.device)
        most = net.pictures_at_once(*images.shape[2:]) if memory is None else net.batch_size
        self._chunks = Chunks(net.name, most, memory)
        self.batch_size = net.batch_size

    @property
    def facts(self) -> dict[str, Any]:
        """See `Scorer`."""
        return {"scored_as": "pictures", **self._facts, **self._chunks.facts}

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """See `Scorer`; mixed precision is torch's own autocast to bfloat16."""
        with self._net.evaluating():
            return to_readout(self._whole(coalitions, precision), self._net.name, coalitions)

    def _whole(self, coalitions: Coalitions, precision: Precision) -> list[Tensor]:
        """What the whole pictures of coalitions say, in parts."""
        owner, bases, row, flip, targets = _tensors(coalitions, self._net.device)

        def work(part: slice) -> Tensor:
            pictures = self._compose(owner[part], _flipped(bases[row[part]], flip[part]))
            rows = self._evaluate(pictures, precision)
            coalitions.check_width(rows.shape[1], self._net.name)
            return read_out(rows, targets[part], relative=coalitions.relative)

        return self._chunks.run(len(coalitions), work)

    def _compose(self, owner: Tensor, masks: Tensor) -> Tensor:
        """The pictures (c, C, H, W)."""
        present = masks.gather(1, self._regions[owner].flatten(1)).view(-1, 1, *self._regions.shape[1:])
        return torch.where(present, self._images[owner], self._fill[owner])

    def _evaluate(self, pictures: Tensor, precision: Precision) -> Tensor:
        if precision == "exact":
            return self._net.forward(pictures)
        with torch.autocast(pictures.device.type, torch.bfloat16):
            return self._net.forward(pictures)


def on_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array on a device, in its own number type."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _flipped(sets: Tensor, flip: Tensor) -> Tensor:
    """Presence (c, n) after one flip in each row; -1: none."""
    column = flip.clamp(min=0)[:, None]
    return sets.scatter(1, column, sets.gather(1, column) ^ (flip >= 0)[:, None])


def _tensors(coalitions: Coalitions, device: torch.device) -> tuple[Tensor, ...]:
    """Owner, bases, row, flip and targets."""
    columns = coalitions.owner, coalitions.bases, coalitions.row, coalitions.flip, coalitions.targets
    return tuple(on_device(column, device) for column in columns)
