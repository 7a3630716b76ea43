"""The two papers' protocols as names of methods and metrics, and the numbers that IProp's paper prints."""

import csv
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from interpix.comparison.specs import read_methods, read_metrics
from interpix.errors import ArgumentError, MissingDependencyError, bad_value
from interpix.models.protocol.classifier import Classifier
from interpix.question import check_model

__all__ = ["PRESETS", "Preset", "paper_numbers", "possible"]


@dataclass(frozen=True)
class Preset:
    """What a paper compares.

    Attributes:
        methods: With the paper's settings.
        metrics: With the paper's settings.
        propagate: Whether it compares each method with IProp of it.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    propagate: bool


PRESETS: Mapping[str, Preset] = {
    "iprop": Preset(
        # Its maps of gradients are magnitudes: signed ones have a ROC-AUC near .5, and the paper's have not.
        methods=(
            "gradient(magnitude='channels')",
            "integrated_gradients(magnitude='channels')",
            "guided_ig(magnitude='channels')",
            "blur_ig(magnitude='channels')",
            "xrai",
            "grad_cam",
            "rise",
            "superpixel_rise",
            "lime",
        ),
        metrics=("aic(preset='iprop')", "sic(preset='iprop')", "dir", "roc_auc", "pointing_game(preset='iprop')"),
        propagate=True,
    ),
    "moxi": Preset(
        methods=(
            "grad_cam",
            "attention_rollout",
            "shapley",
            "moxi_one_shot(direction='insertion')",
            "moxi_one_shot(direction='deletion')",
            "moxi(direction='insertion',stop='all')",
            "moxi(direction='deletion',stop='all')",
        ),
        metrics=("accuracy_insertion", "accuracy_deletion", "corruption", "adversarial"),
        propagate=False,
    ),
}
"""By the paper's name: IProp (CIKM 2024) and MoXI (CVPR 2024)."""


def possible(
    preset: Preset, classifier: Classifier, *, annotated: bool
) -> tuple[list[str], list[str], Mapping[str, str]]:
    """The methods and the metrics of a protocol that a model can do, and why it cannot do the others.

    >>> from interpix import CallableClassifier
    >>> model = CallableClassifier(lambda batch: batch.sum(axis=(2, 3)))
    >>> methods, metrics, left = possible(PRESETS["moxi"], model, annotated=False)
    >>> methods[0], metrics[:2], sorted(left)
    ('shapley', ['accuracy_insertion', 'accuracy_deletion'], ['adversarial', 'attention_rollout', 'grad_cam'])

    Args:
        preset: The protocol.
        classifier: The model.
        annotated: Whether it is known where objects are.
    """
    left: dict[str, str] = {}

    def fits(name: str, one: object) -> bool:
        try:
            check_model(one, classifier)
        except (ArgumentError, MissingDependencyError) as error:
            left[name] = str(error)
        if getattr(one, "needs_annotation", False) and not annotated:
            left[name] = "it needs masks or boxes, and the source has none"
        return name not in left

    methods = [name for name, one in read_methods(list(preset.methods)).items() if fits(name, one)]
    metrics = [name for name, one in read_metrics(list(preset.metrics)).items() if fits(name, one)]
    for argument, names in (("methods", methods), ("metrics", metrics)):
        if not names:
            raise bad_value(argument, "one that this model can do", "; ".join(left.values()), "use another model")
    return methods, metrics, left


def paper_numbers() -> Mapping[tuple[str, str, bool], Sequence[float]]:
    """Tables 1 to 5 of IProp's paper, by metric, method, and with or without IProp: a number for each of nine networks.

    >>> paper_numbers()["aic", "gradient", True][:2]
    [0.435, 0.478]
    """
    file = importlib.resources.files("interpix.evaluation").joinpath("iprop_tables.csv")
    found: dict[tuple[str, str, bool], list[float]] = {}
    with file.open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            about = (row.pop("measure"), row.pop("propagated") == "yes")
            for name in ("table", "better", "model"):
                row.pop(name)
            for method, value in row.items():
                found.setdefault((about[0], method, about[1]), []).append(float(value))
    return found
