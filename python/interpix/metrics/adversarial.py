"""Adversarial-patch curves: the patches that matter most are replaced by attacked ones first.

The attack is projected gradient ascent on the cross-entropy in the L2 ball (Madry et al., ICLR 2018), each step along
the gradient divided by its L2 norm.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpix.checks import MOST_STEPS, check_integer, check_number
from interpix.metrics.accuracy import PatchTrace, trace_patches
from interpix.metrics.sample import Sample
from interpix.normalization import Normalization
from interpix.regions import RegionsInput

if TYPE_CHECKING:
    import torch

from interpix.metrics.accuracy import RankingInput

__all__ = ["l2_pgd", "trace_adversarial"]

_WHITE = 255
# Keeps a gradient of zero from dividing by it.
_LEAST_NORM = 1e-10
_GREATEST_LENGTH = 1e6
"""From black to white is 1 for each pixel, so this reaches any picture of any picture."""


def check_attack(radius: object, step_size: object, steps: object) -> None:
    """Refuses options of `l2_pgd` that are no lengths, or no number of steps."""
    need = f"a number in 0 ... {_GREATEST_LENGTH:g}"
    check_number("radius", radius, 0, _GREATEST_LENGTH, need, "the papers use 1.0")
    check_number("step_size", step_size, 0, _GREATEST_LENGTH, need, "the papers use 0.2")
    check_integer("steps", steps, 0, MOST_STEPS, f"an integer of at least 0, up to {MOST_STEPS}", "the papers use 10")


def l2_pgd(
    module: "torch.nn.Module",
    normalization: Normalization,
    pixels: npt.NDArray[Any],
    label: int,
    *,
    radius: float = 1.0,
    step_size: float = 0.2,
    steps: int = 10,
    seed: int | None = None,
) -> npt.NDArray[np.float32]:
    """A picture (H, W, 3) in 0 ... 1 near `pixels` that the module classifies worse as `label`.

    One step against red, which the module looks at alone, takes 0.2 in all from six pixels:

    >>> import numpy as np
    >>> import torch
    >>> mean_color = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> unit = Normalization((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    >>> attacked = l2_pgd(mean_color, unit, np.full((2, 3, 3), 51, np.uint8), 0, steps=1)
    >>> round(float(np.linalg.norm(attacked - 0.2)), 3), bool((attacked[..., 0] < attacked[..., 1]).all())
    (0.2, True)

    Args:
        module: From normalized (B, 3, H, W) to logits; it is left in its mode, on its device, without gradients.
        normalization: From pixel levels to its input.
        pixels: The picture (H, W, 3), levels 0 ... 255.
        label: The class to leave.
        radius: The greatest L2 distance from the picture, with pixels in 0 ... 1.
        step_size: The length of a step, in the same unit.
        steps: How many.
        seed: Start at a random point of the ball; None: at the picture itself.
    """
    import torch  # optional

    from interpix.models.torch.module import TorchModule  # torch only when it is used

    check_attack(radius, step_size, steps)
    net = TorchModule(module, name=type(module).__name__)
    device = net.device
    clean = torch.tensor(np.moveaxis(np.asarray(pixels, np.float32) / _WHITE, -1, 0)[None], device=device)
    mean = torch.tensor(normalization.mean, dtype=torch.float32, device=device).reshape(1, -1, 1, 1)
    scale = torch.tensor(normalization.scale, dtype=torch.float32, device=device).reshape(1, -1, 1, 1)
    target = torch.tensor([label], device=device)
    attacked = clean if seed is None else (clean + _random_point(clean, radius, seed)).clamp(0, 1)
    for _ in range(steps):
        with net.recording():
            asked = attacked.detach().requires_grad_()
            logits = net.forward(((asked * _WHITE - mean) / scale).to(net.dtype))
            loss = torch.nn.functional.cross_entropy(logits.float(), target)
            # For the picture alone: nothing is added to the gradients of the module's parameters.
            (gradient,) = torch.autograd.grad(loss, asked)
        change = attacked + step_size * gradient / (gradient.norm() + _LEAST_NORM) - clean
        change = change * min(1.0, radius / max(float(change.norm()), _LEAST_NORM))
        attacked = (clean + change).clamp(0, 1)
    return np.moveaxis(attacked[0].cpu().numpy(), 0, -1)


def trace_adversarial(
    sample: Sample,
    module: "torch.nn.Module",
    ranking: RankingInput,
    *,
    regions: RegionsInput = "auto",
    radius: float = 1.0,
    step_size: float = 0.2,
    steps: int = 10,
) -> PatchTrace:
    """Replaces patches of the clean picture by attacked ones in ranked order; see `l2_pgd` and `accuracy_curve`.

    `module` is the torch module behind the sample's model; the label is the sample's target.

    >>> import numpy as np
    >>> import torch
    >>> mean_color = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> from interpix import TorchClassifier
    >>> model = TorchClassifier(mean_color, preprocess=lambda image: np.float32(image).transpose(2, 0, 1) / 255)
    >>> sample = Sample.of(model, np.full((8, 12, 3), (129, 128, 0), np.uint8))
    >>> trace_adversarial(sample, mean_color, [0, 1], regions="1x2").predicted
    array([0, 1, 1])
    """
    normalization = sample.normalization
    aim, label = (module, sample.target) if sample.output.exclusive else (_yes_or_no(module, sample), 1)
    attacked = l2_pgd(aim, normalization, sample.pixels, label, radius=radius, step_size=step_size, steps=steps)
    replacement = normalization.apply(attacked * _WHITE)
    trace = trace_patches(sample, ranking, regions=regions, replacement=replacement)
    attack = {"replacement": "l2_pgd", "radius": radius, "step_size": step_size, "steps": steps}
    return dataclasses.replace(trace, options={**trace.options, **attack})


def _yes_or_no(module: "torch.nn.Module", sample: Sample) -> "torch.nn.Module":
    """Two logits, 0 and what the sample's output says of its target, where no other class takes the target's place."""
    import torch  # optional

    from interpix.models.torch.module import TorchModule  # torch only when it is used

    class YesOrNo(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self._net = TorchModule(module, name=sample.classifier.name, output=sample.output)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            rows = self._net.forward(pictures)
            yes = sample.output.differentiable(rows, sample.target, probability=False)
            return torch.stack([torch.zeros_like(yes), yes], dim=1)

    return YesOrNo()


def _random_point(like: "torch.Tensor", radius: float, seed: int) -> "torch.Tensor":
    """A direction drawn uniformly, at a distance drawn uniformly from 0 ... `radius`."""
    import torch  # optional

    # On the CPU, so that the point is the same on every device.
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(like.shape, generator=generator)
    distance = radius * torch.rand((), generator=generator)
    return (direction * (distance / direction.norm())).to(like.device)
