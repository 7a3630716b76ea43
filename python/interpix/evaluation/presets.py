"""The two papers' protocols as names of methods and metrics, and the numbers that IProp's paper prints."""

import csv
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from interpix.comparison.specs import MethodsInput, MetricsInput, read_methods, read_metrics
from interpix.errors import ArgumentError, MissingDependencyError, bad_value, warn
from interpix.models.protocol.classifier import Classifier
from interpix.question import check_model

__all__ = ["PRESETS", "Preset", "PresetName", "chosen", "paper_numbers"]

PresetName = Literal["iprop", "moxi"]
"""A paper whose protocol is known."""


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


PRESETS: Mapping[PresetName, Preset] = {
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


def chosen(
    name: PresetName,
    classifier: Classifier,
    methods: MethodsInput | None,
    metrics: MetricsInput | None,
    *,
    annotated: bool,
) -> tuple[MethodsInput, MetricsInput, Mapping[str, str]]:
    """The methods and metrics of a protocol that a model can do, and why it cannot do the others, which is told.

    >>> import warnings
    >>> from interpix import CallableClassifier
    >>> model = CallableClassifier(lambda batch: batch.sum(axis=(2, 3)))
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     methods, metrics, left = chosen("moxi", model, None, None, annotated=False)
    >>> methods[0], metrics[:2], sorted(left), len(told)
    ('shapley', ['accuracy_insertion', 'accuracy_deletion'], ['adversarial', 'attention_rollout', 'grad_cam'], 3)

    Args:
        name: Of the protocol.
        classifier: The model.
        methods: Those that were named instead.
        metrics: Those that were named instead.
        annotated: Whether it is known where objects are.

    Raises:
        ArgumentError: It can do none.
    """
    preset = PRESETS[name]

    def why_not(one: object) -> str | None:
        if getattr(one, "needs_annotation", False) and not annotated:
            return "it needs masks or boxes, and the source has none"
        try:
            check_model(one, classifier)
        except (ArgumentError, MissingDependencyError) as error:
            return str(error)
        return None

    def picked(given: Any, own: Mapping[str, object]) -> tuple[Any, dict[str, str]]:
        reasons = {name: reason for name, one in own.items() if (reason := why_not(one)) is not None}
        fitting = [name for name in own if name not in reasons]
        # The preset's own, named by a run that is repeated, leave out what they left out.
        return (fitting, reasons) if given is None or given == fitting else (given, {})

    methods, left = picked(methods, read_methods(list(preset.methods)))
    metrics, also_left = picked(metrics, read_metrics(list(preset.metrics)))
    left |= also_left
    for argument, names in (("methods", methods), ("metrics", metrics)):
        if isinstance(names, list) and not names:
            raise bad_value(argument, "one that this model can do", "; ".join(left.values()), "use another model")
    for one, reason in left.items():
        warn(f'preset="{name}" without {one}: {reason}')
    return methods, metrics, left


def paper_numbers() -> Mapping[tuple[str, str, bool], Sequence[float]]:
    """Tables 1 to 6 of IProp's paper, by metric, method, and with or without IProp: a number for each of its networks.

    They are nine, and in Table 6 one, with four of the methods.

    >>> paper_numbers()["aic", "gradient", True][:2], paper_numbers()["model_randomization", "gradient", True]
    ([0.435, 0.478], [0.342])
    """
    file = importlib.resources.files("interpix.evaluation").joinpath("iprop_tables.csv")
    found: dict[tuple[str, str, bool], list[float]] = {}
    with file.open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            about = (row.pop("measure"), row.pop("propagated") == "yes")
            for name in ("table", "better", "model"):
                row.pop(name)
            for method, value in row.items():
                if value:
                    found.setdefault((about[0], method, about[1]), []).append(float(value))
    return found
