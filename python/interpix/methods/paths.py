"""Integrated gradients along other ways than the straight one. They need a torch module."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.absence import AbsenceInput, read_fill
from interpix.blur import convolve, gaussian_taps
from interpix.checks import MOST_STEPS, check_number, check_positive
from interpix.methods.base import (
    Facts,
    Magnitude,
    Map,
    MapMethod,
    Output,
    check_magnitude,
    check_output,
    over_channels,
)
from interpix.methods.gradients import differentiable
from interpix.options import plain_options
from interpix.question import Question

__all__ = ["Array", "BlurIG", "GuidedIG", "guided_steps"]

Array: TypeAlias = npt.NDArray[np.float64]
"""Pictures and their gradients, in double precision."""

_CLOSE = 1e-9
# As scipy's Gaussian filter, with which the authors blur.
_TRUNCATE = 4.0
# For the derivative of the blurred picture with respect to the standard deviation, as the authors'.
_STEP = 0.01

_GREATEST_SIGMA = 1000
"""Pixels: a picture of usual size is of one color by then, and blurring takes as long as sigma is great."""


@dataclass(frozen=True)
class GuidedIG(MapMethod):
    """Guided integrated gradients (Kapishnikov et al. 2021): the inputs with the least gradients move first.

    Every step moves as far towards the image, in the sum of absolute differences, as a step of the straight way.

    For a linear model every way gives the same map:

    >>> import torch
    >>> mean_color = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> image = np.arange(8, dtype=np.float32).reshape(2, 4) * np.ones((3, 1, 1), np.float32)
    >>> GuidedIG(steps=5, baseline="zero").explain(mean_color, image, target=1).map
    array([[0.   , 0.125, 0.25 , 0.375],
           [0.5  , 0.625, 0.75 , 0.875]], dtype=float32)

    Attributes:
        steps: Number of steps, each one forward and one backward pass, one after the other.
        fraction: How many of the inputs move first, 0 ... 1.
        corridor: How far, in shares of the way, an input may run ahead of or fall behind the straight way.
        baseline: Where the way starts: what `interpix.Fill` takes.
        output: Differentiate the target's `"logit"` or its `"probability"`.
        magnitude: What becomes of a pixel's channels: None: their sum with its sign; `"sum"`: its absolute value;
            `"channels"`: the sum of absolute values, which are the IProp paper's maps.
    """

    steps: int = 200
    fraction: float = 0.25
    corridor: float = 0.02
    baseline: AbsenceInput = "black"
    output: Output = "logit"
    magnitude: Magnitude = None

    name = "guided_ig"
    needs_torch = True
    needs_gradient = True
    presets: ClassVar = {
        "iprop": {"steps": 200, "fraction": 0.25, "corridor": 0.02, "baseline": "black", "magnitude": "channels"}
    }

    def __post_init__(self) -> None:
        plain_options(self)
        check_positive("steps", self.steps, greatest=MOST_STEPS)
        check_output(self.output)
        check_magnitude(self.magnitude)
        read_fill(self.baseline, "baseline")
        need, cure = "a number in 0 ... 1, not 0", "0.25 is the paper's"
        check_number("fraction", self.fraction, 0, 1, need, cure, above=True)
        check_number("corridor", self.corridor, 0, 1, "a number in 0 ... 1", "0.02 is the paper's")

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        model = differentiable(question, self.name, self.output)
        fill = read_fill(self.baseline, "baseline")

        def gradient(point: Array) -> Array:
            return np.asarray(model.gradients(model.net.tensor(point[None]))[1][0].cpu())

        start = fill.make(question.tensor, question.classifier).astype(np.float64)
        steps = guided_steps(start, question.tensor.astype(np.float64), gradient, self)
        total = sum(steps, np.zeros_like(start))
        return over_channels(total, self.magnitude), {"baseline": fill.name}


def guided_steps(start: Array, end: Array, gradient: Callable[[Array], Array], options: GuidedIG) -> Iterator[Array]:
    """What each step of the guided way contributes to each input."""
    point = start
    for step in range(1, options.steps + 1):
        slope = gradient(point)
        moved = _guided_step(point, start, end, np.abs(slope), step / options.steps, options)
        yield (moved - point) * slope
        point = moved


def _guided_step(point: Array, start: Array, end: Array, slope: Array, share: float, options: GuidedIG) -> Array:
    """The next point, as far from the end as the straight way is after this `share` of it."""
    way = end - start
    low = start + max(share - options.corridor, 0) * way
    high = start + min(share + options.corridor, 1) * way
    behind = np.abs(point - start) < np.abs(low - start)
    point = np.where(behind, low, point)
    wanted, tolerance = np.abs(way).sum() * (1 - share), _CLOSE * np.abs(way).sum()
    rank = int(options.fraction * (slope.size - 1))
    while (excess := np.abs(end - point).sum() - wanted) > tolerance:
        slope[point == high] = np.inf
        chosen = (slope <= np.partition(slope, rank, axis=None)[rank]) & np.isfinite(slope)
        reach = np.abs(high - point)[chosen].sum()
        if reach > excess:
            return np.where(chosen, point + excess / reach * (high - point), point)
        point = np.where(chosen, high, point)
    return point


@dataclass(frozen=True)
class BlurIG(MapMethod):
    """Integrated gradients along a way of less and less blur (Xu et al. 2020); what is outside the image is 0.

    The light of one bright pixel is gathered from all over while the blur goes:

    >>> import torch
    >>> mean_color = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> image = np.zeros((3, 3, 4), np.float32)
    >>> image[:, 1, 2] = 12
    >>> BlurIG(steps=50, sigma=9.0).explain(mean_color, image, target=1).map.round(1) + 0
    array([[0., 0., 0., 0.],
           [0., 0., 1., 0.],
           [0., 0., 0., 0.]], dtype=float32)

    Attributes:
        steps: Number of steps.
        sigma: The Gaussian's greatest standard deviation, pixels.
        output: Differentiate the target's `"logit"` or its `"probability"`.
        batch_size: Pictures differentiated at once; None: by device.
        magnitude: What becomes of a pixel's channels: None: their sum with its sign; `"sum"`: its absolute value;
            `"channels"`: the sum of absolute values, which are the IProp paper's maps.
    """

    steps: int = 200
    sigma: float = 50.0
    output: Output = "logit"
    batch_size: int | None = None
    magnitude: Magnitude = None

    name = "blur_ig"
    needs_torch = True
    needs_gradient = True
    presets: ClassVar = {"iprop": {"steps": 200, "sigma": 50.0, "magnitude": "channels"}}

    def __post_init__(self) -> None:
        plain_options(self)
        check_positive("steps", self.steps, greatest=MOST_STEPS)
        check_positive("batch_size", self.batch_size, optional=True)
        check_output(self.output)
        check_magnitude(self.magnitude)
        need, cure = f"a positive number of pixels up to {_GREATEST_SIGMA}", "50 is the paper's"
        check_number("sigma", self.sigma, 0, _GREATEST_SIGMA, need, cure, above=True)

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        model = differentiable(question, self.name, self.output, self.batch_size)
        image = question.tensor.astype(np.float64)
        sigmas = np.arange(self.steps) * self.sigma / self.steps
        total = np.zeros_like(image)
        for first in range(0, self.steps, model.batch_size):
            part = sigmas[first : first + model.batch_size]
            pictures = np.stack([_blurred(image, sigma) for sigma in part])
            slopes = np.stack([_blurred(image, sigma + _STEP) for sigma in part]) - pictures
            _, gradients = model.gradients(model.net.tensor(pictures))
            total -= (slopes / _STEP * gradients.cpu().numpy()).sum(0)
        return over_channels(total * self.sigma / self.steps, self.magnitude), {}


def _blurred(image: Array, sigma: float) -> Array:
    """A picture (C, H, W), blurred."""
    return convolve(image, gaussian_taps(sigma, int(_TRUNCATE * sigma + 0.5)), "zero")
