"""Classifiers: native ones, torch modules, and any callable."""

from interpix.classifiers.base import Classifier
from interpix.classifiers.callable import CallableClassifier, as_classifier

__all__ = ["CallableClassifier", "Classifier", "as_classifier"]
