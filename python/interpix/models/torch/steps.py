"""A step of a search where the model is: candidates' rows are read, compared, and the best found on the device."""

from collections.abc import Callable
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
from interpix.models.torch.transfer import Later, on_device
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
    order = bases.to(torch.uint8).argsort(dim=1, stable=True)
    absent, present = order.split([bases.shape[1] - step.size, step.size], dim=1)
    return (absent if step.inserts else present), present


class StepTaker:
    """Finds the best players of the steps of a search, each with one wait for the device in exact precision."""

    def __init__(self, net: TorchModule) -> None:
        """Takes the model; nothing is asked yet."""
        self._net = net
        self._mixed = MixedFirst()

    def begin(self, step: Step, candidates: Candidates) -> Callable[[], Best]:
        """Asks about the candidates; what is returned waits for their best."""
        asked = _Asked(self._net, step, candidates)
        if step.precision == "exact":
            with self._net.evaluating():
                gains = asked.gains(asked.every, mixed=False).view(len(step.images), step.count)
                found = Later(asked.best(gains))
            return lambda: asked.told(found.wait())
        with self._net.evaluating():
            finish = self._mixed.gains(step.images.tolist(), step.count, asked.gains, asked.device)

        def wait() -> Best:
            with self._net.evaluating():
                gains, _ = finish()
                return asked.told(Later(asked.best(gains)).wait())

        return wait


class _Asked:
    """What is known of a step's candidates, on the device."""

    def __init__(self, net: TorchModule, step: Step, candidates: Candidates) -> None:
        self.device = net.device
        self._net, self._step, self._candidates = net, step, candidates
        count = len(step.images) * step.count
        self.every = torch.arange(count, device=self.device)
        targets = on_device(step.targets, self.device)
        self._targets = targets.repeat_interleave(step.count, output_size=count)[:, None]
        # Log-odds, logit, predicted class and whether all is finite, of what was asked exactly; finite of what was not.
        wide = torch.float32 if self.device.type == "mps" else torch.float64
        self._table = torch.zeros(count, 4, dtype=wide, device=self.device)
        self._table[:, -1] = 1

    def gains(self, rows: Tensor, *, mixed: bool) -> Tensor:
        """How good some candidates are (r,): their rewards, or what they lack of them."""
        answers = self._candidates.rows(rows, "mixed" if mixed else "exact")
        check_width(self._step.width, answers.shape[1], self._net.name)
        read = read_rows(answers, self._targets[rows], relative=self._step.relative)
        if mixed:
            self._table[rows, -1] *= read[:, -1]
        else:
            read[:, -1] *= self._table[rows, -1]
            self._table[rows] = read
        gains = self._earned(read) if self._step.inserts else -self._earned(read)
        return torch.where(read[:, -1] == 1, gains, -torch.inf)

    def _earned(self, read: Tensor) -> Tensor:
        """As `interpix.outputs.readout.from_log_odds`."""
        reward, odds = self._step.reward, read[:, 0]
        if reward == "logit":
            return read[:, 1]
        if reward == "log_odds":
            return odds
        return logsigmoid(odds) if reward == "log_probability" else logsigmoid(odds).exp()

    def best(self, gains: Tensor) -> Tensor:
        """Of gains (b, C): which is best, the gap, which is the first that is not finite, and what was read (b, 6)."""
        count = gains.shape[1]
        columns = torch.arange(count, device=gains.device)
        # torch's argmax may take any of equal ones; the lowest player is the rule.
        at = torch.where(gains == gains.amax(1, keepdim=True), columns, count).amin(1, keepdim=True)
        at = at.clamp(max=count - 1)  # where something is not finite, which is told below
        gap = gains.gather(1, at) - gains.scatter(1, at, -torch.inf).amax(1, keepdim=True)
        table = self._table.view(len(gains), count, -1)
        finite = table[..., -1] == 1
        odd = torch.where(finite, count, columns).amin(1, keepdim=True)
        read = table[torch.arange(len(gains), device=gains.device), at[:, 0], :-1]
        return torch.cat([at.to(read.dtype), gap.to(read.dtype), odd.to(read.dtype), read], dim=1)

    def told(self, found: Tensor) -> Best:
        """The same on the host.

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
