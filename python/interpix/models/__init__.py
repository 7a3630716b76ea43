"""Models: what a search asks of one, and native models, torch modules and callables that answer."""

from interpix.models.adapters.adapt import as_classifier
from interpix.models.adapters.callable import CallableClassifier
from interpix.models.protocol.classifier import Classifier

__all__ = ["CallableClassifier", "Classifier", "as_classifier"]
