"""Whatever the user calls a model, as a classifier."""

import sys
from typing import TYPE_CHECKING, TypeGuard

from interpix.errors import bad_type
from interpix.models.adapters.callable import CallableClassifier
from interpix.models.adapters.recognition import torch_module
from interpix.models.protocol.classifier import Classifier, with_output
from interpix.outputs.reading import OutputInput, read_output

if TYPE_CHECKING:
    from interpix.models.adapters.torch import TorchClassifier

from interpix.models.protocol.classifier import ModelInput

__all__ = ["as_classifier", "is_torch"]


def as_classifier(model: ModelInput, output: OutputInput = "auto") -> Classifier:
    """`model` itself if it is a classifier, or a torch module, a Hugging Face pipeline or a callable as one.

    Args:
        model: What people call a model.
        output: What its answers mean; `"auto"`: what the classifier was told, or what its answers look like.

    >>> import numpy as np
    >>> as_classifier(lambda batch: batch.sum(axis=(2, 3))).name
    '<lambda>'
    """
    known = read_output(output)
    if isinstance(model, Classifier):
        return with_output(model, known)
    if torch_module(model) is not None:
        from interpix.models.adapters.torch import TorchClassifier  # torch only when it is used

        return TorchClassifier(model, output=output)
    if _is_onnx_session(model):
        from interpix.models.adapters.onnx import OnnxClassifier  # only what is asked for

        return with_output(OnnxClassifier(model), known)
    if callable(model) and not isinstance(model, type):
        return CallableClassifier(model, output=output)
    cure = 'use interpix.load_model("efficientnet_lite0"), for example'
    raise bad_type("model", "a classifier, a torch module or a function from images to logits", model, cure)


def _is_onnx_session(model: object) -> bool:
    runtime = sys.modules.get("onnxruntime")
    return runtime is not None and isinstance(model, runtime.InferenceSession)


def is_torch(classifier: Classifier) -> "TypeGuard[TorchClassifier]":
    """Whether this is a torch module; torch is not imported to find out."""
    home = sys.modules.get("interpix.models.adapters.torch")
    return home is not None and isinstance(classifier, home.TorchClassifier)
