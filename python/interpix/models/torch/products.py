"""Products in the precision that was asked for, whatever the process allows: no TensorFloat-32 where it says exact.

torch lets cuDNN use TensorFloat-32 by default, which has 10 bits: convolutions, a Vision Transformer's patches among
them, would be 1e-3 off, more than what the best patch is often ahead.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["exact_products"]

_lock = threading.Lock()
_inside = 0
_before = False, False


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """On an NVIDIA GPU, products of single precision are of single precision inside; afterwards all is as it was.

    The switches are those of the process: threads that are inside share them.

    >>> torch.backends.cudnn.allow_tf32
    True
    >>> with exact_products(torch.device("cuda")):
    ...     torch.backends.cudnn.allow_tf32
    False
    >>> torch.backends.cudnn.allow_tf32
    True
    """
    global _inside, _before  # noqa: PLW0603 - the switches are global, too
    if device.type != "cuda":
        yield
        return
    with _lock:
        if not _inside:
            _before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = _before
