"""Models of images and texts, as classifiers whose classes are prompts: CLIP, SigLIP, SigLIP 2, open_clip."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from interpix.errors import ModelError, bad_type, bad_value
from interpix.models.adapters.sources import Preprocessing, read_preprocessing
from interpix.models.adapters.torch import TorchClassifier
from interpix.models.protocol.agreement import difference
from interpix.models.tokens.transformers import patches_of
from interpix.models.torch.module import in_double, unwrap
from interpix.models.torch.prompted import PromptedModel, Towers

__all__ = ["ZeroShotClassifier", "zero_shot"]

_PIPELINE = "transformers.pipelines.zero_shot_image_classification.ZeroShotImageClassificationPipeline"
_PLACE = "{}"
_PROMPTS_CURE = 'for example ["a husky", "a wolf"]'


class ZeroShotClassifier(TorchClassifier):
    """A classifier whose classes are prompts; made by `zero_shot`, which has an example.

    Attributes:
        module: From pictures to a logit for each prompt.
        name: For people.
        class_names: The prompts.
        output: What the model was trained with: `"softmax"` over all prompts (CLIP), or a `"sigmoid"` for each
            (SigLIP).
    """

    module: PromptedModel

    def __init__(
        self,
        module: PromptedModel,
        *,
        preprocess: Preprocessing,
        class_names: Sequence[str],
        name: str,
        output: Literal["softmax", "sigmoid"],
    ) -> None:
        """Use `zero_shot`."""
        super().__init__(module, preprocess=preprocess, class_names=class_names, name=name)
        self.output = output
        self._confirmed: object = None

    def __repr__(self) -> str:
        """One line for people."""
        return f"ZeroShotClassifier({self.name!r}, {self.device})"

    def tensor_logits(self, batch: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
        """See `TorchClassifier.tensor_logits`."""
        tensors = self.module.tensors()
        if self._confirmed != tensors and len(batch):
            self._confirm(batch[:1])
            self._confirmed = tensors
        return super().tensor_logits(batch)

    def _confirm(self, picture: Tensor) -> None:
        """The rule for shortcuts, once for a model as it is: are these its own logits?"""
        picture = picture.to(self.device, self.dtype)
        with self.evaluating():
            ours = self.forward(picture)
            with self.errors_named("a picture and the prompts"):
                theirs = self.module.whole(picture)
        step = torch.finfo(self.dtype).eps if self.dtype.itemsize < torch.float32.itemsize else 0.0
        found = difference(in_double(theirs).cpu().numpy(), in_double(ours).cpu().numpy(), step)
        if found is not None:
            message = (
                f"model `{self.name}`: its logits are not exp(logit_scale) * cosine + logit_bias of its embeddings, "
                f"but differ by up to {found:.2g}; pass a function of pictures instead, which gives its own logits"
            )
            raise ModelError(message)

    def with_module(self, module: nn.Module) -> "ZeroShotClassifier":
        """See `TorchClassifier.with_module`."""
        if not isinstance(module, PromptedModel) or self._preprocess is None or self.class_names is None:
            raise bad_type("module", "a copy of this classifier's own module", module, "use copy.deepcopy")
        return ZeroShotClassifier(
            module, preprocess=self._preprocess, class_names=self.class_names, name=self.name, output=self.output
        )

    def provenance(self) -> dict[str, Any]:
        """See `Classifier.provenance`."""
        return super().provenance() | {"prompts": list(self.class_names or ()), "trained_with": self.output}


def zero_shot(
    model: Any,
    processor: Any = None,
    prompts: Sequence[str] = (),
    *,
    template: str | None = None,
    name: str | None = None,
) -> ZeroShotClassifier:
    """A classifier of CLIP, SigLIP or SigLIP 2, whose classes are prompts.

    Its logits are the model's own `logits_per_image`. Texts are encoded once; the vision tower runs on the present
    tokens only. The model is not changed.

    A random CLIP of 16 x 16 pixels, whose tokenizer knows a few letters:

    >>> from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer
    >>> letters = [*"huskwol", *(f"{letter}</w>" for letter in "afy"), "<|startoftext|>", "<|endoftext|>"]
    >>> size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    >>> text = {"vocab_size": 12, "bos_token_id": 10, "eos_token_id": 11, "pad_token_id": 11, **size}
    >>> vision = {"image_size": 16, "patch_size": 8, **size}
    >>> clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=4))
    >>> tokenizer = CLIPTokenizer({letter: index for index, letter in enumerate(letters)}, [])
    >>> pictures = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)
    >>> model = zero_shot(clip, (pictures, tokenizer), ["a husky", "a wolf"])
    >>> model, model.class_names, model.output, model.token_grid
    (ZeroShotClassifier('CLIPModel', cpu), ['a husky', 'a wolf'], 'softmax', (2, 2))
    >>> model.logits(np.zeros((1, 3, 16, 16), np.float32)).shape
    (1, 2)

    Args:
        model: A `CLIPModel`, `SiglipModel` or `Siglip2Model` of transformers (also another one with
            `get_image_features`, `get_text_features` and `logit_scale`), a model of open_clip, or transformers'
            pipeline `"zero-shot-image-classification"`.
        processor: transformers' processor for the model, or a pair: how a PIL image becomes the model's input, and the
            tokenizer; for open_clip, for example, `(preprocess, open_clip.get_tokenizer("ViT-B-32"))`. A pipeline
            brings its own.
        prompts: What the model is asked to tell apart: at least two texts.
        template: What is made of each prompt before it is encoded, such as `"a photo of {}"`. By default the prompt
            itself; for a pipeline its own, `"This is a photo of {}."`.
        name: For people; by default the model's class.

    Raises:
        ArgumentError: There are fewer than two prompts, two are the same, or one is too long for the model; or the
            template has no place for a prompt.
        ArgumentTypeError: The model is none of images and texts, or the processor or the prompts are of another kind.
    """
    if _class_name(model) == _PIPELINE:
        if processor is not None:
            raise bad_type("processor", "None for a pipeline", processor, "a pipeline brings its own")
        default = getattr(model, "_preprocess_params", {}).get("hypothesis_template", "This is a photo of {}.")
        template = default if template is None else template
        model, processor = model.model, (model.image_processor, model.tokenizer)
    model = unwrap(model) if isinstance(model, nn.Module) else model
    package = _find_package(model)
    prompts = _read_prompts(prompts)
    sentences = _fill_in(template, prompts)
    pictures, tokenizer = _read_processor(processor, package)
    texts = package.tokenize(model, tokenizer, sentences)
    _refuse_equal_tokens(prompts, texts)
    return ZeroShotClassifier(
        PromptedModel(model, package.towers(model), texts),
        preprocess=package.preprocessing(model, pictures),
        class_names=prompts,
        name=name or type(model).__name__,
        output=package.output(model),
    )


# Prompts


def _read_prompts(prompts: object) -> list[str]:
    need = "a list of at least two different texts"
    if isinstance(prompts, str):
        raise bad_type("prompts", need, prompts, f"put it into a list beside others, {_PROMPTS_CURE}")
    if isinstance(prompts, Mapping | set | frozenset) or not isinstance(prompts, Sequence | np.ndarray):
        raise bad_type("prompts", need, prompts, _PROMPTS_CURE)
    wrong = next((one for one in prompts if not isinstance(one, str)), None)
    if wrong is not None or any(one is None for one in prompts):
        raise bad_type("prompts", "texts", wrong, _PROMPTS_CURE)
    found = [str(one) for one in prompts]
    if len(found) < 2:
        raise bad_value("prompts", need, repr(found), f"add what it is to be told apart from, {_PROMPTS_CURE}")
    if not all(one.strip() for one in found):
        raise bad_value("prompts", "texts that say something", repr(found), "leave out empty ones")
    seen: dict[str, str] = {}
    for one in found:
        first = seen.setdefault(one.strip().casefold(), one)
        if first is not one:
            raise bad_value("prompts", "different texts", f"{first!r} and {one!r}", "leave out one of the two")
    return found


def _fill_in(template: object, prompts: list[str]) -> list[str]:
    template = _PLACE if template is None else template
    cure = 'for example "a photo of {}"'
    if not isinstance(template, str):
        raise bad_type("template", "a text with {} where the prompt stands", template, cure)
    if template.count(_PLACE) != 1:
        raise bad_value("template", "a text with one {} where the prompt stands", repr(template), cure)
    return [template.replace(_PLACE, prompt) for prompt in prompts]


def _refuse_equal_tokens(prompts: list[str], texts: Mapping[str, Tensor]) -> None:
    """Texts may differ in what a tokenizer leaves out, such as capitals or punctuation."""
    seen: dict[bytes, str] = {}
    rows = next(iter(texts.values())).cpu().numpy()
    for prompt, row in zip(prompts, rows, strict=True):
        first = seen.setdefault(row.tobytes(), prompt)
        if first is not prompt:
            cure = "leave out one of the two, or check that it is the tokenizer of this model"
            got = f"{first!r} and {prompt!r}, which are the same to it"
            raise bad_value("prompts", "texts that are different to the tokenizer", got, cure)


def _too_long(sentence: str, length: int, most: int) -> Exception:
    need = f"texts of at most {most} tokens, which is what the model reads"
    return bad_value("prompts", need, f"{length} tokens: {sentence!r}", "shorten it")


# Processors


def _read_processor(processor: Any, package: "_Package") -> tuple[Any, Any]:
    """How pictures are preprocessed, and the tokenizer."""
    if isinstance(processor, tuple | list) and len(processor) == 2:
        pictures, tokenizer = processor
        if _is_tokenizer(pictures) and not _is_tokenizer(tokenizer):
            cure = "turn them round: (preprocess, tokenizer)"
            raise bad_type("processor", "preprocessing first, and the tokenizer second", pictures, cure)
    else:
        pictures, tokenizer = (getattr(processor, part, None) for part in ("image_processor", "tokenizer"))
        pictures = pictures and processor
    if not callable(pictures) or not _is_tokenizer(tokenizer):
        raise bad_type("processor", package.processor, processor, package.processor_cure)
    return pictures, tokenizer


def _is_tokenizer(one: object) -> bool:
    """Transformers' tokenizers, and open_clip's."""
    told = any(hasattr(one, name) for name in ("context_length", "model_max_length", "eot_token_id"))
    return callable(one) and told and not hasattr(one, "image_mean")


# Packages


@dataclass(frozen=True)
class _Package:
    """What differs between packages."""

    processor: str
    processor_cure: str
    tokenize: Callable[[Any, Any, list[str]], dict[str, Tensor]]
    preprocessing: Callable[[Any, Any], Preprocessing]
    towers: Callable[[Any], Towers]
    output: Callable[[Any], Literal["softmax", "sigmoid"]]


def _find_package(model: Any) -> _Package:
    names = ("get_image_features", "get_text_features", "logit_scale")
    if isinstance(model, nn.Module) and all(hasattr(model, name) for name in names):
        return _TRANSFORMERS
    if isinstance(model, nn.Module) and all(hasattr(model, name) for name in ("encode_image", "encode_text")):
        return _OPEN_CLIP
    need = "CLIP, SigLIP or SigLIP 2 of transformers, a model of open_clip, or a zero-shot pipeline"
    cure = "for example transformers.CLIPModel.from_pretrained(...); other classifiers go into MoXI as they are"
    raise bad_type("model", need, model, cure)


def _class_name(one: object) -> str:
    return f"{type(one).__module__}.{type(one).__qualname__}"


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
    return Preprocessing(partial(_process, processor), type(images).__name__)


def _process(processor: Any, image: Image.Image) -> Any:
    return processor(images=image, return_tensors="pt")["pixel_values"]


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


_TRANSFORMERS = _Package(
    "transformers' processor, with its image processor and tokenizer",
    "use transformers.AutoProcessor.from_pretrained(...), or a pair (image processor, tokenizer)",
    _tokenize,
    _transformers_preprocessing,
    lambda model: _Siglip2Towers() if _is_siglip2(model) else _TransformersTowers(),
    _output,
)
_OPEN_CLIP = _Package(
    "a pair: open_clip's preprocessing, and its tokenizer",
    'use (preprocess, open_clip.get_tokenizer("ViT-B-32")), of the same name as the model',
    _open_clip_tokenize,
    lambda _, preprocess: read_preprocessing(preprocess),
    lambda _: _OpenClipTowers(),
    _open_clip_output,
)
