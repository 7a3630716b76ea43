"""Coalitions scored as pictures: the image where a region is present, the fill elsewhere, composed on the device."""

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpix.arrays import IntArray
from interpix.models.protocol.classifier import Coalitions, check_width
from interpix.models.protocol.players import without_repeats
from interpix.models.protocol.steps import BATCHES_A_STEP, Best, Step
from interpix.models.torch.memory import Chunks, memory_of
from interpix.models.torch.module import TorchModule
from interpix.models.torch.readout import read_out, to_readout
from interpix.models.torch.steps import StepTaker, list_candidates
from interpix.models.torch.transfer import on_device, to_device
from interpix.outputs.readout import Readout
from interpix.terms import Precision

__all__ = ["PictureScorer", "Refill", "TorchPictureScorer"]


Refill: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""From images (K, C, H, W) to the pictures of nothing of each."""


class PictureScorer:
    """Coalitions as pictures: the image where a region is present, the fill elsewhere, composed on the device."""

    replaces_images = True
    """Other images take the places of those that are done: see `replace`."""

    def __init__(
        self,
        net: TorchModule,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        fill: npt.NDArray[np.float32],
        *,
        refill: Refill,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Takes images and fill (K, C, H, W), regions (K, H, W), the fill of others, and what a result remembers."""
        self._facts = facts
        self._net = net
        self._refill = refill
        # The fill is that of all images (1, C, H, W) or of each; a single image may have one of its own, too.
        self._fill_is_shared = fill.strides[0] == 0
        self._images, self._fill = (
            on_device(array, net.device).to(net.dtype) for array in (images, without_repeats(fill))
        )
        # Of all images (1, H, W) or of each (K, H, W); what is read for every candidate is kept small.
        labels = without_repeats(regions)
        self._small = np.int16 if labels.shape[1] * labels.shape[2] <= np.iinfo(np.int16).max else np.int32
        self._labels = on_device(labels.astype(self._small), net.device)
        self._owns = False
        memory = memory_of(net.device)
        most = net.pictures_at_once(*images.shape[2:]) if memory is None else net.batch_size
        self._chunks = Chunks(net.name, most, memory)
        self.batch_size = net.batch_size

    @property
    def facts(self) -> dict[str, Any]:
        """See `Scorer`."""
        return {"scored_as": "pictures", **self._facts, **self._chunks.facts}

    def replace(self, places: IntArray, images: npt.NDArray[np.float32], regions: IntArray | None) -> None:
        """Puts other images (k, C, H, W) in some places (k,); regions (k, H, W), where each has its own."""
        if not self._owns:  # what is there may be the user's
            self._images, self._owns = self._images.clone(), True
        at = on_device(places, self._labels.device)
        self._images[at] = self._to_device(images)
        if not self._fill_is_shared:
            self._fill[at] = self._to_device(self._refill(images))
        if regions is not None:
            self._labels[at] = on_device(regions.astype(self._small), self._labels.device)

    def _to_device(self, images: npt.NDArray[np.float32]) -> Tensor:
        return on_device(images, self._labels.device).to(self._net.dtype)

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
            check_width(coalitions.width, rows.shape[1], self._net.name)
            return read_out(rows, targets[part], relative=coalitions.relative)

        with self._casting(precision):
            return self._chunks.run(len(coalitions), work)

    def _labels_of(self, images: Tensor) -> Tensor:
        """The player of each pixel of some images (c, H, W), or of all (1, H, W)."""
        return self._labels if len(self._labels) == 1 else self._labels[images]

    def _compose(self, owner: Tensor, masks: Tensor) -> Tensor:
        """The pictures (c, C, H, W) of presence (c, n)."""
        return self._pictures(owner, _spread(masks, self._labels_of(owner)))

    def _pictures(self, owner: Tensor, present: Tensor) -> Tensor:
        """The pictures (c, C, H, W) of presence by pixel (c, H, W)."""
        fill = self._fill if len(self._fill) == 1 else self._fill[owner]
        return torch.where(present[:, None], self._images[owner], fill)

    def _evaluate(self, pictures: Tensor, precision: Precision) -> Tensor:
        with self._casting(precision):
            return self._net.forward(pictures)

    def _casting(self, precision: Precision) -> torch.autocast:
        """Entered once around many parts, weights are cast to bfloat16 once for all of them."""
        return torch.autocast(self._labels.device.type, torch.bfloat16, enabled=precision == "mixed")


