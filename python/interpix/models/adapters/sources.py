"""What a torch module's own configuration says: preprocessing, class names, name. timm, torchvision, Hugging Face."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import nn

from interpix.arrays import to_numpy
from interpix.errors import bad_type, bad_value
from interpix.outputs.base import Output
from interpix.outputs.classes import Sigmoid

__all__ = [
    "Preprocessing",
    "describe_source",
    "find_class_names",
    "find_preprocessing",
    "is_open_clip",
    "output_of_config",
    "process_alone",
    "read_preprocessing",
    "timm_config",
]


_COLORS = 3


class Preprocessing:
    """A raw image (H, W, 3) to a model's input (C, H', W').

    Attributes:
        description: What is done, for a result's provenance.
    """

    def __init__(self, transform: Callable[[Any], Any], description: str) -> None:
        """Takes a function of a PIL image, or of an array that has other bands than colors."""
        self._transform = transform
        self.description = description

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The input for one raw image."""
        # What has no colors is no picture to a library of pictures.
        given = Image.fromarray(image) if image.shape[2] == _COLORS else image
        answer = to_numpy(self._transform(given), "preprocess").astype(np.float32)
        if answer.ndim == 4 and len(answer) == 1:
            answer = answer[0]
        if answer.ndim != 3 or answer.shape[2] == _COLORS != answer.shape[0]:
            cure = "return one image, channels first"
            raise bad_value("preprocess", "a function to (C, H, W)", f"shape {answer.shape}", cure)
        return answer


def find_preprocessing(module: nn.Module) -> Preprocessing | None:
    """The evaluation transform of a timm model; None for modules that do not say."""
    if not timm_config(module):
        return None
    from timm.data import create_transform, resolve_model_data_config  # its model brought it

    # The configuration is the pretrained weights'; a model may have been made for another size.
    size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    made_for = {"input_size": (3, *size)} if isinstance(size, tuple) else None
    transform = create_transform(**resolve_model_data_config(module, made_for), is_training=False)
    return Preprocessing(transform, " ".join(str(transform).split()))


def read_preprocessing(preprocess: Any) -> Preprocessing:
    """Torchvision's weights, a Hugging Face image processor, or a function of a PIL image."""
    if isinstance(preprocess, Preprocessing):
        return preprocess
    if _is_torchvision_weights(preprocess):
        transform = preprocess.transforms()
        return Preprocessing(transform, " ".join(str(transform).split()))
    if hasattr(preprocess, "image_mean") and callable(preprocess):
        return Preprocessing(partial(process_alone, preprocess), type(preprocess).__name__)
    if not callable(preprocess):
        kinds = "torchvision weights, an image processor, or a function of a PIL image"
        raise bad_type("preprocess", kinds, preprocess, "leave it out for timm models")
    return Preprocessing(preprocess, getattr(preprocess, "__name__", type(preprocess).__name__))


def process_alone(processor: Callable[..., Any], image: Image.Image) -> Any:
    """What a processor of transformers makes of one image (1, C, H, W)."""
    return processor(images=image, return_tensors="pt")["pixel_values"]


def find_class_names(module: nn.Module, preprocess: Any = None) -> Sequence[str] | None:
    """Class names from torchvision's weights, a Hugging Face configuration, or timm's own tables; None if unknown."""
    if _is_torchvision_weights(preprocess):
        return list(preprocess.meta["categories"])
    labels = getattr(getattr(module, "config", None), "id2label", None)
    if isinstance(labels, dict) and labels:
        return _ordered_names(labels)
    return _timm_class_names(module) if timm_config(module) else None


def _ordered_names(labels: Mapping[Any, Any]) -> list[str] | None:
    """The names of classes 0, 1, 2, ...; None if they are placeholders, or not those of all classes.

    JSON has no numbers for keys, and as text "10" comes before "2".

    >>> _ordered_names({"10": "k", **{str(index): letter for index, letter in enumerate("abcdefghij")}})[2]
    'c'
    """
    numbered = {str(key): str(name) for key, name in labels.items()}
    indices = [str(index) for index in range(len(labels))]
    if set(numbered) != set(indices) or numbered["0"] == "LABEL_0":
        return None
    return [numbered[index] for index in indices]


def output_of_config(module: nn.Module) -> Output | None:
    """What a Hugging Face configuration says that the module was trained for; None if it says nothing.

    Raises:
        ArgumentError: It is a regression, whose answers need a tolerance.
    """
    problem = getattr(getattr(module, "config", None), "problem_type", None)
    if problem == "regression":
        cure = "pass output=interpix.outputs.Value(tolerance=...), in units of the model's answer"
        raise bad_value("output", "a tolerance, as the model's problem_type is regression", '"auto"', cure)
    return Sigmoid() if problem == "multi_label_classification" else None


def is_open_clip(module: nn.Module) -> bool:
    """Whether a module is one of open_clip's models of images and texts."""
    home = any(base.__module__.startswith("open_clip.") for base in type(module).__mro__)
    return home and hasattr(module, "encode_text")


def describe_source(module: nn.Module) -> str:
    """A name for people: timm's architecture, or the class. Which weights it has, a configuration does not tell."""
    architecture = timm_config(module).get("architecture")
    return f"timm:{architecture}" if architecture else type(module).__name__


def _timm_class_names(module: nn.Module) -> list[str] | None:
    from timm.data import ImageNetInfo, infer_imagenet_subset  # its model brought it

    config = timm_config(module)
    if config.get("label_names"):
        return list(config["label_names"])
    subset = infer_imagenet_subset(module)
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    return [str(info.index_to_description(index)) for index in range(info.num_classes())]


def timm_config(module: nn.Module) -> dict[str, Any]:
    """Timm's configuration of a module; empty if it is not timm's."""
    if not any(base.__module__.startswith("timm.") for base in type(module).__mro__):
        return {}
    return dict(getattr(module, "pretrained_cfg", None) or {})


def _is_torchvision_weights(value: Any) -> bool:
    api = sys.modules.get("torchvision.models")
    return api is not None and isinstance(value, api.WeightsEnum)
