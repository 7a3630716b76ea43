"""What a model is to the rest of interpix: how it is asked about pictures and coalitions, and about which class."""

from interpix.models.protocol.classifier import Classifier, Coalitions, Scorer

__all__ = ["Classifier", "Coalitions", "Scorer"]
