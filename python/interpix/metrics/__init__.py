"""Metrics of attribution maps: how faithful they are, and whether they point at the object.

A `Sample` is an image with its model; a metric scores a map of it, and aggregates the scores of many images:

>>> import numpy as np
>>> model = lambda batch: batch.sum(axis=(2, 3))
>>> sample = Sample.of(model, np.ones((3, 4, 6), np.float32), annotation=[(0, 0, 3, 4)])
>>> RocAuc().score(sample, np.arange(24).reshape(4, 6)[:, ::-1]).value
0.625

docs/metrics.md defines each one.
"""

from collections.abc import Callable, Mapping

from interpix.masks import boxes_mask
from interpix.metrics.accuracy import PatchTrace, accuracy_curve, rank_patches, trace_explanation, trace_patches
from interpix.metrics.adversarial import l2_pgd, trace_adversarial
from interpix.metrics.annotation import annotation_as_seen
from interpix.metrics.base import Metric
from interpix.metrics.corruption import CORRUPTIONS, corrupt, trace_corruptions
from interpix.metrics.information import (
    AccuracyInformation,
    InformationTrace,
    SoftmaxInformation,
    seed_mask,
    trace_information,
)
from interpix.metrics.insertion_deletion import Deletion, DeletionInsertionRatio, Insertion
from interpix.metrics.localization import PointingGame, RocAuc, pointing_hit, roc_auc
from interpix.metrics.patch_accuracy import AccuracyDeletion, AccuracyInsertion, AdversarialAccuracy, CorruptionAccuracy
from interpix.metrics.randomization import ModelRandomization, model_randomization, reinitialize, spearman
from interpix.metrics.sample import Sample
from interpix.metrics.shared_scores import score_map
from interpix.results.scores import Curve, ImageScore, Summary, average_curve, summarize

__all__ = [
    "CORRUPTIONS",
    "METRICS",
    "AccuracyDeletion",
    "AccuracyInformation",
    "AccuracyInsertion",
    "AdversarialAccuracy",
    "CorruptionAccuracy",
    "Curve",
    "Deletion",
    "DeletionInsertionRatio",
    "ImageScore",
    "InformationTrace",
    "Insertion",
    "Metric",
    "ModelRandomization",
    "PatchTrace",
    "PointingGame",
    "RocAuc",
    "Sample",
    "SoftmaxInformation",
    "Summary",
    "accuracy_curve",
    "annotation_as_seen",
    "average_curve",
    "boxes_mask",
    "corrupt",
    "l2_pgd",
    "model_randomization",
    "pointing_hit",
    "rank_patches",
    "reinitialize",
    "roc_auc",
    "score_map",
    "seed_mask",
    "spearman",
    "summarize",
    "trace_adversarial",
    "trace_corruptions",
    "trace_explanation",
    "trace_information",
    "trace_patches",
]

METRICS: Mapping[str, Callable[[], Metric]] = {
    metric.name: metric
    for metric in (
        Insertion,
        Deletion,
        DeletionInsertionRatio,
        AccuracyInformation,
        SoftmaxInformation,
        RocAuc,
        PointingGame,
        AccuracyInsertion,
        AccuracyDeletion,
        CorruptionAccuracy,
        AdversarialAccuracy,
    )
}
"""The metrics of maps by name, with the papers' settings as defaults."""
