"""Models of images and texts whose classes are prompts, on some of the tokens of their vision towers."""

from dataclasses import replace

import torch

from interpix.models.tokens import open_clip, transformers
from interpix.models.tokens.parts import UnknownError
from interpix.models.tokens.vit import Anatomy
from interpix.models.torch.prompted import PromptedModel

__all__ = ["read_prompted"]


def read_prompted(module: PromptedModel) -> Anatomy:
    """The vision tower, behind which its features are compared with the prompts."""
    tower = transformers.read_image_tower(module.model) or open_clip.read_image_tower(module.model)
    if tower is None:
        raise UnknownError
    head, masked_head = tower.head, tower.masked_head

    def masked(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return module.compare(x if masked_head is None else masked_head(x, mask))

    return replace(
        tower,
        head=lambda x: module.compare(head(x)),
        masked_head=None if masked_head is None else masked,
    )
