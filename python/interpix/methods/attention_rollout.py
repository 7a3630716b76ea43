"""Attention rollout of Vision Transformers. It needs a torch module."""

from dataclasses import dataclass
from typing import ClassVar

from interpix.methods.base import Facts, Map, MapMethod, torch_classifier
from interpix.question import Question

__all__ = ["AttentionRollout"]


@dataclass(frozen=True)
class AttentionRollout(MapMethod):
    """Attention rollout of a Vision Transformer (Abnar and Zuidema 2020); it does not depend on the class.

    The product over blocks of 0.5 A + 0.5 I, A the mean over heads: its class-token row, for models that average the
    patch tokens the mean of these tokens' rows, enlarged bilinearly.
    """

    name = "attention_rollout"
    presets: ClassVar = {"moxi": {}}

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        classifier = torch_classifier(question, self.name)
        from interpix.methods.activation_maps import attention_rollout  # noqa: PLC0415 - torch only when it is used

        return attention_rollout(classifier, question.tensor)
