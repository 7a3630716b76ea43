"""IProp on top of any method: of this package, of Captum, or the user's own."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.arrays import AnyArray, to_numpy
from interpix.checks import check_flag
from interpix.errors import bad_type
from interpix.images import ImageInput
from interpix.methods.base import Method
from interpix.models.adapters.adapt import is_torch
from interpix.models.protocol.classifier import Classifier, ModelInput
from interpix.propagation import check_color_weight, check_discount, check_radius
from interpix.question import Explainer, Question, check_model, explain_with
from interpix.results.attribution import Attribution
from interpix.terms import Target

__all__ = ["CaptumMethod", "MethodInput", "Propagated", "as_explainer", "propagated"]


_Ask: TypeAlias = Callable[[Any, Question], Any]
"""From the user's model and a question to a map, of any kind of array."""


class CaptumMethod(Protocol):
    """An attribution object of Captum, made with a model of its own."""

    @property
    def attribute(self) -> Callable[..., Any]:
        """From inputs and `target=` to maps."""
        ...


MethodInput: TypeAlias = Explainer | CaptumMethod | Callable[[Any, npt.NDArray[np.float32], int], AnyArray]
"""An attribution method: of interpix, of Captum, or a function from model, preprocessed image and class to a map."""


@dataclass(frozen=True)
class _Foreign:
    """A method of somebody else's."""

    ask: _Ask
    name: str
    has_own_model: bool
    function: Callable[..., Any] | None = None

    def explain(self, model: ModelInput, image: ImageInput, target: Target = None) -> Attribution:
        """See `Method.explain`."""
        return self._explain(model, Question.of(model, image, target))

    def explain_question(self, question: Question) -> Attribution:
        """See `Method.explain_question`."""
        return self._explain(question.classifier, question)

    def _explain(self, model: ModelInput, question: Question) -> Attribution:
        values = to_numpy(self.ask(model, question), "attribution")
        if values.ndim == 4 and len(values) == 1:
            values = values[0]
        # Half precision would overflow.
        flat = values.sum(axis=0, dtype=np.float64) if values.ndim == 3 else values
        return question.attribution(flat, self.name, {})


@dataclass(frozen=True)
class Propagated:
    """A method whose maps are propagated over the image; make it with `propagated`.

    Attributes:
        method: Whose maps.
        radius: As in `interpix.propagate`.
        discount: As in `interpix.propagate`.
        color_weight: As in `interpix.propagate`.
        signed: Propagate the signed map of a gradient as it is, and not its magnitude.
    """

    method: Explainer
    radius: int | None = None
    discount: float = 0.99
    color_weight: float = 1.0
    signed: bool = False

    @property
    def name(self) -> str:
        """The method's name in IProp( )."""
        return f"IProp({self.method.name})"

    @property
    def has_own_model(self) -> bool:
        """Whether the method asks another model than the one that `explain` is given: Captum's objects do."""
        return bool(getattr(self.method, "has_own_model", False))

    def check_model(self, classifier: Classifier) -> None:
        """See `Method.check_model`."""
        check_model(self.method, classifier)

    def explain(self, model: ModelInput, image: ImageInput, target: Target = None) -> Attribution:
        """See `Method.explain`."""
        return self.propagate(self.method.explain(model, image, target))

    def explain_question(self, question: Question) -> Attribution:
        """See `Method.explain_question`."""
        return self.propagate(explain_with(self.method, question))

    def propagate(self, found: Attribution) -> Attribution:
        """The method's map, propagated: its magnitude where it is a signed sum of gradients over channels.

        Neighbors of one color have gradients of either sign, so IProp of the signs is a mean of about nothing.
        """
        options = {"radius": self.radius, "color_weight": self.color_weight, "discount": self.discount}
        if not self.signed and getattr(self.method, "magnitude", "none") is None:
            provenance = {**found.provenance, "magnitude": "sum"}
            found = dataclasses.replace(found, map=np.abs(found.map), provenance=provenance)
        return found.propagate(**options)  # type: ignore[arg-type]


def propagated(
    method: MethodInput,
    radius: int | None = None,
    discount: float = 0.99,
    *,
    color_weight: float = 1.0,
    signed: bool = False,
) -> Propagated:
    """IProp on top of any method: an object with `explain`, like the method itself.

    >>> import numpy as np
    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> method = propagated(lambda model, image, target: image[target], radius=1)
    >>> method.explain(model, np.ones((3, 4, 6), np.float32), target=1).method
    'IProp(<lambda>)'

    Args:
        method: One of `interpix.methods`, or another object with a name and their `explain`; an object of Captum, whose
            `attribute(inputs, target=...)` is asked about the model that it was made with; or a function from the model
            (the module or function itself), the preprocessed image (numpy, (3, H, W)) and the class index to a map,
            numpy or torch, (H, W), or (C, H, W) or (1, C, H, W), which is summed over channels.
        radius: As in `interpix.propagate`.
        discount: As in `interpix.propagate`.
        color_weight: As in `interpix.propagate`.
        signed: Propagate the signed map of a gradient as it is; False: its magnitude, which gains by it.
    """
    check_flag("signed", signed)
    weight = check_color_weight(color_weight)
    return Propagated(as_explainer(method), check_radius(radius), check_discount(discount), weight, bool(signed))


def as_explainer(method: MethodInput) -> Explainer:
    """What `propagated` takes, as an object with a name and `explain`."""
    if isinstance(method, Method | Propagated):
        return method
    if callable(getattr(method, "attribute", None)) and not isinstance(method, type):
        return _Foreign(partial(_ask_captum, method), type(method).__name__, has_own_model=True)
    if isinstance(method, Explainer) and not isinstance(method, type):
        return method
    if callable(method) and not isinstance(method, type):
        name = str(getattr(method, "__name__", type(method).__name__))
        return _Foreign(partial(_ask_function, method), name, has_own_model=False, function=method)
    kinds = "a method of interpix.methods, an object of Captum, or a function (model, image, target) -> map"
    raise bad_type("method", kinds, method, "use interpix.methods.IntegratedGradients(), for example")


def _ask_captum(method: Any, _: Any, question: Question) -> Any:
    if not is_torch(question.classifier):
        return method.attribute(question.tensor[None].copy(), target=question.target)
    from interpix.methods.differentiable import Differentiable  # torch only when it is used

    model = Differentiable(question.classifier, question, "logit", None)
    with model.net.recording():
        # Captum warns about inputs that do not ask for a gradient.
        return method.attribute(model.net.tensor(question.tensor[None]).requires_grad_(), target=question.target)


def _ask_function(method: Callable[[Any, Any, int], Any], model: ModelInput, question: Question) -> Any:
    # The user's function wants what the user has: the module or function, not the classifier around it.
    own = getattr(model, "module", getattr(model, "function", model)) if isinstance(model, Classifier) else model
    return method(own, question.tensor.copy(), question.target)
