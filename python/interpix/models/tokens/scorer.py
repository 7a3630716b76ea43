"""Coalitions of a Vision Transformer's patches: the image is embedded once, absent tokens are dropped or masked."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpix.absence import DropTokens, MaskAttention
from interpix.arrays import BoolArray, IntArray
from interpix.errors import bad_value
from interpix.models.protocol.classifier import Coalitions
from interpix.models.protocol.players import token_players, without_repeats
from interpix.models.protocol.steps import Best, Step
from interpix.models.tokens.model import TokenModel
from interpix.models.tokens.steps import MaskedCandidates, OneTokenCandidates, TokenCandidates, with_flip
from interpix.models.torch.agreement import disagreement
from interpix.models.torch.memory import Chunks
from interpix.models.torch.module import TorchModule
from interpix.models.torch.readout import read_rows, to_readout
from interpix.models.torch.steps import StepTaker
from interpix.models.torch.transfer import on_device, to_device
from interpix.outputs.readout import Readout
from interpix.terms import Precision

__all__ = ["TokenScorer"]

# Tokens go through the blocks by a budget of their own; all candidates of a step together fill it best, on a GPU those
# of the 64 images that a search has in flight.
_TOKEN_BATCH, _TOKEN_BATCH_ON_GPU = 1024, 64 * 256


class TokenScorer:
    """Coalitions of a Vision Transformer's patches: the image is embedded once, absent tokens are dropped or masked."""

    replaces_images = True
    """Other images take the places of those that are done: see `replace`."""
    takes_steps = True
    """See `StepScorer`."""

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
        players = token_players(without_repeats(regions), tokens.grid_at(images.shape[2:]))
        token = _tokens_of_players(players)
        self._players = np.broadcast_to(players, (len(images), players.shape[1]))
        self._token = None if token is None else np.broadcast_to(token, (len(images), token.shape[1]))
        self._device = net.device
        on_cpu = self._device.type == "cpu"
        self.batch_size = _TOKEN_BATCH if on_cpu else _TOKEN_BATCH_ON_GPU
        self.candidates_at_once = self.batch_size if on_cpu else None
        self._chunks = Chunks(net.name, tokens.budget, unit="tokens_at_once")
        with net.evaluating(), net.errors_named(f"images {images.shape}"):
            self._state = tokens.state_of(on_device(images, self._device))
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

    def replace(self, places: IntArray, images: npt.NDArray[np.float32], regions: IntArray | None) -> None:
        """Puts other images (k, C, H, W) in some places (k,); regions (k, H, W), where each has its own."""
        if regions is not None:
            players = np.array(self._players)
            players[places] = token_players(regions, self._state.grid)
            self._players, self._token = players, _tokens_of_players(players)
            for known in ("_on_device", "_sizes"):
                vars(self).pop(known, None)
        with self._net.evaluating(), self._net.errors_named(f"images {images.shape}"):
            self._state.replace(on_device(places, self._device), on_device(images, self._device))
        self._steps.forget(places.tolist())

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """See `Scorer`."""
        with self._net.evaluating():
            self._check()
            if self._drops:
                return self._dropped(coalitions, precision)
            return to_readout([self._masked(coalitions, precision)], self._net.name, coalitions)

    def best(self, step: Step) -> Callable[[], Best]:
        """See `StepScorer`."""
        self._check()
        players, token = self._on_device
        images, targets = to_device([step.images, step.targets], players.device)
        candidates: MaskedCandidates | OneTokenCandidates | TokenCandidates
        if not self._drops:
            candidates = MaskedCandidates(step, images, players, self._ask_masked, self._run)
        elif self._token is not None:
            candidates = OneTokenCandidates(step, images, token, self._ask_dropped, self._run)
        else:
            candidates = TokenCandidates(step, images, players, self._sizes, self._ask_dropped, self._run)
        return self._steps.begin(step, candidates, targets)

    @cached_property
    def _steps(self) -> StepTaker:
        return StepTaker(self._net, self._device)

    @cached_property
    def _on_device(self) -> tuple[Tensor, Tensor | None]:
        """The player of each token (K, T); and the token of each player (K, n), if that is one of another number."""
        device = self._device
        own = self._token is None or (self._token == np.arange(self._token.shape[1])).all()
        return _expanded(self._players, device), None if own or self._token is None else _expanded(self._token, device)

    @cached_property
    def _sizes(self) -> IntArray:
        """The number of tokens of each player (K, n)."""
        most = int(self._players.max()) + 1
        return np.stack([np.bincount(players, minlength=most) for players in self._players])

    @property
    def _from_layer(self) -> int:
        return self._absence.from_layer if isinstance(self._absence, MaskAttention) else 0

    @property
    def _drops(self) -> bool:
        """Where the head reads no patch, a token that nobody attends to need not be computed."""
        return isinstance(self._absence, DropTokens) or not self._model.pools_patches

    def _run(self, rows: int, work: Callable[[slice], Tensor], *, length: int) -> list[Tensor]:
        """Rows of so many patches each, as many at once as fit; the module itself takes all patches."""
        patches = self._players.shape[1] if self._state.as_it_is else length
        return self._chunks.run(rows, work, length=max(1, self._model.prefix + patches))

    def _ask_dropped(self, images: Tensor, kept: Tensor, precision: Precision) -> Tensor:
        """The model's rows for images (r,) with the tokens `kept` (r, m)."""
        with self._net.errors_named("images without some of their patches"):
            logits = self._model.logits(self._state, images, kept, from_layer=self._from_layer, precision=precision)
        return self._net.rows(logits)

    def _ask_masked(self, images: Tensor, seen: Tensor, precision: Precision) -> Tensor:
        """The model's rows for images (r,) whose attention sees the tokens `seen` (r, T)."""
        with self._net.errors_named("images with some of their patches masked"):
            logits = self._model.masked_logits(self._state, images, seen, self._from_layer, precision=precision)
        return self._net.rows(logits)

    def _check(self) -> None:
        """Once: is the model as it was described, or as it was read?"""
        if self._compared:
            return
        self._compared = True
        if self._state.anatomy.confirm is not None:
            self._state.anatomy.confirm(self._state.anatomy, self._first)
        if not self._state.as_it_is:
            self._compare()

    @property
    def _first(self) -> Tensor:
        """The first image (1, C, H, W), which the module may write to."""
        return self._state.images[:1].clone()

    def _compare(self) -> None:
        """Once: does the first image with all of its patches get the module's own answer?"""
        from_layer = self._from_layer
        image = torch.zeros(1, dtype=torch.long, device=self._device)
        patches = torch.arange(self._players.shape[1], device=self._device)[None]

        def all_patches(_: Tensor) -> Tensor:
            with self._net.errors_named("images with all of their patches"):
                return self._model.logits(self._state, image, patches, from_layer=from_layer)

        first, what, instead = self._first, "the blocks as they were read", "the module itself is run"
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

    def _dropped(self, coalitions: Coalitions, precision: Precision) -> Readout:
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
            parts.append(self._rectangle(coalitions[rows], kept, row, by, precision))
            order.append(rows)
        return to_readout(parts, self._net.name, coalitions, np.concatenate(order))

    def _rectangle(
        self, coalitions: Coalitions, kept: IntArray, row: IntArray, by: int, precision: Precision
    ) -> Tensor:
        """Coalitions whose base sets are the tokens `kept` (b, m); their flips add `by` tokens."""
        device = self._device
        token = np.zeros_like(row) if self._token is None else self._token[coalitions.owner, coalitions.flip]
        bases, base, tokens, owner, targets = to_device(
            [kept, row, token, coalitions.owner, coalitions.targets], device
        )

        def work(part: slice) -> Tensor:
            return self._ask_dropped(owner[part], with_flip(bases[base[part]], tokens[part, None], by), precision)

        rows = torch.cat(self._run(len(coalitions), work, length=kept.shape[1] + by))
        return read_rows(rows, targets, relative=coalitions.relative)

    def _masked(self, coalitions: Coalitions, precision: Precision) -> Tensor:
        device = self._device
        seen = self._present(coalitions.owner, np.arange(len(coalitions)), coalitions.masks)
        owner, masks, targets = (on_device(a, device) for a in (coalitions.owner, seen, coalitions.targets))

        def work(part: slice) -> Tensor:
            return self._ask_masked(owner[part], masks[part], precision)

        rows = torch.cat(self._run(len(coalitions), work, length=masks.shape[1]))
        return read_rows(rows, targets, relative=coalitions.relative)

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


def _expanded(array: IntArray, device: torch.device) -> Tensor:
    """An array (K, ...) on the device, once for all images that share it."""
    return on_device(without_repeats(array), device).expand(len(array), -1)
