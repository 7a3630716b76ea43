"""What the search needs of a classifier, and what every classifier shares."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from interpix.absence import Absence
from interpix.arrays import BoolArray, IntArray
from interpix.errors import ModelError, bad_value
from interpix.models.protocol.memo import Memo
from interpix.outputs.base import Output
from interpix.outputs.reading import output_for
from interpix.outputs.readout import Readout
from interpix.terms import Precision

__all__ = [
    "Classifier",
    "Coalitions",
    "ModelInput",
    "Scorer",
    "asking",
    "check_finite",
    "check_logits",
    "check_width",
    "coalitions_named",
    "keeps_doubles",
    "output_of",
    "token_grid_at",
    "with_output",
]


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
        targets: The columns of the model's row that are read off for each, (c, t): classes, of a classifier.
        relative: Whether their log-odds against all other columns are wanted, too.
        width: How many columns the row of the whole image has; 0: nobody knows.
    """

    owner: IntArray
    bases: BoolArray
    row: IntArray
    flip: IntArray
    targets: IntArray
    relative: bool = True
    width: int = 0

    @classmethod
    def of_masks(
        cls, owner: IntArray, masks: BoolArray, targets: IntArray, *, relative: bool = True, width: int = 0
    ) -> "Coalitions":
        """Any coalitions, as presence (c, n)."""
        rows = np.arange(len(owner))
        return cls(owner, masks, rows, np.full_like(rows, -1), targets, relative, width)

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
        flips = self.row[rows], self.flip[rows]
        return Coalitions(self.owner[rows], self.bases, *flips, self.targets[rows], self.relative, self.width)


def check_width(expected: int, width: int, name: str) -> None:
    """Refuses rows of another number of columns than the whole image has; 0: nobody knows how many these are.

    Raises:
        ModelError: It names the model.
    """
    if expected not in (0, width):
        message = (
            f"model `{name}`: expected {expected} numbers for each picture, as for the whole image, got {width}; "
            "let it answer with the same classes in the same order each time"
        )
        raise ModelError(message)


class Scorer(Protocol):
    """Some images and what absent means for them, ready to be asked about coalitions."""

    @property
    def batch_size(self) -> int:
        """How many coalitions a search hands out at once by default."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What a result remembers of how coalitions were scored, as plain JSON values."""
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
        """A raw image (H, W, 3) as the model's input (C, H', W')."""
        ...

    def display(
        self, image: npt.NDArray[np.uint8], tensor: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.uint8]:
        """The part (H', W', 3) of a raw image that the model sees, in its colors before normalization.

        Args:
            image: The raw image (H, W, 3).
            tensor: What `preprocess` made of it, where that is known already.
        """
        ...

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (B, classes) of preprocessed images (B, C, H', W')."""
        ...

    def scorer(self, images: npt.NDArray[np.float32], regions: IntArray, absence: Absence) -> Scorer:
        """Prepares preprocessed `images` (K, C, H, W) with their `regions` (K, H, W) of labels 0 ... n-1.

        Raises:
            ArgumentError: The model does not have this kind of absence, or not for these regions.
        """
        ...

    def provenance(self) -> dict[str, Any]:
        """What a result remembers of the model, as plain JSON values: kind, weights, preprocessing."""
        ...


def token_grid_at(classifier: Classifier, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of patch tokens of an image of a size (H, W): its own where a model takes images of any size."""
    own = getattr(classifier, "token_grid_at", None)
    if own is None:
        return classifier.token_grid
    grid: tuple[int, int] | None = own(size)
    return grid


def asking(classifier: Classifier) -> AbstractContextManager[None]:
    """Entered once around all that a classifier is asked, it makes each question cheaper, if it knows how."""
    own: Callable[[], AbstractContextManager[None]] = getattr(classifier, "asking", contextlib.nullcontext)
    return own()


def output_of(classifier: Classifier, columns: int | None = None) -> Output | None:
    """What the classifier's rows mean, as it was told; or, of rows of so many `columns`, what is made of them."""
    given: Output | None = getattr(classifier, "output", None)
    return given if columns is None else output_for(given, columns)


ClassifierT = TypeVar("ClassifierT", bound=Classifier)


