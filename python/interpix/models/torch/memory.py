"""Batches that fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from interpix.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Chunks", "CudaMemory", "Memory", "memory_of"]

# The first part where memory can be measured: enough to fill small models' fixed needs, too few to run out.
_TRIAL = 8
# The rest is for what others take meanwhile, and for needs that grow faster than the batch.
_SHARE = 0.7
_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")


class Memory(Protocol):
    """A device's memory."""

    def free(self) -> int:
        """Bytes that can still be had."""
        ...

    def measured(self, work: Callable[[], Tensor]) -> tuple[Tensor, int]:
        """What `work` gives, and how many bytes it had at most while it ran."""
        ...


class CudaMemory:
    """The memory of an NVIDIA or AMD GPU. Measuring resets torch's record of the greatest use."""

    def __init__(self, device: torch.device) -> None:
        """Takes the GPU."""
        self._device = device

    def free(self) -> int:
        """See `Memory`; what torch holds without using it counts as free."""
        free, _ = torch.cuda.mem_get_info(self._device)
        held = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return int(free + held)

    def measured(self, work: Callable[[], Tensor]) -> tuple[Tensor, int]:
        """See `Memory`."""
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        result = work()
        return result, int(torch.cuda.max_memory_allocated(self._device) - before)


def memory_of(device: torch.device) -> Memory | None:
    """The memory of a device that can tell how much it has; None for all others, a CPU among them."""
    return CudaMemory(device) if device.type == "cuda" else None


class Chunks:
    """Work in parts that fit into memory.

    Where the memory can be measured, a small first part tells what a row takes, and the parts after it are as large as
    the free memory allows. Everywhere: when memory runs out, the part is halved, and stays so.

    Attributes:
        size: Rows of a part, or, where these are longer or shorter, what all of its rows together may have.
        reduced_to: The size after memory ran out; None if it never did.
    """

    def __init__(self, name: str, greatest: int, memory: Memory | None = None, *, unit: str = "batch_size") -> None:
        """Takes the model's name, for errors, the greatest size, the memory to measure, and what the size counts."""
        self._name, self._greatest, self._memory, self._unit = name, greatest, memory, unit
        self.size = greatest if memory is None else min(_TRIAL, greatest)
        self.reduced_to: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What a result remembers: nothing, if memory never ran out."""
        return {} if self.reduced_to is None else {f"{self._unit}_reduced_to": self.reduced_to}

    def run(self, rows: int, work: Callable[[slice], Tensor], *, length: int = 1) -> list[Tensor]:
        """The results of `work` on one part of `rows` after the other, each of which has this `length`."""
        parts, start = [], 0
        while start < rows:
            stop = min(start + max(1, self.size // length), rows)
            try:
                parts.append(self._measured(slice(start, stop), work))
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                self._halve(stop - start, length, error)
            else:
                start = stop
        return parts

    def _measured(self, part: slice, work: Callable[[slice], Tensor]) -> Tensor:
        # A smaller part than the trial's would make its fixed needs look like those of each row.
        if self._memory is None or part.stop - part.start < self.size:
            return work(part)
        result, taken = self._memory.measured(lambda: work(part))
        fitting = int(_SHARE * self._memory.free() * self.size / max(1, taken))
        most = self._greatest if self.reduced_to is None else self.reduced_to
        self.size, self._memory = max(1, min(most, fitting)), None
        return result

    def _halve(self, tried: int, length: int, error: RuntimeError) -> None:
        if tried <= 1:
            message = (
                f"model `{self._name}`: a batch of 1 does not fit into memory; free memory, use a smaller model, or "
                "move it to another device"
            )
            raise ModelError(message) from error
        self.size = self.reduced_to = tried // 2 * length
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _out_of_memory(error: RuntimeError) -> bool:
    """A device's own error, or the CPU allocator's, which has no class of its own."""
    causes = (error, error.__cause__)
    return any(isinstance(one, torch.OutOfMemoryError) for one in causes) or any(
        isinstance(one, RuntimeError) and any(text in str(one).lower() for text in _MEMORY_MESSAGES) for one in causes
    )
