"""What is read off logits on their device, as by `interpix.outputs.readout.read_logits`, in one transfer a batch."""

import numpy as np
import torch
from torch import Tensor

from interpix.arrays import IntArray
from interpix.models.protocol.classifier import Coalitions, check_finite
from interpix.outputs.readout import Readout

__all__ = ["read_out", "read_rows", "to_readout"]

# Numbers that are read at once: in double precision, with what is computed of them, they stay in a CPU's cache.
_AT_ONCE = 1 << 18


def read_rows(rows: Tensor, targets: Tensor, *, relative: bool = True) -> Tensor:
    """`read_out` of any number of rows."""
    size = max(1, _AT_ONCE // rows.shape[1]) if rows.device.type == "cpu" else _AT_ONCE
    parts = zip(rows.split(size), targets.split(size), strict=True)
    return torch.cat([read_out(part, columns, relative=relative) for part, columns in parts])


def read_out(logits: Tensor, targets: Tensor, *, relative: bool = True) -> Tensor:
    """Log-odds (c, t), logits (c, t), predicted class and whether all is finite, in one tensor (c, 2 t + 2).

    Where nobody asks for log-odds `relative` to all other classes, they are the logits.

    One tensor, so that a batch costs one transfer from the device.
    """
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    # On a GPU double precision is slow, and needed for the sum alone; on a CPU it is exact for nothing.
    logits = logits.to(torch.float64 if logits.device.type == "cpu" else torch.float32)
    chosen = logits.gather(1, targets)
    odds = chosen.to(wide)
    if relative:
        odds = torch.stack([_odds(logits, column[:, None], wide) for column in targets.T], dim=1)
    finite = logits.isfinite().all(dim=1, keepdim=True)
    # torch's argmax may take any of equal logits; the lowest class is the rule.
    classes = torch.arange(logits.shape[1], device=logits.device)
    top = logits.amax(dim=1, keepdim=True)
    predicted = torch.where(logits == top, classes, logits.shape[1] - 1).amin(dim=1, keepdim=True)
    return torch.cat([column.to(wide) for column in (odds, chosen, predicted, finite)], dim=1)


def _odds(logits: Tensor, column: Tensor, wide: torch.dtype) -> Tensor:
    """Log-odds (c,) of one column (c, 1) against all others."""
    if logits.dtype == torch.float64:
        return logits.gather(1, column)[:, 0] - logits.scatter(1, column, -torch.inf).logsumexp(dim=1)
    others = logits.scatter(1, column, -torch.inf)
    top = others.amax(dim=1, keepdim=True)
    # Differences are small where they count, so that single precision tells them; 1e-7 is what is lost.
    rest = (others - top).exp().sum(dim=1, dtype=wide).log()
    return (logits.gather(1, column) - top)[:, 0].to(wide) - rest


def to_readout(parts: list[Tensor], name: str, coalitions: Coalitions, order: IntArray | None = None) -> Readout:
    """The parts that `read_out` made, on the host; `order` says which coalition each row is, if they were sorted."""
    table = torch.cat(parts).cpu().numpy().astype(np.float64)
    if order is not None:
        table = table[np.argsort(order, kind="stable")]
    finite = table[:, -1] == 1
    if not finite.all():
        check_finite(finite, name, coalitions.masks)
    classes = (table.shape[1] - 2) // 2
    return Readout(table[:, :classes], table[:, classes:-2], table[:, -2].astype(np.int64))
