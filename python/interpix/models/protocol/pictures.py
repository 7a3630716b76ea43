"""Coalitions as pictures in numpy: the image where a region is present, the fill elsewhere."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.absence import Absence, Fill
from interpix.arrays import BoolArray, IntArray
from interpix.errors import bad_value
from interpix.models.protocol.classifier import (
    Classifier,
    Coalitions,
    check_logits,
    check_width,
    coalitions_named,
    output_of,
)
from interpix.models.protocol.players import without_repeats
from interpix.outputs.base import Output
from interpix.outputs.readout import Readout, read_logits
from interpix.terms import Precision

__all__ = ["PictureScorer", "compose", "make_fill", "picture_scorer"]


class PictureScorer:
    """Coalitions scored as pictures in numpy, for models that are functions of numpy arrays."""

    def __init__(
        self,
        masked_logits: Callable[[IntArray, BoolArray], npt.NDArray[Any]],
        name: str,
        batch_size: int,
        output: Output | None = None,
    ) -> None:
        """Takes a function from owner (c,) and masks (c, n) to logits (c, classes), and what they mean."""
        self._output = output
        self._masked_logits = masked_logits
        self._name = name
        self.batch_size = batch_size

    @property
    def facts(self) -> dict[str, Any]:
        """See `Scorer`."""
        return {"scored_as": "pictures"}

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """See `Scorer`; there is one precision."""
        if precision != "exact":
            cure = 'leave it out: "mixed" is for PyTorch models'
            raise bad_value("precision", f'"exact" for model `{self._name}`', repr(precision), cure)
        masks = coalitions.masks
        with coalitions_named(self._name, masks):
            answers = self._masked_logits(coalitions.owner, masks)
            logits = check_logits(answers, len(coalitions), self._name, self._output)
        check_width(coalitions.width, logits.shape[1], self._name)
        return read_logits(logits, coalitions.targets, relative=coalitions.relative)


def picture_scorer(
    classifier: Classifier, images: npt.NDArray[np.float32], regions: IntArray, absence: Absence
) -> PictureScorer:
    """A scorer for any classifier whose absent pixels are filled."""
    fill = make_fill(classifier, images, absence)

    def masked_logits(owner: IntArray, masks: BoolArray) -> npt.NDArray[np.float32]:
        return classifier.logits(compose(images, regions, fill, owner, masks))

    return PictureScorer(masked_logits, classifier.name, classifier.batch_size, output_of(classifier))


def make_fill(classifier: Classifier, images: npt.NDArray[np.float32], absence: Absence) -> npt.NDArray[np.float32]:
    """The pictures (K, C, H, W) of nothing.

    Raises:
        ArgumentError: `absence` is not a `Fill`.
    """
    if not isinstance(absence, Fill):
        expected = f"a Fill, as model `{classifier.name}` has no tokens that can be dropped"
        raise bad_value("absence", expected, absence.name, 'use "auto" or "zero", for example')
    if absence.depends_on_image:
        return np.stack([absence.make(image, classifier) for image in images])
    return np.broadcast_to(absence.make(images[0], classifier), images.shape)


def compose(
    images: npt.NDArray[np.float32],
    regions: IntArray,
    fill: npt.NDArray[np.float32],
    owner: IntArray,
    masks: BoolArray,
) -> npt.NDArray[np.float32]:
    """The pictures (c, C, H, W) of coalitions: the image where a region is present, the fill elsewhere."""
    regions, fill = without_repeats(regions), without_repeats(fill)
    if len(regions) == 1:
        present = masks[:, regions[0]][:, None]
    else:
        present = masks[np.arange(len(masks))[:, None, None], regions[owner]][:, None]
    return np.where(present, images[owner], fill if len(fill) == 1 else fill[owner])
