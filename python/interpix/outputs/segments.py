"""Segmentation: the class of a region, pixel by pixel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from interpix.arrays import AnyArray, BoolArray, IntArray, to_numpy
from interpix.errors import bad_value
from interpix.outputs.base import Numbers, Output, digest, refuse
from interpix.outputs.readout import Readout, Scores
from interpix.targets import read_target
from interpix.terms import Reward

__all__ = ["Segments"]

_DIMENSIONS = 4


@dataclass(frozen=True, eq=False)
class Segments(Output):
    """Per-pixel logits (B, K, h, w), of which a region is explained: why is this a dog?

    A picture's reward is the mean log-odds of the class over the region's pixels; the answer holds while it is the most
    frequent class there, the lowest of equally frequent ones.

    One pixel of class 0 and one of class 1, and a region that is the second:

    >>> logits = np.array([[[[2.0, 0.0]], [[0.0, 3.0]]]])
    >>> output = Segments(np.array([[False, True]]))
    >>> rows = output.rows(logits, "net")
    >>> rows
    array([[-3.,  3.,  0.,  1.]])
    >>> output.score_whole(rows[0], 1, "log_odds")
    Score(reward=3.0, answer=1.0, predicted=1, holds=True)

    Attributes:
        mask: The region (H, W), True inside, in the picture that the model sees.
    """

    mask: AnyArray = field(repr=False)

    name: ClassVar[str] = "segments"
    quantity: ClassVar[str] = "share of the region"
    among_classes: ClassVar[bool] = True
    exclusive: ClassVar[bool] = True
    takes_rows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuses a mask of no pixels."""
        mask = to_numpy(self.mask, "mask")
        if mask.ndim != 2 or mask.dtype != bool or not mask.any():
            got = f"{mask.dtype} {mask.shape}" + ("" if mask.any() else " without a pixel")
            raise bad_value(
                "mask", "a bool array (H, W), True inside", got, "compare labels: labels == 12, for example"
            )
        object.__setattr__(self, "mask", mask.copy())

    def rows(self, raw: Any, model: str, size: tuple[int, int] | None = None) -> Any:
        """Mean log-odds of each class over the region, and its share of the region's pixels: (B, 2 K)."""
        logits = raw["out"] if isinstance(raw, dict) and "out" in raw else getattr(raw, "logits", raw)
        if getattr(logits, "ndim", 0) != _DIMENSIONS or logits.shape[1] < 2:
            got = f"shape {tuple(logits.shape)}" if hasattr(logits, "shape") else type(logits).__name__
            cure = "use a segmentation model of torchvision or transformers, or return such logits"
            raise refuse(model, "logits (B, classes, h, w) of at least 2 classes", got, cure)
        mask = np.asarray(self.mask)
        if size is not None and mask.shape != tuple(size):
            got = f"{mask.shape[0]} x {mask.shape[1]}"
            raise bad_value(
                "mask", f"the size of the picture that the model sees, {size[0]} x {size[1]}", got, "resize it"
            )
        is_numpy = isinstance(logits, np.ndarray)
        if tuple(logits.shape[2:]) != mask.shape:
            if is_numpy:
                cure = "return logits of the picture's size"
                raise refuse(model, f"logits for each of {mask.shape[0]} x {mask.shape[1]} pixels", logits.shape, cure)
            import torch  # the logits are its tensor

            # As transformers' own processors enlarge them.
            logits = torch.nn.functional.interpolate(logits.float(), mask.shape, mode="bilinear", align_corners=False)
        if is_numpy:
            return _summarize(np, logits.astype(np.float64)[:, :, mask], np.arange(logits.shape[1])[:, None])
        import torch  # the logits are its tensor

        inside = logits.float()[:, :, torch.from_numpy(mask).to(logits.device)]
        return _summarize(torch, inside, torch.arange(logits.shape[1], device=logits.device)[:, None])

    def columns(self, target: int, count: int) -> Sequence[int]:
        """See `Output.columns`: the target's log-odds, and all shares."""
        return (target, *range(count // 2, count))

    def reward(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """The mean log-odds."""
        return rows[:, 0]

    def holds(self, rows: Numbers, target: int, whole: Numbers) -> BoolArray:
        """Whether no class is more frequent in the region."""
        return np.asarray(rows[:, 1:].argmax(axis=1) == target)

    def answer(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """The share of the region's pixels that are of the class."""
        return rows[:, 1 + target]

    def scores(
        self, readout: Readout, owner: IntArray, targets: Sequence[int], wholes: Sequence[Numbers], reward: Reward
    ) -> Scores:
        """See `Output.scores`."""
        found = super().scores(readout, owner, targets, wholes, reward)
        return found._replace(predicted=readout.logits[:, 1:].argmax(axis=1))

    def prediction(self, whole: Numbers) -> int:
        """The most frequent class."""
        return int(whole[len(whole) // 2 :].argmax())

    def read_target(self, target: object, whole: Numbers, names: list[str] | None) -> int:
        """See `Output.read_target`."""
        return read_target(target, self.prediction(whole), names, len(whole) // 2)

    def differentiable(self, rows: Any, target: int, *, probability: bool) -> Any:
        """See `Output.differentiable`: the mean log-odds."""
        return self._column(rows, target, probability=probability)

    def claim(self, named: str, answer: float) -> str:
        """See `Output.claim`."""
        return f"{named} in the region"

    def facts(self) -> dict[str, Any]:
        """See `Output.facts`."""
        return super().facts() | {"pixels": int(np.asarray(self.mask).sum()), "mask_sha256": digest(self.mask)}


def _summarize(library: Any, inside: Any, classes: Any) -> Any:
    """Mean log-odds (B, K) and shares (B, K) of logits (B, K, pixels), as (B, 2 K); numpy and torch agree on these."""
    is_best = inside.argmax(1)[:, None] == classes
    top = library.amax(inside, 1)[:, None]
    # The rest beside the best class is summed without it; beside another class it holds the best, and cannot vanish.
    others = library.where(is_best, -library.inf, inside)
    second = library.amax(others, 1)[:, None]
    beside_best = second + library.log(library.exp(others - second).sum(1))[:, None]
    shares = library.exp(inside - top)
    beside_other = top + library.log(shares.sum(1)[:, None] - library.where(is_best, 0.0, shares))
    odds = inside - library.where(is_best, beside_best, beside_other)
    return library.concatenate([odds.mean(-1), (is_best * 1.0).mean(-1)], 1)
