"""Models that answer with numbers: regressions, and embeddings that are compared."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from interpix.arrays import AnyArray, BoolArray, to_numpy
from interpix.checks import check_choice, check_number
from interpix.errors import bad_value
from interpix.options import plain_options
from interpix.outputs.base import Numbers, Output, digest, refuse

__all__ = ["Similarity", "Value"]

_SAME = 1e-9
"""Cosines nearer to 1 than this are of one direction."""


@dataclass(frozen=True)
class Value(Output):
    """A number, or several (B, K), of which the target is a column: an age, a count, a depth.

    Which patches keep it within `tolerance` of what the whole image gets?

    >>> Value(tolerance=2).score_whole(np.array([31.0]), 0, "log_odds")
    Score(reward=-0.0, answer=31.0, predicted=-1, holds=True)

    Attributes:
        tolerance: How far the number may be from the reference and still be the same answer, in its own units.
        reference: The number to stay near to; None: what the model says of the whole image.
        direction: `"near"`: the distance to the reference counts, on either side; `"above"`: it must not fall below the
            reference by more than the tolerance, and more is better; `"below"`: the other way.
    """

    tolerance: float
    reference: float | None = None
    direction: Literal["near", "above", "below"] = "near"

    name: ClassVar[str] = "value"
    quantity: ClassVar[str] = "value"

    def __post_init__(self) -> None:
        """Refuses options that are out of range."""
        plain_options(self)
        most = sys.float_info.max
        check_number("tolerance", self.tolerance, 0, most, "a number of at least 0", "in units of the model's answer")
        if self.reference is not None:
            check_number("reference", self.reference, -most, most, "a number", "or None for the whole image's")
        check_choice("direction", self.direction, ("near", "above", "below"))

    @property
    def sign(self) -> int:  # type: ignore[override]
        """See `Output`."""
        return -1 if self.direction == "below" else 1

    def reward(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """Minus the distance to the reference; or the number, or minus it, by `direction`."""
        value = self.answer(rows, target, whole)
        if self.direction == "near":
            return -np.abs(value - self._reference(target, whole))
        return value if self.direction == "above" else -value

    def holds(self, rows: Numbers, target: int, whole: Numbers) -> BoolArray:
        """Whether the number is within the tolerance."""
        limit = {"near": 0, "above": 1, "below": -1}[self.direction] * self._reference(target, whole)
        return np.asarray(self.reward(rows, target, whole) >= limit - self.tolerance)

    def answer(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """The number itself."""
        return rows[:, 0]

    def columns(self, target: int, count: int) -> Sequence[int]:
        """See `Output.columns`."""
        return (target,)

    def differentiable(self, rows: Any, target: int, *, probability: bool) -> Any:
        """See `Output.differentiable`: the number itself, by `direction` with its sign."""
        column = self._column(rows, target, probability=probability)
        return -column if self.direction == "below" else column

    def prediction(self, whole: Numbers) -> int:
        """The only column; of several none is the model's own answer."""
        if len(whole) > 1:
            need = f"which of the {len(whole)} numbers, as the model has no answer among them"
            raise bad_value("target", need, "None", f"pass an index in 0 ... {len(whole) - 1}")
        return 0

    def claim(self, named: str, answer: float) -> str:
        """See `Output.claim`."""
        reference = answer if self.reference is None else self.reference
        around = {"near": f"{reference:.4g} ± {self.tolerance:.3g}"}
        around |= {"above": f"at least {reference - self.tolerance:.4g}"}
        around |= {"below": f"at most {reference + self.tolerance:.4g}"}
        return f"{named}: {around[self.direction]}"

    def names(self, class_names: Sequence[str] | None, whole: Numbers) -> list[str]:
        """Those that the model has, else "the value", or "number 3" of several."""
        if class_names is not None and len(class_names) == len(whole):
            return list(class_names)
        return ["the value"] if len(whole) == 1 else [f"number {index}" for index in range(len(whole))]

    def _reference(self, target: int, whole: Numbers) -> float:
        return float(whole[target]) if self.reference is None else self.reference


