"""Models by name: native ones, the same in torch, and those of timm, torchvision and Hugging Face."""

import difflib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from interpix import _core
from interpix.errors import InterpixError, MissingDependencyError, ModelError, bad_type, bad_value
from interpix.models.protocol.classifier import Classifier
from interpix.paths import is_file, is_folder, is_there

if TYPE_CHECKING:
    from interpix.models.adapters.torch import TorchClassifier

__all__ = ["load_model"]


def load_model(
    name: str, *, weights: str | os.PathLike[str] | None = None, prompts: Sequence[str] | None = None
) -> Classifier:
    """A classifier with its weights.

    >>> model = load_model("efficientnet_lite0")
    >>> model, model.class_names[4]
    (NativeClassifier('efficientnet_lite0', 224 x 224, 1000 classes), 'hammerhead')

    Args:
        name: A native architecture (no torch), as `interpix models` lists them: ``"efficientnet_lite0"``, whose weights
            a package brings, or ``"vit_tiny_patch16_224"``, ``"resnet18"`` and others with `weights`; or
            ``"native:FOLDER"``, a folder as a hub gives it, with timm's or transformers' ``config.json`` and
            ``model.safetensors``; or ``"timm:NAME"``, ``"torchvision:NAME"`` (its default weights) or ``"hf:ID"`` (a
            hub's identifier or a folder), which that library itself finds or downloads; or
            ``"torch:efficientnet_lite0"``, the native model in timm's module with its package's weights, for methods
            that need gradients; or the path of a ``.onnx`` file.
        weights: The weights file of a native model: safetensors with the names of timm, torchvision or transformers. If
            it is left out: what the environment variable ``INTERPIX_WEIGHTS`` names, a file or a folder; where it is
            not set, what is cached (``$XDG_CACHE_HOME/interpix``, else ``~/.cache/interpix``) of the package that
            brings them.
        prompts: What a model of images and texts (``"hf:ID"`` of CLIP, SigLIP) shall tell apart: see
            `interpix.zero_shot`.

    Raises:
        ArgumentError: There is no such model or file, or none where ``INTERPIX_WEIGHTS`` says.
        MissingDependencyError: The weights, or the library that has the model, are not installed.
        ModelError: The weights are damaged, another model's, or cannot be fetched.
    """
    if not isinstance(name, str):
        raise bad_type("name", "the name of a model", name, _EXAMPLE)
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise bad_type("weights", "the path of a file", weights, "or leave it out")
    if name.lower().endswith(".onnx"):
        from interpix.models.adapters.onnx import OnnxClassifier  # only what is asked for

        if weights is not None:
            raise bad_value("weights", "None for an ONNX file", repr(weights), "the file has its weights")
        return OnnxClassifier(name)
    source, _, rest = name.partition(":")
    if prompts is not None:
        if source != "hf" or not rest:
            need = f'None but for models of images and texts, "hf:ID", as {name} is none'
            raise bad_value("prompts", need, repr(prompts), "leave them out")
        if weights is not None:
            raise bad_value("weights", f"None for {source}:", repr(weights), "its weights are found where the model is")
        return _loaded(name, "transformers", "clip", lambda: _images_and_texts(rest, prompts))
    _check_name(name)
    if ":" not in name:
        from interpix.models.adapters.native import load_native  # only what is asked for

        return load_native(name, weights)
    if source not in {"native", *_LOADERS} or not rest:
        names = ", ".join(f"{one}:NAME" for one in ("native", *_LOADERS))
        raise bad_value("name", f"a native model or one of {names}", repr(name), 'use "timm:resnet18", for example')
    if weights is not None:
        raise bad_value("weights", f"None for {source}:", repr(weights), "its weights are found where the model is")
    if source == "native":
        from interpix.models.adapters.native import load_folder  # only what is asked for

        return load_folder(rest)
    library, extra, load = _LOADERS[source]
    return _loaded(name, library, extra, lambda: load(rest))


def _check_name(name: str) -> None:
    """Refuses no name, and the path of a folder or of a file in the place of one: it says how that is loaded.

    Raises:
        ArgumentError: It is one of these.
    """
    # Rust takes no text that is none, as a broken file name is; of other sources their libraries say so.
    if not name.strip() or not (":" in name or name.isprintable() or is_there(name)):
        raise bad_value("name", "the name of a model", repr(name), _EXAMPLE)
    path, folder, file = Path(name), is_folder(name), is_file(name)
    if ":" in name or name in _core.architectures() or not (folder or (file and path.suffix)):
        return
    onnx = sorted(one for one in path.iterdir() if one.suffix.lower() == ".onnx") if folder else []
    if file:
        got, cure = "a file", f'use load_model(NAME, weights="{name}"), where NAME says which model it is'
    elif onnx:
        got, cure = "a folder", f'use "{onnx[0]}"'
    else:
        got, cure = "a folder", f'use "native:{name}" for one with config.json and model.safetensors'
    raise bad_value("name", "the name of a model", f"`{name}`, {got}", cure)


