"""Vision Transformers inside of modules that are not known, and those whose tokens the user describes.

There the module itself must drop its tokens. Whether it can is tried on pictures: each patch must go into a token of
its own, and by these alone into the answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from interpix.errors import bad_value
from interpix.models.protocol.agreement import difference
from interpix.models.protocol.tokens import Tokens
from interpix.models.tokens.parts import keeping, same, tokens_among
from interpix.models.tokens.vit import Anatomy
from interpix.models.torch.module import TorchModule, hooked, in_double

__all__ = ["described", "into_wrapper", "why_not"]


class _ReachedError(Exception):
    """Carries what goes into a block, so that nothing behind it need run."""


def _first_input(module: nn.Module, layer: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The tokens (K, N, D) that go into a block, of images (K, C, H, W)."""

    def stop(_: object, inputs: tuple[Any, ...], names: dict[str, Any]) -> None:
        raise _ReachedError(tokens_among(inputs, names)[0])

    try:
        with hooked([layer], stop, before=True, with_names=True):
            module(images)
    except _ReachedError as reached:
        found: torch.Tensor = reached.args[0]
        return found
    raise _UnreachedError("its first block does not run, or in a compiled part that cannot be watched")


class _UnreachedError(Exception):
    """The block did not run."""


def why_not(net: TorchModule, anatomy: Anatomy, image: torch.Tensor, *, in_any_order: bool) -> str | None:
    """Why tokens cannot be dropped before a module's first block; None if they can.

    Args:
        net: The module.
        anatomy: Where its tokens are said to be.
        image: One that is tried, (1, C, H, W).
        in_any_order: Its blocks are said not to know where tokens lie.
    """
    layer, prefix, (rows, columns) = anatomy.layers[0], anatomy.prefix, anatomy.patch_size
    grid = image.shape[2] // rows, image.shape[3] // columns
    count = grid[0] * grid[1]
    with net.evaluating():
        try:
            tokens = _first_input(net.module, layer, image)
        except _UnreachedError as error:
            return str(error)
        shape = tuple(tokens.shape) if isinstance(tokens, torch.Tensor) else type(tokens).__name__
        if len(shape) != 3 or shape[:2] != (1, prefix + count):
            return f"its first block takes {shape}, where {prefix} + {grid[0]} x {grid[1]} tokens were expected"
        for patch in sorted({0, count // 2, count - 1}):
            row, column = divmod(patch, grid[1])
            other = image.clone()
            here = other[:, :, row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
            here.copy_(_another(here))
            moved = (_first_input(net.module, layer, other) - tokens).abs().amax((0, 2))
            changed = (moved > 1e-5 * tokens.abs().max()).nonzero().flatten().tolist()
            if changed != [prefix + patch]:
                where = f"patch {patch} of {count}, counted in rows from the top left"
                return f"{where}, goes into {_tokens_named(changed)}, where token {prefix + patch} was expected"
        return _other_ways(net, layer, image, tokens, prefix, in_any_order=in_any_order)


def _another(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (1, C, h, w) of other values in each place, of the same range."""
    turned = pixels.flip(2, 3)
    return torch.where((turned - pixels).abs() > 0.1, turned, 0.5 - pixels)


def _tokens_named(changed: list[int]) -> str:
    if len(changed) > 3:
        return f"{len(changed)} tokens"
    return "no token" if not changed else f"token {', '.join(map(str, changed))}"


def _other_ways(
    net: TorchModule, layer: nn.Module, image: torch.Tensor, tokens: torch.Tensor, prefix: int, *, in_any_order: bool
) -> str | None:
    """Whether the picture has other ways into the answer than by its tokens, or these by their order."""
    passes: list[int] = []
    with hooked([layer], lambda *_: passes.append(1)):
        expected = in_double(net.forward(image)).cpu().numpy()
    if len(passes) != 1:
        return "its blocks run several times for a picture"
    step = torch.finfo(net.dtype).eps if net.dtype.itemsize < torch.float32.itemsize else 0.0

    def answer_with(given: torch.Tensor) -> float | None:
        def instead(_: object, inputs: tuple[Any, ...], names: dict[str, Any]) -> tuple[Any, ...]:
            return tokens_among(inputs, names)[1](given)

        with hooked([layer], instead, before=True, with_names=True):
            found = net.forward(_another(image))
        return difference(expected, in_double(found).cpu().numpy(), step)

    if answer_with(tokens) is not None:
        return "its answer depends on the picture by other ways than these tokens"
    if in_any_order:
        order = torch.arange(tokens.shape[1] - 1, prefix - 1, -1, device=tokens.device)
        turned = torch.cat([tokens[:, :prefix], tokens[:, order]], 1)
        if answer_with(turned) is not None:
            return "its blocks know tokens by their order, which dropping would change"
    return None


@dataclass(frozen=True)
class _Wrapper:
    """The anatomy of what is inside of a module, as the whole module drops its tokens."""

    module: nn.Module
    inner: nn.Module
    reader: Callable[[Any], Anatomy | None]
    only_itself: bool

    def __call__(self) -> Anatomy | None:
        found = self.reader(self.inner)
        if found is None:
            return None
        layers, prefix = list(found.layers), found.prefix
        keep = found.keeping
        if keep is None and self.only_itself:

            def keep(rows: torch.Tensor, _: tuple[int, int]) -> Any:
                return keeping(layers, None, rows, layers[-1] if rows.shape[1] == prefix else None)

        return replace(
            found,
            embed=partial(_first_input, self.module, layers[0]),
            keeping=keep,
            only_itself=found.only_itself or self.only_itself,
        )


def into_wrapper(
    module: nn.Module, inner: nn.Module, reader: Callable[[Any], Anatomy | None]
) -> tuple[Callable[[], Anatomy | None] | None, str]:
    """How a module that holds a known one drops its tokens; or None, and why not. Two pictures are run."""
    found = reader(inner)
    if found is None:
        return None, "its parts are not all known"
    net = TorchModule(module, name=type(module).__name__)
    shape = 3, *found.image_size
    picture = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)).to(net.device, net.dtype)
    try:
        reason = why_not(net, found, picture, in_any_order=False)
        if reason is not None:
            return None, reason
        if _resizes(net, found):
            return None, "pictures are resized before it, so that tokens lie elsewhere"
        only_itself = found.only_itself or not _answers_as(net, inner, picture)
    except Exception as error:  # noqa: BLE001 - what a user's module raises for a picture of ours is its own affair
        return None, f"it does not take a picture {shape}: {error}"
    return _Wrapper(module, inner, reader, only_itself), ""


def _resizes(net: TorchModule, anatomy: Anatomy) -> bool:
    """Whether a picture with a patch more on each side has no more tokens."""
    (height, width), (rows, columns) = anatomy.image_size, anatomy.patch_size
    larger = torch.zeros(1, 3, height + rows, width + columns, device=net.device, dtype=net.dtype)
    try:
        with net.evaluating():
            tokens = _first_input(net.module, anatomy.layers[0], larger)
    except Exception:  # noqa: BLE001 - it takes pictures of its size alone
        return False
    return bool(tokens.shape[1] <= anatomy.prefix + (height // rows) * (width // columns))


def _answers_as(net: TorchModule, inner: nn.Module, picture: torch.Tensor) -> bool:
    """Whether a module's answer is that of a part of it."""
    answers: list[Any] = []
    with net.evaluating(), hooked([inner], lambda _part, _inputs, output: answers.append(output)):
        whole = net.forward(picture)
    logits = getattr(answers[-1], "logits", answers[-1])
    return isinstance(logits, torch.Tensor) and logits.shape == whole.shape and bool(torch.equal(logits, whole))


@dataclass(frozen=True)
class _Described:
    """The anatomy of a module whose tokens the user describes."""

    module: nn.Module
    tokens: Tokens
    size: tuple[int, int]

    def __call__(self) -> Anatomy:
        part = self.module.get_submodule(self.tokens.blocks)
        layers = list(part) if isinstance(part, nn.ModuleList | nn.Sequential) else [part]
        prefix = self.tokens.prefix
        return Anatomy(
            image_size=self.size,
            patch_size=self.tokens.size,
            any_size=True,
            prefix=prefix,
            read=None,
            embed=partial(_first_input, self.module, layers[0]),
            layers=layers,
            blocks=(),
            head=same,
            keeping=lambda rows, _: keeping(layers, None, rows, layers[-1] if rows.shape[1] == prefix else None),
            only_itself=True,
            confirm=partial(_confirm, self.module),
        )


def described(module: nn.Module, tokens: Tokens, size: tuple[int, int] | None) -> Callable[[], Anatomy]:
    """The reader of a module whose tokens the user describes.

    Args:
        module: It is not run.
        tokens: The description.
        size: Height and width of the images that it takes, if only one size will do.

    Raises:
        ArgumentError: It has no such blocks.
    """
    names = dict(module.named_modules())
    part = names.get(tokens.blocks) if tokens.blocks else None
    if part is None or (isinstance(part, nn.ModuleList | nn.Sequential) and not len(part)):
        lists = [name for name, one in names.items() if isinstance(one, nn.ModuleList | nn.Sequential) and len(one) > 1]
        cure = f"lists of parts that it has: {', '.join(lists[:5])}" if lists else "see module.named_modules()"
        raise bad_value("tokens", "the name of the module's list of blocks", repr(tokens.blocks), cure)
    rows, columns = tokens.size
    return _Described(module, tokens, size or (14 * rows, 14 * columns))


def _confirm(module: nn.Module, anatomy: Anatomy, image: torch.Tensor) -> None:
    reason = why_not(TorchModule(module, name=type(module).__name__), anatomy, image, in_any_order=True)
    if reason is not None:
        need = f"a description of model `{type(module).__name__}`"
        raise bad_value("tokens", need, f"one that is not so: {reason}", 'correct it, or say absence="zero"')