@dataclass(frozen=True, eq=False)
class Similarity(Output):
    """Embeddings (B, D), by their cosine with the embeddings of references.

    Of several references the nearest is the answer, as of classes; of one, whether the cosine reaches `threshold`.

    >>> nearest = Similarity(np.array([[1.0, 0.0], [0.0, 2.0]]))
    >>> nearest.rows(np.array([[3.0, 4.0]]), "net")
    array([[0.6, 0.8]])
    >>> nearest.score_whole(np.array([0.25, 0.75]), 1, "log_odds")
    Score(reward=0.5, answer=0.75, predicted=1, holds=True)

    Attributes:
        embedding: Of one reference (D,), or of T of them (T, D), which are the targets.
        threshold: The least cosine at which a reference counts as similar, in -1 ... 1; None with several references:
            the nearest of them counts.
        labels: A name for each reference.
    """

    embedding: AnyArray = field(repr=False)
    threshold: float | None = None
    labels: Sequence[str] | None = None

    name: ClassVar[str] = "similarity"
    quantity: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        """Refuses options that are out of range."""
        array = np.atleast_2d(to_numpy(self.embedding, "embedding")).astype(np.float64)
        if array.ndim != 2 or not array.size or not np.isfinite(array).all() or not np.abs(array).sum(axis=1).all():
            cure = "embed the references with the same model: interpix.embed(model, images)"
            raise bad_value("embedding", "finite numbers (D,) or (T, D), none all zero", f"shape {array.shape}", cure)
        array = array / np.abs(array).max(axis=1, keepdims=True)
        object.__setattr__(self, "embedding", array / np.linalg.norm(array, axis=1, keepdims=True))
        if self.labels is not None and len(self.labels) != len(array):
            raise bad_value("labels", f"a name for each of {len(array)} references", len(self.labels), "or None")
        if self.threshold is not None:
            check_number("threshold", self.threshold, -1, 1, "a cosine in -1 ... 1", "0.8, for example")
        elif len(array) == 1:
            cure = "pass one, or several references, of which the nearest counts"
            raise bad_value("threshold", "a cosine for one reference", None, cure)
        elif (np.triu(self.embedding @ self.embedding.T, 1) > 1 - _SAME).any():
            cure = "leave out the second, or pass a threshold"
            raise bad_value("embedding", "references of which one can be nearest", "two in the same direction", cure)

    @property
    def among_classes(self) -> bool:  # type: ignore[override]
        """Whether the nearest of several is the answer."""
        return self.threshold is None

    exclusive = among_classes

    def rows(self, raw: Any, model: str, size: tuple[int, int] | None = None) -> Any:
        """Cosines (B, T)."""
        if isinstance(raw, np.ndarray):
            references: Any = self.embedding
            raw = raw.astype(np.float64)
        else:
            raw = raw.float()
            references = raw.new_tensor(np.asarray(self.embedding))
        if raw.ndim != 2 or raw.shape[1] != references.shape[1]:
            expected = f"embeddings (B, {references.shape[1]}), as the references are"
            raise refuse(model, expected, f"shape {tuple(raw.shape)}", "embed both with the same model")
        # By their greatest number first, so that no square is too great or too small; one of zeros has no direction.
        peaks = abs(raw).max(-1) if isinstance(raw, np.ndarray) else raw.abs().amax(-1)
        scaled = raw / (peaks + (peaks == 0))[:, None]
        norms = (scaled * scaled).sum(-1) ** 0.5
        return scaled @ references.T / (norms + (norms == 0))[:, None]

    def reward(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """The cosine with the target; among several references, by how much it is nearer than any other."""
        mine = rows[:, target]
        return mine - np.delete(rows, target, axis=1).max(axis=1) if self.among_classes else mine

    def holds(self, rows: Numbers, target: int, whole: Numbers) -> BoolArray:
        """Whether the target is the nearest, or the cosine reaches the threshold."""
        if self.threshold is None:
            return np.asarray(rows.argmax(axis=1) == target)
        return np.asarray(rows[:, target] >= self.threshold)

    def answer(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """The cosine."""
        return rows[:, target]

    def names(self, class_names: Sequence[str] | None, whole: Numbers) -> list[str] | None:
        """Those of the references; the model's classes are something else."""
        return None if self.labels is None else list(self.labels)

    def differentiable(self, rows: Any, target: int, *, probability: bool) -> Any:
        """See `Output.differentiable`: the cosine."""
        return self._column(rows, target, probability=probability)

    def claim(self, named: str, answer: float) -> str:
        """See `Output.claim`."""
        return f"nearest to {named}" if self.threshold is None else f"a cosine of {self.threshold:.2f} to {named}"

    def facts(self) -> dict[str, Any]:
        """See `Output.facts`."""
        references = np.asarray(self.embedding)
        return super().facts() | {"references": len(references), "embedding_sha256": digest(references)}
