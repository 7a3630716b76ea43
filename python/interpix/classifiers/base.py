"""What the search needs of a classifier, and what every classifier shares."""

import difflib
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt

from interpix.absence import Absence, Fill
from interpix.arrays import BoolArray, IntArray
from interpix.errors import ArgumentError, ModelError, bad_type, bad_value
from interpix.rewards import Readout, read_logits

if TYPE_CHECKING:
    from torch import nn

    from interpix.classifiers.torch import TorchClassifier

__all__ = [
    "Classifier",
    "Coalitions",
    "PictureScorer",
    "Precision",
    "Scorer",
    "check_logits",
    "compose",
    "is_torch",
    "make_fill",
    "picture_scorer",
    "read_class_names",
    "read_target",
    "resolve_target",
    "torch_module",
]

Precision: TypeAlias = Literal["exact", "mixed"]
"""All in the model's own number type, or matrix products in bfloat16."""

_MAX_NEAR_NAMES = 5
_PROBABILITY_ERROR = 1e-3  # a sum of probabilities in half precision is 1 to this


@dataclass(frozen=True)
class Coalitions:
    """Coalitions of one or more images that are scored together: base sets with at most one player flipped in each.

    A search's candidates are many flips of few sets, which is all that a model on a device need be told.

    Attributes:
        owner: The image of each, (c,).
        bases: Sets of players (b, n), each of one image, True = present; an image with fewer players than n has False
            beyond its own.
        row: The base set of each, (c,).
        flip: The player whose presence differs from the base set; -1: none, (c,).
        targets: The classes that are read off for each, (c, t).
    """

    owner: IntArray
    bases: BoolArray
    row: IntArray
    flip: IntArray
    targets: IntArray

    @classmethod
    def of_masks(cls, owner: IntArray, masks: BoolArray, targets: IntArray) -> "Coalitions":
        """Any coalitions, as presence (c, n)."""
        rows = np.arange(len(owner))
        return cls(owner, masks, rows, np.full_like(rows, -1), targets)

    @property
    def masks(self) -> BoolArray:
        """Presence (c, n), True = present."""
        masks = self.bases[self.row]
        flipped = np.flatnonzero(self.flip >= 0)
        masks[flipped, self.flip[flipped]] ^= True
        return masks

    def __len__(self) -> int:
        """The number of coalitions."""
        return len(self.owner)

    def __getitem__(self, rows: Any) -> "Coalitions":
        """The coalitions that an index array, a mask or a slice picks."""
        return Coalitions(self.owner[rows], self.bases, self.row[rows], self.flip[rows], self.targets[rows])


