"""The inner maps of torch modules: found by hooks that are gone after the call, or by the module's own equations."""

import difflib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from interpix.errors import ArgumentError, bad_value
from interpix.methods.base import Facts, Layout, Map
from interpix.methods.differentiable import Differentiable
from interpix.models.tokens.families import read_anatomy
from interpix.models.tokens.vit import Anatomy, Block, advance, attention, level, queries_and_keys
from interpix.models.torch.module import TorchModule, hooked, in_double, unwrap

__all__ = ["attention_rollout", "class_activation_map"]

# By their definition.
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,  # noqa: SLF001 - torch has no public name for all of a kind
    nn.modules.batchnorm._NormBase,  # noqa: SLF001
    nn.modules.pooling._MaxPoolNd,  # noqa: SLF001
    nn.modules.pooling._AvgPoolNd,  # noqa: SLF001
    nn.modules.pooling._AdaptiveMaxPoolNd,  # noqa: SLF001
    nn.modules.pooling._AdaptiveAvgPoolNd,  # noqa: SLF001
    nn.GroupNorm,
    nn.Upsample,
)


@dataclass
class _Watch:
    """What hooks have seen of one forward pass.

    Attributes:
        names: The layers that are watched, with their names.
        layer: The one that made the map, or changed it last; of nested layers, the innermost.
        found: Its output.
        part: The layer itself.
        tokens_after: A later layer gave tokens (B, T, D), so the map is not what the head reads.
        shapes: Those of maps of which it is known where their channels are: the last axis is, where a matrix made it.
        token_counts: The numbers of tokens that matrices have seen.
        uneven: Some layer reduces rows and columns by different factors.
    """

    names: dict[nn.Module, str]
    layer: str = ""
    found: Tensor | None = None
    part: nn.Module | None = None
    tokens_after: bool = False
    shapes: dict[Layout, set[tuple[int, ...]]] = field(
        default_factory=lambda: {"channels_first": set(), "channels_last": set()}
    )
    token_counts: set[int] = field(default_factory=set)
    uneven: bool = False

    def see(self, part: nn.Module, _: Any, output: Any) -> Any:
        """Keeps the last map; if one layer alone is watched, its output of whatever shape.

        What comes after a named layer gets a copy, as it may write to it in place.
        """
        alone = len(self.names) == 1
        whole, output = output, output[0] if alone and isinstance(output, tuple) else output
        self._keep(part, output, alone=alone)
        if not alone or not isinstance(output, Tensor):
            return None
        return (output.clone(), *whole[1:]) if isinstance(whole, tuple) else output.clone()

    def see_shape(self, part: nn.Module, _: Any, output: Any) -> None:
        """Learns from a layer whose channels are where its definition says."""
        if isinstance(output, Tensor) and output.ndim == 3:
            self.token_counts.add(output.shape[1])
        stride = getattr(part, "stride", None)
        self.uneven |= isinstance(stride, tuple) and len(set(stride)) > 1
        if isinstance(output, Tensor) and output.ndim == 4:
            self.shapes["channels_last" if isinstance(part, nn.Linear) else "channels_first"].add(tuple(output.shape))

    def _keep(self, part: nn.Module, output: Any, *, alone: bool) -> None:
        if not isinstance(output, Tensor) or (output is self.found and any(part.children())):
            return
        if alone or (output.ndim == 4 and min(output[0, 0].numel(), output[0, :, :, 0].numel()) > 1):
            self.layer, self.found, self.part, self.tokens_after = self.names[part], output, part, False
        elif output.ndim == 3:
            self.tokens_after = True


def class_activation_map(
    model: Differentiable,
    image: npt.NDArray[np.float32],
    layer: str | None,
    weights: Literal["mean", "plus_plus"],
    *,
    layout: Layout | None,
    grid: tuple[int, int] | None,
) -> tuple[Map, Facts]:
    """The map (H, W) of one image (3, H, W), and the layer that it was read from, with its layout."""
    module, size = model.net.module, (image.shape[1], image.shape[2])
    anatomy = read_anatomy(module)
    if isinstance(module, torch.jit.ScriptModule):
        cure = "pass the module that it was made of, or use RISE"
        raise bad_value(
            "model", "a torch module whose layers can be watched", f"`{model.net.name}` (TorchScript)", cure
        )
    names = {part: name for name, part in module.named_modules()}
    if layer is not None:
        names = {_part(module, layer): layer}
    elif anatomy is not None:
        first_norm = anatomy.blocks[-1].norm1
        names = {part: name for part, name in names.items() if part is first_norm}
    watch = _Watch(names)
    telling = [part for part in module.modules() if isinstance(part, (*_CHANNELS_FIRST, nn.Linear))]
    with model.net.recording(), hooked(telling, watch.see_shape), hooked(watch.names, watch.see):
        score = model.scores(model.net.tensor(image[None]).requires_grad_().clone())
        if watch.found is None or watch.tokens_after:
            raise _no_map(model.net, layer)
        (gradient,) = model.differentiate(score, watch.found)
    tokens = watch.found.ndim == 3
    grid = _token_grid(watch, anatomy, grid, size) if tokens else None
    layout = None if tokens else layout or _find_layout(watch, size)
    maps, gradients = (_as_map(in_double(one[0].detach()), layout, grid) for one in (watch.found, gradient))
    total = (_channel_weights(maps, gradients, weights)[:, None, None] * maps).sum(0).clamp(min=0)
    return _enlarge(total, size), {"layer": watch.layer, "layout": layout, "grid": grid and list(grid)}


