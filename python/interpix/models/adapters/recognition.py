"""How a torch model is recognized, without importing torch."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["torch_module"]


def torch_module(model: Any) -> "nn.Module | None":
    """The torch module that `model` is, or that it holds as a Hugging Face pipeline; torch is not imported to see."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    held = getattr(model, "model", None) if hasattr(model, "image_processor") else None
    return next((one for one in (model, held) if isinstance(one, torch.nn.Module)), None)
