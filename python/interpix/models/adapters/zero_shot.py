"""Models of images and texts, as classifiers whose classes are prompts: CLIP, SigLIP, SigLIP 2, open_clip."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from interpix.errors import ModelError, bad_type, bad_value
from interpix.models.adapters.image_text import Package, find_package
from interpix.models.adapters.sources import Preprocessing
from interpix.models.adapters.torch import TorchClassifier
from interpix.models.protocol.agreement import difference
from interpix.models.torch.module import in_double, unwrap
from interpix.models.torch.prompted import PromptedModel

__all__ = ["ZeroShotClassifier", "read_prompts", "zero_shot"]

_PIPELINE = "transformers.pipelines.zero_shot_image_classification.ZeroShotImageClassificationPipeline"
_PLACE = "{}"
_PROMPTS_CURE = 'for example ["a husky", "a wolf"]'


class ZeroShotClassifier(TorchClassifier):
    """A classifier whose classes are prompts; made by `zero_shot`, which has an example.

    Attributes:
        module: From pictures to a logit for each prompt.
        name: For people.
        class_names: The prompts.
        output: What the model was trained with: a softmax over all prompts (CLIP), or a sigmoid for each (SigLIP).
    """

    module: PromptedModel

    def __init__(
        self,
        module: PromptedModel,
        *,
        preprocess: Preprocessing,
        class_names: Sequence[str],
        name: str,
        trained_with: Literal["softmax", "sigmoid"],
    ) -> None:
        """Use `zero_shot`."""
        super().__init__(module, preprocess=preprocess, class_names=class_names, name=name, output=trained_with)
        self._trained_with = trained_with
        self._confirmed: object = None

    def __repr__(self) -> str:
        """One line for people."""
        return f"ZeroShotClassifier({self.name!r}, {self.device})"

    def tensor_logits(self, batch: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
        """See `TorchClassifier.tensor_logits`."""
        version = self.version()
        if self._confirmed != version and len(batch):
            self.module.forget()
            self._confirm(batch[:1])
            self._confirmed = version
        return super().tensor_logits(batch)

    def _confirm(self, picture: Tensor) -> None:
        """The rule for shortcuts, once for a model as it is: are these its own logits?"""
        picture = picture.to(self.device, self.dtype)
        with self.evaluating():
            ours = self.answer(picture)
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
            module,
            preprocess=self._preprocess,
            class_names=self.class_names,
            name=self.name,
            trained_with=self._trained_with,
        )

    def provenance(self) -> dict[str, Any]:
        """See `Classifier.provenance`."""
        return super().provenance() | {"prompts": list(self.class_names or ()), "trained_with": self._trained_with}


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
    (ZeroShotClassifier('CLIPModel', cpu), ['a husky', 'a wolf'], Softmax(), (2, 2))
    >>> model.logits(np.zeros((1, 3, 16, 16), np.float32)).shape
    (1, 2)

    Args:
        model: A `CLIPModel`, `SiglipModel` or `Siglip2Model` of transformers (also another one with
            `get_image_features`, `get_text_features` and `logit_scale`), a model of open_clip, or transformers'
            pipeline `"zero-shot-image-classification"`.
        processor: transformers' processor for the model, or a pair: how a PIL image becomes the model's input, and the
            tokenizer; for open_clip, for example, `(preprocess, open_clip.get_tokenizer("ViT-B-32"))`. A pipeline
            brings its own.
        prompts: What the model is asked to tell apart: at least two texts; one will do for SigLIP, which answers to
            each on its own.
        template: What is made of each prompt before it is encoded, such as `"a photo of {}"`. By default the prompt
            itself; for a pipeline its own, `"This is a photo of {}."`.
        name: For people; by default the model's class.

    Raises:
        ArgumentError: There are too few prompts, two are the same, or one is too long for the model; or the template
            has no place for a prompt.
        ArgumentTypeError: The model is none of images and texts, or the processor or the prompts are of another kind.
    """
    if f"{type(model).__module__}.{type(model).__qualname__}" == _PIPELINE:
        if processor is not None:
            raise bad_type("processor", "None for a pipeline", processor, "a pipeline brings its own")
        default = getattr(model, "_preprocess_params", {}).get("hypothesis_template", "This is a photo of {}.")
        template = default if template is None else template
        model, processor = model.model, (model.image_processor, model.tokenizer)
    model = unwrap(model) if isinstance(model, nn.Module) else model
    package = find_package(model)
    # Of a single prompt a softmax is always sure.
    prompts = read_prompts(prompts, least=1 if package.output(model) == "sigmoid" else 2)
    sentences = _fill_in(template, prompts)
    pictures, tokenizer = _read_processor(processor, package)
    texts = package.tokenize(model, tokenizer, sentences)
    _refuse_equal_tokens(prompts, texts)
    return ZeroShotClassifier(
        PromptedModel(model, package.towers(model), texts),
        preprocess=package.preprocessing(model, pictures),
        class_names=prompts,
        name=name or type(model).__name__,
        trained_with=package.output(model),
    )


# Prompts


def read_prompts(prompts: object, *, least: int) -> list[str]:
    """`prompts` as a list, if they are at least so many different texts.

    Raises:
        ArgumentError: They are fewer, empty, or the same.
        ArgumentTypeError: They are no texts.
    """
    need = "a list of at least two different texts" if least > 1 else "a list of different texts"
    if isinstance(prompts, str):
        raise bad_type("prompts", need, prompts, f"put it into a list beside others, {_PROMPTS_CURE}")
    if isinstance(prompts, Mapping | set | frozenset) or not isinstance(prompts, Sequence | np.ndarray):
        raise bad_type("prompts", need, prompts, _PROMPTS_CURE)
    wrong = next((one for one in prompts if not isinstance(one, str)), None)
    if wrong is not None or any(one is None for one in prompts):
        raise bad_type("prompts", "texts", wrong, _PROMPTS_CURE)
    found = [str(one) for one in prompts]
    if len(found) < least:
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


# Processors


def _read_processor(processor: Any, package: Package) -> tuple[Any, Any]:
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
