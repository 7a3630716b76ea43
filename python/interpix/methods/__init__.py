"""Attribution methods: how much each pixel matters to an answer, by the methods that the papers compare.

A method is a small object with its options; `explain` asks any model that `interpix.MoXI` takes:

>>> import numpy as np
>>> model = lambda batch: batch.sum(axis=(2, 3))
>>> result = RISE(count=50, grid=(2, 3), baseline="zero").explain(model, np.ones((3, 4, 6), np.float32), target=1)
>>> result.map.shape, result.target
((4, 6), 1)

docs/methods.md lists them with their settings.
"""

from collections.abc import Mapping

from interpix.methods.attention_rollout import AttentionRollout
from interpix.methods.base import Method
from interpix.methods.controls import Edges, Random, blurred
from interpix.methods.grad_cam import GradCAM, GradCAMPlusPlus
from interpix.methods.gradients import Gradient, IntegratedGradients
from interpix.methods.lime import LIME
from interpix.methods.moxi import CatalogueMap, GroupSearch, MoXIMap, MoXIOneShot, Shapley
from interpix.methods.paths import BlurIG, GuidedIG
from interpix.methods.rise import RISE, SuperpixelRISE
from interpix.methods.xrai import XRAI
from interpix.question import Question

__all__ = [
    "LIME",
    "METHODS",
    "RISE",
    "XRAI",
    "AttentionRollout",
    "BlurIG",
    "CatalogueMap",
    "Edges",
    "GradCAM",
    "GradCAMPlusPlus",
    "Gradient",
    "GroupSearch",
    "GuidedIG",
    "IntegratedGradients",
    "Method",
    "MoXIMap",
    "MoXIOneShot",
    "Question",
    "Random",
    "Shapley",
    "SuperpixelRISE",
    "blurred",
]

METHODS: Mapping[str, type[Method]] = {
    method.name: method
    for method in (
        Gradient,
        IntegratedGradients,
        GuidedIG,
        BlurIG,
        XRAI,
        GradCAM,
        GradCAMPlusPlus,
        AttentionRollout,
        RISE,
        SuperpixelRISE,
        LIME,
        Shapley,
        MoXIOneShot,
        MoXIMap,
        GroupSearch,
        CatalogueMap,
        Random,
        Edges,
    )
}
"""The methods by name, with the papers' settings as defaults."""
