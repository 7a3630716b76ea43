"""A torch classifier's score of one class, and its gradients; the module is left as it was."""

import sys

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpix.errors import ModelError
from interpix.methods.base import Output
from interpix.models.torch.module import TorchModule, in_double, unwrap
from interpix.question import Question

__all__ = ["Differentiable"]

_CPU_BATCH, _GPU_BATCH = 16, 64


class Differentiable:
    """The score of one class as a differentiable function of the model's input.

    Attributes:
        net: The torch module.
        batch_size: How many pictures are differentiated at once.
    """

    def __init__(self, net: TorchModule, question: Question, output: Output, batch_size: int | None) -> None:
        """Nothing is run yet."""
        # Hooks see this thread only, and a compiled module none of them: what is inside of such wrappers is the same.
        inner = unwrap(net.module)
        self.net = net if inner is net.module else TorchModule(inner, name=net.name, output=net.output)
        usual = _CPU_BATCH if net.device.type == "cpu" else _GPU_BATCH
        self.batch_size = min(batch_size or usual, sys.maxsize)  # torch counts no further
        self._question = question
        self._probability = output == "probability"

    def scores(self, pictures: Tensor) -> Tensor:
        """The target's score (B,) of pictures (B, C, H, W); for use within `recording`."""
        rows, question = self.net.forward(pictures).float(), self._question
        found: Tensor = question.output.differentiable(rows, question.target, probability=self._probability)
        return found

    def gradients(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B,), and gradients (B, C, H, W) in double precision, of pictures (B, C, H, W).

        Raises:
            ModelError: The score does not depend on the input by differentiable steps, or a gradient is not finite.
        """
        with self.net.recording():
            # A copy in ordinary memory: a tensor made in inference mode takes no gradient, and a model may write to it.
            leaf = pictures.detach().clone().requires_grad_()
            scores = self.scores(leaf.clone())
            (gradient,) = self.differentiate(scores, leaf)
        if not gradient.isfinite().all():
            raise ModelError(f"model `{self.net.name}`: its gradients hold NaN or infinity; check its weights")
        return in_double(scores.detach()), in_double(gradient)

    def differentiate(self, scores: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The gradients of each score with respect to its own row of `inputs`."""
        if not scores.requires_grad:
            raise self._without_gradient()
        with self.net.errors_named("the gradient of its logits"):
            gradients: tuple[Tensor | None, ...] = torch.autograd.grad(scores.sum(), inputs, allow_unused=True)
        found = tuple(one for one in gradients if one is not None)
        if len(found) < len(gradients):
            raise self._without_gradient()
        return found

    def _without_gradient(self) -> ModelError:
        why = "it may detach its input, or be quantized; use a method without gradients, such as RISE"
        return ModelError(f"model `{self.net.name}`: its logits carry no gradient; {why}")

    def integrated(
        self, start: npt.NDArray[np.float32], end: npt.NDArray[np.float32], steps: int
    ) -> npt.NDArray[np.float64]:
        """The integral of the gradient along the straight way between two pictures (C, H, W), by midpoints."""
        first, last = self.net.tensor(start), self.net.tensor(end)
        way = in_double(last - first)
        total = torch.zeros_like(way)
        midpoints = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
        for share in midpoints.to(first.dtype).to(first.device).split(self.batch_size):
            total += self.gradients(first + share[:, None, None, None] * (last - first))[1].sum(0)
        return np.asarray((way * total / steps).cpu())
