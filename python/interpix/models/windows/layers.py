"""The layers of a convolutional network: what each computes, and which part of a map one of its pixels reads."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import nn

from interpix.models.torch.module import in_double
from interpix.models.windows.winograd import Winograd, WinogradInputs, suits_winograd, winograd_pays

__all__ = ["Convolution", "Layer", "Network", "Operation", "Reach", "Size", "layout_of"]

Size: TypeAlias = tuple[int, int]
"""Height and width, or one number for rows and one for columns."""
Operation: TypeAlias = Callable[..., Any]
"""From tensors to a tensor."""


def layout_of(device: torch.device, dtype: torch.dtype) -> torch.memory_format:
    """The layout of maps and weights: channels-last where convolutions gain by that, else the module's own.

    It is what a GPU's tensor cores read. Single precision, which goes without them here, may lose by it: a V100 takes
    1.6 times as long (github.com/pytorch/pytorch/issues/44943).

    >>> layout_of(torch.device("cuda"), torch.bfloat16), layout_of(torch.device("cuda"), torch.float32)
    (torch.channels_last, torch.preserve_format)
    """
    gains = device.type == "cpu" or (device.type == "cuda" and dtype.itemsize < torch.float32.itemsize)
    return torch.channels_last if gains else torch.preserve_format


@dataclass(frozen=True)
class Reach:
    """Which inputs an output pixel reads: `extent` rows (columns) from `stride` * position - `before`."""

    extent: Size = (1, 1)
    stride: Size = (1, 1)
    before: Size = (0, 0)
    after: Size = (0, 0)
    fill: float = 0.0

    @property
    def is_pointwise(self) -> bool:
        """Whether output and input are the same place of the same map."""
        return self == Reach()


class Convolution:
    """A convolution without padding whose weights come in every precision that was asked for."""

    def __init__(self, module: nn.Conv2d) -> None:
        """Takes the weights of `module` over; shares them until something is folded in."""
        bias = module.bias
        self._weight = module.weight.detach()
        self._bias = self._weight.new_zeros(module.out_channels) if bias is None else bias.detach()
        self._options: tuple[Any, ...] = (module.dilation, module.groups)
        self._stride = module.stride
        self._cast: dict[torch.dtype, tuple[torch.Tensor, torch.Tensor]] = {}
        self.suits_winograd = suits_winograd(module)
        self._winograd: dict[torch.dtype, Winograd] = {}
        self.products = self._weight.numel()  # for each output pixel

    def fold(self, scale: torch.Tensor, shift: torch.Tensor) -> None:
        """Appends x * scale + shift, both float64 and of one number for each channel."""
        dtype = self._weight.dtype
        weight = in_double(self._weight) * scale[:, None, None, None]
        bias = in_double(self._bias) * scale + shift
        self._weight, self._bias = (x.to(self._weight.device, dtype) for x in (weight, bias))

    def __call__(self, x: torch.Tensor, padding: Size = (0, 0)) -> torch.Tensor:
        """The convolution of `x`, in the precision of `x`."""
        if x.dtype == torch.float32:
            height, width = (size + 2 * more - 2 for size, more in zip(x.shape[2:], padding, strict=True))
            if winograd := self.winograd(len(x), (height, width), x.dtype):
                return self._by_winograd(winograd, x, padding)
        if x.dtype not in self._cast:
            weight = self._weight.to(x.dtype, memory_format=layout_of(x.device, x.dtype))
            self._cast[x.dtype] = weight, self._bias.to(x.dtype)
        return F.conv2d(x, *self._cast[x.dtype], self._stride, padding, *self._options)

    def winograd(self, count: int, size: Size, dtype: torch.dtype) -> Winograd | None:
        """Winograd's algorithm, where it is faster for `count` outputs of `size`; in bfloat16 for differences only."""
        if not self.suits_winograd or not winograd_pays(count, size, dtype):
            return None
        if dtype not in self._winograd:
            self._winograd[dtype] = Winograd(self._weight, dtype)
        return self._winograd[dtype]

    def _by_winograd(self, winograd: Winograd, x: torch.Tensor, padding: Size) -> torch.Tensor:
        count, channels, height, width = x.shape
        table = x.permute(0, 2, 3, 1).reshape(-1, channels)
        windows = np.array([[0, 0, height, width, i * height * width] for i in range(count)]).T
        origins = np.tile(-np.array([padding]).T, count)
        size = height + 2 * padding[0] - 2, width + 2 * padding[1] - 2
        inputs = WinogradInputs(table, None, (height, width), windows, origins)
        return winograd(inputs, size, self._bias.expand(*size, -1), np.zeros((2, count), np.int64))


@dataclass(eq=False)
class Layer:
    """One step: `after`(`apply`(inputs) + shortcut).

    Attributes:
        inputs: The layers whose outputs it reads; none for the picture itself.
        apply: From maps (n, C, H, W), already padded, to maps.
        reach: Which inputs an output pixel reads; None where it reads whole maps.
        shape: Channels, height and width of its maps; None from the first layer on that reads whole maps.
        shortcut: A layer whose maps are added to what `apply` gives.
        after: Activations, which may work in place.
    """

    inputs: list["Layer"]
    apply: Operation
    reach: Reach | None = None
    shape: tuple[int, int, int] | None = None
    shortcut: "Layer | None" = None
    after: list[Operation] = field(default_factory=list)

    @property
    def sources(self) -> list["Layer"]:
        """The inputs and the shortcut."""
        return self.inputs if self.shortcut is None else [*self.inputs, self.shortcut]

    @property
    def products(self) -> int:
        """Multiplications for each output pixel."""
        return self.apply.products if isinstance(self.apply, Convolution) else 0

    def finish(self, x: torch.Tensor, shortcut: torch.Tensor | None = None) -> torch.Tensor:
        """Shortcut and activations upon `x`, which may be overwritten."""
        if shortcut is not None:
            x += shortcut
        for function in self.after:
            x = function(x)
        return x

    def sums(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """What `apply` gives on whole maps (n, C, H, W)."""
        reach = self.reach
        if reach is None or (reach.before == reach.after == (0, 0)):
            return self.apply(*inputs)
        if isinstance(self.apply, Convolution) and reach.before == reach.after:
            return self.apply(inputs[0], reach.before)
        if reach.fill == -math.inf and reach.before == reach.after:  # a max pool pads by itself, without a copy
            return self.apply(inputs[0], padding=reach.before)
        sides = (reach.before[1], reach.after[1], reach.before[0], reach.after[0])
        return self.apply(*(F.pad(x, sides, value=reach.fill) for x in inputs))


class Network:
    """The layers in the order of evaluation; the first is the picture, `result` gives the logits.

    Attributes:
        layers: All layers.
        result: One of them.
        done: For each layer the ones that none after it reads.
    """

    def __init__(self, layers: list[Layer], result: Layer) -> None:
        """Finds out how long each layer's maps are needed."""
        self.layers, self.result = layers, result
        last = {source: layer for layer in layers for source in layer.sources}
        self.done: dict[Layer, list[Layer]] = {layer: [] for layer in layers}
        for source, layer in last.items():
            self.done[layer].append(source)
