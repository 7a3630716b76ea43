"""Which pixels, together, made an image classifier say that?

`propagate` refines any attribution map along the image (IProp); `MoXI` finds the group of patches that
decides together. Names are loaded when they are first used, so importing interpix is quick.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from interpix import _core
from interpix._core import __version__
from interpix.errors import (
    ArgumentError,
    ArgumentTypeError,
    ConvergenceError,
    InterpixError,
    MissingDependencyError,
    ModelError,
)

if TYPE_CHECKING:
    from interpix.absence import Fill
    from interpix.classifiers import CallableClassifier
    from interpix.classifiers.native import load_model
    from interpix.explanation import Explanation, load
    from interpix.moxi import MoXI
    from interpix.propagation import PixelGraph, Propagation, propagate

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "CallableClassifier",
    "ConvergenceError",
    "Explanation",
    "Fill",
    "InterpixError",
    "MissingDependencyError",
    "MoXI",
    "ModelError",
    "PixelGraph",
    "Propagation",
    "__version__",
    "load",
    "load_model",
    "propagate",
]

_HOMES = {
    "CallableClassifier": "interpix.classifiers",
    "Explanation": "interpix.explanation",
    "Fill": "interpix.absence",
    "MoXI": "interpix.moxi",
    "PixelGraph": "interpix.propagation",
    "Propagation": "interpix.propagation",
    "load": "interpix.explanation",
    "load_model": "interpix.classifiers.native",
    "propagate": "interpix.propagation",
}

# Threads do not survive a fork: without this, a child (a DataLoader worker, say) would wait for them forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_core.reset_threads)


def __getattr__(name: str) -> Any:
    """Imports the module of a public name on first use."""
    home = _HOMES.get(name)
    if home is None:
        message = f"module 'interpix' has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(__all__)
