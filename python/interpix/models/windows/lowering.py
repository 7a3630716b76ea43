"""From a torch module to the layers that can be evaluated on windows of their maps, or on whole ones.

`derive_layers` traces the module with torch.fx, in the sense of `module.eval()`, and lowers the graph: batch norms are
folded into their convolutions, activations and shortcuts into the layer before them. It knows plain stacks of
convolutions and raises `UnsupportedModule` for anything else. The module is not touched.
"""

import copy
import math
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import fx, nn

from interpix.models.torch.module import in_double, is_hooked
from interpix.models.windows.layers import Convolution, Layer, Network, Operation, Reach, Size

__all__ = ["UnsupportedModule", "derive_layers"]

# Of two traces at once, the one that ends last would leave the first one's watch in place.
_tracing = threading.Lock()

_ACTIVATIONS = (
    *(
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.CELU,
        nn.SELU,
        nn.SiLU,
        nn.Mish,
        nn.GELU,
        nn.Hardswish,
        nn.Hardsigmoid,
    ),
    *(nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus),
)
_ACTIVATION_FUNCTIONS = {
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.silu, F.mish, F.gelu, F.hardswish, F.hardsigmoid, F.hardtanh, F.softplus),
    *(torch.relu, torch.sigmoid, torch.tanh, F.sigmoid, F.tanh),
}
_ACTIVATION_METHODS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_WHOLE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Linear)
_BINARY = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add"), torch.add),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul"), torch.mul),
}
_IN_PLACE = (operator.iadd, operator.imul)
_QUESTIONS = (torch._assert, getattr, operator.eq, operator.getitem, "size", "dim")  # noqa: SLF001 - what models check


class UnsupportedModule(Exception):  # noqa: N818 - an answer, not an error that a user sees
    """The module is not a plain stack of convolutions; the message says what was met."""


_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


def derive_layers(module: nn.Module, size: Size, channels: int = 3) -> Network:
    """The layers of `module` for pictures of `size` (H, W).

    Raises:
        UnsupportedModule: It is more than a plain stack of convolutions.
    """
    tensors = [*module.parameters(), *module.buffers()]
    for part in module.modules():
        if is_hooked(part):
            raise UnsupportedModule(f"{type(part).__name__} has hooks or a forward of its own")
    # The structure is copied, the tensors are shared: the copy can be set to `eval` while the original stays as it is.
    # Hooks that other threads have put there for a moment are theirs.
    hooks = (getattr(part, name) for part in module.modules() for name in _HOOKS)
    known = {id(tensor): tensor for tensor in tensors} | {id(those): OrderedDict() for those in hooks}
    try:
        shadow = copy.deepcopy(module, known).eval()
    except Exception as error:
        # What a user keeps in a module may refuse it in its own way, as a lock does.
        raise UnsupportedModule(f"it cannot be copied: {error}") from error
    try:
        with _tracing:
            graph = _Tracer().trace(shadow)
    except Exception as error:
        # A forward that is run on symbols can raise anything.
        raise UnsupportedModule(f"it cannot be traced: {error}") from error
    return _Lowering(shadow, graph, size, channels).network


