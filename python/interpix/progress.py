"""Progress of a long call: how much is done, on stderr."""

import sys
import time
from types import TracebackType
from typing import Any, Self

__all__ = ["ProgressCounter"]

_SECONDS_BETWEEN_LINES = 0.5


class ProgressCounter:
    """Shows a running number: with tqdm if it is installed, else as one plain line."""

    def __init__(
        self,
        label: str,
        unit: str = "model evaluations",
        *,
        enabled: bool,
        total: int | None = None,
        done: int = 0,
    ) -> None:
        """Shows nothing at all unless `enabled`; `total` is the number of units if it is known, `done` those before."""
        self._label = label
        self._unit = unit
        self._total = total
        self._count = done
        self._before = done
        self._started = time.monotonic()
        self._shown_at = 0.0
        self._enabled = enabled
        self._bar = _tqdm(label, unit, total, done) if enabled else None

    def __enter__(self) -> Self:
        """Nothing to set up."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the line, also after an error."""
        if self._bar is not None:
            self._bar.close()
        elif self._enabled:
            self._line(end="\n")

    def add(self, count: int) -> None:
        """Counts so many more."""
        self._count += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._enabled and time.monotonic() - self._shown_at > _SECONDS_BETWEEN_LINES:
            self._line(end="")
            self._shown_at = time.monotonic()

    def _line(self, end: str) -> None:
        of = "" if self._total is None else f" of {self._total}"
        sys.stderr.write(f"\r{self._label}: {self._count}{of} {self._unit}{self._left()}{end}")
        sys.stderr.flush()

    def _left(self) -> str:
        """How fast it goes, and how long it will, where the total is known."""
        seconds, count = time.monotonic() - self._started, self._count - self._before
        if self._total is None or not count or not seconds:
            return ""
        rate = count / seconds
        return f", {rate:.3g}/s, {_as_time((self._total - self._count) / rate)} left"


def _as_time(seconds: float) -> str:
    """Hours, minutes and seconds; days are hours, too, as of an evaluation that takes some.

    >>> _as_time(62.7), _as_time(3 * 86400 + 3600)
    ('00:01:02', '73:00:00')
    """
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def _tqdm(label: str, unit: str, total: int | None, done: int) -> Any:
    try:
        from tqdm.auto import tqdm  # optional
    except ImportError:
        return None
    return tqdm(desc=label, total=total, initial=done, unit=f" {unit}", dynamic_ncols=True)
