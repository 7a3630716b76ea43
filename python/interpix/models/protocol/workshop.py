"""Where pictures for a model are made: beside it, so that only what they are made of has to get there."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from interpix.models.protocol.classifier import Classifier
from interpix.normalization import Normalization

__all__ = ["HostWorkshop", "Workshop", "workshop_of"]


class Workshop(Protocol):
    """Where the model is: how arrays get there, and the rows of pictures that were made there.

    Pictures are made of what was brought, by what numpy and torch agree on: operators, indices, `swapaxes`. They are
    new arrays, as a model may write to its batch; what was brought may be the user's, and is not written to.
    """

    def bring(self, array: npt.NDArray[Any]) -> Any:
        """An array, there; whole numbers stay what they are."""
        ...

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        """What numpy and torch both call `where`."""
        ...

    def normalizing(self, normalization: Normalization) -> Callable[[npt.NDArray[np.uint8]], Any]:
        """From pixels (B, H, W, 3), levels 0 ... 255, to the model's input (B, C, H, W), made there."""
        ...

    def logits(self, pictures: Any) -> npt.NDArray[np.float64]:
        """The model's rows (B, D) for pictures (B, C, H, W) that were made there."""
        ...


class HostWorkshop:
    """For models that take numpy's arrays."""

    def __init__(self, classifier: Classifier) -> None:
        """Takes the model."""
        self._classifier = classifier

    def bring(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """See `Workshop`."""
        return array

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        """See `Workshop`."""
        return np.where(condition, yes, no)

    def normalizing(self, normalization: Normalization) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
        """See `Workshop`."""
        return normalization.apply

    def logits(self, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """See `Workshop`."""
        return np.asarray(self._classifier.logits(pictures), np.float64)


def workshop_of(classifier: Classifier) -> Workshop:
    """Where pictures for a classifier are made: in numpy, unless it knows a place nearer to the model.

    >>> from interpix import CallableClassifier
    >>> workshop = workshop_of(CallableClassifier(lambda batch: batch.sum(axis=(2, 3))))
    >>> full, step, now = (workshop.bring(one) for one in (np.ones((3, 1, 2)), np.array([[1, 2]]), np.arange(3)))
    >>> workshop.logits(workshop.where(step <= now[:, None, None, None], full, 0))[:, 0]
    array([0., 1., 2.])
    """
    # Of its class: an object that wraps another one, and hands on what it lacks itself, may have `logits` of its own.
    own: Callable[[Classifier], Workshop] | None = getattr(type(classifier), "workshop", None)
    return HostWorkshop(classifier) if own is None else own(classifier)
