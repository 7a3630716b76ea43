"""What the search needs of a classifier, and what every classifier shares."""

import difflib
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray
from interpix.errors import ArgumentError, ModelError, bad_type, bad_value
from interpix.rewards import Scores

__all__ = ["Classifier", "check_logits", "compose", "resolve_target"]

_MAX_NEAR_NAMES = 5


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

    def preprocess(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """A raw image (H, W, 3) as the model's input (3, H', W')."""
        ...

    def display(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The part (H', W', 3) of a raw image that the model sees, in its colors before normalization."""
        ...

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (B, classes) of preprocessed images (B, 3, H', W')."""
        ...

    def score_masks(  # noqa: PLR0913 - one argument for each part of the game
        self,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        fill: npt.NDArray[np.float32],
        owner: IntArray,
        masks: BoolArray,
        target: IntArray,
    ) -> Scores:
        """Log-odds, probability of the target and predicted class of coalitions.

        Args:
            images: Preprocessed images (K, 3, H, W).
            regions: Labels (H, W), 0 ... n-1.
            fill: What absent pixels show, (K, 3, H, W).
            owner: The image of each coalition, (c,).
            masks: The coalitions (c, n), True = present.
            target: The class that each coalition is scored for, (c,).
        """
        ...


def compose(
    images: npt.NDArray[np.float32],
    regions: IntArray,
    fill: npt.NDArray[np.float32],
    owner: IntArray,
    masks: BoolArray,
) -> npt.NDArray[np.float32]:
    """The pictures (c, 3, H, W) of coalitions: the image where a region is present, the fill elsewhere."""
    present = masks[:, regions][:, None]
    return np.where(present, images[owner], fill[owner])


def check_logits(logits: npt.NDArray[Any], count: int, name: str) -> npt.NDArray[np.float64]:
    """Logits as float64, if they are one finite row for each of `count` images."""
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2:  # noqa: PLR2004
        message = (
            f"model `{name}`: expected logits ({count}, classes) with at least 2 classes for a batch of "
            f"{count}, got shape {logits.shape}; return one row of logits for each image"
        )
        raise ModelError(message)
    values = logits.astype(np.float64)
    if not np.isfinite(values).all():
        message = f"model `{name}`: its logits hold NaN or infinity; check its weights and its input's range"
        raise ModelError(message)
    return values


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