class Scorer(Protocol):
    """Some images and what absent means for them, ready to be asked about coalitions."""

    @property
    def batch_size(self) -> int:
        """How many coalitions a search hands out at once by default."""
        ...

    @property
    def reduced_to(self) -> int | None:
        """The number of coalitions that went through the model at once after memory ran out; None: it never did."""
        ...

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """What the model says to each coalition."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """An image classifier: preprocessing, logits, and scores of coalitions."""

    @property
    def name(self) -> str:
        """For people: in results and messages."""
        ...

    @property
    def class_names(self) -> list[str] | None:
        """One name for each class, if known."""
        ...

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width that the model wants; None if it takes any."""
        ...

    @property
    def token_grid(self) -> tuple[int, int] | None:
        """Rows and columns of patch tokens that can be dropped; None if there are none."""
        ...

    @property
    def batch_size(self) -> int:
        """How many pictures go through the model at once by default."""
        ...

    def preprocess(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """A raw image (H, W, 3) as the model's input (3, H', W')."""
        ...

    def display(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The part (H', W', 3) of a raw image that the model sees, in its colors before normalization."""
        ...

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (B, classes) of preprocessed images (B, 3, H', W')."""
        ...

    def scorer(self, images: npt.NDArray[np.float32], regions: IntArray, absence: Absence) -> Scorer:
        """Prepares preprocessed `images` (K, 3, H, W) with their `regions` (K, H, W) of labels 0 ... n-1.

        Raises:
            ArgumentError: The model does not have this kind of absence, or not for these regions.
        """
        ...

    def provenance(self) -> dict[str, Any]:
        """What a result remembers of the model, as plain JSON values: kind, weights, preprocessing."""
        ...


class PictureScorer:
    """Coalitions scored as pictures in numpy, for models that are functions of numpy arrays."""

    reduced_to = None

    def __init__(
        self, masked_logits: Callable[[IntArray, BoolArray], npt.NDArray[Any]], name: str, batch_size: int
    ) -> None:
        """Takes a function from owner (c,) and masks (c, n) to logits (c, classes)."""
        self._masked_logits = masked_logits
        self._name = name
        self.batch_size = batch_size

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """See `Scorer`; there is one precision."""
        if precision != "exact":
            cure = 'leave it out: "mixed" is for PyTorch models'
            raise bad_value("precision", f'"exact" for model `{self._name}`', repr(precision), cure)
        logits = self._masked_logits(coalitions.owner, coalitions.masks)
        return read_logits(check_logits(logits, len(coalitions), self._name), coalitions.targets)


def picture_scorer(
    classifier: Classifier, images: npt.NDArray[np.float32], regions: IntArray, absence: Absence
) -> PictureScorer:
    """A scorer for any classifier whose absent pixels are filled."""
    fill = make_fill(classifier, images, absence)

    def masked_logits(owner: IntArray, masks: BoolArray) -> npt.NDArray[np.float32]:
        return classifier.logits(compose(images, regions, fill, owner, masks))

    return PictureScorer(masked_logits, classifier.name, classifier.batch_size)


def make_fill(classifier: Classifier, images: npt.NDArray[np.float32], absence: Absence) -> npt.NDArray[np.float32]:
    """The pictures (K, 3, H, W) of nothing.

    Raises:
        ArgumentError: `absence` is not a `Fill`.
    """
    if not isinstance(absence, Fill):
        expected = f"a Fill, as model `{classifier.name}` has no tokens that can be dropped"
        raise bad_value("absence", expected, absence.name, 'use "auto" or "zero", for example')
    return np.stack([absence.make(image, classifier) for image in images])


def compose(
    images: npt.NDArray[np.float32],
    regions: IntArray,
    fill: npt.NDArray[np.float32],
    owner: IntArray,
    masks: BoolArray,
) -> npt.NDArray[np.float32]:
    """The pictures (c, 3, H, W) of coalitions: the image where a region is present, the fill elsewhere."""
    present = masks[np.arange(len(masks))[:, None, None], regions[owner]][:, None]
    return np.where(present, images[owner], fill[owner])


def is_torch(classifier: Classifier) -> "TypeGuard[TorchClassifier]":
    """Whether this is a torch module; torch is not imported to find out."""
    home = sys.modules.get("interpix.classifiers.torch")
    return home is not None and isinstance(classifier, home.TorchClassifier)


def torch_module(model: Any) -> "nn.Module | None":
    """The torch module that `model` is, or that it holds as a Hugging Face pipeline; torch is not imported to see."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    held = getattr(model, "model", None) if hasattr(model, "image_processor") else None
    return next((one for one in (model, held) if isinstance(one, torch.nn.Module)), None)


def check_logits(logits: npt.NDArray[Any], count: int, name: str) -> npt.NDArray[np.float64]:
    """Logits as float64, if they are one finite row for each of `count` images; warns of probabilities."""
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2:  # noqa: PLR2004
        one_each = logits.shape in {(count,), (count, 1)}
        cure = (
            "make the logit z of a yes/no model two: [0, z]" if one_each else "return one row of logits for each image"
        )
        message = (
            f"model `{name}`: expected logits ({count}, classes) with at least 2 classes for a batch of "
            f"{count}, got shape {logits.shape}; {cure}"
        )
        raise ModelError(message)
    values = logits.astype(np.float64)
    if not np.isfinite(values).all():
        message = f"model `{name}`: its logits hold NaN or infinity; check its weights and its input's range"
        raise ModelError(message)
    if count and (values > 0).all() and (np.abs(values.sum(axis=1) - 1) < _PROBABILITY_ERROR).all():
        message = f"model `{name}`: its logits look like probabilities; let it return what goes into the softmax"
        warnings.warn(message, stacklevel=2)
    return values


def read_class_names(names: object) -> list[str]:
    """`names` as a list, if each is a word."""
    words = None if isinstance(names, str | dict) or not isinstance(names, Iterable) else list(names)
    if words is None or not all(isinstance(word, str) for word in words):
        raise bad_type("class_names", "a list of names, one for each class", names, "for example ['cat', 'dog']")
    return words


def read_target(target: object, prediction: int, class_names: list[str] | None, count: int) -> int:
    """The class that `target` means to a model of `count` classes; None is its `prediction`.

    Raises:
        ArgumentError: There is no such class, or the names are not those of the model's classes.
    """
    if class_names is not None and len(class_names) != count:
        cure = "give one for each, or leave them out"
        raise bad_value("class_names", f"a name for each of the model's {count} classes", len(class_names), cure)
    return prediction if target is None else resolve_target(target, class_names, count)


def resolve_target(target: object, class_names: list[str] | None, count: int) -> int:
    """A class index in 0 ... `count` - 1 from an index or a class name."""
    if isinstance(target, str):
        return _index_of_name(target, class_names)
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise bad_type("target", "a class index or a class name", target, "or None for the prediction")
    if not 0 <= target < count:
        raise bad_value("target", f"a class in 0 ... {count - 1}", int(target), "or None for the prediction")
    return int(target)


def _index_of_name(target: str, class_names: list[str] | None) -> int:
    if class_names is None:
        cure = "pass the index"
        raise bad_value("target", "an index, as this model has no class names", repr(target), cure)
    wanted = target.strip().casefold()
    folded = [name.casefold() for name in class_names]
    found = [index for index, name in enumerate(folded) if name == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise ArgumentError(f"`target`: {target!r} names the classes {found}; pass the index of one")
    inside = [name for name, low in zip(class_names, folded, strict=True) if wanted and wanted in low]
    similar = [class_names[folded.index(low)] for low in difflib.get_close_matches(wanted, folded)]
    near = list(dict.fromkeys(inside + similar))[:_MAX_NEAR_NAMES]
    cure = f"near names: {', '.join(near)}" if near else "no name is near it; pass the class index"
    raise bad_value("target", "the name of a class", repr(target), cure)
