"""What an evaluation does: all that its rows depend on, as data that other processes get and that a file repeats."""

import hashlib
import json
import marshal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from interpix.comparison.variants import Variant, make_variants
from interpix.evaluation.items import Opener
from interpix.metrics.base import AnyMetric
from interpix.models import as_classifier
from interpix.models.adapters.loading import load_model
from interpix.models.protocol.classifier import Classifier, ModelInput
from interpix.question import Explainer

__all__ = ["Plan", "code_of", "hash_of", "load_classifier"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What is done with each image; it can be sent to other processes.

    Attributes:
        model: Its name for `interpix.load_model`, or the model itself.
        opener: How images are read.
        explainers: The methods by name.
        metrics: By name.
        propagate: Score IProp of each method, too.
        controls: Score controls, too.
        curves: Keep the curves of scores.
        maps: Keep the maps.
        batch_size: The greatest number of pictures in one call of the model by a metric.
        seed: Of the metrics' random choices.
        threads: Of each process, for the model.
        out: The folder of results.
        run: The name of this run, which its journals bear.
    """

    model: str | ModelInput
    opener: Opener
    explainers: Mapping[str, Explainer]
    metrics: Mapping[str, AnyMetric]
    propagate: bool
    controls: bool
    curves: bool
    maps: bool
    batch_size: int
    seed: int
    threads: int
    out: Path
    run: str

    def variants(self) -> list[Variant]:
        """The maps of each image that are scored."""
        return make_variants(self.explainers, propagate=self.propagate, controls=self.controls)


def load_classifier(model: str | ModelInput) -> Classifier:
    """The model that is meant by a name, or passed itself."""
    return load_model(model) if isinstance(model, str) else as_classifier(model)


def code_of(explainer: Explainer) -> str | None:
    """A short name for what a method that is a function does by itself, so that an edited one is told; None of others.

    What it calls, and what it finds outside of itself, is not looked at.

    >>> from interpix.methods.propagated import as_explainer
    >>> texts = "lambda m, image, t: image", "lambda m, image, t: image", "lambda m, image, t: -image"
    >>> first, same, other = map(as_explainer, map(eval, texts))
    >>> code_of(first) == code_of(same), code_of(first) == code_of(other)
    (True, False)
    """
    inner = getattr(explainer, "method", None)
    if inner is not None and not isinstance(inner, str):
        return code_of(inner)
    code = getattr(getattr(explainer, "function", None), "__code__", None)
    if not isinstance(code, CodeType):
        return None
    # The second format has no references, which differ from run to run.
    return hashlib.sha256(marshal.dumps(_without_place(code), 2)).hexdigest()[:16]


def _without_place(code: CodeType) -> CodeType:
    """The same code wherever it stands."""
    inner = tuple(_without_place(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_consts=inner, co_filename="", co_firstlineno=1, co_linetable=b"")


def hash_of(configuration: Mapping[str, Any]) -> str:
    """A short name for a configuration of plain JSON values.

    >>> hash_of({"seed": 0, "propagate": True}) == hash_of({"propagate": True, "seed": 0})
    True
    """
    text = json.dumps(configuration, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
