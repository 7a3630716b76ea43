"""How an evaluation was called, and what its rows depend on, as plain values for `config.toml`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interpix import _core
from interpix.comparison.specs import MethodsInput, MetricsInput, options_of
from interpix.comparison.variants import Variant, controls_of
from interpix.comparison.versions import library_versions
from interpix.evaluation.config import BETTER
from interpix.evaluation.plan import code_of
from interpix.evaluation.sources import SourceInput
from interpix.metrics.base import AnyMetric
from interpix.paths import is_there
from interpix.question import Explainer

__all__ = ["as_tables", "called", "configuration", "directions"]


def configuration(
    origin: Mapping[str, Any],
    explainers: Mapping[str, Explainer],
    variants: Sequence[Variant],
    metrics: Mapping[str, AnyMetric],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """All that the rows of an image depend on, but for the image."""
    return {
        "model": origin,
        "methods": {name: options_of(one) for name, one in explainers.items()},
        "controls": {one.name: options_of(one.explainer) for one in variants if one.control},
        "code": {name: code for name, one in explainers.items() if (code := code_of(one)) is not None},
        "metrics": {name: options_of(one) for name, one in metrics.items()},
        "options": options,
        "versions": {**library_versions(), "interpix": _core.__version__},
    }


def called(
    model: object,
    source: SourceInput,
    methods: MethodsInput,
    metrics: MetricsInput,
    annotations: str | os.PathLike[str] | None,
    classes: str | os.PathLike[str] | Sequence[str] | None,
) -> dict[str, Any]:
    """How the evaluation was called, so far as text can say it; `objects` names the rest."""
    told = {
        "model": _resolved_model(model) if isinstance(model, str) else None,
        "source": _resolved(source) if isinstance(source, str | os.PathLike) else None,
        "methods": _as_texts(methods),
        "metrics": _as_texts(metrics),
    }
    objects = [name for name, one in told.items() if one is None]
    labels = _resolved(classes) if isinstance(classes, str | os.PathLike) else classes and list(map(str, classes))
    return {
        **told,
        "annotations": None if annotations is None else _resolved(annotations),
        "classes": labels,
        "objects": objects or None,
    }


def _resolved(path: str | os.PathLike[str]) -> str:
    """A path as any process finds it, wherever it is started; names of data sets stay."""
    text = os.fspath(path)
    return text if text.startswith("hf:") else str(Path(text).absolute())


def _resolved_model(name: str) -> str:
    """The name of a model; where it is that of a file or a folder, the whole path.

    >>> _resolved_model("timm:resnet18"), _resolved_model("efficientnet_lite0")
    ('timm:resnet18', 'efficientnet_lite0')
    """
    kind, colon, path = name.partition(":")
    onnx = name.lower().endswith(".onnx")
    if not colon or onnx:  # whatever lies in this folder under the name of a model is not meant
        return _resolved(name) if onnx and is_there(name) else name
    return f"{kind}:{_resolved(path)}" if kind in {"native", "hf"} and is_there(path) else name


def as_tables(variants: list[Variant]) -> list[dict[str, Any]]:
    """What each variant is, which no name says for sure: a method of one's own may be called IProp(rise), too."""
    return [
        {
            "name": one.name,
            "method": one.method,
            "propagated": one.propagated,
            "control": one.control,
            "against": controls_of(one, variants),
        }
        for one in variants
    ]


def directions(metrics: Mapping[str, AnyMetric]) -> dict[str, str]:
    """Which way each metric is read, in the words of `run.better`."""
    words = {value: word for word, value in BETTER.items()}
    return {name: words[one.higher_is_better] for name, one in metrics.items()}


def _as_texts(given: object) -> list[str] | None:
    """Names as they were given; None if some were objects."""
    if isinstance(given, str):
        return [given]
    named = isinstance(given, Sequence) and all(isinstance(one, str) for one in given)
    return list(given) if named else None  # type: ignore[call-overload]
