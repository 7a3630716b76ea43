"""Detectors: a box that the model finds in the whole image, and whether it is still found."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, to_numpy
from interpix.checks import check_choice, check_number, check_positive
from interpix.errors import bad_value
from interpix.options import plain_options
from interpix.outputs.base import Numbers, Output, refuse
from interpix.targets import resolve_target
from interpix.terms import Box

__all__ = ["Boxes"]

_FIELDS = 6
"""Of a detection in a row: score, class, left, top, right, bottom."""
_LEAST = 1e-6
"""A score times an overlap below this is none."""
_MOST = 1000
_SOFTMAX = ("DetrObjectDetectionOutput", "YolosObjectDetectionOutput", "TableTransformerObjectDetectionOutput")
_SIGMOID = (
    "ConditionalDetrObjectDetectionOutput",
    "DFineObjectDetectionOutput",
    "DabDetrObjectDetectionOutput",
    "DeformableDetrObjectDetectionOutput",
    "LwDetrObjectDetectionOutput",
    "RTDetrObjectDetectionOutput",
    "RTDetrV2ObjectDetectionOutput",
    "RfDetrObjectDetectionOutput",
)
"""Of transformers: what its answers are, by class."""
_SCORE_NOISE = 0.1
"""Detections of such low scores come and go by rounding."""


@dataclass(frozen=True)
class Boxes(Output):
    """Detections, as torchvision's models and transformers' DETR family answer.

    A target is the k-th detection of the whole image, best score first, the name of a class (its best detection), or a
    `Box`, which must match one. A picture's reward is the greatest score times IoU that any of its detections of the
    same class has with the target's box (Petsiuk et al. 2021, without their cosine of class vectors), as log-odds.

    A picture with one box found, and one in which it has moved by half:

    >>> found = [{"boxes": np.array([[0.0, 0.0, 4.0, 2.0]]), "scores": np.array([0.8]), "labels": np.array([3])}]
    >>> moved = [{"boxes": np.array([[2.0, 0.0, 6.0, 2.0]]), "scores": np.array([0.9]), "labels": np.array([3])}]
    >>> output = Boxes()
    >>> whole = output.rows(found, "net")[0]
    >>> score = output.score_rows(output.rows(moved, "net"), 0, whole, "log_odds").rows()[0]
    >>> round(score.answer, 3), score.holds  # IoU 1/3
    (0.3, False)

    Attributes:
        min_iou: A detection is the same box from this IoU on.
        min_score: It is found from this score on, and so are the targets.
        most: How many detections of a picture are looked at, those of the best scores.
        scores_of: Whether the logits of a model of transformers go through a `"softmax"` whose last class is none, or a
            `"sigmoid"`; `"auto"`: as its class is known to.
    """

    min_iou: float = 0.5
    min_score: float = 0.5
    most: int = 100
    scores_of: Literal["auto", "softmax", "sigmoid"] = "auto"

    name: ClassVar[str] = "boxes"
    verb: ClassVar[str] = "find"
    quantity: ClassVar[str] = "score"
    takes_rows: ClassVar[bool] = False
    shares: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuses options that are out of range."""
        plain_options(self)
        check_number("min_iou", self.min_iou, 0, 1, "an overlap in 0 ... 1", "0.5 is usual")
        check_number("min_score", self.min_score, 0, 1, "a score in 0 ... 1", "0.5 is usual")
        check_positive("most", self.most, greatest=_MOST)
        check_choice("scores_of", self.scores_of, ("auto", "softmax", "sigmoid"))

    def rows(self, raw: Any, model: str, size: tuple[int, int] | None = None) -> Any:
        """Each picture's detections as one row of `most` times score, class, left, top, right, bottom; the rest 0."""
        if isinstance(raw, list | tuple) and all(isinstance(one, Mapping) for one in raw):
            pictures = [self._read(one, model) for one in raw]
            like = next((one["scores"] for one in raw), None)
        elif hasattr(raw, "pred_boxes") and hasattr(raw, "logits"):
            pictures, like = self._read_queries(raw, model, size), raw.logits
        else:
            got = type(raw).__name__ + (f" of {type(raw[0]).__name__}" if isinstance(raw, list) and raw else "")
            cure = "return what torchvision's detectors do, or an object with `logits` and `pred_boxes`"
            raise refuse(model, "a dict with boxes, scores and labels for each picture", got, cure)
        table = np.zeros((len(pictures), self.most, _FIELDS))
        for place, found in zip(table, pictures, strict=True):
            best = np.argsort(-found[:, 0], kind="stable")[: self.most]
            place[: len(best)] = found[best]
        rows = table.reshape(len(table), -1)
        if like is None or isinstance(like, np.ndarray):
            return rows
        # In double precision, in which every class has a number of its own, but where a device has none.
        return like.new_tensor(rows, dtype=(like.float() if like.device.type == "mps" else like.double()).dtype)

    def _read(self, found: Mapping[str, Any], model: str) -> npt.NDArray[np.float64]:
        missing = [name for name in ("boxes", "scores", "labels") if name not in found]
        if missing:
            raise refuse(model, "boxes, scores and labels", f"none of {', '.join(missing)}", "return them in a dict")
        boxes, scores, labels = (np.asarray(_plain(found[name]), np.float64) for name in ("boxes", "scores", "labels"))
        if boxes.reshape(-1, 4).shape[0] != len(scores) or scores.shape != labels.shape:
            shapes = f"boxes {boxes.shape}, scores {scores.shape}, labels {labels.shape}"
            raise refuse(model, "a score and a label for each box", shapes, "return (n, 4), (n,) and (n,)")
        boxes = boxes.reshape(-1, 4)
        if (boxes[:, 2:] < boxes[:, :2]).any():
            got = f"one of {_corners(boxes[(boxes[:, 2:] < boxes[:, :2]).any(axis=1)][0])}"
            raise refuse(model, "boxes (left, top, right, bottom)", got, "return corners, not center and size")
        return np.column_stack([scores, labels, boxes])

    def _read_queries(self, raw: Any, model: str, size: tuple[int, int] | None) -> list[npt.NDArray[np.float64]]:
        """The DETR family: for each query the class of the best score, and center, width and height in 0 ... 1."""
        kind = type(raw).__name__
        known = "softmax" if kind in _SOFTMAX else "sigmoid" if kind in _SIGMOID else None
        way = known if self.scores_of == "auto" else self.scores_of
        if way is None:
            cure = 'say output=interpix.outputs.Boxes(scores_of="softmax") or "sigmoid"'
            raise refuse(model, "a detector whose scores are known", kind, cure)
        logits, boxes = raw.logits.float(), np.asarray(_plain(raw.pred_boxes.float()), np.float64)
        scores = logits.softmax(-1)[..., :-1] if way == "softmax" else logits.sigmoid()
        best, label = (np.asarray(_plain(one), np.float64) for one in scores.max(-1))
        center, extent = boxes[..., :2], boxes[..., 2:]
        height, width = size or (1, 1)
        corners = np.concatenate([center - extent / 2, center + extent / 2], axis=-1) * [width, height, width, height]
        return list(np.concatenate([best[..., None], label[..., None], corners], axis=-1))

    def reward(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """Log-odds of the greatest score times IoU."""
        likely = self.answer(rows, target, whole).clip(_LEAST, 1 - _LEAST)
        return np.asarray(np.log(likely) - np.log1p(-likely))

    def holds(self, rows: Numbers, target: int, whole: Numbers) -> BoolArray:
        """Whether a detection of the class overlaps and scores enough."""
        score, overlap = self._matches(rows, target, whole)
        return np.asarray(((overlap >= self.min_iou) & (score >= self.min_score)).any(axis=1))

    def answer(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """The greatest score times IoU."""
        score, overlap = self._matches(rows, target, whole)
        return np.asarray((score * overlap).max(axis=1))

    def _matches(self, rows: Numbers, target: int, whole: Numbers) -> tuple[Numbers, Numbers]:
        """Scores (c, most) of detections of the target's class, else 0, and the IoU of each with the target's box."""
        found, aim = rows.reshape(len(rows), -1, _FIELDS), whole.reshape(-1, _FIELDS)[target]
        score = np.where(found[..., 1] == aim[1], found[..., 0], 0.0)
        return score, overlaps(found[..., 2:], aim[2:])

    def check(self, rows: npt.NDArray[Any], model: str) -> None:
        """See `Output.check`."""
        score = rows.reshape(len(rows), -1, _FIELDS)[..., 0]
        if (score < 0).any() or (score > 1).any():
            got = f"scores in {score.min():.3g} ... {score.max():.3g}"
            raise refuse(model, "scores in 0 ... 1", got, "return probabilities as scores")

    def outline(self, target: int, whole: Numbers) -> tuple[float, float, float, float]:
        """See `Output.outline`."""
        left, top, right, bottom = whole.reshape(-1, _FIELDS)[target, 2:].tolist()
        return left, top, right, bottom

    def moved(self, target: int, whole: Numbers, down: int, right: int) -> Box:
        """See `Output.moved`: the box in its new place, as detections may change places."""
        _, label, *corners = whole.reshape(-1, _FIELDS)[target].tolist()
        left, top, end, bottom = corners
        return Box(left + right, top + down, end + right, bottom + down, label=int(label))

    def comparable(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """See `Output.comparable`: sums over detections by their scores, as equal ones may change places."""
        found = np.asarray(rows, np.float64).reshape(*rows.shape[:-1], -1, _FIELDS)
        weight = (found[..., :1] - _SCORE_NOISE).clip(0)
        sums = (weight * found).sum(axis=-2)
        # Scores and classes are small beside positions: in parts of what they are summed with.
        return np.asarray(np.concatenate([sums[..., :2] * 100, sums[..., 2:], sums[..., :1]], axis=-1))

    def prediction(self, whole: Numbers) -> int:
        """The detection of the best score."""
        if not self._count(whole):
            best = float(whole[0])
            cure = "lower min_score of interpix.outputs.Boxes, or choose another image"
            need = f"an image in which the model finds something with a score of at least {self.min_score:g}"
            raise bad_value("image", need, f"{best:.2f} at best", cure)
        return 0

    def _count(self, whole: Numbers) -> int:
        """How many detections of the whole image can be explained."""
        score = whole.reshape(-1, _FIELDS)[:, 0]
        return int(((score >= self.min_score) & (score > 0)).sum())

    def names(self, class_names: Sequence[str] | None, whole: Numbers) -> list[str]:
        """Class and corners of each detection of the whole image."""
        found = whole.reshape(-1, _FIELDS)[: self._count(whole)]
        return [f"{_label(class_names, int(one[1]))} at {_corners(one[2:])}" for one in found]

    def read_target(self, target: object, whole: Numbers, names: list[str] | None) -> int:
        """See `Output.read_target`: an index, a class name, or a `Box`."""
        best, known = self.prediction(whole), names or []
        if target is None:
            return best
        if isinstance(target, Box):
            return self._match(target, whole, known)
        if isinstance(target, str):
            labels = [name.rpartition(" at ")[0] for name in known]
            wanted = resolve_target(target, list(dict.fromkeys(labels)), len(labels))
            return labels.index(list(dict.fromkeys(labels))[wanted])
        if isinstance(target, int | np.integer) and not 0 <= target < len(known):
            need = f"one of the {len(known)} detections, best first: 0 ... {len(known) - 1}"
            raise bad_value("target", need, int(target), "or the name of a class, or an interpix.outputs.Box")
        return resolve_target(target, known, len(known))

    def _match(self, box: Box, whole: Numbers, names: list[str]) -> int:
        found = whole.reshape(-1, _FIELDS)[: len(names)]
        overlap = overlaps(found[:, 2:], np.array([box.left, box.top, box.right, box.bottom]))
        if box.label is not None:
            labels = [name.rpartition(" at ")[0] for name in names]
            fits = [box.label in (label, int(one[1])) for label, one in zip(labels, found, strict=True)]
            overlap = np.where(fits, overlap, 0.0)
        place = int(overlap.argmax())
        if overlap[place] < max(self.min_iou, np.finfo(float).tiny):
            named = "" if box.label is None else f" {box.label}"
            got = f"{_corners([box.left, box.top, box.right, box.bottom])}{named}"
            cure = f"the model finds {'; '.join(names[:5])}"
            raise bad_value("target", f"a box that overlaps a detection by IoU {self.min_iou:g}", got, cure)
        return place

    def claim(self, named: str, answer: float) -> str:
        """See `Output.claim`."""
        return f"the box {named}"


def overlaps(boxes: npt.NDArray[Any], box: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The IoU of boxes (..., 4) of corners with one box (4,); 0 for boxes without an inside.

    >>> overlaps(np.array([[0, 0, 4, 2], [2, 0, 6, 2], [0, 0, 0, 0]]), np.array([0, 0, 4, 2])).round(3)
    array([1.   , 0.333, 0.   ])
    """
    boxes, box = np.asarray(boxes, np.float64), np.asarray(box, np.float64)
    low, high = np.maximum(boxes[..., :2], box[:2]), np.minimum(boxes[..., 2:], box[2:])
    shared = (high - low).clip(0).prod(axis=-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(axis=-1) + (box[2:] - box[:2]).clip(0).prod() - shared
    return np.asarray(np.where(areas > 0, shared / np.where(areas > 0, areas, 1), 0.0))


def _plain(values: Any) -> npt.NDArray[Any]:
    return to_numpy(values, "detections")


def _label(class_names: Sequence[str] | None, label: int) -> str:
    known = class_names is not None and 0 <= label < len(class_names)
    return class_names[label] if known and class_names is not None else f"class {label}"


def _corners(box: Iterable[float]) -> str:
    return "({:.0f}, {:.0f}) - ({:.0f}, {:.0f})".format(*box)