def attention_rollout(net: TorchModule, image: npt.NDArray[np.float32]) -> tuple[Map, Facts]:
    """The map (H, W) of one image (3, H, W), and which tokens' rows it is."""
    anatomy = read_anatomy(unwrap(net.module))
    if anatomy is None:
        cure = "use GradCAM or RISE"
        raise bad_value("model", "a Vision Transformer that interpix knows", f"`{net.name}`", cure)
    with net.evaluating():
        tokens = anatomy.embed(net.tensor(image[None]))
        rollout = in_double(torch.eye(tokens.shape[1], device=tokens.device))
        for block in anatomy.blocks_at((image.shape[1], image.shape[2])):
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
    query, key = queries_and_keys(block, query, key, None, tokens.dtype)
    bias = block.places.bias
    if block.mix_scores is None:  # which is the model's, and takes its number type
        query, key, bias = in_double(query), in_double(key), None if bias is None else in_double(bias)
    weights, _ = attention(block, query, key, bias)
    return in_double(weights).mean((0, 1))


def _as_map(values: Tensor, layout: Layout | None, grid: tuple[int, int] | None) -> Tensor:
    """A layer's output for one image, as channels (C, h, w)."""
    if grid is not None:  # class tokens and the like come first
        return values[-grid[0] * grid[1] :].T.unflatten(1, grid)
    return values.movedim(-1, 0) if layout == "channels_last" else values


def _token_grid(
    watch: _Watch, anatomy: Anatomy | None, grid: tuple[int, int] | None, size: tuple[int, int]
) -> tuple[int, int]:
    """Rows and columns of the patch tokens in a layer's output (1, T, D): as given, or as a known model has them."""
    shape = _shape(watch)
    if grid is None and anatomy is not None:
        grid = _grid(anatomy, size)
    if grid is None:
        cure = "give the rows and columns of its patch tokens, grid=(14, 14) for example"
        raise bad_value("grid", f"how the tokens of `{watch.layer}` lie in the image", f"an output {shape}", cure)
    if grid[0] * grid[1] > shape[1]:
        cure = "give the rows and columns of its patch tokens, or name another layer"
        raise bad_value("grid", f"at most {shape[1]} tokens, as `{watch.layer}` gives {shape}", grid, cure)
    return grid


def _find_layout(watch: _Watch, size: tuple[int, int]) -> Layout:
    """Where a map (1, a, b, c) has its channels, by others of its shape, or by the proportions of the image."""
    shape = _shape(watch)
    between_tokens = shape[2:3] == shape[3:4] and shape[-1] in watch.token_counts
    if len(shape) != 4 or shape[0] != 1 or (between_tokens and shape not in watch.shapes["channels_first"]):
        cure = "name a layer whose output is (B, C, h, w), or (B, tokens, D)"
        raise bad_value("layer", "a layer that gives a map", f"`{watch.layer}`, which gives {shape}", cure)
    if isinstance(watch.part, _CHANNELS_FIRST):
        return "channels_first"
    # Maps of one shape lie alike, unless turning the axes leaves it.
    told: list[Layout] = [layout for layout, shapes in watch.shapes.items() if shape in shapes]
    if len(told) == 1 and len(set(shape[1:])) > 1:
        return told[0]
    sizes: dict[Layout, tuple[int, int]] = {"channels_first": shape[2:], "channels_last": shape[1:3]}
    for fits in (_is_smaller,) if watch.uneven else (_is_reduced, _is_rounded, _is_smaller):
        possible = [layout for layout, map_size in sizes.items() if fits(map_size, size)]
        if len(possible) == 1:
            return possible[0]
        if possible:
            break
    need = f"where the channels of `{watch.layer}` are"
    cure = 'say layout="channels_first" or layout="channels_last"'
    raise bad_value("layout", need, f"an output {shape}, which could be either", cure)


def _is_reduced(map_size: tuple[int, int], size: tuple[int, int]) -> bool:
    """Rows and columns are those of the image by one factor."""
    return _is_smaller(map_size, size) and map_size[0] * size[1] == map_size[1] * size[0]


def _is_rounded(map_size: tuple[int, int], size: tuple[int, int]) -> bool:
    """The same, but each rounded."""
    return _is_smaller(map_size, size) and abs(map_size[0] * size[1] - map_size[1] * size[0]) <= max(size)


def _is_smaller(map_size: tuple[int, int], size: tuple[int, int]) -> bool:
    return map_size[0] <= size[0] and map_size[1] <= size[1]


def _shape(watch: _Watch) -> tuple[int, ...]:
    return () if watch.found is None else tuple(watch.found.shape)


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
    cure = "name the layer, with grid=(rows, columns) if it gives tokens, or use RISE"
    return bad_value("model", need, f"`{net.name}`", cure)
