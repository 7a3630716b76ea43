"""Mixed precision first, for all images of a step at once, where the model is.

The rule is that of `interpix.search.recheck`. Here the candidates of all images are one rectangle, and the host waits
for the device once to learn that no candidate is left that could be the best.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from interpix.models.protocol.steps import FEW, FIRST, GREATEST_SHARE, KAPPA, PILOT
from interpix.models.torch.transfer import Later

__all__ = ["Ask", "MixedFirst"]

# Each round of rechecks is waited for; on a device, what is still wanted after so many is scored exactly at once.
_ROUNDS_ON_DEVICE = 2


class Ask(Protocol):
    """Scores some candidates, whose rows count through all images, in the precision wanted."""

    def __call__(self, rows: Tensor, *, mixed: bool) -> Tensor:
        """Their gains (r,): rewards, the greater the better."""
        ...


class MixedFirst:
    """Scores the steps of searches in low precision first, for those images where that pays.

    Attributes:
        pays: The images where it did, at their last step.
    """

    def __init__(self) -> None:
        """Nothing is known of any image yet."""
        self.pays: set[int] = set()

    def forget(self, images: Iterable[int]) -> None:
        """Other images are in the places of these."""
        self.pays -= set(images)

    def gains(
        self, images: Sequence[int], count: int, ask: Ask, device: torch.device
    ) -> Callable[[], tuple[Tensor, Tensor]]:
        """Begins a step of images with `count` candidates each.

        What is returned waits for its end: gains (b, C), of which the greatest of each image is exact, and which of
        them are exact (b, C).
        """
        step = _Step(len(images), count, ask, device)
        chosen = [] if count < FEW else self._promising(images, step)
        step.ask(step.rows_of([place for place in range(len(images)) if place not in set(chosen)]), mixed=False)
        if not chosen:
            self.pays -= set(images)
            return lambda: (step.exact, ~step.exact.isnan())
        check = _Recheck(step, chosen)

        def finish() -> tuple[Tensor, Tensor]:
            check.finish()
            self.pays -= set(images)
            self.pays |= {images[place] for place, share in zip(chosen, check.shares(), strict=True) if share}
            gains = step.exact.clone()
            gains[check.places] = check.near
            return gains, ~step.exact.isnan()

        return finish

    def _promising(self, images: Sequence[int], step: "_Step") -> list[int]:
        """The places of images where it paid, or could by a few candidates that are scored both ways."""
        new = [place for place, image in enumerate(images) if image not in self.pays]
        if not new:
            return list(range(len(images)))
        some = step.every[new][:, :: -(-step.every.shape[1] // PILOT)]
        step.ask(some.flatten(), mixed=True)
        step.ask(some.flatten(), mixed=False)
        mixed, exact = step.mixed.take(some), step.exact.take(some)
        error = exact - mixed
        reach = KAPPA * (error - error.mean(1, keepdim=True)).abs().amax(1, keepdim=True)
        near = (exact + reach >= exact.amax(1, keepdim=True)).double().mean(1) <= GREATEST_SHARE
        could = {place for place, yes in zip(new, near.tolist(), strict=True) if yes}
        return [place for place in range(len(images)) if place not in set(new) - could]


class _Step:
    """What is known of a step's candidates: gains (b, C), NaN where they were not asked for."""

    def __init__(self, images: int, count: int, ask: Ask, device: torch.device) -> None:
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.mixed = torch.full((images, count), torch.nan, dtype=wide, device=device)
        self.exact = self.mixed.clone()
        self.every = torch.arange(images * count, device=device).view(images, count)
        self._ask = ask
        # Elsewhere it would have to be waited for to know which rows are known, and asking again is cheaper.
        self._skips = _waits_are_cheap(device)

    def rows_of(self, places: list[int]) -> Tensor:
        """All candidates of some images."""
        return self.every[places].flatten()

    def ask(self, rows: Tensor, *, mixed: bool) -> None:
        """Scores what is not yet known of these rows, all together."""
        table = (self.mixed if mixed else self.exact).view(-1)
        if self._skips:
            rows = rows[table[rows].isnan()]
        if len(rows):
            table[rows] = self._ask(rows, mixed=mixed).to(table.dtype)


class _Recheck:
    """Those images of a step whose candidates are scored in low precision, and then some of them exactly."""

    def __init__(self, step: _Step, chosen: list[int]) -> None:
        """Asks about all, and about the best few of each image exactly."""
        self.places = torch.tensor(chosen, device=step.every.device)
        self._step = step
        self._rows = step.every[self.places]
        step.ask(self._rows.flatten(), mixed=True)
        self._mixed = step.mixed[self.places]
        order = self._mixed.argsort(dim=1, descending=True, stable=True)
        step.ask(self._rows.gather(1, order[:, :FIRST]).flatten(), mixed=False)
        self._left = self._look_again()

    def finish(self) -> None:
        """Scores exactly what could be the best, until nothing more could."""
        most = None if _waits_are_cheap(self._rows.device) else _ROUNDS_ON_DEVICE
        rounds = 0
        while any(left := self._left.wait().tolist()):
            rounds += 1
            if most is not None and rounds > most:
                self._wanted = ~self._known & torch.tensor(left, device=self._rows.device).bool()[:, None]
            self._step.ask(self._rows[self._wanted], mixed=False)
            self._left = self._look_again()

    def shares(self) -> list[bool]:
        """Of each image, whether so few were scored exactly that this pays."""
        few: list[bool] = (self._known.double().mean(1) <= GREATEST_SHARE).tolist()
        return few

    def _look_again(self) -> Later:
        """Whether each image has candidates that could be the best, as soon as the device knows."""
        exact = self._step.exact[self.places]
        self._known = ~exact.isnan()
        error = torch.where(self._known, exact - self._mixed, 0.0)
        mean = error.sum(1, keepdim=True) / self._known.sum(1, keepdim=True)
        spread = torch.where(self._known, (error - mean).abs(), 0.0).amax(1, keepdim=True)
        self.near = torch.where(self._known, exact, self._mixed + mean)
        greatest = torch.where(self._known, exact, -torch.inf).amax(1, keepdim=True)
        self._wanted = ~self._known & (self.near + KAPPA * spread >= greatest)
        return Later(self._wanted.any(1))


def _waits_are_cheap(device: torch.device) -> bool:
    """Whether what is computed is there at once."""
    return str(device.type) == "cpu"
