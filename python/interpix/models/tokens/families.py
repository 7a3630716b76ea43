"""The anatomy of the Vision Transformers of several packages, read from their structure.

A part is known by the full name of its class. A subclass may do anything, so it is unknown, and so is the whole model
then; only the patch embedding of timm's may be of any class, as it is run as it is. None of the packages is imported.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from interpix.models.tokens import timm, torchvision, transformers
from interpix.models.tokens.parts import UnknownError, class_of, require
from interpix.models.tokens.prompted import read_prompted
from interpix.models.tokens.vit import Anatomy
from interpix.models.torch.modes import evaluating
from interpix.models.torch.prompted import PromptedModel

__all__ = ["find_derived", "find_inside", "read_anatomy", "read_part"]


def read_anatomy(module: torch.nn.Module) -> Anatomy | None:
    """The anatomy of a known Vision Transformer, with its live parameters; None if anything about it is unknown."""
    reader = _READERS.get(class_of(module))
    if reader is None:
        return None
    try:
        return reader(module)
    except UnknownError:
        return None


def read_part(module: torch.nn.Module) -> Anatomy | None:
    """The same, of a part of another module: it may be a body without a head, too."""
    reader = transformers.BODIES.get(class_of(module))
    if reader is None:
        return read_anatomy(module)
    try:
        return reader(module)
    except (AttributeError, UnknownError):
        return None


def find_inside(module: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """The parts that are of known families, none inside of another, by name; or the module itself, named "".

    By the class alone: parts of them may have been replaced, as by adapters.
    """
    found = dict[str, torch.nn.Module]()
    for name, part in module.named_modules():
        inside = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if not inside and class_of(part) in _families():
            found[name] = part
    return list(found.items())


def find_derived(module: torch.nn.Module) -> str | None:
    """The class of a part, or of the module itself, that derives from one of a known family, and may do otherwise."""
    for part in module.modules():
        if any(f"{base.__module__}.{base.__qualname__}" in _families() for base in type(part).__mro__[1:]):
            return type(part).__name__
    return None


@functools.cache
def _families() -> set[str]:
    return {name for name in (*_READERS, *transformers.BODIES) if not name.startswith(("torch.", "interpix."))}


# What comes before one of these


def _behind_others(module: Any) -> Anatomy:
    """A Sequential that ends in a known model, behind parts that leave patches where they are: a normalization."""
    require(len(module) > 1)
    *first, last = module
    anatomy = read_anatomy(last)
    if anatomy is None:
        raise UnknownError
    embed = anatomy.embed

    def through(images: torch.Tensor) -> torch.Tensor:
        for part in first:
            images = part(images)
        return images

    like = next(last.parameters())
    with evaluating(module), torch.no_grad():
        try:
            require(_keeps_patches(through, anatomy, like))
        except Exception as error:
            raise UnknownError from error
    return replace(anatomy, embed=lambda images: embed(through(images)))


def _keeps_patches(through: Callable[[torch.Tensor], torch.Tensor], anatomy: Anatomy, like: torch.Tensor) -> bool:
    """Whether what a function makes of pictures, of whatever size, has each patch from the same patch alone."""
    (height, width), (rows, columns) = anatomy.image_size, anatomy.patch_size
    for size in ((height, width), (height + rows, width + columns)):
        before = torch.linspace(0, 1, 3 * size[0] * size[1], device=like.device, dtype=like.dtype).view(1, 3, *size)
        plain = through(before.clone())
        if plain.shape != before.shape:
            return False
        for row, column in ((0, 0), (size[0] - rows, 0), (rows, columns)):
            inside = torch.zeros(size, dtype=torch.bool, device=like.device)
            inside[row : row + rows, column : column + columns] = True
            changed = through(torch.where(inside, 1 - before, before)) != plain
            if changed[..., ~inside].any() or not changed.any():
                return False
    return True


_READERS: dict[str, Callable[[Any], Anatomy]] = {
    "torch.nn.modules.container.Sequential": _behind_others,
    **timm.READERS,
    **torchvision.READERS,
    **transformers.READERS,
    f"{PromptedModel.__module__}.{PromptedModel.__qualname__}": read_prompted,
}
"""Families by the full names of their classes."""
