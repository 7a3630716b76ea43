"""The candidates of a step as coalitions of a Vision Transformer's tokens, listed on the device."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from interpix.arrays import BoolArray, IntArray
from interpix.models.protocol.steps import Step
from interpix.models.torch.steps import list_candidates
from interpix.models.torch.transfer import on_device
from interpix.terms import Precision

__all__ = ["Ask", "MaskedCandidates", "OneTokenCandidates", "TokenCandidates", "with_flip"]

Ask: TypeAlias = Callable[[Tensor, Tensor, Precision], Tensor]
"""From images (r,) and their present tokens (r, m), or presence (r, T), to the model's rows."""


class Run(Protocol):
    """Runs some rows of so many tokens each, in parts that fit."""

    def __call__(self, rows: int, work: Callable[[slice], Tensor], *, length: int) -> list[Tensor]:
        """The results of one part after the other."""
        ...


class OneTokenCandidates:
    """Candidates that are one token each: all coalitions of a step have as many tokens.

    Attributes:
        length: That number.
    """

    def __init__(self, step: Step, images: Tensor, tokens: Tensor | None, ask: Ask, run: Run) -> None:
        """Takes the images (b,), and the token of each player (K, n); None: it has the player's own number."""
        self._count, self._by, self._ask, self._run = step.count, 1 if step.inserts else -1, ask, run
        self.length = step.size + self._by
        self._images = images
        candidates, present = list_candidates(on_device(step.bases, images.device), step)
        if tokens is not None:
            tokens = tokens[images]
            candidates, present = tokens.gather(1, candidates), tokens.gather(1, present).sort(dim=1).values
        self._token, self._kept = candidates.flatten(), present

    def rows(self, chosen: Tensor, precision: Precision) -> Tensor:
        """See `Candidates`."""

        def work(part: slice) -> Tensor:
            some = chosen[part]
            base = some // self._count
            kept = with_flip(self._kept[base], self._token[some, None], self._by)
            return self._ask(self._images[base], kept, precision)

        return torch.cat(self._run(len(chosen), work, length=self.length))


class _ByToken:
    """Candidates by the presence of tokens."""

    def __init__(self, step: Step, images: Tensor, players: Tensor) -> None:
        """Takes the images (b,), and the player of each token (K, T)."""
        self._count, self._images = step.count, images
        bases = on_device(step.bases, images.device)
        candidates, _ = list_candidates(bases, step)
        self._player = candidates.flatten()
        self._players = players[self._images]
        self._present = bases.gather(1, self._players)

    def present(self, some: Tensor) -> tuple[Tensor, Tensor]:
        """The images of some candidates (r,), and which tokens are present (r, T)."""
        base = some // self._count
        return self._images[base], self._present[base] ^ (self._players[base] == self._player[some, None])


class TokenCandidates(_ByToken):
    """Candidates of several tokens: coalitions of as many tokens go together."""

    def __init__(self, step: Step, images: Tensor, players: Tensor, sizes: IntArray, ask: Ask, run: Run) -> None:
        """Takes more: on the host the number of tokens of each player (K, n)."""
        super().__init__(step, images, players)
        self._ask, self._run = ask, run
        self._lengths = _lengths(step, sizes[step.images], step.bases)

    def rows(self, chosen: Tensor, precision: Precision) -> Tensor:
        """See `Candidates`."""
        lengths = self._lengths if len(chosen) == len(self._lengths) else self._lengths[chosen.cpu().numpy()]
        parts, order = [], []
        for length in np.unique(lengths).tolist():
            places = np.flatnonzero(lengths == length)
            alike = chosen[on_device(places, chosen.device)]

            def work(part: slice, alike: Tensor = alike, length: int = length) -> Tensor:
                images, present = self.present(alike[part])
                # As in `list_candidates`: the present tokens, ascending, are last.
                kept = present.to(torch.uint8).argsort(dim=1, stable=True)[:, present.shape[1] - length :]
                return self._ask(images, kept, precision)

            parts += self._run(len(alike), work, length=length)
            order.append(places)
        return torch.cat(parts)[on_device(np.argsort(np.concatenate(order)), chosen.device)]


class MaskedCandidates(_ByToken):
    """Candidates whose absent tokens stay, and are not attended to."""

    def __init__(self, step: Step, images: Tensor, players: Tensor, ask: Ask, run: Run) -> None:
        """Takes what is above."""
        super().__init__(step, images, players)
        self._ask, self._run = ask, run

    def rows(self, chosen: Tensor, precision: Precision) -> Tensor:
        """See `Candidates`."""

        def work(part: slice) -> Tensor:
            return self._ask(*self.present(chosen[part]), precision)

        return torch.cat(self._run(len(chosen), work, length=self._players.shape[1]))


def _lengths(step: Step, sizes: IntArray, bases: BoolArray) -> IntArray:
    """The number of tokens of each candidate's coalition (b C,)."""
    before = (sizes * bases).sum(axis=1, keepdims=True)
    change = np.take_along_axis(sizes, step.players, axis=1)
    lengths: IntArray = (before + change if step.inserts else before - change).ravel()
    return lengths


def with_flip(kept: Tensor, token: Tensor, by: int) -> Tensor:
    """Ascending tokens `kept` (c, m) with one more (`by` = 1), one less (-1) or as they are (0); `token` is (c, 1).

    >>> with_flip(torch.tensor([[1, 5]]), torch.tensor([[3]]), 1)
    tensor([[1, 3, 5]])
    >>> with_flip(torch.tensor([[1, 5]]), torch.tensor([[1]]), -1)
    tensor([[5]])
    """
    if by == 0:
        return kept
    place = (kept < token).sum(dim=1, keepdim=True)
    column = torch.arange(kept.shape[1] + by, device=kept.device)
    if by < 0:
        return kept.gather(1, column + (column >= place))
    shifted = torch.nn.functional.pad(kept, (0, 1)).gather(1, column - (column > place).long())
    return torch.where(column == place, token, shifted)
