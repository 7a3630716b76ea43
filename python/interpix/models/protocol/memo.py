"""Rows that a model has answered, by picture: several boxes of one image share every picture."""

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import IntArray

__all__ = ["Memo", "doubting"]

_MOST_BYTES = 64 << 20
_DOUBT = ContextVar("_DOUBT", default=False)


@contextlib.contextmanager
def doubting() -> Iterator[None]:
    """Inside, models are asked about all pictures, and what they answered to them before is compared: once a call."""
    before = _DOUBT.set(True)
    try:
        yield
    finally:
        _DOUBT.reset(before)


class Memo:
    """The rows of the latest pictures, up to 64 MiB of them; any number of threads may use it.

    >>> memo, asked = Memo(), []
    >>> def model(index):
    ...     asked.extend(index.tolist())
    ...     return np.array([[10.0 * one] for one in index])
    >>> pictures = [b"a", b"b", b"a", b"c"]
    >>> memo.rows(pictures, model).tolist(), memo.rows(pictures[1:], model).tolist(), asked
    ([[0.0], [10.0], [0.0], [30.0]], [[10.0], [0.0], [30.0]], [0, 1, 3])
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._rows: OrderedDict[bytes, npt.NDArray[Any]] = OrderedDict()
        self._version: object = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Memo"], tuple[()]]:
        """Another process, or a copy, remembers nothing."""
        return Memo, ()

    def rows(
        self,
        pictures: Sequence[bytes],
        ask: Callable[[IntArray], npt.NDArray[Any]],
        version: Callable[[], object] | None = None,
    ) -> npt.NDArray[Any]:
        """The rows of pictures (B, D), of which the model is asked about those that are not known, each once.

        Within `doubting` about all of them; if it answers otherwise than it did, or if none of them is known, so that
        this cannot be told, all is forgotten.

        Args:
            pictures: What each shows, as bytes, its shape included.
            ask: Rows of the pictures with these indices.
            version: What differs once the model has changed, asked for within `doubting`.
        """
        keys = [hashlib.blake2b(one, digest_size=16).digest() for one in pictures]
        doubt = _DOUBT.get()
        now = version() if doubt and version is not None else None
        with self._lock:
            known = {key: self._rows[key] for key in keys if key in self._rows}
            if doubt and (not known or now != self._version):
                self._rows.clear()
                self._version = now
        remembered = {} if doubt else dict(known)
        first = {key: index for index, key in reversed(list(enumerate(keys))) if key not in remembered}
        if first:
            index = np.array(sorted(first.values()), np.int64)
            answers = ask(index)
            fresh = {keys[one]: row for one, row in zip(index.tolist(), answers, strict=True)}
            changed = any(not np.allclose(known[key], row, 1e-3, 1e-3) for key, row in fresh.items() if key in known)
            self._keep(fresh, forget=changed)
            remembered |= fresh
        return np.stack([remembered[key] for key in keys])

    def _keep(self, fresh: dict[bytes, npt.NDArray[Any]], *, forget: bool) -> None:
        with self._lock:
            if forget:
                self._rows.clear()
            self._rows |= fresh
            most = max(1, _MOST_BYTES // next(iter(fresh.values())).nbytes)
            while len(self._rows) > most:
                self._rows.popitem(last=False)
