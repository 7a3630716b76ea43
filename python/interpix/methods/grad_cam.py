"""Grad-CAM and Grad-CAM++: the maps of an inner layer, weighted by their gradients. They need a torch module."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from interpix.checks import check_choice, check_grid
from interpix.errors import bad_type
from interpix.methods.base import Facts, Layout, Map, MapMethod, Output, check_output
from interpix.methods.gradients import differentiable
from interpix.options import plain_options
from interpix.question import Question

__all__ = ["GradCAM", "GradCAMPlusPlus"]


@dataclass(frozen=True)
class _CAM(MapMethod):
    """What both methods share.

    The map is max(0, sum_k w_k A_k), A_k the channels of one layer's output, enlarged bilinearly.

    Attributes:
        layer: The layer's name in the module, such as `"layer4.1.conv2"`; None: the last one that gives a map
            (B, C, h, w), for Vision Transformers the first norm of the last block.
        output: Differentiate the target's `"logit"` or its `"probability"`.
        layout: Whether the layer's output is `"channels_first"` (B, C, h, w) or `"channels_last"` (B, h, w, C); None:
            by what the layer is, and by the proportions of the image; where both could be, it is asked for.
        grid: Rows and columns of the patch tokens, for a layer of an unknown model that gives (B, tokens, D); the
            tokens before them belong to no place.
    """

    layer: str | None = None
    output: Output = "logit"
    layout: Layout | None = None
    grid: tuple[int, int] | None = None

    needs_torch = True
    needs_gradient = True
    _weights: ClassVar[Literal["mean", "plus_plus"]]

    def __post_init__(self) -> None:
        plain_options(self)
        check_output(self.output)
        if not isinstance(self.layer, str | None):
            raise bad_type("layer", "the name of a layer", self.layer, "see module.named_modules()")
        if self.layout is not None:
            check_choice("layout", self.layout, get_args(Layout))
        if self.grid is not None:
            check_grid("grid", self.grid)

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        model = differentiable(question, self.name, self.output)
        from interpix.methods.activation_maps import class_activation_map  # torch only when it is used

        return class_activation_map(
            model, question.tensor, self.layer, self._weights, layout=self.layout, grid=self.grid
        )


@dataclass(frozen=True)
class GradCAM(_CAM):
    """Grad-CAM: each channel weighs its mean gradient (Selvaraju et al. 2017).

    One layer that sums the channels, and a head that takes its mean: the map is the layer's, divided by 8 pixels.

    >>> import numpy as np
    >>> import torch
    >>> layer = torch.nn.Conv2d(3, 2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> model = torch.nn.Sequential(layer, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> image = np.arange(8, dtype=np.float32).reshape(2, 4) * np.ones((3, 1, 1), np.float32)
    >>> GradCAM(layer="0").explain(model, image, target=1).map
    array([[0.   , 0.375, 0.75 , 1.125],
           [1.5  , 1.875, 2.25 , 2.625]], dtype=float32)

    Attributes:
        layer: The layer's name in the module, such as `"layer4.1.conv2"`; None: the last one that gives a map
            (B, C, h, w), for Vision Transformers the first norm of the last block.
        output: Differentiate the target's `"logit"` or its `"probability"`.
        layout: Whether the layer's output is `"channels_first"` (B, C, h, w) or `"channels_last"` (B, h, w, C); None:
            by what the layer is, and by the proportions of the image; where both could be, it is asked for.
        grid: Rows and columns of the patch tokens, for a layer of an unknown model that gives (B, tokens, D); the
            tokens before them belong to no place.
    """

    name = "grad_cam"
    presets: ClassVar = {"iprop": {}, "moxi": {}}
    _weights = "mean"


@dataclass(frozen=True)
class GradCAMPlusPlus(_CAM):
    """Grad-CAM++: each channel weighs the sum of max(0, g) / (2 + g sum(A)), g its gradients.

    Chattopadhay et al. 2018, for the exponential of the score, as there.

    As in `GradCAM`, the map is the layer's; here its sum is 84, and g = 1/8 in each of 8 pixels:

    >>> import numpy as np
    >>> import torch
    >>> layer = torch.nn.Conv2d(3, 2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> model = torch.nn.Sequential(layer, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> image = np.arange(8, dtype=np.float32).reshape(2, 4) * np.ones((3, 1, 1), np.float32)
    >>> found = GradCAMPlusPlus(layer="0").explain(model, image, target=1)
    >>> round(float(found.map[0, 1]), 6), round(3 * 8 * (1 / 8) / (2 + 84 / 8), 6)
    (0.24, 0.24)

    Attributes:
        layer: As in `GradCAM`.
        output: As in `GradCAM`.
        layout: As in `GradCAM`.
        grid: As in `GradCAM`.
    """

    name = "grad_cam_plus_plus"
    presets: ClassVar = {"iprop": {}, "moxi": {}}
    _weights = "plus_plus"
