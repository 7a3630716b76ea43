"""Candidates that differ from one picture in one region each: only the windows that can differ are computed.

A flipped region changes a box of the picture, and at every layer a box that grows by the layer's reach and shrinks by
its stride. So the maps of the base picture are computed once, and a layer of a candidate on its window only, from what
`maps` gathers of base and windows. Windows are clipped at the border of the map; those of one size are a batch.
The first layer that reads whole maps gets them put together in the same way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from interpix.arrays import IntArray
from interpix.errors import bad_value
from interpix.models.windows.folded import CACHED_BYTES, FoldedModel, map_area, map_channels
from interpix.models.windows.layers import Convolution, Layer, Network, Reach, Size
from interpix.models.windows.lowering import UnsupportedModule
from interpix.models.windows.maps import BaseMap, Group, Layout, WindowMaps, changed_outputs
from interpix.terms import Precision

__all__ = ["WindowModel", "WindowState", "find_stack", "find_window_model", "windows_serve"]

_SHARE = 0.5  # of the network's products must be on windows, or windows are not worth their trouble
_GATHER = 1.25  # windows cost this much more for each product than whole maps do


def find_stack(module: nn.Module, size: Size, channels: int = 3) -> FoldedModel | None:
    """`module` for faster evaluation of pictures of `size` (H, W), if it is a plain stack of convolutions.

    Known are convolutions, batch norms, pools, pointwise activations, sums, products and concatenations, and after the
    last map a head of pools and linear layers. None for everything else (squeeze-and-excite, attention, norms over the
    map, hooks, a forward that cannot be traced): ask the module itself. A `WindowModel` where windows pay, on a CPU;
    whole pictures with folded norms elsewhere. The module itself is not changed; it is meant as in `module.eval()`.

    >>> from torch import nn
    >>> find_stack(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (8, 9)) is None
    False
    >>> find_stack(nn.Sequential(nn.Flatten(), nn.Linear(216, 10)), (8, 9)) is None
    True
    """
    example = next(iter([*module.parameters(), *module.buffers()]), None)
    try:
        if example is None or windows_serve(example.device):
            model = WindowModel(module, size, channels)
            if model.windowed_share >= _SHARE:
                return model
        return FoldedModel(module, size, channels)
    except UnsupportedModule:
        return None


def find_window_model(module: nn.Module, size: Size, channels: int = 3) -> "WindowModel | None":
    """What `find_stack` finds, where it is evaluated in windows."""
    found = find_stack(module, size, channels)
    return found if isinstance(found, WindowModel) else None


def windows_serve(device: torch.device) -> bool:
    """Whether windows serve on a device: a GPU is faster with few large operations."""
    return str(device.type) == "cpu"


@dataclass(frozen=True)
class WindowState:
    """One base picture with what every candidate shares.

    Attributes:
        base: The picture (C, H, W).
        other: The picture (C, H, W) whose pixels a flipped region gets.
        regions: Labels (H, W) on the model's device.
        boxes: Top, left, bottom and right (exclusive) of each region (regions, 4).
        logits: Logits (classes,) of the base picture.
        network: The layers.
        maps: The base map of each layer that has windows.
    """

    base: torch.Tensor
    other: torch.Tensor
    regions: torch.Tensor
    boxes: IntArray
    logits: torch.Tensor
    network: Network
    maps: dict[Layer, BaseMap]


class WindowModel(FoldedModel):
    """A network that is evaluated in windows, or as a whole.

    `state_of` takes the weights anew when the module's have changed.

    Attributes:
        windowed_share: Share of the products (0 ... 1) that can be computed in windows.
    """

    def __init__(self, module: nn.Module, size: Size, channels: int = 3) -> None:
        """See `FoldedModel`."""
        super().__init__(module, size, channels)
        whole = sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))
        self._products = sum(layer.products * map_area(layer) for layer in self._network.layers)
        self.windowed_share = self._products / max(self._products + whole, 1)

    def state_of(self, base: torch.Tensor, other: torch.Tensor, regions: Any) -> WindowState:
        """The maps of a base picture whose regions can be flipped.

        Args:
            base: The picture (C, H, W), as the model sees it.
            other: The picture (C, H, W) whose pixels a flipped region gets.
            regions: Labels 0 ... n-1 (H, W).

        Raises:
            ModelError: The module is no longer a plain stack of convolutions.
        """
        self._refresh()
        base, other = (picture.detach().to(self._device, self._dtype) for picture in (base, other))
        labels = torch.as_tensor(regions, device=self._device)
        if base.shape != (self._channels, *self.size) or other.shape != base.shape or labels.shape != self.size:
            got = f"{tuple(base.shape)}, {tuple(other.shape)} and {tuple(labels.shape)}"
            raise bad_value(
                "base", f"two pictures {(self._channels, *self.size)} and labels {self.size}", got, "resize them"
            )
        maps: dict[Layer, BaseMap] = {}
        logits = self._full(base[None], maps)
        return WindowState(base, other, labels, _boxes(labels.cpu().numpy()), logits[0], self._network, maps)

    def logits(self, state: WindowState, flipped: Any, *, precision: Precision = "exact") -> torch.Tensor:
        """Logits (candidates, classes): the base picture with one region of the other picture each.

        Args:
            state: What `state_of` gave.
            flipped: The region that each candidate flips (candidates,).
            precision: "exact" computes in the module's own precision, "mixed" maps in bfloat16 and the head as "exact".
        """
        self._refresh()
        if state.network is not self._network:
            raise bad_value(
                "state", "one of this model as it is", "one from before its weights changed", "ask for a new state"
            )
        flipped = np.asarray(flipped, np.int64)
        changed = self._changed(state.boxes[flipped])
        result = state.logits.new_empty(len(flipped), *state.logits.shape)
        small = self._window_products(changed) * _GATHER < self._products
        dtype = self._map_dtype(precision)
        for part in self._chunks(np.flatnonzero(small), changed):
            few = {layer: boxes[part] for layer, boxes in changed.items()}
            result[part] = self._windows(state, flipped[part], few, dtype)
        large = np.flatnonzero(~small)
        for part in np.array_split(large, -(-len(large) // self._batch(len(large)))) if len(large) else ():
            keep = state.regions != torch.from_numpy(flipped[part]).to(self._device)[:, None, None]
            result[part] = self.whole_logits(torch.where(keep[:, None], state.base, state.other), precision=precision)
        return result

    def count_products(self, regions: IntArray) -> tuple[int, int]:
        """Multiplications of scoring every region's flip, with whole maps and with windows."""
        boxes = _boxes(regions)
        return self._products * len(boxes), int(self._window_products(self._changed(boxes)).sum())

    def _check(self) -> None:
        """Refuses what is on another device: see `windows_serve`."""
        example = next(iter([*self._module.parameters(), *self._module.buffers()]), None)
        if example is not None and not windows_serve(example.device):
            raise UnsupportedModule(f"it is on {example.device}")

    def _changed(self, boxes: IntArray) -> dict[Layer, IntArray]:
        """What can differ from the base at each layer that is computed in windows."""
        changed: dict[Layer, IntArray] = {}
        for layer in self._network.layers:
            if layer.reach is None:
                continue
            if not layer.inputs:
                changed[layer] = boxes
                continue
            boxes_read = [changed_outputs(changed[source], layer.reach, _map_size(layer)) for source in layer.inputs]
            if layer.shortcut is not None:
                boxes_read.append(changed[layer.shortcut])
            corners = np.stack(boxes_read)
            changed[layer] = np.concatenate([corners[..., :2].min(0), corners[..., 2:].max(0)], axis=1)
        return changed

    def _window_products(self, changed: dict[Layer, IntArray]) -> IntArray:
        """Multiplications of each candidate, before sizes are rounded (candidates,)."""
        areas = np.stack([_areas(boxes) for boxes in changed.values()])
        products: IntArray = np.array([layer.products for layer in changed]) @ areas
        return products

    def _chunks(self, candidates: IntArray, changed: dict[Layer, IntArray]) -> Iterator[IntArray]:
        """Candidates whose windows fit the cache together at every layer."""
        if not len(candidates):
            return
        most = max(_areas(boxes[candidates]).mean() * map_channels(layer) for layer, boxes in changed.items())
        count = -(-len(candidates) // max(1, int(CACHED_BYTES / (4 * most))))
        yield from np.array_split(candidates, count)

    def _windows(
        self, state: WindowState, flipped: IntArray, changed: dict[Layer, IntArray], dtype: torch.dtype
    ) -> torch.Tensor:
        """Logits (candidates, classes) by way of windows in `dtype`."""
        maps: dict[Layer, WindowMaps] = {}
        whole: dict[Layer, torch.Tensor] = {}
        with torch.no_grad():
            for layer in self._network.layers:
                if layer.reach is not None:
                    layout = _layout(layer, layer.reach, changed[layer], maps)
                    maps[layer] = WindowMaps(layout, state.maps[layer].table, dtype)
                    _fill_windows(layer, layer.reach, maps, state, flipped)
                else:
                    inputs = [whole[x] if x in whole else maps[x].full(len(flipped)) for x in layer.inputs]
                    whole[layer] = layer.finish(layer.sums([x.to(self._dtype) for x in inputs]))
                for source in self._network.done[layer]:
                    maps.pop(source, None)
        return whole[self._network.result]


def _layout(layer: Layer, reach: Reach, changed: IntArray, maps: dict[Layer, WindowMaps]) -> Layout:
    """An input's windows where they serve, so that nothing need be gathered, else new ones."""
    if reach.is_pointwise:
        for source in layer.sources:
            if np.array_equal(maps[source].layout.changed, changed):
                return maps[source].layout
    return Layout(changed, _map_size(layer))


def _fill_windows(
    layer: Layer, reach: Reach, maps: dict[Layer, WindowMaps], state: WindowState, flipped: IntArray
) -> None:
    """Computes the windows of one layer, a batch for each size."""
    layout = maps[layer].layout
    for group in layout.groups:
        if not layer.inputs:
            result = _compose(state, flipped, layout, group)
        else:
            shortcut = None
            if layer.shortcut is not None:
                shortcut = maps[layer.shortcut].window(layout, group, Reach())
            sums = _convolve(layer, reach, maps, state, group)
            if sums is None:
                sums = layer.apply(*(maps[source].window(layout, group, reach) for source in layer.inputs))
            result = layer.finish(sums, shortcut)
        maps[layer].put(group, result)


def _convolve(
    layer: Layer, reach: Reach, maps: dict[Layer, WindowMaps], state: WindowState, group: Group
) -> torch.Tensor | None:
    """What the layer gives for the windows of a group, by Winograd's algorithm; None where that does not pay."""
    if not isinstance(layer.apply, Convolution):
        return None
    source, start = maps[layer.inputs[0]], state.maps[layer].sums
    winograd = layer.apply.winograd(len(group.members), group.size, source.table.dtype)
    if winograd is None or start is None:
        return None
    return source.convolve(winograd, maps[layer].layout, group, reach, start)


def _compose(state: WindowState, flipped: IntArray, layout: Layout, group: Group) -> torch.Tensor:
    """Windows (members, 3, h, w) of the candidates' pictures."""
    device = state.base.device
    top, left = (torch.from_numpy(layout.places[axis, group.members]).to(device) for axis in (0, 1))
    y = (top[:, None] + torch.arange(group.size[0], device=device))[:, :, None]
    x = (left[:, None] + torch.arange(group.size[1], device=device))[:, None]
    label = torch.from_numpy(flipped[group.members]).to(device)[:, None, None]
    return torch.where(state.regions[y, x] == label, state.other[:, y, x], state.base[:, y, x]).transpose(0, 1)


def _boxes(labels: IntArray) -> IntArray:
    """Top, left, bottom and right (exclusive) of each label (n, 4)."""
    count = int(labels.max()) + 1
    y, x = (axis.ravel() for axis in np.indices(labels.shape))
    boxes = np.empty((count, 4), np.int64)
    for column, values in enumerate((y, x)):
        lowest, highest = np.full(count, labels.size), np.zeros(count, np.int64)
        np.minimum.at(lowest, labels.ravel(), values)
        np.maximum.at(highest, labels.ravel(), values + 1)
        boxes[:, column], boxes[:, column + 2] = lowest, highest
    return boxes


def _areas(boxes: IntArray) -> IntArray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _map_size(layer: Layer) -> Size:
    if layer.shape is None:
        raise TypeError("a layer that reads whole maps has no map size")
    return layer.shape[1:]
