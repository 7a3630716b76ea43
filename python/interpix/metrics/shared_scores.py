"""Several metrics of one map at once: what two of them need is measured once."""

from collections.abc import Mapping
from typing import Any

from interpix.metrics.base import Metric
from interpix.metrics.information import (
    AccuracyInformation,
    InformationTrace,
    SoftmaxInformation,
    Start,
    trace_information,
)
from interpix.metrics.insertion_deletion import Deletion, DeletionInsertionRatio, Insertion
from interpix.metrics.sample import Sample
from interpix.results.attribution import MapInput
from interpix.results.scores import ImageScore

__all__ = ["score_map"]

_KNOWN = (Insertion, Deletion, DeletionInsertionRatio, AccuracyInformation, SoftmaxInformation)


def score_map(sample: Sample, attribution: MapInput, metrics: Mapping[str, Metric]) -> dict[str, ImageScore]:
    """What each of several metrics says to one map (H, W) of one image, as each would say alone.

    AIC and SIC look at the same pictures, and DIR is made of a deletion and an insertion score: shared, they take half
    of the model's time.

    >>> import numpy as np
    >>> model = lambda batch: np.log([[m, 1 - m] for m in 0.1 + 0.8 * batch.mean(axis=(1, 2, 3))])
    >>> image = np.repeat(np.float32([[1, 1, 0, 0], [1, 1, 0, 0]])[None], 3, axis=0)
    >>> named = {"in": Insertion(baseline="zero", steps=2), "out": Deletion(baseline="zero", steps=2)}
    >>> scores = score_map(Sample.of(model, image, target=0), image[0], named)
    >>> {name: round(score.value, 6) for name, score in scores.items()}
    {'in': 0.4, 'out': 0.2}
    """
    traces: dict[tuple[tuple[float, ...], float, Start], InformationTrace] = {}
    curves: dict[tuple[Any, ...], ImageScore] = {}

    def curve(metric: Insertion | Deletion) -> ImageScore:
        # A baseline of the user's own is an array, which no key can hold.
        key = (type(metric), metric.preset, metric.steps, id(metric.baseline) if metric.baseline is not None else None)
        if key not in curves:
            curves[key] = metric.score(sample, attribution)
        return curves[key]

    def score(metric: Metric) -> ImageScore:
        # A subclass may score in its own way.
        is_ours = type(metric) in _KNOWN
        if is_ours and isinstance(metric, Insertion | Deletion):
            return curve(metric)
        if is_ours and isinstance(metric, DeletionInsertionRatio):
            deletion, insertion = metric.terms()
            return metric.combine(curve(deletion), curve(insertion))
        if is_ours and isinstance(metric, AccuracyInformation | SoftmaxInformation):
            key = (tuple(metric.thresholds), metric.fraction, metric.first)
            if key not in traces:
                thresholds, fraction, start = key
                traces[key] = trace_information(
                    sample, attribution, thresholds=thresholds, fraction=fraction, start=start
                )
            return metric.from_trace(traces[key])
        return metric.score(sample, attribution)

    return {name: score(metric) for name, metric in metrics.items()}