def with_output(classifier: ClassifierT, output: Output | None) -> ClassifierT:
    """The same classifier, whose rows mean something else; None: as it is.

    Raises:
        ArgumentError: It is of a class that knows no outputs.
    """
    known = getattr(classifier, "output", None)
    # A user's own outputs may be equal without saying the same.
    own = type(output).__module__.startswith("interpix.outputs.")
    if output is None or output is known or (own and output == known):
        return classifier
    reads = getattr(classifier, "reads_outputs", False)
    if not reads and (not hasattr(classifier, "output") or type(output).rows is not Output.rows):
        cure = "wrap its function: interpix.CallableClassifier(function, output=...)"
        raise bad_value("output", f'"auto" for model `{classifier.name}` of a class of yours', output.name, cure)
    # Not by copy.copy, which leaves behind what does not go to another process.
    try:
        other = object.__new__(type(classifier))
        other.__dict__.update(classifier.__dict__)
        object.__setattr__(other, "output", output)
    except (AttributeError, TypeError) as error:
        cure = f"set it when {type(classifier).__name__} is made ({error})"
        raise bad_value("output", f'"auto" for model `{classifier.name}`', output.name, cure) from error
    if hasattr(other, "memo"):
        other.memo = Memo()  # rows of one output are not another's
    return other


def keeps_doubles(output: Output | None) -> bool:
    """Whether rows stay in double precision: of classifiers, single precision tells all that there is to tell."""
    return output is not None and not output.takes_rewards


ModelInput: TypeAlias = Classifier | Callable[..., Any]
"""A classifier, or what becomes one: a torch module, a Hugging Face pipeline, a function from pictures to logits."""


def check_logits(
    logits: npt.NDArray[Any], count: int, name: str, output: Output | None = None
) -> npt.NDArray[np.float64]:
    """Rows as float64, if they are one finite row for each of `count` images, and what the output can mean.

    One number an image, (count,), is a row where an output was given, and else too easily something else, as the class
    itself.
    """
    if logits.ndim == 1 and len(logits) == count and output is not None:
        logits = logits[:, None]
    if logits.ndim != 2 or len(logits) != count or not logits.shape[1]:
        one_each = logits.shape == (count,)
        cure = (
            "return (B, 1) for one logit each, or say what the numbers are: output=interpix.outputs.Sigmoid(), "
            "Value(tolerance)"
            if one_each
            else "return one row of logits for each image"
        )
        message = (
            f"model `{name}`: expected logits ({count}, classes) for a batch of {count}, "
            f"got shape {logits.shape}; {cure}"
        )
        raise ModelError(message)
    if logits.dtype.kind not in "biuf":
        message = f"model `{name}`: expected real numbers as logits, got dtype {logits.dtype}; return floats"
        raise ModelError(message)
    values = logits.astype(np.float64)
    check_finite(np.asarray(np.isfinite(values).all(axis=1)), name)
    output_for(output, values.shape[1]).check(values, name)
    return values


class _NotFiniteError(ModelError):
    """A `ModelError` about one picture of a batch."""

    row = 0


def check_finite(rows: BoolArray, name: str, present: BoolArray | None = None) -> None:
    """Refuses logits some rows (c,) of which are not finite; `present` (c, n): of which coalitions they are.

    >>> try:
    ...     check_finite(np.array([True, False]), "net", np.array([[True, True], [False, False]]))
    ... except ModelError as error:
    ...     print(str(error).split(";")[0])
    model `net`: its logits hold NaN or infinity for the image with all of its patches absent
    """
    if rows.all():
        return
    row = int(rows.argmin())
    if present is None or present[row].all():
        which = "" if len(rows) == 1 else f" for picture {row + 1} of {len(rows)}"
        cure = "check its weights and its input's range, and whether it divides by what a flat picture lacks"
    else:
        kept, players = int(present[row].sum()), present.shape[1]
        absent = "all of its patches" if kept == 0 else f"{players - kept} of its {players} patches"
        which = f" for the image with {absent} absent"
        cure = 'it may divide by what a flat picture lacks: show another absence, as "mean" or "blur"'
    error = _NotFiniteError(f"model `{name}`: its logits hold NaN or infinity{which}; {cure}")
    error.row = row
    raise error


@contextlib.contextmanager
def coalitions_named(name: str, masks: BoolArray) -> Iterator[None]:
    """A picture without a finite answer is told by the coalition (one of `masks` (c, n)) that it shows."""
    try:
        yield
    except _NotFiniteError as error:
        finite = np.arange(len(masks)) != error.row
        check_finite(finite, name, masks)
