"""A plain stack of convolutions with its norms folded in, for whole pictures on any device."""

from typing import Any

import torch
from torch import nn

from interpix.checks import check_choice
from interpix.errors import ModelError
from interpix.models.torch.module import hook_count
from interpix.models.windows.layers import Convolution, Layer, Network, Size, layout_of
from interpix.models.windows.lowering import UnsupportedModule, derive_layers
from interpix.models.windows.maps import BaseMap, base_table
from interpix.terms import Precision

__all__ = ["FoldedModel"]

CACHED_BYTES = 16 << 20
"""Of a layer's maps that are computed at once: what a CPU's caches hold."""
_NUMBERS = torch.float32, torch.float64


class FoldedModel:
    """A network that is evaluated with its norms folded in.

    It holds its own weights, and takes them anew when the module's have changed.

    >>> mean = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    >>> pictures = torch.rand(5, 3, 8, 9)
    >>> torch.allclose(FoldedModel(mean, (8, 9)).whole_logits(pictures), mean(pictures), atol=1e-6)
    True

    Attributes:
        size: Height and width of its pictures.
    """

    def __init__(self, module: nn.Module, size: Size, channels: int = 3) -> None:
        """Derives the layers of `module`, as `derive_layers` does.

        Raises:
            UnsupportedModule: It is not a plain stack of convolutions, or not fit for this.
        """
        self._module, self.size, self._channels = module, size, channels
        self._versions: list[Any] = []
        self._network: Network
        self._refresh()

    def whole_logits(self, batch: torch.Tensor, *, precision: Precision = "exact") -> torch.Tensor:
        """Logits (B, classes) of any pictures (B, C, H, W), evaluated in full.

        Args:
            batch: The pictures, as the model sees them.
            precision: "exact" computes in the module's own precision, "mixed" maps in bfloat16 and the head as "exact".
        """
        self._refresh()
        dtype = self._map_dtype(precision)
        pictures = batch.to(self._device, dtype, memory_format=layout_of(self._device, dtype))  # in one copy, or none
        found = [self._full(part) for part in pictures.split(self._batch(len(batch)))]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _check(self) -> None:
        """Refuses a module whose numbers are not all of one kind, single or double, on one device."""
        tensors = [*self._module.parameters(), *self._module.buffers()]
        devices = {one.device for one in tensors}
        kinds = {one.dtype for one in tensors if one.is_floating_point()}
        if len(devices) > 1:
            raise UnsupportedModule("it is on several devices")
        if len(kinds) > 1 or not kinds.issubset(_NUMBERS):
            raise UnsupportedModule(f"its numbers are {', '.join(sorted(map(str, kinds)))}")

    def _refresh(self) -> None:
        tensors = [*self._module.parameters(), *self._module.buffers()]
        versions = [(x.data_ptr(), x.dtype, 0 if x.is_inference() else x._version) for x in tensors]  # noqa: SLF001
        hooks = hook_count(self._module)
        if [*versions, hooks] == self._versions:
            return
        try:
            self._check()
            self._network = derive_layers(self._module, self.size, self._channels)
        except UnsupportedModule as error:
            if not self._versions:
                raise
            cure = "make a new explainer, or undo the change"
            message = f"the module was changed and cannot be evaluated layer by layer: {error}; {cure}"
            raise ModelError(message) from error
        self._versions = [*versions, hooks]
        example = next(self._module.parameters())
        self._device, self._dtype = example.device, example.dtype

    def _map_dtype(self, precision: Precision) -> torch.dtype:
        check_choice("precision", precision, ("exact", "mixed"))
        return self._dtype if precision == "exact" else torch.bfloat16

    def _batch(self, count: int) -> int:
        """How many of so many pictures go at once: on a CPU those whose largest map fits the cache."""
        if self._device.type != "cpu":
            return max(1, count)
        largest = max(map_area(layer) * map_channels(layer) for layer in self._network.layers)
        return max(1, CACHED_BYTES // (4 * largest))

    def _full(self, batch: torch.Tensor, base_maps: dict[Layer, BaseMap] | None = None) -> torch.Tensor:
        """Logits of whole pictures; `base_maps` receives the maps of a single one."""
        maps: dict[Layer, torch.Tensor] = {}
        with torch.no_grad():
            for layer in self._network.layers:
                inputs = [maps[source] for source in layer.inputs]
                sums = None
                if not inputs:
                    maps[layer] = batch.to(memory_format=layout_of(batch.device, batch.dtype))
                elif layer.reach is None:
                    maps[layer] = layer.finish(layer.sums([x.to(self._dtype) for x in inputs]))
                else:
                    result = layer.sums(inputs)
                    if base_maps is not None and isinstance(layer.apply, Convolution) and layer.apply.suits_winograd:
                        sums = result[0].permute(1, 2, 0).to(torch.float32, copy=True).contiguous()
                    maps[layer] = layer.finish(result, None if layer.shortcut is None else maps[layer.shortcut])
                if base_maps is not None and layer.reach is not None:
                    base_maps[layer] = BaseMap(base_table(maps[layer]), sums)
                for source in self._network.done[layer]:
                    del maps[source]
        return maps[self._network.result]


def map_area(layer: Layer) -> int:
    """Pixels of a layer's maps; 0 where it reads whole ones."""
    return 0 if layer.shape is None else layer.shape[1] * layer.shape[2]


def map_channels(layer: Layer) -> int:
    """Channels of a layer's maps; 0 where it reads whole ones."""
    return 0 if layer.shape is None else layer.shape[0]
