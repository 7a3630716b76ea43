"""A torch module in evaluation mode for the time that it is asked, and as it was afterwards."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, NamedTuple

import torch

__all__ = ["evaluating", "parts_of"]

_training = itemgetter("training")


class _Asked(NamedTuple):
    """A module that is being asked."""

    parts: list[torch.nn.Module]
    modes: list[tuple[torch.nn.Module, bool]]
    """Each part's mode before."""
    fields: list[dict[str, Any]] | None
    """Where each part keeps its mode, if all keep it in the usual place."""
    askers: set[object]
    """Who asks."""


# By identity.
_asked: dict[int, _Asked] = {}
_asking = threading.Lock()


def parts_of(module: torch.nn.Module) -> list[torch.nn.Module]:
    """All parts of a module, itself among them; whoever is asking it has walked through them already.

    >>> len(parts_of(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ReLU())))
    3
    """
    asked = _asked.get(id(module))
    return list(module.modules()) if asked is None else asked.parts


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Dropout and the like are off inside; each part's mode is as before afterwards.

    Threads that ask the same module, or modules with parts in common, share this: a part's mode comes back when the
    last one that asks it is done.
    """
    asker = object()
    try:
        with _asking:
            if id(module) not in _asked:
                before = _modes_before()
                # A frozen TorchScript module has no mode.
                parts = list(module.modules())
                modal = [part for part in parts if hasattr(part, "training")]
                modes = [(part, before.get(id(part), part.training)) for part in modal]
                usual = all("training" in vars(part) for part in modal)
                fields = [vars(part) for part in modal] if usual else None
                _asked[id(module)] = _Asked(parts, modes, fields, set())
            _, modes, fields, askers = _asked[id(module)]
            askers.add(asker)
            # Seldom is one in training here, which is asked for each batch.
            if fields is None or True in map(_training, fields):
                for part, _ in modes:
                    if part.training:
                        _set_training(part, training=False)
        yield
    finally:
        with _asking:
            _, modes, _, askers = _asked.get(id(module), _Asked([], [], None, set()))  # none: Ctrl-C came first
            askers.discard(asker)
            if not askers:
                _asked.pop(id(module), None)
                others = _modes_before()
                for part, training in modes:
                    if id(part) not in others and part.training != training:  # a forward may call `train` itself
                        _set_training(part, training=training)


def _modes_before() -> dict[int, bool]:
    """The mode before of every part that is being asked now, by identity."""
    return {id(part): training for asked in _asked.values() for part, training in asked.modes}


def _set_training(part: torch.nn.Module, *, training: bool) -> None:
    # By way of `vars`: torch's own assignment takes ten times as long, for hundreds of parts in every batch.
    own = vars(part)
    if "training" in own:
        own["training"] = training
    else:  # TorchScript keeps it elsewhere
        part.training = training
