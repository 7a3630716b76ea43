"""Differences of methods on the same images, and how sure they are."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interpix.checks import require_module
from interpix.comparison.paired import Estimate, estimate

__all__ = ["Difference", "differences", "holm"]

_SCIPY = 'tests of differences need scipy: pip install "interpix[evaluate]"'


@dataclass(frozen=True)
class Difference:
    """A method's scores minus another's, on the images that have both.

    Attributes:
        method: The one.
        other: The other.
        metric: Whose scores.
        by: The mean difference, with its standard error.
        p: Of the paired t-test; NaN with fewer than two images.
        corrected: The same corrected after Holm for all pairs that were tested with it.
    """

    method: str
    other: str
    metric: str
    by: Estimate
    p: float
    corrected: float


def differences(values: Mapping[str, npt.NDArray[np.float64]], metric: str) -> list[Difference]:
    """Every method against every other one.

    >>> scores = {"a": np.array([0.5, 0.6, 0.8]), "b": np.array([0.4, 0.5, 0.6])}
    >>> found = differences(scores, "insertion")[0]
    >>> found.method, found.other, round(found.by.mean, 3), round(found.p, 3)
    ('b', 'a', -0.133, 0.057)

    Args:
        values: Scores of the same images (images,), by method.
        metric: Their name.
    """
    pairs = [(second, first) for first, second in itertools.combinations(values, 2)]
    found = [values[method] - values[other] for method, other in pairs]
    ps = [_p_value(one[~np.isnan(one)]) for one in found]
    return [
        Difference(method, other, metric, estimate(one), p, corrected)
        for (method, other), one, p, corrected in zip(pairs, found, ps, holm(ps), strict=True)
    ]


def _p_value(found: npt.NDArray[np.float64]) -> float:
    if len(found) < 2:
        return float("nan")
    if np.ptp(found) == 0:  # which has no t
        return 0.0 if found[0] else 1.0
    return float(require_module("scipy.stats", _SCIPY).ttest_1samp(found, 0).pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979); those that are NaN do not count.

    >>> holm([0.01, 0.04, 0.03, float("nan")])
    [0.03, 0.06, 0.06, nan]
    """
    corrected = [float("nan")] * len(ps)
    order = sorted((index for index, p in enumerate(ps) if not np.isnan(p)), key=lambda index: ps[index])
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * ps[index]))
        corrected[index] = least
    return corrected
