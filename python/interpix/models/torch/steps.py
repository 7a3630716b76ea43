"""A step of a search where the model is: candidates' rows are read, compared, and the best found on the device."""

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from interpix.models.protocol.classifier import check_finite, check_width
from interpix.models.protocol.steps import Best, Step
from interpix.models.torch.module import TorchModule
from interpix.models.torch.readout import read_rows
from interpix.models.torch.recheck import MixedFirst
from interpix.models.torch.transfer import Later
from interpix.outputs.readout import Readout
from interpix.terms import Precision

__all__ = ["Candidates", "StepTaker", "list_candidates"]


class Candidates(Protocol):
    """The candidates of a step, listed image by image, each image's players ascending."""

    def rows(self, chosen: Tensor, precision: Precision) -> Tensor:
        """What the model says to those with these numbers (r,): its rows (r, D)."""
        ...


def list_candidates(bases: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """The candidates of sets (b, n), ascending, (b, C); and the present players, ascending, (b, size)."""
    # A stable sort of so few lists both without waiting for the device, as asking where they are would.
    order = bases.byte().argsort(dim=1, stable=True)
    absent, present = order.split([bases.shape[1] - step.size, step.size], dim=1)
    return (absent if step.inserts else present), present


class StepTaker:
    """Finds the best players of the steps of a search, each with one wait for the device in exact precision."""

    def __init__(self, net: TorchModule, device: torch.device) -> None:
        """Takes the model and where it is; nothing is asked yet."""
        self._net, self._device = net, device
        self._mixed = MixedFirst()

    def forget(self, images: Iterable[int]) -> None:
        """Other images are in the places of these."""
        self._mixed.forget(images)

    def begin(self, step: Step, candidates: Candidates, targets: Tensor) -> Callable[[], Best]:
        """Asks about the candidates of images with these targets (b,); what is returned waits for their best."""
        count = len(step.images) * step.count
        asked = _Asked(self._net, step, candidates, targets.repeat_interleave(step.count, output_size=count)[:, None])
        if step.precision == "exact":
            read = asked.read_all()
            found = Later(_best(_gains(read, step).view(len(step.images), step.count), read))
            return lambda: asked.told(found.wait())
        asked.table = torch.zeros(count, 4, dtype=_wide(self._device), device=self._device)
        asked.table[:, -1] = 1
        finish = self._mixed.gains(step.images.tolist(), step.count, asked.gains, self._device)

        def wait() -> Best:
            with self._net.evaluating():
                gains, _ = finish()
                return asked.told(Later(_best(gains, asked.table)).wait())

        return wait


class _Asked:
    """What is known of a step's candidates, on the device.

    Attributes:
        table: Log-odds, logit, predicted class and whether all is finite, of what was asked exactly; of what was asked
            in low precision alone, whether it is finite.
    """

    table: Tensor

    def __init__(self, net: TorchModule, step: Step, candidates: Candidates, targets: Tensor) -> None:
        self._net, self._step, self._candidates, self._targets = net, step, candidates, targets

    def read_all(self) -> Tensor:
        """What is read of the model's answers to all candidates (b C, 4)."""
        every = torch.arange(len(self._targets), device=self._targets.device)
        return self._read(every, self._targets, "exact")

    def gains(self, rows: Tensor, *, mixed: bool) -> Tensor:
        """How good some candidates are (r,); what was read of them is remembered."""
        read = self._read(rows, self._targets[rows], "mixed" if mixed else "exact")
        if mixed:
            self.table[rows, -1] *= read[:, -1]
        else:
            read[:, -1] *= self.table[rows, -1]
            self.table[rows] = read
        return _gains(read, self._step)

    def _read(self, rows: Tensor, targets: Tensor, precision: Precision) -> Tensor:
        answers = self._candidates.rows(rows, precision)
        check_width(self._step.width, answers.shape[1], self._net.name)
        return read_rows(answers, targets, relative=self._step.relative)

    def told(self, found: Tensor) -> Best:
        """What `_best` found, on the host.

        Raises:
            ModelError: Something was not finite.
        """
        table = found.numpy().astype(np.float64)
        at, odd = table[:, 0].astype(np.int64), table[:, 2].astype(np.int64)
        players, images = self._step.players, np.arange(len(table))
        if (wrong := odd < self._step.count).any():
            image = int(wrong.argmax())
            mask = self._step.bases[image].copy()
            mask[players[image, odd[image]]] ^= True
            check_finite(np.zeros(1, np.bool_), self._net.name, mask[None])
        readout = Readout(table[:, 3:4], table[:, 4:5], table[:, 5].astype(np.int64))
        return Best(players[images, at], readout, table[:, 1])


def _wide(device: torch.device) -> torch.dtype:
    """Apple's devices have no double precision."""
    return torch.float32 if device.type == "mps" else torch.float64


def _gains(read: Tensor, step: Step) -> Tensor:
    """How good candidates are (r,), of what was read of them: their rewards, or what they lack of them.

    As `interpix.outputs.readout.from_log_odds`; what is not finite is worst.
    """
    odds = read[:, 0]
    if step.reward == "logit":
        earned = read[:, 1]
    elif step.reward == "log_odds":
        earned = odds
    else:
        earned = logsigmoid(odds) if step.reward == "log_probability" else logsigmoid(odds).exp()
    return torch.where(read[:, -1] == 1, earned if step.inserts else -earned, -torch.inf)


def _best(gains: Tensor, table: Tensor) -> Tensor:
    """Of gains, image by image, and what was read of each candidate: the best of each image (b, 6).

    Its place, the gap to the second best, the place of the first candidate that is not finite, and what was read of it.
    """
    count = gains.shape[1]
    columns = torch.arange(count, device=gains.device)
    top = gains.topk(min(2, count), dim=1).values
    # torch may take any of equal ones; the lowest player is the rule.
    at = torch.where(gains == top[:, :1], columns, count).amin(1, keepdim=True)
    at = at.clamp(max=count - 1)  # where something is not finite, which is told later
    gap = top[:, :1] - top[:, 1:] if count > 1 else torch.full_like(top, torch.inf)
    table = table.view(len(gains), count, -1)
    odd = torch.where(table[..., -1] == 1, count, columns).amin(1, keepdim=True)
    read = table.take_along_dim(at[..., None], dim=1)[:, 0, :-1]
    return torch.cat([at.to(read.dtype), gap.to(read.dtype), odd.to(read.dtype), read], dim=1)