def _near(name: str, names: Sequence[str], source: str) -> str:
    """The cure for a name that a library does not know: up to five that are near it; empty if none is.

    >>> _near("resnet81", ["resnet18", "resnet50", "vit_b_16"], "timm:")
    'near names: timm:resnet18, timm:resnet50'
    """
    inside = [one for one in names if name and name in one]
    near = list(dict.fromkeys([*difflib.get_close_matches(name, names, _MOST_NEAR), *inside]))[:_MOST_NEAR]
    return f"near names: {', '.join(f'{source}{one}' for one in near)}" if near else ""


def _loaded(name: str, library: str, extra: str, load: "Callable[[], TorchClassifier]") -> "TorchClassifier":
    """What a library loads; where it cannot, one of our errors says why."""
    try:
        return load()
    except InterpixError:
        raise
    except ImportError as error:
        message = f'{name} needs {library}: pip install "interpix[{extra}]"'
        raise MissingDependencyError(message) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{name} could not be loaded: {error}") from error


def _native_in_torch(name: str) -> "TorchClassifier":
    from interpix.models.adapters.native import load_native  # only what is asked for
    from interpix.models.adapters.weights import CHECKPOINTS, package_file

    if name not in CHECKPOINTS:
        near = f"torch:{', torch:'.join(CHECKPOINTS)}"
        cure = "or a model of another library, as torchvision:resnet50"
        raise bad_value("name", near, f"torch:{name}", cure)
    native = load_native(name)
    import timm  # optional
    import torch  # optional

    from interpix.models.adapters.torch import TorchClassifier  # torch only when it is used

    state = torch.load(package_file(name), weights_only=True)
    module = timm.create_model(f"tf_{name}")
    # The names differ; the order, that of the network, does not.
    module.load_state_dict(dict(zip(module.state_dict(), state.values(), strict=True)))

    return TorchClassifier(
        module.eval(),
        preprocess=partial(_preprocess_as, native),
        class_names=native.class_names,
        name=f"torch:{name}",
        input_size=native.input_size,
    )


def _preprocess_as(classifier: Classifier, image: Image.Image) -> npt.NDArray[np.float32]:
    return classifier.preprocess(np.asarray(image))


def _timm(name: str) -> "TorchClassifier":
    import timm  # optional

    from interpix.models.adapters.torch import TorchClassifier  # torch only when it is used

    if not timm.is_model(name.removeprefix("hf-hub:")) and "/" not in name:
        cure = _near(name.partition(".")[0], timm.list_models(), "timm:") or "see timm.list_models"
        raise bad_value("name", "one of timm's models", repr(name), cure)
    return TorchClassifier(timm.create_model(name, pretrained=True).eval(), name=f"timm:{name}")


def _torchvision(name: str) -> "TorchClassifier":
    from torchvision.models import get_model, get_model_weights, list_models  # optional

    from interpix.models.adapters.torch import TorchClassifier  # torch only when it is used

    if name not in list_models():
        cure = _near(name, list_models(), "torchvision:") or "see torchvision.models.list_models"
        raise bad_value("name", "one of torchvision's models", repr(name), cure)
    entry = get_model_weights(name).DEFAULT
    model = get_model(name, weights=entry).eval()
    return TorchClassifier(model, preprocess=entry, name=f"torchvision:{name}")


def _hugging_face(name: str) -> "TorchClassifier":
    import transformers  # optional

    from interpix.models.adapters.torch import TorchClassifier  # torch only when it is used

    made_for = (transformers.AutoConfig.from_pretrained(name).architectures or [""])[0]
    if made_for.endswith("Model") and made_for[: -len("Model")].lower() in _WITH_TEXTS:
        cure = 'pass prompts=["a husky", "a wolf"], for example'
        raise bad_value("name", "a model of images alone, or prompts", f"{made_for}", cure)
    kind = next((kind for kind in _HEADS if made_for.endswith(kind)), "ForImageClassification")
    model = getattr(transformers, f"AutoModel{kind}").from_pretrained(name).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(name)
    return TorchClassifier(model, preprocess=processor, name=f"hf:{name}")


def _images_and_texts(name: str, prompts: Sequence[str]) -> "TorchClassifier":
    from transformers import AutoModel, AutoProcessor  # optional

    from interpix.models.adapters.zero_shot import read_prompts, zero_shot  # torch only when it is used

    read_prompts(prompts, least=1)  # before anything is downloaded
    model = AutoModel.from_pretrained(name).eval()
    return zero_shot(model, AutoProcessor.from_pretrained(name), prompts, name=f"hf:{name}")


_EXAMPLE = 'use "efficientnet_lite0" or "timm:resnet18", for example'
_MOST_NEAR = 5
_HEADS = ("ForObjectDetection", "ForSemanticSegmentation")
"""What transformers calls models whose answers are no classes of the image."""
_WITH_TEXTS = ("clip", "siglip", "siglip2")

_LOADERS: dict[str, tuple[str, str, Callable[[str], "TorchClassifier"]]] = {
    "torch": ("timm", "timm", _native_in_torch),
    "timm": ("timm", "timm", _timm),
    "torchvision": ("torchvision", "torchvision", _torchvision),
    "hf": ("transformers", "hf", _hugging_face),
}
