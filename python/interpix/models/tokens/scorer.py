"""Coalitions of a Vision Transformer's patches: the image is embedded once, absent tokens are dropped or masked."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpix.absence import DropTokens, MaskAttention
from interpix.arrays import BoolArray, IntArray
from interpix.errors import bad_value
from interpix.models.protocol.classifier import Coalitions
from interpix.models.protocol.players import token_players
from interpix.models.tokens.model import TokenModel
from interpix.models.torch.agreement import disagreement
from interpix.models.torch.memory import Chunks
from interpix.models.torch.module import TorchModule
from interpix.models.torch.pictures import on_device
from interpix.models.torch.readout import read_out, to_readout
from interpix.outputs.readout import Readout
from interpix.terms import Precision

__all__ = ["TokenScorer"]

# Tokens go through the blocks by a budget of their own; all candidates of a step together fill it best, on a GPU those
# of the 64 images that a search has in flight.
_TOKEN_BATCH, _TOKEN_BATCH_ON_GPU = 1024, 64 * 256


class TokenScorer:
    """Coalitions of a Vision Transformer's patches: the image is embedded once, absent tokens are dropped or masked."""

    def __init__(
        self,
        net: TorchModule,
        tokens: TokenModel,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        absence: DropTokens | MaskAttention,
    ) -> None:
        """Takes images (K, 3, H, W) and regions (K, H, W), each made of whole patches."""
        if isinstance(absence, MaskAttention) and tokens.only_itself:
            expected = f"one that model `{net.name}` has, whose blocks are not known well enough to mask what they see"
            raise bad_value("absence", expected, absence.name, 'use "drop_tokens", or "zero"')
        if isinstance(absence, MaskAttention) and absence.from_layer >= tokens.depth:
            expected = f"a block of model `{net.name}`, 0 ... {tokens.depth - 1}"
            raise bad_value("from_layer", expected, absence.from_layer, "0 masks in all blocks")
        self._net, self._model, self._absence = net, tokens, absence
        self._players = token_players(regions, tokens.grid_at(images.shape[2:]))
        self._token = _tokens_of_players(self._players)
        self.batch_size = _TOKEN_BATCH if net.device.type == "cpu" else _TOKEN_BATCH_ON_GPU
        self._chunks = Chunks(net.name, self.batch_size)
        with net.evaluating(), net.errors_named(f"images {images.shape}"):
            self._state = tokens.state_of(on_device(images, net.device))
        self._compared = False
        self._differs: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """See `Scorer`."""
        given_up = {} if self._differs is None else {"tokens_differ_by": self._differs}
        return {
            "scored_as": "pictures without tokens" if self._state.as_it_is else "tokens",
            **given_up,
            **self._chunks.facts,
        }

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """See `Scorer`."""
        from_layer = self._absence.from_layer if isinstance(self._absence, MaskAttention) else 0
        with self._net.evaluating():
            if not self._compared:
                self._compared = True
                self._check(from_layer)
            # Where the head reads no patch, a token that nobody attends to need not be computed.
            if isinstance(self._absence, DropTokens) or not self._model.pools_patches:
                return self._dropped(coalitions, from_layer, precision)
            return to_readout(self._masked(coalitions, from_layer, precision), self._net.name, coalitions)

    def _check(self, from_layer: int) -> None:
        """Once: is the model as it was described, or as it was read?"""
        if self._state.anatomy.confirm is not None:
            self._state.anatomy.confirm(self._state.anatomy, self._state.images[:1])
        if not self._state.as_it_is:
            self._compare(from_layer)

    def _compare(self, from_layer: int) -> None:
        """Once: does the first image with all of its patches get the module's own answer?"""
        image = torch.zeros(1, dtype=torch.long, device=self._net.device)
        patches = torch.arange(self._players.shape[1], device=self._net.device)[None]

        def all_patches(_: Tensor) -> Tensor:
            with self._net.errors_named("images with all of their patches"):
                return self._model.logits(self._state, image, patches, from_layer=from_layer)

        first, what, instead = self._state.images[:1], "the blocks as they were read", "the module itself is run"
        self._differs = disagreement(self._net, first, all_patches, what, instead)
        if self._differs is None and not from_layer:
            # What is computed before tokens are dropped must not mix them.
            some = patches[:, ::2]

            def with_some(_: Tensor) -> Tensor:
                return self._model.logits(self._state, image, some)

            def module_with_some(_: Tensor) -> Tensor:
                return self._model.reference_logits(first, image, some)

            self._differs = disagreement(self._net, first, with_some, what, instead, own=module_with_some)
        self._state.as_it_is = self._differs is not None

    def _dropped(self, coalitions: Coalitions, from_layer: int, precision: Precision) -> Readout:
        """Coalitions of one number of tokens are a rectangular batch; a step of a search has one."""
        if self._token is None:  # a flip is of several tokens
            owner, masks = coalitions.owner, coalitions.masks
            read, among = coalitions.targets, coalitions.relative
            coalitions = Coalitions.of_masks(owner, masks, read, relative=among, width=coalitions.width)
        present = self._present(coalitions.owner, coalitions.row, coalitions.bases)
        sizes = present.sum(axis=1)
        was_there = coalitions.bases[coalitions.row, coalitions.flip]
        change = np.where(coalitions.flip < 0, 0, np.where(was_there, -1, 1))
        kinds = 3 * sizes[coalitions.row] + change + 1
        parts, order = [], []
        for kind in np.unique(kinds).tolist():
            size, by = kind // 3, kind % 3 - 1
            rows, alike = np.flatnonzero(kinds == kind), np.flatnonzero(sizes == size)
            kept = np.nonzero(present[alike])[1].reshape(len(alike), size)
            row = np.searchsorted(alike, coalitions.row[rows])
            parts += self._rectangle(coalitions[rows], kept, row, by, from_layer, precision)
            order.append(rows)
        return to_readout(parts, self._net.name, coalitions, np.concatenate(order))

    def _rectangle(
        self, coalitions: Coalitions, kept: IntArray, row: IntArray, by: int, from_layer: int, precision: Precision
    ) -> list[Tensor]:
        """Coalitions whose base sets are the tokens `kept` (b, m); their flips add `by` tokens."""
        device = self._net.device
        token = np.zeros_like(row) if self._token is None else self._token[coalitions.owner, coalitions.flip]
        bases, base, tokens, owner, targets = (
            on_device(a, device) for a in (kept, row, token, coalitions.owner, coalitions.targets)
        )

        def work(part: slice) -> Tensor:
            indices = _with_flip(bases[base[part]], tokens[part, None], by)
            with self._net.errors_named("images without some of their patches"):
                logits = self._model.logits(
                    self._state, owner[part], indices, from_layer=from_layer, precision=precision
                )
            return read_out(self._net.rows(logits), targets[part], relative=coalitions.relative)

        return self._chunks.run(len(coalitions), work)

    def _masked(self, coalitions: Coalitions, from_layer: int, precision: Precision) -> list[Tensor]:
        device = self._net.device
        seen = self._present(coalitions.owner, np.arange(len(coalitions)), coalitions.masks)
        owner, masks, targets = (on_device(a, device) for a in (coalitions.owner, seen, coalitions.targets))

        def work(part: slice) -> Tensor:
            with self._net.errors_named("images with some of their patches masked"):
                logits = self._model.masked_logits(
                    self._state, owner[part], masks[part], from_layer, precision=precision
                )
            return read_out(self._net.rows(logits), targets[part], relative=coalitions.relative)

        return self._chunks.run(len(coalitions), work)

    def _present(self, owner: IntArray, row: IntArray, sets: BoolArray) -> BoolArray:
        """Which tokens the players of `sets` (b, n) are (b, T), where coalitions of `owner` use them as `row` says."""
        image = np.zeros(len(sets), np.int64)
        image[row] = owner
        return np.take_along_axis(sets, self._players[image], axis=1)


def _tokens_of_players(players: IntArray) -> IntArray | None:
    """The token of each player (K, n), if every player is one token; `players` (K, T) is the player of each token."""
    tokens = np.argsort(players, axis=1)
    one_each = (np.take_along_axis(players, tokens, axis=1) == np.arange(players.shape[1])).all()
    return tokens if one_each else None


def _with_flip(kept: Tensor, token: Tensor, by: int) -> Tensor:
    """Ascending tokens `kept` (c, m) with one more (`by` = 1), one less (-1) or as they are (0); `token` is (c, 1).

    >>> _with_flip(torch.tensor([[1, 5]]), torch.tensor([[3]]), 1)
    tensor([[1, 3, 5]])
    >>> _with_flip(torch.tensor([[1, 5]]), torch.tensor([[1]]), -1)
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
