"""Means with their errors, and differences of two methods on the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interpix.results.scores import Scale, goodness

__all__ = ["Beaten", "Estimate", "against_control", "estimate", "sentences"]

_SURE = 2.0
"""By how many standard errors a method must be better than its control."""


@dataclass(frozen=True)
class Estimate:
    """A mean over images.

    >>> estimate(np.array([1.0, 3.0, np.nan]))
    Estimate(mean=2.0, error=1.0, count=2)

    Attributes:
        mean: NaN without any image.
        error: The standard error of the mean; NaN with fewer than two images.
        count: Images that have a value.
    """

    mean: float
    error: float
    count: int

    def __str__(self) -> str:
        """The mean and its error, for tables."""
        error = "" if np.isnan(self.error) else f" ± {self.error:.2g}"
        return f"{self.mean:.4g}{error}"


def estimate(values: npt.NDArray[np.float64]) -> Estimate:
    """The mean of those values that are there, and its standard error."""
    kept = values[~np.isnan(values)]
    mean = float(kept.mean()) if len(kept) else float("nan")
    error = float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else float("nan")
    return Estimate(mean, error, len(kept))


@dataclass(frozen=True)
class Beaten:
    """By how much a method is better than one of its controls, on the images that have a score of both.

    Attributes:
        method: The method's name.
        control: The control's.
        metric: The metric's.
        by: The mean difference; positive: better, whichever way the metric is read.
    """

    method: str
    control: str
    metric: str
    by: Estimate

    @property
    def is_sure(self) -> bool:
        """Whether it is better by two standard errors or more."""
        return self.by.count > 1 and self.by.mean > 0 and self.by.mean >= _SURE * self.by.error

    def __str__(self) -> str:
        """One line for people."""
        sign = "better" if self.by.mean >= 0 else "worse"
        error = "" if np.isnan(self.by.error) else f" ± {self.by.error:.2g}"
        line = f"{self.metric}: {self.method} is {sign} than {self.control} by {abs(self.by.mean):.3g}{error}"
        if self.is_sure:
            return line
        loses = self.by.count > 1 and self.by.mean < 0 and -self.by.mean >= _SURE * self.by.error
        return f"{line}: {'beaten by it' if loses else 'not told from it'}"


def against_control(
    method: str, control: str, metric: str, values: Mapping[str, npt.NDArray[np.float64]], scale: Scale
) -> Beaten:
    """The difference of the values (images,) of a method and of its control.

    >>> from interpix.metrics import Deletion
    >>> values = {"mine": np.array([0.1, 0.2, 0.3]), "random": np.array([0.4, 0.4, 0.4])}
    >>> print(against_control("mine", "random", "deletion", values, Deletion()))
    deletion: mine is better than random by 0.2 ± 0.058
    >>> print(against_control("random", "mine", "deletion", values, Deletion()))
    deletion: random is worse than mine by 0.2 ± 0.058: beaten by it
    >>> print(against_control("mine", "mine", "deletion", values, Deletion()))
    deletion: mine is better than mine by 0 ± 0: not told from it
    """
    better = goodness(values[method], scale) - goodness(values[control], scale)
    return Beaten(method, control, metric, estimate(better))


def sentences(found: Sequence[Beaten]) -> list[str]:
    """What controls say, the warnings first; a comparison that has none says nothing."""
    kept = [one for one in found if one.by.count]
    return [str(one) for one in sorted(kept, key=lambda one: one.is_sure)]
