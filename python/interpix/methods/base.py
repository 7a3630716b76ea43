"""What all attribution methods share: one question to a model, one verb, one result."""

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.arrays import describe, is_array, to_numpy
from interpix.checks import check_choice
from interpix.errors import bad_value
from interpix.images import ImageInput, read_image
from interpix.models import Classifier, as_classifier
from interpix.models.adapters.adapt import is_torch
from interpix.models.protocol.targets import read_target
from interpix.results.attribution import Attribution
from interpix.search.games import model_display, model_input

if TYPE_CHECKING:
    from interpix.models.adapters.torch import TorchClassifier

__all__ = [
    "Facts",
    "Map",
    "MapMethod",
    "Method",
    "Output",
    "Question",
    "as_json",
    "check_output",
    "torch_classifier",
]

Facts: TypeAlias = Mapping[str, Any]
"""What a result remembers of its making, as plain JSON values."""
Map: TypeAlias = npt.NDArray[np.floating[Any]]
"""One number for each pixel (H, W)."""
Output: TypeAlias = Literal["logit", "probability"]
"""Which number of the model is explained: the target's logit, or its softmax probability."""

_FORWARD_ONLY = "RISE, SuperpixelRISE, LIME, Shapley, MoXI or MoXIOneShot"


@dataclass(frozen=True, eq=False)
class Question:
    """Why does this model see this class in this image?

    Attributes:
        classifier: The model.
        tensor: The image as the model's input, float32 (3, H, W).
        image: The picture that the model sees, uint8 (H, W, 3).
        target: The class to explain.
        prediction: The class that the model gives to the image.
    """

    classifier: Classifier
    tensor: npt.NDArray[np.float32]
    image: npt.NDArray[np.uint8]
    target: int
    prediction: int

    @classmethod
    def of(cls, model: Any, image: ImageInput, target: int | str | None = None) -> "Question":
        """Preprocesses the image, and asks for the prediction: the target, if none is given."""
        classifier = as_classifier(model)
        loaded = read_image(image)
        tensor = model_input(classifier, loaded)
        # A copy: a model may write to its batch.
        logits = np.asarray(classifier.logits(tensor[None].copy()))
        prediction = int(logits[0].argmax())
        chosen = read_target(target, prediction, classifier.class_names, logits.shape[1])
        return cls(classifier, tensor, model_display(classifier, loaded, tensor), chosen, prediction)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture that the model sees."""
        return self.tensor.shape[1], self.tensor.shape[2]

    def answer(self, values: Map, method: str, facts: Facts) -> Attribution:
        """The result with this map."""
        names = self.classifier.class_names
        versions = {"interpix": _core.__version__, "numpy": np.__version__}
        return Attribution(
            map=np.asarray(values, np.float32),
            target=self.target,
            prediction=self.prediction,
            class_names=None if names is None else tuple(names),
            image=self.image,
            method=method,
            provenance={"method": method, **facts, **versions, **self.classifier.provenance()},
        )


@dataclass(frozen=True)
class Method(abc.ABC):
    """An attribution method; its options are its fields, and the defaults are the papers' settings."""

    name: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def preset(cls, name: str) -> Self:
        """The method with the settings of a paper that uses it.

        Args:
            name: `"iprop"` (CIKM 2024) or `"moxi"` (CVPR 2024).

        Raises:
            ArgumentError: That paper does not use this method.
        """
        if name not in cls.presets:
            known = " or ".join(f'"{one}"' for one in cls.presets)
            raise bad_value("name", f"{known} for {cls.name}", repr(name), "make it with its options instead")
        return cls(**cls.presets[name])

    @abc.abstractmethod
    def explain(self, model: Any, image: ImageInput, target: int | str | None = None) -> Attribution:
        """How much each pixel matters.

        Args:
            model: Anything that `interpix.MoXI` takes; it is not changed.
            image: A raw image, or a preprocessed float tensor (3, H, W).
            target: The class to explain, by index or name; None: the prediction.
        """

    def options(self) -> dict[str, Any]:
        """The options as plain JSON values."""
        return {field.name: as_json(getattr(self, field.name)) for field in dataclasses.fields(self)}


@dataclass(frozen=True)
class MapMethod(Method):
    """A method that makes its map from one question to the model."""

    def explain(self, model: Any, image: ImageInput, target: int | str | None = None) -> Attribution:
        """See `Method.explain`."""
        question = Question.of(model, image, target)
        values, facts = self._attribute(question)
        return question.answer(values, self.name, {**self.options(), **facts})

    @abc.abstractmethod
    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        """The map, and what else a result should remember."""


def torch_classifier(question: Question, method: str) -> "TorchClassifier":
    """The torch module of a question.

    Raises:
        ArgumentError: It is none; the message names the methods that do without.
    """
    classifier = question.classifier
    if is_torch(classifier):
        return classifier
    need = f"a torch module, as {method} needs what goes on inside of it"
    raise bad_value("model", need, f"`{classifier.name}`", f"without one, use {_FORWARD_ONLY}")


def as_json(value: Any) -> Any:
    """An option as a plain JSON value."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return describe(to_numpy(value)) if is_array(value) else str(value)


def check_output(output: str) -> None:
    """Refuses what is no `Output`."""
    check_choice("output", output, ("logit", "probability"))
