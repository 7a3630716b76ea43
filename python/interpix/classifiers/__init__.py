"""Classifiers: native ones, and any callable."""

import sys
from typing import Any

from interpix.classifiers.base import Classifier
from interpix.classifiers.callable import CallableClassifier
from interpix.errors import ArgumentTypeError, bad_type

__all__ = ["CallableClassifier", "Classifier", "as_classifier"]


def as_classifier(model: Any) -> Classifier:
    """`model` itself if it is a classifier, or the callable `model` as one."""
    if isinstance(model, Classifier):
        return model
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        message = (
            "`model`: a torch module takes tensors; wrap it in a function that takes a numpy batch, "
            "for example lambda batch: model(torch.from_numpy(batch))"
        )
        raise ArgumentTypeError(message)
    if callable(model):
        return CallableClassifier(model)
    cure = 'use interpix.load_model("efficientnet_lite0"), for example'
    raise bad_type("model", "a classifier or a function from images to logits", model, cure)