class TorchPictureScorer(PictureScorer):
    """The same, which takes whole steps, too."""

    takes_steps = True
    """See `StepScorer`."""

    @property
    def candidates_at_once(self) -> int | None:
        """See `StepScorer`."""
        return BATCHES_A_STEP * self.batch_size if self._net.device.type == "cpu" else None

    def replace(self, places: IntArray, images: npt.NDArray[np.float32], regions: IntArray | None) -> None:
        """See `PictureScorer`."""
        super().replace(places, images, regions)
        self._steps.forget(places.tolist())

    def best(self, step: Step) -> Callable[[], Best]:
        """See `StepScorer`."""

        def ask(images: Tensor, present: Tensor, precision: Precision) -> Tensor:
            return self._evaluate(self._pictures(images, present), precision)

        images, targets = to_device([step.images, step.targets], self._labels.device)

        def run(rows: int, work: Callable[[slice], Tensor], precision: Precision) -> Tensor:
            with self._casting(precision):
                return torch.cat(self._chunks.run(rows, work))

        candidates = _Candidates(step, images, self._labels_of(images), ask, run)
        return self._steps.begin(step, candidates, targets)

    @cached_property
    def _steps(self) -> StepTaker:
        return StepTaker(self._net, self._labels.device)


class _Candidates:
    """The candidates of a step as pictures."""

    def __init__(
        self,
        step: Step,
        images: Tensor,
        labels: Tensor,
        ask: Callable[[Tensor, Tensor, Precision], Tensor],
        run: Callable[[int, Callable[[slice], Tensor], Precision], Tensor],
    ) -> None:
        """Takes the images (b,), their labels, a function of images and presence by pixel (r, H, W), and its parts."""
        self._count, self._images, self._labels, self._ask, self._run = step.count, images, labels, ask, run
        bases = on_device(step.bases, images.device)
        candidates, _ = list_candidates(bases, step)
        self._player = candidates.flatten().to(labels.dtype)
        self._present = _spread(bases, labels)

    def rows(self, chosen: Tensor, precision: Precision) -> Tensor:
        """See `Candidates`."""

        def work(part: slice) -> Tensor:
            some = chosen[part]
            base = some // self._count
            labels = self._labels if len(self._labels) == 1 else self._labels[base]
            flipped = labels == self._player[some, None, None]
            return self._ask(self._images[base], self._present[base] ^ flipped, precision)

        return self._run(len(chosen), work, precision)


def _spread(masks: Tensor, labels: Tensor) -> Tensor:
    """Presence by pixel (c, H, W) from presence (c, n), by labels (c, H, W), or (1, H, W) for all."""
    flat = labels.flatten(1).long()
    present = masks.index_select(1, flat[0]) if len(flat) == 1 else masks.gather(1, flat)
    return present.view(len(masks), *labels.shape[1:])


def _flipped(sets: Tensor, flip: Tensor) -> Tensor:
    """Presence (c, n) after one flip in each row; -1: none."""
    column = flip.clamp(min=0)[:, None]
    return sets.scatter(1, column, sets.gather(1, column) ^ (flip >= 0)[:, None])


def _tensors(coalitions: Coalitions, device: torch.device) -> tuple[Tensor, ...]:
    """Owner, bases, row, flip and targets."""
    columns = coalitions.owner, coalitions.bases, coalitions.row, coalitions.flip, coalitions.targets
    return tuple(on_device(column, device) for column in columns)
