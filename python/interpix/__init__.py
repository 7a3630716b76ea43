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
    InterpixWarning,
    MissingDependencyError,
    ModelError,
)

if TYPE_CHECKING:
    from interpix import methods, metrics, outputs
    from interpix.absence import DropTokens, Fill, MaskAttention
    from interpix.comparison import Comparison, compare
    from interpix.evaluation import Evaluation, evaluate, load_evaluation
    from interpix.methods.propagated import propagated
    from interpix.models import CallableClassifier
    from interpix.models.adapters.loading import load_model
    from interpix.models.adapters.onnx import OnnxClassifier
    from interpix.models.adapters.torch import TorchClassifier
    from interpix.models.adapters.zero_shot import zero_shot
    from interpix.models.protocol.tokens import Tokens
    from interpix.propagation import PixelGraph, Propagation, propagate
    from interpix.question import embed
    from interpix.regions import Superpixels
    from interpix.results.attribution import Attribution
    from interpix.results.catalogue import Catalogue
    from interpix.results.explanation import Explanation
    from interpix.results.files import load, load_attribution
    from interpix.results.stability import Stability
    from interpix.results.why import Why
    from interpix.search.moxi import MoXI
    from interpix.widgets import widget

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "Attribution",
    "CallableClassifier",
    "Catalogue",
    "Comparison",
    "ConvergenceError",
    "DropTokens",
    "Evaluation",
    "Explanation",
    "Fill",
    "InterpixError",
    "InterpixWarning",
    "MaskAttention",
    "MissingDependencyError",
    "MoXI",
    "ModelError",
    "OnnxClassifier",
    "PixelGraph",
    "Propagation",
    "Stability",
    "Superpixels",
    "Tokens",
    "TorchClassifier",
    "Why",
    "__version__",
    "compare",
    "embed",
    "evaluate",
    "load",
    "load_attribution",
    "load_evaluation",
    "load_model",
    "methods",
    "metrics",
    "outputs",
    "propagate",
    "propagated",
    "widget",
    "zero_shot",
]

_HOMES = {
    "Attribution": "interpix.results.attribution",
    "CallableClassifier": "interpix.models",
    "Catalogue": "interpix.results.catalogue",
    "Comparison": "interpix.comparison",
    "DropTokens": "interpix.absence",
    "Evaluation": "interpix.evaluation",
    "Explanation": "interpix.results.explanation",
    "Fill": "interpix.absence",
    "MaskAttention": "interpix.absence",
    "MoXI": "interpix.search.moxi",
    "OnnxClassifier": "interpix.models.adapters.onnx",
    "PixelGraph": "interpix.propagation",
    "Propagation": "interpix.propagation",
    "Stability": "interpix.results.stability",
    "Superpixels": "interpix.regions",
    "Tokens": "interpix.models.protocol.tokens",
    "TorchClassifier": "interpix.models.adapters.torch",
    "Why": "interpix.results.why",
    "compare": "interpix.comparison",
    "embed": "interpix.question",
    "evaluate": "interpix.evaluation",
    "load": "interpix.results.files",
    "load_attribution": "interpix.results.files",
    "load_evaluation": "interpix.evaluation",
    "load_model": "interpix.models.adapters.loading",
    "propagate": "interpix.propagation",
    "propagated": "interpix.methods.propagated",
    "widget": "interpix.widgets",
    "zero_shot": "interpix.models.adapters.zero_shot",
}

_MODULES = ("methods", "metrics", "outputs")

# Threads do not survive a fork: without this, a child (a DataLoader worker, say) would wait for them forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_core.reset_threads)


def __getattr__(name: str) -> Any:
    """Imports the module of a public name on first use."""
    if name in _MODULES:
        return importlib.import_module(f"interpix.{name}")
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
