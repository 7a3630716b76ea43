"""What all attribution methods share: one question to a model, one verb, one result."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.checks import check_choice, require_module
from interpix.errors import bad_value
from interpix.images import ImageInput
from interpix.models.adapters.adapt import is_torch
from interpix.options import fields_as_json
from interpix.question import Question
from interpix.regions import Superpixels, require_segmentation
from interpix.results.attribution import Attribution
from interpix.terms import Target

if TYPE_CHECKING:
    from interpix.models.adapters.torch import TorchClassifier

from interpix.models.protocol.classifier import Classifier, ModelInput, output_of

__all__ = [
    "Facts",
    "Layout",
    "Magnitude",
    "Map",
    "MapMethod",
    "Method",
    "Output",
    "check_magnitude",
    "check_output",
    "over_channels",
    "torch_classifier",
]

Facts: TypeAlias = Mapping[str, Any]
"""What a result remembers of its making, as plain JSON values."""
Map: TypeAlias = npt.NDArray[np.floating[Any]]
"""One number for each pixel (H, W)."""
Layout: TypeAlias = Literal["channels_first", "channels_last"]
"""Where a map has its channels: (C, h, w) or (h, w, C)."""
Output: TypeAlias = Literal["logit", "probability"]
"""Which number of the model is explained: the target's logit, or its softmax probability."""

Magnitude: TypeAlias = Literal["sum", "channels"] | None
"""What becomes of a pixel's three numbers: their sum with its sign (None), the sum's absolute value (`"sum"`), or the
sum of their absolute values (`"channels"`)."""

_FORWARD_ONLY = "RISE, SuperpixelRISE, LIME, Shapley, MoXIMap or MoXIOneShot"


@dataclass(frozen=True)
class Method(abc.ABC):
    """An attribution method; its options are its fields, and the defaults are the papers' settings.

    >>> import numpy as np
    >>> from interpix.methods import METHODS
    >>> METHODS["rise"].preset("iprop").count
    4000
    """

    name: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    needs_torch: ClassVar[bool] = False
    """Whether it needs what goes on inside of a torch module."""
    needs_gradient: ClassVar[bool] = False
    """Whether it differentiates what the model's output says."""
    needs_modules: ClassVar[tuple[tuple[str, str], ...]] = ()
    """What it imports, each with the message where that is not installed."""

    @classmethod
    def preset(cls, name: str) -> Self:
        """The method with the settings of a paper that uses it.

        Args:
            name: `"iprop"` (CIKM 2024) or `"moxi"` (CVPR 2024).

        Raises:
            ArgumentError: That paper does not use this method.
        """
        if name not in cls.presets:
            papers = " or ".join(f'"{one}"' for one in cls.presets)
            raise bad_value("name", f"{papers} for {cls.name}", repr(name), "make it with its options instead")
        return cls(**cls.presets[name])

    def explain(self, model: ModelInput, image: ImageInput, target: Target = None) -> Attribution:
        """How much each pixel matters.

        Args:
            model: Anything that `interpix.MoXI` takes; it is not changed.
            image: A raw image, or a preprocessed float tensor (C, H, W).
            target: The class to explain, by index or name; None: the prediction.
        """
        return self.explain_question(Question.of(model, image, target))

    @abc.abstractmethod
    def explain_question(self, question: Question) -> Attribution:
        """The same for an image that is prepared already."""

    def check_model(self, classifier: Classifier) -> None:
        """Refuses, before any work, a model that the method cannot explain, and what is not installed.

        Raises:
            ArgumentError: The method needs a torch module, and this is none, or its output has no gradient.
            MissingDependencyError: The message says what to install.
        """
        if self.needs_torch:
            torch_classifier(classifier, self.name)
        output = output_of(classifier)
        if self.needs_gradient and output is not None:
            output.require_gradient()
        for module, message in self.needs_modules:
            require_module(module, message)
        if isinstance(getattr(self, "regions", None), Superpixels):
            require_segmentation()

    def options(self) -> dict[str, Any]:
        """The options as plain JSON values."""
        return fields_as_json(self)


@dataclass(frozen=True)
class MapMethod(Method):
    """A method that makes its map from one question to the model."""

    def explain_question(self, question: Question) -> Attribution:
        """See `Method.explain_question`."""
        values, facts = self._attribute(question)
        return question.attribution(values, self.name, {**self.options(), **facts})

    @abc.abstractmethod
    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        """The map, and what else a result should remember."""


def torch_classifier(classifier: Classifier, method: str) -> "TorchClassifier":
    """The classifier itself, if it is a torch module.

    Raises:
        ArgumentError: It is none; the message names the methods that do without.
    """
    if is_torch(classifier):
        return classifier
    need = f"a torch module, as {method} needs what goes on inside of it"
    raise bad_value("model", need, f"`{classifier.name}`", f"without one, use {_FORWARD_ONLY}")


def check_output(output: str) -> None:
    """Refuses everything but an `Output`."""
    check_choice("output", output, ("logit", "probability"))


def check_magnitude(magnitude: object) -> None:
    """Refuses everything but a `Magnitude`."""
    if magnitude is not None:
        check_choice("magnitude", magnitude, ("sum", "channels"))


def over_channels(values: npt.NDArray[Any], magnitude: Magnitude) -> npt.NDArray[Any]:
    """One number for each pixel (H, W) from one for each channel (C, H, W).

    >>> pixel = np.array([-3.0, 1.0, 1.0]).reshape(3, 1, 1)
    >>> [float(over_channels(pixel, how)[0, 0]) for how in (None, "sum", "channels")]
    [-1.0, 1.0, 5.0]
    """
    if magnitude == "channels":
        return np.asarray(np.abs(values).sum(axis=0))
    total = np.asarray(values.sum(axis=0))
    return np.abs(total) if magnitude == "sum" else total
