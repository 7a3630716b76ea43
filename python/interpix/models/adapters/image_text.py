"""How models of images and texts are asked, of transformers and of open_clip; neither is imported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from interpix.errors import ArgumentError, bad_type, bad_value
from interpix.models.adapters.sources import Preprocessing, is_open_clip, process_alone, read_preprocessing
from interpix.models.tokens.transformers import patches_of
from interpix.models.torch.prompted import Towers

__all__ = ["Package", "find_package"]


@dataclass(frozen=True)
class Package:
    """What differs between packages.

    Attributes:
        processor: What their processors are, for people.
        processor_cure: Where one comes from.
        tokenize: From a model, its tokenizer and sentences to what its text tower takes.
        preprocessing: Of a model, by its processor.
        towers: How a model is asked.
        output: What it was trained with.
    """

    processor: str
    processor_cure: str
    tokenize: Callable[[Any, Any, list[str]], dict[str, Tensor]]
    preprocessing: Callable[[Any, Any], Preprocessing]
    towers: Callable[[Any], Towers]
    output: Callable[[Any], Literal["softmax", "sigmoid"]]


def find_package(model: Any) -> Package:
    """The package that a model of images and texts is from.

    Raises:
        ArgumentTypeError: It is none.
    """
    names = ("get_image_features", "get_text_features", "logit_scale")
    if isinstance(model, nn.Module) and all(hasattr(model, name) for name in names):
        return _TRANSFORMERS
    if isinstance(model, nn.Module) and is_open_clip(model):
        return _OPEN_CLIP
    need = "CLIP, SigLIP or SigLIP 2 of transformers, a model of open_clip, or a zero-shot pipeline"
    cure = "for example transformers.CLIPModel.from_pretrained(...); other classifiers go into MoXI as they are"
    raise bad_type("model", need, model, cure)


class _TransformersTowers:
    """Models of transformers."""

    def image_features(self, model: Any, pictures: Tensor) -> Tensor:
        return _pooled(model.get_image_features(pixel_values=pictures))

    def text_features(self, model: Any, texts: Mapping[str, Tensor]) -> Tensor:
        return _pooled(model.get_text_features(**texts))

    def logits(self, model: Any, pictures: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = model(pixel_values=pictures, **texts).logits_per_image
        return found


class _Siglip2Towers(_TransformersTowers):
    """SigLIP 2 takes a picture as a list of patches, of any number, and how they lie."""

    def image_features(self, model: Any, pictures: Tensor) -> Tensor:
        # Without padding there is nothing to mask.
        return _pooled(model.get_image_features(**self._patches(model, pictures), pixel_attention_mask=None))

    def logits(self, model: Any, pictures: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        patches = self._patches(model, pictures)
        seen = torch.ones(patches["pixel_values"].shape[:2], dtype=torch.int32, device=pictures.device)
        found: Tensor = model(**patches, pixel_attention_mask=seen, **texts).logits_per_image
        return found

    @staticmethod
    def _patches(model: Any, pictures: Tensor) -> dict[str, Tensor]:
        patches, grid = patches_of(pictures, model.config.vision_config.patch_size)
        return {"pixel_values": patches, "spatial_shapes": torch.tensor([grid] * len(pictures)).to(pictures.device)}


def _pooled(answer: Any) -> Tensor:
    features: Tensor = getattr(answer, "pooler_output", answer)
    return features


def _too_long(sentence: str, length: int, most: int) -> ArgumentError:
    need = f"texts of at most {most} tokens, which is what the model reads"
    return bad_value("prompts", need, f"{length} tokens: {sentence!r}", "shorten it")


def _tokenize(model: Any, tokenizer: Any, sentences: list[str]) -> dict[str, Tensor]:
    """As transformers' own pipeline does, but that nothing is cut off."""
    most = model.config.text_config.max_position_embeddings
    for sentence, ids in zip(sentences, tokenizer(sentences)["input_ids"], strict=True):
        if len(ids) > most:
            raise _too_long(sentence, len(ids), most)
    padding = {"padding": "max_length", "max_length": most} if _output(model) == "sigmoid" else {"padding": True}
    found = tokenizer(sentences, return_tensors="pt", **padding)
    return {key: found[key] for key in ("input_ids", "attention_mask") if key in found}


