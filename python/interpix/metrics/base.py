"""What all metrics share: how a map is read, and what scores it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from interpix.arrays import describe
from interpix.errors import bad_value
from interpix.question import Explainer
from interpix.results.attribution import MapInput, map_values
from interpix.results.scores import ImageScore, Summary

if TYPE_CHECKING:
    from interpix.metrics.sample import Sample

__all__ = ["AnyMetric", "MethodMetric", "Metric", "mid_ranks", "read_attribution"]


@runtime_checkable
class Metric(Protocol):
    """A metric of attribution maps.

    >>> import numpy as np
    >>> from interpix.metrics import METRICS, Insertion
    >>> isinstance(Insertion(), Metric), sorted(METRICS)[:3]
    (True, ['accuracy_deletion', 'accuracy_insertion', 'adversarial'])
    """

    @property
    def name(self) -> str:
        """For tables and results."""
        ...

    @property
    def higher_is_better(self) -> bool | None:
        """How to read it; None: the nearer to 0, the better."""
        ...

    def score(self, sample: "Sample", attribution: MapInput) -> ImageScore:
        """The score of one attribution map (H, W) of one image."""
        ...

    def aggregate(self, scores: Sequence[ImageScore]) -> Summary:
        """One number for the scores of many images."""
        ...


@runtime_checkable
class MethodMetric(Protocol):
    """A metric of a method, which makes further maps for it, and not of one map alone."""

    @property
    def name(self) -> str:
        """For tables and results."""
        ...

    @property
    def higher_is_better(self) -> bool | None:
        """How to read it; None: the nearer to 0, the better."""
        ...

    def score_method(self, sample: "Sample", method: Explainer, attribution: MapInput) -> ImageScore:
        """The score of a method on one image, of which it made one attribution map (H, W) already."""
        ...

    def aggregate(self, scores: Sequence[ImageScore]) -> Summary:
        """One number for the scores of many images."""
        ...


AnyMetric: TypeAlias = Metric | MethodMetric
"""A metric of maps, or of methods."""


def mid_ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The rank 1 ... n of each of n values, from the lowest; equal ones share the mean of their ranks.

    >>> mid_ranks([5, 7, 5, 1])
    array([2.5, 4. , 2.5, 1. ])
    """
    _, group, sizes = np.unique(np.ravel(values), return_inverse=True, return_counts=True)
    middle: npt.NDArray[np.float64] = np.cumsum(sizes) - (sizes - 1) / 2
    return middle[group]


def read_attribution(attribution: MapInput, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """A map (H, W) of finite numbers; Captum's (1, C, H, W) is summed over its channels.

    >>> read_attribution(np.ones((1, 3, 1, 2)), (1, 2))
    array([[3., 3.]])
    """
    values = map_values(attribution)
    if values.ndim == 4 and len(values) == 1:
        values = values[0].sum(axis=0)
    if values.shape != size:
        expected = f"a map of {size[0]} x {size[1]}, the size of the image that the model sees"
        raise bad_value("attribution", expected, describe(values), "resize the map first")
    if values.dtype.kind not in "biuf":
        raise bad_value("attribution", "real numbers", describe(values), "convert the map first")
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise bad_value("attribution", "finite numbers", f"{count} NaN or infinite ones", "check the method")
    return values.astype(np.float64)
