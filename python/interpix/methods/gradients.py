"""Methods that follow the gradient of the score with respect to the pixels. They need a torch module.

They sum over channels, with or without signs: see `Magnitude`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from interpix.absence import AbsenceInput, read_fill
from interpix.checks import MOST_STEPS, check_positive
from interpix.methods.base import (
    Facts,
    Magnitude,
    Map,
    MapMethod,
    Output,
    check_magnitude,
    check_output,
    over_channels,
    torch_classifier,
)
from interpix.options import plain_options
from interpix.question import Question

if TYPE_CHECKING:
    from interpix.methods.differentiable import Differentiable

__all__ = ["Gradient", "IntegratedGradients", "differentiable"]


@dataclass(frozen=True)
class Gradient(MapMethod):
    """The raw gradient (Simonyan et al. 2014), with its sign.

    >>> import torch
    >>> mean_color = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> Gradient().explain(mean_color, np.ones((3, 2, 4), np.float32), target=1).map
    array([[0.125, 0.125, 0.125, 0.125],
           [0.125, 0.125, 0.125, 0.125]], dtype=float32)

    Attributes:
        output: Differentiate the target's `"logit"` or its `"probability"`.
        magnitude: What becomes of a pixel's channels: None: their sum with its sign; `"sum"`: its absolute value;
            `"channels"`: the sum of absolute values, which are the IProp paper's maps.
    """

    output: Output = "logit"
    magnitude: Magnitude = None

    name = "gradient"
    needs_torch = True
    needs_gradient = True
    presets: ClassVar = {"iprop": {"magnitude": "channels"}}

    def __post_init__(self) -> None:
        check_output(self.output)
        check_magnitude(self.magnitude)

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        model = differentiable(question, self.name, self.output)
        _, gradient = model.gradients(model.net.tensor(question.tensor[None]))
        return over_channels(gradient[0].cpu().numpy(), self.magnitude), {}


@dataclass(frozen=True)
class IntegratedGradients(MapMethod):
    """The gradient along the straight way from a baseline to the image (Sundararajan et al. 2017).

    The map sums to the image's score minus the baseline's, up to the error of the quadrature (midpoints), which the
    provenance states as `completeness_error`.

    A linear model's map is what each pixel adds to the score:

    >>> import torch
    >>> mean_color = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> image = np.arange(8, dtype=np.float32).reshape(2, 4) * np.ones((3, 1, 1), np.float32)
    >>> IntegratedGradients(steps=5, baseline="zero").explain(mean_color, image, target=1).map
    array([[0.   , 0.125, 0.25 , 0.375],
           [0.5  , 0.625, 0.75 , 0.875]], dtype=float32)

    Attributes:
        steps: Number of midpoints.
        baseline: Where the way starts: what `interpix.Fill` takes.
        output: Differentiate the target's `"logit"` or its `"probability"`.
        batch_size: Pictures differentiated at once; None: by device.
        magnitude: What becomes of a pixel's channels: None: their sum with its sign; `"sum"`: its absolute value;
            `"channels"`: the sum of absolute values, which are the IProp paper's maps.
    """

    steps: int = 200
    baseline: AbsenceInput = "black"
    output: Output = "logit"
    batch_size: int | None = None
    magnitude: Magnitude = None

    name = "integrated_gradients"
    needs_torch = True
    needs_gradient = True
    presets: ClassVar = {"iprop": {"steps": 200, "baseline": "black", "magnitude": "channels"}}

    def __post_init__(self) -> None:
        plain_options(self)
        check_positive("steps", self.steps, greatest=MOST_STEPS)
        check_positive("batch_size", self.batch_size, optional=True)
        check_output(self.output)
        check_magnitude(self.magnitude)
        read_fill(self.baseline, "baseline")

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        model = differentiable(question, self.name, self.output, self.batch_size)
        fill = read_fill(self.baseline, "baseline")
        start, end = fill.make(question.tensor, question.classifier), question.tensor
        values = model.integrated(start, end, self.steps)
        scores, _ = model.gradients(model.net.tensor(np.stack([start, end])))
        error = float(values.sum()) - float(scores[1] - scores[0])
        return over_channels(values, self.magnitude), {"baseline": fill.name, "completeness_error": error}


def differentiable(question: Question, method: str, output: Output, batch_size: int | None = None) -> "Differentiable":
    """The score of a question with its gradients.

    Raises:
        ArgumentError: The model is not a torch module, or its output has no gradient.
    """
    classifier = torch_classifier(question.classifier, method)
    question.output.require_gradient()
    from interpix.methods.differentiable import Differentiable  # torch only when it is used

    return Differentiable(classifier, question, output, batch_size)
