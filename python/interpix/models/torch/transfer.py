"""Between host and device, without waiting where that can be helped."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Later", "on_device", "to_device"]


class Later:
    """A tensor on its way to the host: it is copied as soon as it is computed, whatever comes after it on the device.

    >>> Later(torch.tensor([1, 2])).wait()
    tensor([1, 2])
    """

    def __init__(self, values: Tensor) -> None:
        """Begins the copy."""
        self._event: torch.cuda.Event | None = None
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, device="cpu", pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(values.device))
        else:
            self._values = values.cpu()

    def wait(self) -> Tensor:
        """The values, on the host."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return self._values


def on_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array on a device, in its own number type; on a CPU it may share the array's memory: do not write to it."""
    if device.type != "cuda":
        array = np.ascontiguousarray(array)
        # torch knows no tensor that must not be written to.
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)
    # From pageable memory the host would wait until the device has done all that it was asked before.
    pinned = torch.empty(array.shape, dtype=_dtype(array.dtype), device="cpu", pin_memory=True)
    np.copyto(pinned.numpy(), array)
    return pinned.to(device, non_blocking=True)


def _dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """Torch's name of a number type."""
    return torch.from_numpy(np.empty(0, dtype)).dtype


def to_device(arrays: list[npt.NDArray[np.int64]], device: torch.device) -> list[Tensor]:
    """Some arrays of whole numbers on a device, in one transfer.

    >>> to_device([np.array([1, 2]), np.array([[3]])], torch.device("cpu"))
    [tensor([1, 2]), tensor([[3]])]
    """
    packed = on_device(np.concatenate([array.ravel() for array in arrays]), device)
    parts = packed.split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]
