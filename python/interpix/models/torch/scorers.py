"""How a torch module scores coalitions: composed pictures, changed windows of them, or dropped or masked tokens."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from interpix.absence import DropTokens, MaskAttention
from interpix.errors import InterpixError, ModelError, bad_value
from interpix.models.protocol.classifier import Coalitions
from interpix.models.torch.memory import Chunks, memory_of
from interpix.outputs import Readout

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from interpix.arrays import BoolArray, IntArray
    from interpix.models.adapters.torch import TorchClassifier
    from interpix.models.tokens.model import TokenModel
    from interpix.models.windows.model import WindowModel, WindowState
    from interpix.terms import Precision

__all__ = ["TokenScorer", "TorchPictureScorer", "WindowScorer", "errors_of", "read_out", "to_readout"]

# Fewer candidates of one base picture than this are evaluated in full: the base's own maps cost one evaluation.
_LEAST_CANDIDATES = 3
# Tokens go through the blocks by a budget of their own; all candidates of a step together fill it best, on a GPU those
# of the 64 images that a search has in flight.
_TOKEN_BATCH, _TOKEN_BATCH_ON_GPU = 1024, 64 * 256


@contextmanager
def errors_of(name: str, what: str) -> Iterator[None]:
    """Whatever is raised inside is the model's and names it; out of memory stays what `Chunks` knows."""
    try:
        yield
    except (InterpixError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ModelError(f"model `{name}` raised {type(error).__name__} for {what}: {error}") from error


class TorchPictureScorer:
    """Coalitions as pictures: the image where a region is present, the fill elsewhere, composed on the device."""

    def __init__(
        self,
        classifier: TorchClassifier,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        fill: npt.NDArray[np.float32],
    ) -> None:
        """Takes images and fill (K, 3, H, W) and regions (K, H, W)."""
        self._classifier = classifier
        self._images, self._fill = (_to_device(array, classifier) for array in (images, fill))
        self._regions = _tensor(regions, classifier.device)
        memory = memory_of(classifier.device)
        most = classifier.pictures_at_once(*images.shape[2:]) if memory is None else classifier.batch_size
        self._chunks = Chunks(classifier.name, most, memory)
        self.batch_size = classifier.batch_size

    @property
    def reduced_to(self) -> int | None:
        """See `Scorer`."""
        return self._chunks.reduced_to

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """See `Scorer`; mixed precision is torch's own autocast to bfloat16."""
        with self._classifier.evaluating():
            return to_readout(self._whole(coalitions, precision), self._classifier.name)

    def _whole(self, coalitions: Coalitions, precision: Precision) -> list[Tensor]:
        """What the whole pictures of coalitions say, in parts."""
        owner, bases, row, flip, targets = _tensors(coalitions, self._classifier.device)

        def work(part: slice) -> Tensor:
            pictures = self._compose(owner[part], _flipped(bases[row[part]], flip[part]))
            return read_out(self._evaluate(pictures, precision), targets[part])

        return self._chunks.run(len(coalitions), work)

    def _compose(self, owner: Tensor, masks: Tensor) -> Tensor:
        """The pictures (c, 3, H, W)."""
        present = masks.gather(1, self._regions[owner].flatten(1)).view(-1, 1, *self._regions.shape[1:])
        return torch.where(present, self._images[owner], self._fill[owner])

    def _evaluate(self, pictures: Tensor, precision: Precision) -> Tensor:
        if precision == "exact":
            return self._classifier.forward(pictures)
        with torch.autocast(pictures.device.type, torch.bfloat16):
            return self._classifier.forward(pictures)


class WindowScorer(TorchPictureScorer):
    """Pictures for a plain stack of convolutions: of a candidate only what its flipped region changes is computed."""

    def __init__(
        self,
        classifier: TorchClassifier,
        windows: WindowModel,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        fill: npt.NDArray[np.float32],
    ) -> None:
        """Takes what `TorchPictureScorer` takes."""
        super().__init__(classifier, images, regions, fill)
        self._windows = windows
        # The base pictures' maps of the images in the last batch, by image, with the base set and the direction.
        self._states: dict[int, tuple[bytes, WindowState]] = {}

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """See `Scorer`."""
        images = np.unique(coalitions.owner)
        self._states = {image: state for image, state in self._states.items() if image in images}
        parts, order, rest = [], [], [np.flatnonzero(coalitions.flip < 0)]
        with self._classifier.evaluating():
            for rows in _rows_alike(coalitions):
                state = self._state(coalitions[rows])
                if state is None:
                    rest.append(rows)
                else:
                    parts.append(self._candidates(state, coalitions[rows], precision))
                    order.append(rows)
            order.append(np.concatenate(rest))
            if len(order[-1]):
                parts += self._whole(coalitions[order[-1]], precision)
            return to_readout(parts, self._classifier.name, np.concatenate(order))

    def _candidates(self, state: WindowState, candidates: Coalitions, precision: Precision) -> Tensor:
        with errors_of(self._classifier.name, "windows of pictures"):
            logits = self._windows.logits(state, candidates.flip, precision=precision)
        return read_out(logits, _tensor(candidates.targets, logits.device))

    def _evaluate(self, pictures: Tensor, precision: Precision) -> Tensor:
        with errors_of(self._classifier.name, f"a batch {tuple(pictures.shape)}"):
            return self._windows.plain_logits(pictures, precision=precision)

    def _state(self, candidates: Coalitions) -> WindowState | None:
        """The maps of the candidates' base picture; None where they would not pay."""
        image = int(candidates.owner[0])
        base = candidates.bases[candidates.row[0]]
        added = not base[candidates.flip[0]]
        key = base.tobytes() + bytes([added])
        if image in self._states and self._states[image][0] == key:
            return self._states[image][1]
        if len(candidates) < _LEAST_CANDIDATES:
            return None
        device = self._classifier.device
        picture = self._compose(torch.tensor([image], device=device), _tensor(base[None], device))[0]
        other = (self._images if added else self._fill)[image]
        with errors_of(self._classifier.name, "the picture that candidates differ from"):
            state = self._windows.prepare(picture, other, self._regions[image])
        self._states[image] = key, state
        return state


class TokenScorer:
    """Coalitions of a Vision Transformer's patches: the image is embedded once, absent tokens are dropped or masked."""

    def __init__(
        self,
        classifier: TorchClassifier,
        tokens: TokenModel,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        absence: DropTokens | MaskAttention,
    ) -> None:
        """Takes images (K, 3, H, W) and regions (K, H, W), each made of whole patches."""
        if isinstance(absence, MaskAttention) and absence.from_layer >= tokens.depth:
            expected = f"a block of model `{classifier.name}`, 0 ... {tokens.depth - 1}"
            raise bad_value("from_layer", expected, absence.from_layer, "0 masks in all blocks")
        self._classifier, self._model, self._absence = classifier, tokens, absence
        self._players = _token_players(regions, tokens.grid)
        self._token = _tokens_of_players(self._players)
        self.batch_size = _TOKEN_BATCH if classifier.device.type == "cpu" else _TOKEN_BATCH_ON_GPU
        self._chunks = Chunks(classifier.name, self.batch_size)
        with classifier.evaluating(), errors_of(classifier.name, f"images {images.shape}"):
            self._state = tokens.prepare(_to_device(images, classifier))

    @property
    def reduced_to(self) -> int | None:
        """See `Scorer`."""
        return self._chunks.reduced_to

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """See `Scorer`."""
        from_layer = self._absence.from_layer if isinstance(self._absence, MaskAttention) else 0
        with self._classifier.evaluating():
            # Where the head reads no patch, a token that nobody attends to need not be computed.
            if isinstance(self._absence, DropTokens) or not self._model.pools_patches:
                return self._dropped(coalitions, from_layer, precision)
            return to_readout(self._masked(coalitions, from_layer, precision), self._classifier.name)

    def _dropped(self, coalitions: Coalitions, from_layer: int, precision: Precision) -> Readout:
        """Coalitions of one number of tokens are a rectangular batch; a step of a search has one."""
        if self._token is None:  # a flip is of several tokens
            coalitions = Coalitions.of_masks(coalitions.owner, coalitions.masks, coalitions.targets)
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
        return to_readout(parts, self._classifier.name, np.concatenate(order))

    def _rectangle(
        self, coalitions: Coalitions, kept: IntArray, row: IntArray, by: int, from_layer: int, precision: Precision
    ) -> list[Tensor]:
        """Coalitions whose base sets are the tokens `kept` (b, m); their flips add `by` tokens."""
        device = self._classifier.device
        token = np.zeros_like(row) if self._token is None else self._token[coalitions.owner, coalitions.flip]
        bases, base, tokens, owner, targets = (
            _tensor(a, device) for a in (kept, row, token, coalitions.owner, coalitions.targets)
        )

        def work(part: slice) -> Tensor:
            indices = _with_flip(bases[base[part]], tokens[part, None], by)
            with errors_of(self._classifier.name, "images without some of their patches"):
                logits = self._model.logits(
                    self._state, owner[part], indices, from_layer=from_layer, precision=precision
                )
            return read_out(logits, targets[part])

        return self._chunks.run(len(coalitions), work)

    def _masked(self, coalitions: Coalitions, from_layer: int, precision: Precision) -> list[Tensor]:
        device = self._classifier.device
        seen = self._present(coalitions.owner, np.arange(len(coalitions)), coalitions.masks)
        owner, masks, targets = (_tensor(a, device) for a in (coalitions.owner, seen, coalitions.targets))

        def work(part: slice) -> Tensor:
            with errors_of(self._classifier.name, "images with some of their patches masked"):
                logits = self._model.masked_logits(
                    self._state, owner[part], masks[part], from_layer, precision=precision
                )
            return read_out(logits, targets[part])

        return self._chunks.run(len(coalitions), work)

    def _present(self, owner: IntArray, row: IntArray, sets: BoolArray) -> BoolArray:
        """Which tokens the players of `sets` (b, n) are (b, T), where coalitions of `owner` use them as `row` says."""
        image = np.zeros(len(sets), np.int64)
        image[row] = owner
        return np.take_along_axis(sets, self._players[image], axis=1)


def read_out(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-odds (c, t), logits (c, t), predicted class and whether all is finite, in one tensor (c, 2 t + 2).

    One tensor, so that a batch costs one transfer from the device.
    """
    logits = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
    chosen = logits.gather(1, targets)
    rest = [logits.scatter(1, column[:, None], -torch.inf).logsumexp(dim=1) for column in targets.T]
    finite = logits.isfinite().all(dim=1, keepdim=True)
    # torch's argmax may take any of equal logits; the lowest class is the rule.
    predicted = (logits == logits.amax(dim=1, keepdim=True)).to(torch.uint8).argmax(dim=1, keepdim=True)
    columns = [chosen - torch.stack(rest, dim=1), chosen, predicted, finite]
    return torch.cat([column.to(logits.dtype) for column in columns], dim=1)


def to_readout(parts: list[Tensor], name: str, order: IntArray | None = None) -> Readout:
    """The parts that `read_out` made, on the host; `order` says which coalition each row is, if they were sorted."""
    table = torch.cat(parts).cpu().numpy().astype(np.float64)
    if not table[:, -1].all():
        message = f"model `{name}`: its logits hold NaN or infinity; check its weights and its input's range"
        raise ModelError(message)
    if order is not None:
        table = table[np.argsort(order, kind="stable")]
    classes = (table.shape[1] - 2) // 2
    return Readout(table[:, :classes], table[:, classes:-2], table[:, -2].astype(np.int64))


def _token_players(regions: IntArray, grid: tuple[int, int]) -> IntArray:
    """The player of each token (K, T), if every patch lies in one region."""
    count, height, width = regions.shape
    patches = regions.reshape(count, grid[0], height // grid[0], grid[1], width // grid[1])
    players = patches[:, :, 0, :, 0]
    if not (patches == players[:, :, None, :, None]).all():
        expected = f"regions made of whole patches of the {grid[0]} x {grid[1]} token grid"
        raise bad_value("regions", expected, "regions that cut patches", 'use "tokens", or absence="zero"')
    return players.reshape(count, -1)


def _tokens_of_players(players: IntArray) -> IntArray | None:
    """The token of each player (K, n), if every player is one token; `players` (K, T) is the player of each token."""
    tokens = np.argsort(players, axis=1)
    one_each = (np.take_along_axis(players, tokens, axis=1) == np.arange(players.shape[1])).all()
    return tokens if one_each else None


def _rows_alike(coalitions: Coalitions) -> list[IntArray]:
    """The rows with a flip, apart by base set, and by whether the flipped player is in it."""
    rows = np.flatnonzero(coalitions.flip >= 0)
    row = coalitions.row[rows]
    kinds = 2 * row + coalitions.bases[row, coalitions.flip[rows]]
    return [rows[kinds == kind] for kind in np.unique(kinds)]


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


def _flipped(sets: Tensor, flip: Tensor) -> Tensor:
    """Presence (c, n) after one flip in each row; -1: none."""
    column = flip.clamp(min=0)[:, None]
    return sets.scatter(1, column, sets.gather(1, column) ^ (flip >= 0)[:, None])


def _tensors(coalitions: Coalitions, device: torch.device) -> tuple[Tensor, ...]:
    """Owner, bases, row, flip and targets."""
    columns = coalitions.owner, coalitions.bases, coalitions.row, coalitions.flip, coalitions.targets
    return tuple(_tensor(column, device) for column in columns)


def _to_device(array: npt.NDArray[Any], classifier: TorchClassifier) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(classifier.device, classifier.dtype)


def _tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
