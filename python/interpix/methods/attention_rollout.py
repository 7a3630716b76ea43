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

    Where attention is uniform over 5 tokens, the class token gives half of a fifth to each patch:

    >>> import numpy as np
    >>> import torch
    >>> from torchvision.models import VisionTransformer
    >>> sizes = {"num_layers": 1, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8, "num_classes": 2}
    >>> vit = VisionTransformer(image_size=32, patch_size=16, **sizes)
    >>> _ = torch.nn.init.zeros_(vit.encoder.layers[0].self_attention.in_proj_weight)
    >>> AttentionRollout().explain(vit, np.zeros((3, 32, 32), np.float32)).map[::16, ::16]
    array([[0.1, 0.1],
           [0.1, 0.1]], dtype=float32)
    """

    name = "attention_rollout"
    presets: ClassVar = {"moxi": {}}
    needs_torch = True

    def _attribute(self, question: Question) -> tuple[Map, Facts]:
        classifier = torch_classifier(question.classifier, self.name)
        from interpix.methods.activation_maps import attention_rollout  # torch only when it is used

        return attention_rollout(classifier, question.tensor)
