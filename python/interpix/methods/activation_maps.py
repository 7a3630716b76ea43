"""The inner maps of torch modules: found by hooks that are gone after the call, or by the module's own equations."""

import difflib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from interpix.errors import ArgumentError, bad_value
from interpix.methods.base import Facts, Map
from interpix.methods.differentiable import Differentiable
from interpix.models.tokens.families import read_anatomy
from interpix.models.tokens.vit import Anatomy, Block, advance, level
from interpix.models.torch.module import TorchModule, hooked

__all__ = ["attention_rollout", "class_activation_map"]


@dataclass
class _Watch:
    """What hooks have seen of one forward pass.

    Attributes:
        names: The layers that are watched, with their names.
        layer: The one that made the map, or changed it last; of nested layers, the innermost.
        found: Its output.
        channels_last: The layer is a norm over the last axis, where some networks have their channels.
        tokens_after: A later layer gave tokens (B, T, D), so the map is not what the head reads.
    """

    names: dict[nn.Module, str]
    layer: str = ""
    found: Tensor | None = None
    channels_last: bool = False
    tokens_after: bool = False

    def see(self, part: nn.Module, _: Any, output: Any) -> None:
        """Keeps the last map; if one layer alone is watched, its output of whatever shape."""
        alone = len(self.names) == 1
        output = output[0] if alone and isinstance(output, tuple) else output
        if not isinstance(output, Tensor) or (output is self.found and any(part.children())):
            return
        if alone or (output.ndim == 4 and output.shape[2] * output.shape[3] > 1):
            self.layer, self.found, self.tokens_after = self.names[part], output, False
            self.channels_last = isinstance(part, nn.LayerNorm) and output.shape[-1:] == tuple(part.normalized_shape)
        elif output.ndim == 3:
            self.tokens_after = True


def class_activation_map(
    model: Differentiable, image: npt.NDArray[np.float32], layer: str | None, weights: Literal["mean", "plus_plus"]
) -> tuple[Map, str]:
    """The map (H, W) of one image (3, H, W), and the name of the layer that it was read from."""
    module, size = model.net.module, (image.shape[1], image.shape[2])
    anatomy = read_anatomy(module)
    names = {part: name for name, part in module.named_modules()}
    if layer is not None:
        names = {_part(module, layer): layer}
    elif anatomy is not None:
        first_norm = anatomy.blocks[-1].norm1
        names = {part: name for part, name in names.items() if part is first_norm}
    watch = _Watch(names)
    with model.net.recording(), hooked(watch.names, watch.see):
        score = model.scores(model.net.tensor(image[None]).requires_grad_().clone())
        if watch.found is None or watch.tokens_after:
            raise _no_map(model.net, layer)
        (gradient,) = model.differentiate(score, watch.found)
    maps, gradients = (_as_map(one.detach().double(), watch, anatomy, size) for one in (watch.found, gradient))
    total = (_channel_weights(maps, gradients, weights)[:, None, None] * maps).sum(0).clamp(min=0)
    return _enlarge(total, size), watch.layer


def attention_rollout(net: TorchModule, image: npt.NDArray[np.float32]) -> tuple[Map, Facts]:
    """The map (H, W) of one image (3, H, W), and which tokens' rows it is."""
    anatomy = read_anatomy(net.module)
    if anatomy is None:
        cure = "use GradCAM or RISE"
        raise bad_value("model", "a Vision Transformer that interpix knows", f"`{net.name}`", cure)
    with net.evaluating():
        tokens = anatomy.embed(net.tensor(image[None]))
        rollout = torch.eye(tokens.shape[1], dtype=torch.float64, device=tokens.device)
        for block in anatomy.blocks:
            entry = level(block, tokens)
            rollout = 0.5 * _attention(block, entry[0], entry[1]) @ rollout + 0.5 * rollout
            tokens = advance(block, entry)
        row = rollout[anatomy.prefix :].mean(0) if anatomy.read is None else rollout[0]
        size = (image.shape[1], image.shape[2])
        values = row[anatomy.prefix :].view(_grid(anatomy, size))
        return _enlarge(values, size), {"rows": "patch tokens" if anatomy.read is None else "class token"}


def _attention(block: Block, tokens: Tensor, qkv: Tensor) -> Tensor:
    """How much each token attends to each other, the mean over heads (n, n), rows summing to 1."""
    query, key, _ = qkv.unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
    if block.q_norm is not None:
        query = block.q_norm(query.to(tokens.dtype))
    if block.k_norm is not None:
        key = block.k_norm(key.to(tokens.dtype))
    query, key = query.double(), key.double()
    similar = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    mean: Tensor = similar.softmax(-1).mean((0, 1))
    return mean


def _as_map(values: Tensor, watch: _Watch, anatomy: Anatomy | None, size: tuple[int, int]) -> Tensor:
    """A layer's output for one image, as channels (C, h, w)."""
    if values.ndim == 3 and anatomy is not None:
        return values[0, anatomy.prefix :].T.unflatten(1, _grid(anatomy, size))
    if values.ndim != 4:
        cure = "name a layer whose output is (B, C, h, w)"
        raise bad_value(
            "layer", "a layer that gives a map", f"`{watch.layer}`, which gives {tuple(values.shape)}", cure
        )
    return values[0].movedim(-1, 0) if watch.channels_last else values[0]


def _channel_weights(maps: Tensor, gradients: Tensor, weights: Literal["mean", "plus_plus"]) -> Tensor:
    if weights == "mean":
        return gradients.mean((1, 2))
    denominator = 2 + maps.sum((1, 2))[:, None, None] * gradients
    # Activations below zero can make it vanish; the paper's network has none.
    return torch.where(denominator != 0, gradients.clamp(min=0) / denominator, 0).sum((1, 2))


def _grid(anatomy: Anatomy, size: tuple[int, int]) -> tuple[int, int]:
    return size[0] // anatomy.patch_size[0], size[1] // anatomy.patch_size[1]


def _enlarge(values: Tensor, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    enlarged = interpolate(values[None, None], size, mode="bilinear", align_corners=False)
    return np.asarray(enlarged[0, 0].cpu())


def _part(module: nn.Module, layer: str) -> nn.Module:
    try:
        return module.get_submodule(layer)
    except AttributeError:
        near = difflib.get_close_matches(layer, [name for name, _ in module.named_modules()])
        cure = f"near names: {', '.join(near)}" if near else "see module.named_modules()"
        raise bad_value("layer", "the name of a layer", repr(layer), cure) from None


def _no_map(net: TorchModule, layer: str | None) -> ArgumentError:
    if layer is not None:
        return bad_value("layer", "a layer that runs", f"`{layer}`, which does not", "name another one")
    need = "a model whose head reads a map (B, C, h, w)"
    return bad_value("model", need, f"`{net.name}`", "name the layer, or use RISE")