def _output(model: Any) -> Literal["softmax", "sigmoid"]:
    return "sigmoid" if "siglip" in str(getattr(model.config, "model_type", "")) else "softmax"


def _transformers_preprocessing(model: Any, processor: Any) -> Preprocessing:
    """By the processor as it is: it may have settings of its own beside those of its image processor."""
    images = getattr(processor, "image_processor", processor)
    if _is_siglip2(model):
        make = partial(_lay_patches, processor, model.config.vision_config.patch_size)
        return Preprocessing(make, type(images).__name__)
    if images is processor:
        return read_preprocessing(processor)
    return Preprocessing(partial(process_alone, processor), type(images).__name__)


def _lay_patches(processor: Any, side: int, image: Image.Image) -> Tensor:
    """The picture (3, H, W) that SigLIP 2's processor cut into patches of `side` pixels."""
    found = processor(images=image, return_tensors="pt")
    rows, columns = found["spatial_shapes"][0].tolist()
    patches = found["pixel_values"][0, : rows * columns]
    if patches.shape[1] != 3 * side * side:
        need = f"one that cuts patches of {side} x {side} pixels, as the model takes them"
        raise bad_value("processor", need, f"{patches.shape[1]} values in a patch", "use that of the same model")
    return patches.view(rows, columns, side, side, 3).permute(4, 0, 2, 1, 3).reshape(3, rows * side, columns * side)


def _is_siglip2(model: Any) -> bool:
    return type(model).__name__ == "Siglip2Model"


class _OpenClipTowers:
    """Models of open_clip."""

    def image_features(self, model: Any, pictures: Tensor) -> Tensor:
        found: Tensor = model.encode_image(pictures)
        return found

    def text_features(self, model: Any, texts: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = model.encode_text(texts["text"])
        return found

    def logits(self, model: Any, pictures: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        if hasattr(model, "get_logits"):
            found: Tensor = model.get_logits(pictures, texts["text"])[0]
            return found
        return torch.cat([self._beside_captions(model, one, texts["text"]) for one in pictures])

    @staticmethod
    def _beside_captions(model: Any, picture: Tensor, text: Tensor) -> Tensor:
        """Of a model that also writes captions, each for a picture of its own; here all for one (3, H, W)."""
        answer = model(picture.expand(len(text), *picture.shape), text)
        found: Tensor = answer["logit_scale"] * answer["image_features"][:1] @ answer["text_features"].T
        return found + answer["logit_bias"] if "logit_bias" in answer else found


def _open_clip_tokenize(model: Any, tokenizer: Any, sentences: list[str]) -> dict[str, Tensor]:
    """As open_clip does, but that nothing is cut off."""
    most = int(getattr(model, "context_length", None) or tokenizer.context_length)
    for sentence in sentences:
        length = _open_clip_length(tokenizer, sentence)
        if length > most:
            raise _too_long(sentence, length, most)
    return {"text": tokenizer(sentences, context_length=most)}


def _open_clip_length(tokenizer: Any, sentence: str) -> int:
    """The number of tokens of a sentence, with those at its ends."""
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None:
        return len(tokenizer.encode(sentence)) + 2
    return len(inner(tokenizer.clean_fn(sentence))["input_ids"])


def _open_clip_output(model: Any) -> Literal["softmax", "sigmoid"]:
    return "softmax" if getattr(model, "logit_bias", None) is None else "sigmoid"


_TRANSFORMERS = Package(
    "transformers' processor, with its image processor and tokenizer",
    "use transformers.AutoProcessor.from_pretrained(...), or a pair (image processor, tokenizer)",
    _tokenize,
    _transformers_preprocessing,
    lambda model: _Siglip2Towers() if _is_siglip2(model) else _TransformersTowers(),
    _output,
)
_OPEN_CLIP = Package(
    "a pair: open_clip's preprocessing, and its tokenizer",
    'use (preprocess, open_clip.get_tokenizer("ViT-B-32")), of the same name as the model',
    _open_clip_tokenize,
    lambda _, preprocess: read_preprocessing(preprocess),
    lambda _: _OpenClipTowers(),
    _open_clip_output,
)
