"""LIME on superpixels. It needs no gradients, and no torch."""

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray
from interpix.checks import check_number, require_module
from interpix.methods.random_superpixels import RandomSuperpixels
from interpix.outputs.base import Output

__all__ = ["LIME"]

_MOST_ITERATIONS = 1000
_REGRESSION = "sklearn.linear_model", 'LIME needs scikit-learn: pip install "interpix[lime]"'


@dataclass(frozen=True)
class LIME(RandomSuperpixels):
    """LIME: the weights of a logistic regression of the probability on which superpixels are on (Ribeiro et al. 2016).

    A set with probability p is a positive example of weight p and a negative one of weight 1 - p. Of an answer that is
    no probability, as a regression's, the weights of a linear regression are taken.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[1, :, :3] = 1
    >>> found = LIME(count=200, regions="1x2", baseline="zero").explain(model, image, target=1)
    >>> bool(found.map[0, 0] > 1 > 0.1 > abs(found.map[0, -1]))
    True

    Attributes:
        regularization: Strength of the L2 penalty on the weights, the inverse of scikit-learn's C.
    """

    regularization: float = 1.0

    name = "lime"
    needs_modules = (_REGRESSION,)

    def __post_init__(self) -> None:
        super().__post_init__()
        need, cure = "a positive number", "1 is scikit-learn's default"
        check_number("regularization", self.regularization, 0, sys.float_info.max, need, cure, above=True)

    def _values(self, on: BoolArray, answers: npt.NDArray[np.float64], output: Output) -> npt.NDArray[np.float64]:
        linear_model = require_module(*_REGRESSION)
        values: npt.NDArray[np.float64]
        if not output.is_probability:
            values = linear_model.Ridge(alpha=self.regularization).fit(on.astype(np.float64), answers).coef_
            return values
        examples = np.concatenate([on, on]).astype(np.float64)
        labels = np.repeat([1, 0], len(on))
        weights = np.concatenate([answers, 1 - answers])
        model = linear_model.LogisticRegression(C=1 / self.regularization, max_iter=_MOST_ITERATIONS)
        values = model.fit(examples, labels, sample_weight=weights).coef_[0]
        return values
