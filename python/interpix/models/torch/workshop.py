"""Pictures for a torch module, made on its device."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpix.models.torch.module import TorchModule
from interpix.models.torch.transfer import on_device
from interpix.normalization import Normalization

__all__ = ["TorchWorkshop"]

_LEVELS = 256


class TorchWorkshop:
    """See `interpix.models.protocol.workshop.Workshop`.

    >>> net = TorchModule(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), name="mean color")
    >>> workshop = TorchWorkshop(net)
    >>> full, step, now = (workshop.bring(one) for one in (np.ones((3, 1, 2)), np.array([[1, 2]]), np.arange(3)))
    >>> workshop.logits(workshop.where(step <= now[:, None, None, None], full, 0))[:, 0]
    array([0. , 0.5, 1. ])
    """

    def __init__(self, net: TorchModule) -> None:
        """Takes the module; nothing is run yet."""
        self._net = net

    def bring(self, array: npt.NDArray[Any]) -> Tensor:
        """See `Workshop`: a copy, as what goes to another device is."""
        # As `logits` does, which takes pictures in single precision, and casts each batch to the module's own type.
        device, dtype = self._net.device, np.float32 if array.dtype.kind == "f" else array.dtype
        return on_device((np.array if device.type == "cpu" else np.asarray)(array, dtype), device)

    def where(self, condition: Any, yes: Any, no: Any) -> Tensor:
        """See `Workshop`."""
        if self._net.device.type == "cpu":  # numpy's memory comes in larger pages, which takes a third off
            return torch.from_numpy(np.where(condition, yes, no))
        return torch.where(condition, yes, no)

    def normalizing(self, normalization: Normalization) -> Callable[[npt.NDArray[np.uint8]], Tensor]:
        """See `Workshop`: levels get there as bytes, and are looked up there."""
        # Of each level in numpy, as not every device has double precision.
        grays = np.repeat(np.arange(_LEVELS, dtype=np.uint8)[:, None], 3, axis=1)
        tables = self.bring(normalization.apply(grays[None])[:, 0])

        def looked_up(pixels: npt.NDArray[np.uint8]) -> Tensor:
            levels = on_device(pixels, self._net.device)
            pairs = zip(tables, normalization.order, strict=True)
            return torch.stack([table[levels[..., color].long()] for table, color in pairs], dim=1)

        return looked_up

    def logits(self, pictures: Tensor) -> npt.NDArray[np.float64]:
        """See `Workshop`."""
        return self._net.tensor_logits(pictures.contiguous())  # as what comes from numpy is