class _Tracer(fx.Tracer):  # type: ignore[misc] # torch is not read by mypy
    """Keeps subclasses of convolutions, norms and pools whole: their classes decide what they are.

    While it traces, torch.fx watches the calls and parameters of all modules in all threads. What other threads do is
    none of the tracer's business, and goes on as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        kinds = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)
        return isinstance(m, kinds) or bool(super().is_leaf_module(m, module_qualified_name))


class _Lowering:
    """Walks the graph once and builds `network`."""

    def __init__(self, module: nn.Module, graph: fx.Graph, size: Size, channels: int) -> None:
        self._modules = dict(module.named_modules())
        self._of: dict[fx.Node, Layer] = {}
        self._order: list[Layer] = []
        self._drop_nothings(graph)
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise UnsupportedModule("it takes more than a batch of pictures")
        self._add(inputs[0], Layer([], lambda x: x, Reach(), (channels, *size)))
        for node in graph.nodes:
            if node.op == "call_module":
                self._module(node, self._modules[node.target])
            elif node.op in {"call_function", "call_method"}:
                self._function(node)
            elif node.op == "output":
                self.network = Network(self._order, self._result(node.args[0]))
            elif node.op != "placeholder":
                raise UnsupportedModule(f"it reads {node.target}")

    def _drop_nothings(self, graph: fx.Graph) -> None:
        """Removes what does nothing in evaluation, and checks, so that counting users sees who shares a map."""
        for node in list(graph.nodes):
            module = node.op == "call_module" and type(self._modules[node.target]) in _NOTHING
            dropout = node.target in {F.dropout, F.dropout2d} and node.kwargs.get("training") is False
            if module or dropout:
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)
        for node in reversed(list(graph.nodes)):
            if not node.users and node.target in _QUESTIONS:
                graph.erase_node(node)

    def _layer(self, node: Any) -> Layer:
        if not isinstance(node, fx.Node) or node not in self._of:
            raise UnsupportedModule(f"a map was expected, not {node}")
        return self._of[node]

    def _result(self, node: Any) -> Layer:
        layer = self._layer(node)
        if layer.reach is not None:
            raise UnsupportedModule("it answers with maps")
        if not any(layer.products for layer in self._order):
            raise UnsupportedModule("it has no convolution")
        return layer

    def _add(self, node: fx.Node, layer: Layer) -> None:
        self._order.append(layer)
        self._of[node] = layer

    def _own(self, node: Any) -> bool:
        """Whether nobody but the node at hand reads `node`, so that its layer may still be extended."""
        return len(node.users) == 1 and self._layer(node) is not self._order[0]

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        # By its full name: a class of the same short name may do anything.
        source, name = node.args[0], f"{type(module).__module__}.{type(module).__qualname__}"
        if len(node.args) != 1 or node.kwargs:
            raise UnsupportedModule(f"{name} with more than one argument")
        if getattr(module, "inplace", False):
            self._check_in_place(node)
        if type(module) is nn.Conv2d or name == "timm.layers.conv2d_same.Conv2dSame":
            self._convolution(node, module)
        elif type(module) is nn.BatchNorm2d:
            self._batch_norm(node, source, module)
        elif name == "timm.layers.norm_act.BatchNormAct2d":
            self._batch_norm(node, source, module)
            for part in (module.drop, module.act):
                if type(part) not in _NOTHING:
                    self._activation(node, node, part)
        elif type(module) in {nn.MaxPool2d, nn.AvgPool2d} or name == "timm.layers.pool2d_same.MaxPool2dSame":
            self._pool(node, module)
        elif type(module) in _ACTIVATIONS:
            self._activation(node, source, module)
        elif type(module) in _WHOLE and getattr(module, "start_dim", 1) == 1:
            self._whole(node, module)
        else:
            raise UnsupportedModule(f"it contains {name}")

    def _function(self, node: fx.Node) -> None:
        function, arguments = node.target, node.args[1:]
        if function in _IN_PLACE or node.kwargs.get("inplace"):
            self._check_in_place(node)
        options = {key: value for key, value in node.kwargs.items() if key != "inplace"}
        if function in _BINARY and len(node.args) == 2 and not options:
            self._binary(node, _BINARY[function])
        elif function in _ACTIVATION_FUNCTIONS or function in _ACTIVATION_METHODS:
            function = _ACTIVATION_METHODS.get(function, function)
            self._activation(node, node.args[0], lambda x: function(x, *arguments, **options))
        elif function is torch.cat and _dimensions(arguments, options) == (1,):
            self._concatenation(node)
        elif function in {F.adaptive_avg_pool2d, F.adaptive_max_pool2d}:
            self._whole(node, partial(_call, function, arguments, options))
        elif function in {torch.mean, "mean"} and _dimensions(arguments, options) in {(2, 3), (-2, -1), (-1, -2)}:
            function = torch.mean
            self._whole(node, partial(_call, function, arguments, options))
        elif function in {torch.flatten, "flatten"} and (arguments[:1] or (options.get("start_dim"),)) == (1,):
            self._whole(node, partial(_call, torch.flatten, arguments, options))
        else:
            raise UnsupportedModule(f"it calls {function}")

    def _check_in_place(self, node: fx.Node) -> None:
        if not isinstance(node.args[0], fx.Node) or len(node.args[0].users) != 1:
            raise UnsupportedModule("it overwrites a map that others read")

    def _convolution(self, node: fx.Node, module: Any) -> None:
        if module.in_channels != self._map_shape(node.args[0])[0]:
            raise UnsupportedModule(f"pictures of {module.in_channels} channels")
        if module.padding_mode != "zeros":
            raise UnsupportedModule(f"padding {module.padding_mode}")
        extent = _pair(lambda k, d: (k - 1) * d + 1, module.kernel_size, module.dilation)
        if type(module) is not nn.Conv2d:
            padding = None
        elif module.padding == "same":
            # torch puts the odd row or column behind, whatever the size.
            total = _pair(lambda e: e - 1, extent)
            padding = _pair(lambda t: t // 2, total), _pair(lambda t: t - t // 2, total)
        else:
            sides = (0, 0) if module.padding == "valid" else module.padding
            padding = sides, sides
        self._local(node, Convolution(module), module.out_channels, Reach(extent, module.stride), padding)

    def _pool(self, node: fx.Node, module: Any) -> None:
        size, stride = _both(module.kernel_size), _both(module.stride)
        sides = _both(module.padding)
        padding: tuple[Size, Size] | None = sides, sides
        channels = self._map_shape(node.args[0])[0]
        if isinstance(module, nn.AvgPool2d):
            counts_all = sides == (0, 0) or (module.count_include_pad and module.divisor_override is None)
            if module.ceil_mode or not counts_all:
                raise UnsupportedModule("an average pool whose divisor depends on the place")
            apply: Operation = partial(
                F.avg_pool2d, kernel_size=size, stride=stride, divisor_override=module.divisor_override
            )
            self._local(node, apply, channels, Reach(size, stride), padding)
            return
        if module.return_indices:
            raise UnsupportedModule("a max pool that returns indices")
        dilation = _both(module.dilation)
        extent = _pair(lambda k, d: (k - 1) * d + 1, size, dilation)
        if type(module) is not nn.MaxPool2d:
            padding = None
        elif module.ceil_mode:
            padding = sides, _pair(_ceil_padding, self._map_shape(node.args[0])[1:], extent, stride, sides)
        apply = partial(F.max_pool2d, kernel_size=size, stride=stride, dilation=dilation)
        self._local(node, apply, channels, Reach(extent, stride, fill=-math.inf), padding)

    def _local(
        self, node: fx.Node, apply: Operation, channels: int, reach: Reach, padding: tuple[Size, Size] | None
    ) -> None:
        """Adds a layer that reads windows; `padding` None is TensorFlow's "same"."""
        size = self._map_shape(node.args[0])[1:]
        if padding is None:
            total = _pair(lambda n, e, s: max((math.ceil(n / s) - 1) * s + e - n, 0), size, reach.extent, reach.stride)
            padding = _pair(lambda t: t // 2, total), _pair(lambda t: t - t // 2, total)
        before, after = padding
        reach = Reach(reach.extent, reach.stride, before, after, reach.fill)
        sizes = _pair(lambda n, e, s, b, a: (n + b + a - e) // s + 1, size, reach.extent, reach.stride, before, after)
        self._add(node, Layer([self._layer(node.args[0])], apply, reach, (channels, *sizes)))

    def _map_shape(self, node: Any) -> tuple[int, int, int]:
        shape = self._layer(node).shape
        if shape is None:
            raise UnsupportedModule("it goes on with maps after having read whole ones")
        return shape

    def _batch_norm(self, node: fx.Node, source: Any, module: Any) -> None:
        if module.running_mean is None:
            raise UnsupportedModule("a batch norm without running statistics")
        layer = self._layer(source)
        convolution = layer.apply if layer.shortcut is None and not layer.after else None
        if not isinstance(convolution, Convolution) or not self._own(source):
            self._activation(node, source, _Norm(module))
            return
        scale = (in_double(module.running_var) + module.eps).rsqrt()
        shift = -in_double(module.running_mean) * scale
        if module.affine:
            scale, shift = (x * in_double(module.weight.detach()) for x in (scale, shift))
            shift = shift + in_double(module.bias.detach())
        convolution.fold(scale, shift)
        self._of[node] = layer

    def _activation(self, node: fx.Node, source: Any, function: Operation) -> None:
        """Appends a pointwise function to the layer before it, where it may overwrite, or adds it as a layer."""
        layer = self._layer(source)
        own = source is node or self._own(source)
        if isinstance(function, nn.Module):
            function = copy.copy(function)
            if hasattr(function, "inplace"):
                function.inplace = own and layer.reach is not None  # `flatten` answers with a view
        if own:
            layer.after.append(function)
            self._of[node] = layer
        else:
            self._add(node, Layer([layer], function, layer.shape and Reach(), layer.shape))

    def _binary(self, node: fx.Node, function: Operation) -> None:
        left, right = node.args
        if not isinstance(left, fx.Node) or not isinstance(right, fx.Node):
            operand, number = (left, right) if isinstance(left, fx.Node) else (right, left)
            self._activation(node, operand, lambda x: function(x, number))
            return
        if self._map_shape(left) != self._map_shape(right):
            raise UnsupportedModule("it joins maps of different shapes")
        if function is torch.add:
            for operand, other in sorted([(left, right), (right, left)], key=lambda pair: -self._extent(pair[0])):
                layer = self._layer(operand)
                free = isinstance(layer.apply, Convolution) and layer.shortcut is None and not layer.after
                if free and self._own(operand):
                    layer.shortcut = self._layer(other)
                    # Nobody else reads it, so it can wait until its shortcut is there.
                    self._order.remove(layer)
                    self._add(node, layer)
                    return
        self._add(node, Layer([self._layer(left), self._layer(right)], function, Reach(), self._layer(left).shape))

    def _extent(self, node: Any) -> int:
        reach = self._layer(node).reach
        return 0 if reach is None else max(reach.extent)

    def _concatenation(self, node: fx.Node) -> None:
        shapes = [self._map_shape(part) for part in node.args[0]]
        if len({shape[1:] for shape in shapes}) != 1:
            raise UnsupportedModule("it joins maps of different shapes")
        shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        self._add(node, Layer([self._layer(part) for part in node.args[0]], _concatenate, Reach(), shape))

    def _whole(self, node: fx.Node, apply: Operation) -> None:
        self._add(node, Layer([self._layer(node.args[0])], apply))


class _Norm:
    """A batch norm that is not folded, in one pass over its maps, which may be of fewer bits than its numbers."""

    def __init__(self, module: Any) -> None:
        found = module.running_mean, module.running_var, module.weight, module.bias
        self._own = tuple(None if one is None else one.detach() for one in found)
        self._single = tuple(None if one is None else one.float() for one in self._own)
        self._dtype, self._eps = found[0].dtype, module.eps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        mean, variance, weight, bias = self._own if x.dtype == self._dtype else self._single
        return F.batch_norm(x, mean, variance, weight, bias, eps=self._eps)


def _call(function: Operation, arguments: tuple[Any, ...], options: dict[str, Any], x: torch.Tensor) -> Any:
    return function(x, *arguments, **options)


def _concatenate(*maps: torch.Tensor) -> torch.Tensor:
    return torch.cat(maps, dim=1)


def _dimensions(arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[int, ...]:
    """The `dim` of a reduction or concatenation, however it was passed."""
    dim = arguments[0] if arguments else options.get("dim", ())
    return (dim,) if isinstance(dim, int) else tuple(dim)


def _both(value: int | Size) -> Size:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _pair(function: Callable[..., int], *pairs: Size) -> Size:
    """`function` on the heights and on the widths."""
    return function(*(pair[0] for pair in pairs)), function(*(pair[1] for pair in pairs))


def _ceil_padding(size: int, extent: int, stride: int, before: int) -> int:
    """Rows behind the map that `ceil_mode` reads; the last window must begin on the map or before it."""
    count = math.ceil((size + 2 * before - extent) / stride) + 1
    if (count - 1) * stride >= size + before:
        count -= 1
    return (count - 1) * stride + extent - size - before
