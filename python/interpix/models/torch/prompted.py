"""A model of images and texts as a classifier of images whose classes are prompts.

CLIP (Radford et al. 2021) and SigLIP (Zhai et al. 2023) answer, to an image and a text with the embeddings x and t,

    exp(scale) * cos(x, t) + bias

where CLIP has no bias. The texts stay the same, so they are encoded once.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from interpix.models.torch.modes import evaluating

__all__ = ["PromptedModel", "Towers"]

_Tensors = tuple[tuple[int, int] | None, ...]


class Towers(Protocol):
    """How a package's models of images and texts are asked."""

    def image_features(self, model: Any, pictures: Tensor) -> Tensor:
        """Embeddings (B, D) of pictures (B, 3, H, W)."""
        ...

    def text_features(self, model: Any, texts: Mapping[str, Tensor]) -> Tensor:
        """Embeddings (P, D) of texts, as the tokenizer gave them."""
        ...

    def logits(self, model: Any, pictures: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        """What the model itself answers to both, (B, P)."""
        ...


class PromptedModel(nn.Module):  # type: ignore[misc] # torch is read without its types
    """From pictures (B, 3, H, W) to how well each prompt fits, (B, P).

    Attributes:
        model: The user's model; it is not changed.
        towers: How it is asked.
        texts: The prompts, as its tokenizer gave them.
        encoded: How often they were encoded.
    """

    def __init__(self, model: nn.Module, towers: Towers, texts: Mapping[str, Tensor]) -> None:
        """Nothing is run yet."""
        super().__init__()
        self.model = model
        self.towers = towers
        self.texts = dict(texts)
        self.encoded = 0
        self._embedded: tuple[_Tensors, Tensor] | None = None

    def forward(self, pictures: Tensor) -> Tensor:
        """The logits (B, P)."""
        return self.compare(self.towers.image_features(self.model, pictures))

    def compare(self, features: Tensor) -> Tensor:
        """Logits (B, P) of embeddings (B, D) of pictures."""
        model: Any = self.model
        # Of an embedding of zeros, as the mean of no patches may be, the cosine is zero.
        cosine = normalize(features, dim=-1) @ self._text_features().to(features.dtype).T
        bias = getattr(model, "logit_bias", None)
        logits: Tensor = cosine * model.logit_scale.exp()
        return logits if bias is None else logits + bias

    def whole(self, pictures: Tensor) -> Tensor:
        """The same, as the model itself answers to pictures and prompts."""
        return self.towers.logits(self.model, pictures, self._texts_beside(pictures))

    def forget(self) -> None:
        """Encodes the prompts anew when they are needed next."""
        self._embedded = None

    def tensors(self) -> _Tensors:
        """What differs once a parameter or a buffer of the model is another, or was changed in place."""
        found = (*self.model.parameters(), *self.model.buffers())
        return tuple(None if one.is_inference() else (one.data_ptr(), one._version) for one in found)  # noqa: SLF001 - torch's own counter

    def _text_features(self) -> Tensor:
        """The prompts' embeddings (P, D), of length 1; encoded anew where the model has changed since."""
        tensors = self.tensors()
        if self._embedded is None or self._embedded[0] != tensors:
            like = next(self.model.parameters())
            with evaluating(self.model), torch.inference_mode(mode=False), torch.no_grad():
                features = self.towers.text_features(self.model, self._texts_beside(like))
                self._embedded = tensors, normalize(features, dim=-1)
            self.encoded += 1
        return self._embedded[1]

    def _texts_beside(self, like: Tensor) -> dict[str, Tensor]:
        return {name: value.to(like.device) for name, value in self.texts.items()}
