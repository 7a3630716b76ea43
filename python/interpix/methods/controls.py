"""Controls: maps that know nothing of the model. A metric that cannot tell a method from them says nothing about it."""

import dataclasses
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from interpix.blur import convolve, gaussian_taps
from interpix.checks import check_number, check_seed
from interpix.images import ImageInput
from interpix.methods.base import Facts, Map, MapMethod
from interpix.methods.propagated import MethodInput, as_explainer
from interpix.models.protocol.classifier import Classifier, ModelInput
from interpix.options import plain_options, python_number
from interpix.question import Explainer, Question, check_model, explain_with
from interpix.results.attribution import Attribution
from interpix.terms import Target

__all__ = ["Blurred", "Edges", "Random", "blurred"]

# Four standard deviations are as far as scipy's Gaussian filter reaches.
_TRUNCATE = 4.0
_SIDES_PER_SIGMA = 56
"""A standard deviation of 4 pixels at 224 x 224, about as far as IProp carries a value."""
_GREATEST_SIGMA = 1000


@dataclass(frozen=True)
class Random(MapMethod):
    """Noise: the absolute value of a normal number for each pixel, another picture of it for each image.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> found = Random(seed=3).explain(model, np.ones((3, 4, 6), np.float32))
    >>> found.map.shape, bool((found.map > 0).all())
    ((4, 6), True)

    Attributes:
        seed: Of the noise, together with the image: one image gets the same noise each time.
    """

    seed: int = 0

    name = "random"

    def __post_init__(self) -> None:
        plain_options(self)
        check_seed("seed", self.seed)

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        image = zlib.crc32(np.ascontiguousarray(question.tensor).tobytes())
        return np.abs(np.random.default_rng([self.seed, image]).standard_normal(question.size)), {}


@dataclass(frozen=True)
class Edges(MapMethod):
    """Where the picture changes: the length of the gradient of its gray levels, by central differences.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.zeros((3, 2, 5), np.float32)
    >>> image[:, :, 3:] = 1
    >>> Edges().explain(model, image).map
    array([[  0. ,   0. , 127.5, 127.5,   0. ],
           [  0. ,   0. , 127.5, 127.5,   0. ]], dtype=float32)
    """

    name = "edges"

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        gray = np.asarray(Image.fromarray(question.image).convert("L"), np.float64)
        # One row or column has no neighbors to differ from.
        slopes = [np.gradient(gray, axis=axis) for axis in (0, 1) if gray.shape[axis] > 1]
        return np.hypot(*slopes) if len(slopes) == 2 else np.abs(sum(slopes, np.zeros_like(gray))), {}


@dataclass(frozen=True)
class Blurred:
    """A method whose maps are blurred, which smooths them as IProp does but knows nothing of the picture's colors.

    Make it with `blurred`.

    Attributes:
        method: Whose maps.
        sigma: The Gaussian's standard deviation in pixels; None: 1/56 of the longer side.
    """

    method: Explainer
    sigma: float | None = None

    @property
    def name(self) -> str:
        """The method's name in blur( )."""
        return f"blur({self.method.name})"

    @property
    def has_own_model(self) -> bool:
        """See `Propagated.has_own_model`."""
        return bool(getattr(self.method, "has_own_model", False))

    def options(self) -> dict[str, Any]:
        """The options as plain JSON values, the method's by its name."""
        return {"method": self.method.name, "sigma": self.sigma}

    def check_model(self, classifier: Classifier) -> None:
        """See `Method.check_model`."""
        check_model(self.method, classifier)

    def explain(self, model: ModelInput, image: ImageInput, target: Target = None) -> Attribution:
        """See `Method.explain`."""
        return self.blur(self.method.explain(model, image, target))

    def explain_question(self, question: Question) -> Attribution:
        """See `Method.explain_question`."""
        return self.blur(explain_with(self.method, question))

    def blur(self, found: Attribution) -> Attribution:
        """The same with its map blurred; beyond its edges lies its mirror image."""
        sigma = max(found.map.shape) / _SIDES_PER_SIGMA if self.sigma is None else self.sigma
        values = convolve(found.map, gaussian_taps(sigma, int(_TRUNCATE * sigma + 0.5)), "mirror").astype(np.float32)
        method = f"blur({found.method})"
        provenance = {**found.provenance, "method": method, "sigma": sigma}
        return dataclasses.replace(found, map=values, method=method, provenance=provenance, error_bound=None)


def blurred(method: MethodInput, sigma: float | None = None) -> Blurred:
    """A plain Gaussian blur on top of any method: the control of IProp.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.zeros((3, 1, 5), np.float32)
    >>> image[:, 0, 2] = 1
    >>> blurred(lambda model, image, target: image[target], sigma=0.5).explain(model, image, 0).map.round(2)
    array([[0.  , 0.11, 0.79, 0.11, 0.  ]], dtype=float32)

    Args:
        method: As in `interpix.propagated`.
        sigma: The Gaussian's standard deviation in pixels; None: 1/56 of the longer side.
    """
    sigma = python_number(sigma)
    if sigma is not None:
        need, cure = f"a positive number of pixels up to {_GREATEST_SIGMA}", "4 is usual at 224 pixels"
        check_number("sigma", sigma, 0, _GREATEST_SIGMA, need, cure, above=True)
    return Blurred(as_explainer(method), sigma)
