"""XRAI: integrated gradients gathered in segments of the image, by PAIR's `saliency`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from interpix.checks import MOST_STEPS, check_choice, check_positive, require_module
from interpix.errors import bad_value
from interpix.methods.base import Facts, Map, MapMethod, Output, check_output
from interpix.methods.gradients import differentiable
from interpix.options import plain_options
from interpix.question import Question

__all__ = ["XRAI"]

_SALIENCY = "saliency.core", 'XRAI needs saliency: pip install "interpix[xrai]"'


@dataclass(frozen=True)
class XRAI(MapMethod):
    """XRAI (Kapishnikov et al. 2019): segments ranked by their integrated gradients.

    The mean of two integrated gradients, from uniform pictures of the image's least and greatest input value, of each
    pixel the greatest channel, as the authors do. The segments are those of the picture that the model sees.

    >>> import torch
    >>> mean_color = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> image = np.zeros((3, 32, 48), np.float32)
    >>> image[:, :, 24:] = 1
    >>> found = XRAI(steps=2).explain(mean_color, image, target=1)
    >>> bool(found.map[:, 30:].min() > found.map[:, :18].max())
    True

    Attributes:
        steps: Number of midpoints of each of the two.
        algorithm: `"full"` or `"fast"`.
        output: Differentiate the target's `"logit"` or its `"probability"`.
        batch_size: Pictures differentiated at once; None: by device.
    """

    steps: int = 100
    algorithm: Literal["full", "fast"] = "full"
    output: Output = "logit"
    batch_size: int | None = None

    name = "xrai"
    needs_torch = True
    needs_gradient = True
    needs_modules = (_SALIENCY,)
    presets: ClassVar = {"iprop": {}}

    def __post_init__(self) -> None:
        plain_options(self)
        check_positive("steps", self.steps, greatest=MOST_STEPS)
        check_positive("batch_size", self.batch_size, optional=True)
        check_choice("algorithm", self.algorithm, ("full", "fast"))
        check_output(self.output)

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        model = differentiable(question, self.name, self.output, self.batch_size)
        core = require_module(*_SALIENCY)
        image, picture = question.tensor, question.image.astype(np.float64)
        if image.min() == image.max() or picture.min() == picture.max():
            raise bad_value("image", "more than one color", "one", "use another method: XRAI has nothing to segment")
        uniform = (np.full_like(image, level) for level in (image.min(), image.max()))
        base = np.mean([model.integrated(start, image, self.steps) for start in uniform], axis=0).transpose(1, 2, 0)
        if base.shape != picture.shape:  # of channels it takes the greatest
            base = np.repeat(base.max(axis=2, keepdims=True), picture.shape[2], axis=2)
        values = core.XRAI().GetMask(
            picture,
            None,
            base_attribution=base,
            extra_parameters=core.XRAIParameters(algorithm=self.algorithm),
        )
        return values, {}
