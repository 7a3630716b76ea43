"""Any PyTorch image classifier: timm, torchvision, Hugging Face, or a plain module that returns logits."""

import hashlib
import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from interpix.absence import Absence, Fill
from interpix.arrays import IntArray
from interpix.errors import bad_type, bad_value, warn
from interpix.models.adapters.recognition import torch_module
from interpix.models.adapters.sources import (
    describe_source,
    find_class_names,
    find_preprocessing,
    is_open_clip,
    output_of_config,
    read_preprocessing,
    timm_config,
)
from interpix.models.protocol.classifier import Scorer, keeps_doubles
from interpix.models.protocol.pictures import make_fill
from interpix.models.protocol.tokens import Tokens
from interpix.models.protocol.workshop import HostWorkshop, Workshop
from interpix.models.tokens.model import TokenModel, describe_token_model, find_tokens
from interpix.models.tokens.scorer import TokenScorer
from interpix.models.torch.agreement import disagreement
from interpix.models.torch.module import TorchModule, hooked, is_hooked, unwrap
from interpix.models.torch.pictures import TorchPictureScorer
from interpix.models.torch.transfer import on_device
from interpix.models.torch.workshop import TorchWorkshop
from interpix.models.windows.folded import FoldedModel
from interpix.models.windows.model import WindowModel, find_stack, windows_serve
from interpix.models.windows.pictures import FoldedScorer
from interpix.models.windows.scorer import WindowScorer
from interpix.normalization import Display, Normalized, read_display
from interpix.outputs.classes import Probabilities
from interpix.outputs.reading import OutputInput, read_output
from interpix.targets import read_class_names

__all__ = ["TorchClassifier"]

_SIZES_KEPT = 2
"""Pictures of so many sizes have their layers kept: each holds the weights several times over."""
_PLAIN = int, float, bool, str, tuple


class TorchClassifier(TorchModule, Normalized):
    """A torch module as a classifier.

    >>> mean_color = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> model = TorchClassifier(mean_color, class_names=["red", "green", "blue"], name="mean color")
    >>> model, model.logits(np.ones((1, 3, 4, 6), np.float32))
    (TorchClassifier('mean color', cpu), array([[1., 1., 1.]], dtype=float32))

    Attributes:
        module: The module itself.
        name: For people.
        class_names: One name for each class, or None.
    """

    def __init__(
        self,
        module: Any,
        *,
        preprocess: Any = None,
        class_names: Sequence[str] | None = None,
        name: str | None = None,
        input_size: tuple[int, int] | None = None,
        output: OutputInput = "auto",
        display: Display | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        """Wraps a module; nothing is run yet, but for two pictures where a Vision Transformer is inside.

        Args:
            module: A `torch.nn.Module` from float (B, C, H, W) to logits (B, classes), to an object or dict with
                `logits`, or to a tuple that starts with them; or a Hugging Face image classification pipeline.
            preprocess: How a raw image becomes the module's input: a torchvision weights entry (its class names are
                taken, too), a Hugging Face image processor, or a function from a PIL image to (C, H', W'). By default
                what the module's own configuration says (timm), or the pipeline's.
            class_names: One name for each class; by default those of the module's configuration, until its logits tell
                that it has other classes.
            name: For people.
            input_size: Height and width of a preprocessed image, if only one size will do.
            output: What the module's answers mean, see `interpix.outputs`; `"auto"`: what its Hugging Face
                configuration says, else a softmax of two or more logits, a sigmoid of one.
            display: What people see of the input: a function from (C, H, W) to uint8 (H, W, 3), or the channels that
                are red, green and blue; for models that take something else than colors.
            tokens: Where the patch tokens are of a Vision Transformer that interpix does not know.
        """
        if tokens is not None and not isinstance(tokens, Tokens):
            raise bad_type("tokens", "an interpix.Tokens", tokens, 'use interpix.Tokens("encoder.layers", patch=16)')
        found = torch_module(module)
        if found is None:
            cure = "pass the model itself"
            raise bad_type("module", "a torch.nn.Module or a Hugging Face pipeline", module, cure)
        if preprocess is None and found is not module:
            preprocess = module.image_processor
        self._inner = unwrap(found)
        _refuse_text_first(self._inner, is_pipeline=found is not module)
        known = read_output(output)
        if known is None:
            known = output_of_config(self._inner)
        super().__init__(found, name=name or describe_source(self._inner), output=known)
        names = find_class_names(self._inner, preprocess) if class_names is None else class_names
        self.class_names: list[str] | None = None if names is None else read_class_names(names)
        self._names_are_given = class_names is not None
        self._preprocess = find_preprocessing(self._inner) if preprocess is None else read_preprocessing(preprocess)
        self._tokens: TokenModel | None = None
        self._described, self._tokens_unused = tokens, None
        if tokens is None:
            self._tokens, self._tokens_unused = find_tokens(self._inner)
        else:
            self._tokens = describe_token_model(self._inner, tokens, input_size)
        if self._tokens is not None and not self._tokens.any_size:
            input_size = self._tokens.image_size
        self.input_size = input_size
        self.shown = read_display(display)
        self._stacks: dict[tuple[int, ...], FoldedModel | None] = {}
        self._stacks_of: Any = None
        self._hashed: tuple[Any, str] | None = None
        self._end_is_known = False

    reads_outputs = True
    spares_batches = True
    """`logits` does not write to what it is given."""
    replaces_images = True
    """Its scorers take other images in the places of those that are done."""

    def asking(self) -> AbstractContextManager[None]:
        """See `interpix.models.protocol.classifier.asking`."""
        return self.evaluating()

    def workshop(self) -> Workshop:
        """See `interpix.models.protocol.workshop.workshop_of`: on the device, unless `logits` is somebody else's."""
        is_ours = getattr(self.logits, "__func__", None) is TorchClassifier.logits
        return TorchWorkshop(self) if is_ours else HostWorkshop(self)

    def version(self) -> object:
        """See `TorchModule.version`: as `_content`, but cheap, for whoever asks again and again.

        No device is waited for, so that there changes of weights by way of `.data` are not seen.
        """
        parts = list(self.module.modules())
        owned = (own.values() for part in parts for own in (part._parameters, part._buffers))  # noqa: SLF001
        tensors = [one for some in owned for one in some if one is not None]
        on_cpu = [one for one in tensors if one.device.type == "cpu"]
        return parts, [_settings(part) for part in parts], _versions(tensors), str(_sums(on_cpu))

    def __repr__(self) -> str:
        """One line for people."""
        return f"TorchClassifier({self.name!r}, {self.device})"

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process, or into a copy: all but what is derived from the module when it is asked."""
        return self.__dict__ | {"_stacks": {}, "_stacks_of": None, "_hashed": None}

    @property
    def trained_mean(self) -> tuple[float, ...] | None:
        """The mean color, in 0 ... 1, that timm's configuration says was subtracted in training; None if none says."""
        mean = timm_config(self._inner).get("mean")
        return None if mean is None else tuple(map(float, mean))

    @property
    def token_grid(self) -> tuple[int, int] | None:
        """Rows and columns of a Vision Transformer's patch tokens, or None."""
        return None if self._tokens is None or not self._reads_rows else self._tokens.grid

    def token_grid_at(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """The same for an image of a size (H, W), which may be another than the module is made for."""
        return None if self._tokens is None or not self._reads_rows else self._tokens.grid_at(size)

    @property
    def _reads_rows(self) -> bool:
        """Whether the module's own answer is what is read, so that what computes it otherwise may be used."""
        return self.output is None or self.output.takes_rows

    @property
    def tokens_inside(self) -> str | None:
        """What there is of a known Vision Transformer whose tokens are not used, and why they are not."""
        return self._tokens_unused

    def preprocess(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """A raw image (H, W, 3) as the module's input (C, H', W')."""
        if self._preprocess is None:
            cure = (
                "pass a float tensor (C, H, W), or interpix.TorchClassifier(model, preprocess=...), for example "
                "torchvision's weights or a Hugging Face image processor"
            )
            need = f"a preprocessed image, as model `{self.name}` does not say how to preprocess raw ones"
            raise bad_value("image", need, "a raw image", cure)
        return self._preprocess(image)

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (B, classes) of preprocessed images (B, C, H', W')."""
        # A module may write to its batch.
        own = np.array(batch, np.float32) if self.device.type == "cpu" else batch
        rows = self.tensor_logits(on_device(np.asarray(own, np.float32), self.device))
        return rows if keeps_doubles(self.output) else rows.astype(np.float32)  # type: ignore[return-value]

    def tensor_logits(self, batch: Tensor) -> npt.NDArray[np.float64]:
        """The same for pictures (B, C, H', W') on any device; fewer go at once where memory runs out."""
        logits = super().tensor_logits(batch)
        if not self._end_is_known and len(batch):
            self._end_is_known = True
            self._tell_of_a_sigmoid(batch[:1])
        counts = self._reads_rows and not self._names_are_given
        if counts and self.class_names and len(self.class_names) != logits.shape[1]:
            self.class_names = None  # the pretrained model's, whose last layer was replaced
        return logits

    def _tell_of_a_sigmoid(self, picture: Tensor) -> None:
        """A warning where the module's last part is a Sigmoid, whose answers are no logits."""
        squashed = [part for part in self.module.modules() if isinstance(part, nn.Sigmoid)]
        told = isinstance(self.output, Probabilities) or not (self.output is None or self.output.takes_rewards)
        if told or not squashed or isinstance(self.module, torch.jit.ScriptModule):
            return
        ends: list[Tensor] = []
        with self.evaluating(), hooked(squashed, lambda _part, _inputs, output: ends.append(output)):
            logits = self.answer(picture.to(self.device, self.dtype))
        if any(logits is one for one in ends):
            self.noticed["ends_in"] = "Sigmoid"  # before the warning, which may be an error
            message = (
                f"model `{self.name}`: it ends in a Sigmoid, and its answers are taken for logits; pass it without "
                "that part, as model[:-1], for example, or say output=interpix.outputs.Probabilities(independent=True)"
            )
            warn(message)

    def scorer(self, images: npt.NDArray[np.float32], regions: IntArray, absence: Absence) -> Scorer:
        """See `Classifier.scorer`: tokens are dropped or masked where the module has them, pixels filled anywhere."""
        if self._tokens is not None and not isinstance(absence, Fill) and self._reads_rows:
            return TokenScorer(self, self._tokens, images, regions, absence)
        refill = partial(make_fill, self, absence=absence)
        fill = refill(images)
        if not self._reads_rows:
            return TorchPictureScorer(self, images, regions, fill, refill=refill)
        find = partial(self._stack, images.shape[1:])
        windows = find() if windows_serve(self.device) else None
        if not isinstance(windows, WindowModel):
            return FoldedScorer(self, images, regions, fill, refill=refill, find=find)
        differ = disagreement(
            self,
            self.tensor(_shown_to_both(images, fill)),
            windows.whole_logits,
            "the layers that were traced",
            "whole pictures are asked about instead of windows",
        )
        if differ is not None:
            facts = {"windows_differ_by": differ}
            return TorchPictureScorer(self, images, regions, fill, refill=refill, facts=facts)
        return WindowScorer(self, windows, images, regions, fill, refill=refill)

    def _stack(self, shape: tuple[int, ...]) -> FoldedModel | None:
        """The module's layers for pictures (C, H, W), in windows where those pay; None where they are not known."""
        if is_hooked(self.module):
            return None
        content = self._content()
        if content != self._stacks_of:
            self._stacks, self._stacks_of = {}, content
        stacks = self._stacks  # another thread may begin anew
        if shape in stacks:
            return stacks[shape]
        if len(stacks) >= _SIZES_KEPT:
            stacks.pop(next(iter(stacks), shape), None)
        found = find_stack(self._inner, (shape[1], shape[2]), shape[0])
        # Averaged modules, and those on several GPUs, are asked themselves.
        if self.module is not self._inner and not isinstance(found, WindowModel):
            found = None
        stacks[shape] = found
        return found

    def with_module(self, module: nn.Module) -> "TorchClassifier":
        """The same preprocessing and class names for another module of the same kind: a re-initialized copy, say."""
        other = TorchClassifier(
            module,
            preprocess=self._preprocess,
            class_names=self.class_names,
            name=self.name,
            input_size=self.input_size,
            output="auto" if self.output is None else self.output,
            display=self.shown,
            tokens=self._described,
        )
        # A module of the same kind says the same; it was told of.
        other.noticed, other._end_is_known = dict(self.noticed), self._end_is_known
        return other

    def provenance(self) -> dict[str, Any]:
        """See `Classifier.provenance`."""
        return {
            "model": self.name,
            "model_kind": "torch",
            "torch": torch.__version__,
            "device": str(self.device),
            **({"tf32": False} if self.device.type == "cuda" else {}),
            "dtype": str(self.dtype).removeprefix("torch."),
            "preprocessing": str(getattr(self._preprocess, "description", None)),
            "weights_sha256": self._weights_hash(),
        }

    def _weights_hash(self) -> str:
        """The hash of all parameters and buffers, computed again when one of them has changed."""
        state, content = self._inner.state_dict(), self._content()
        if self._hashed is None or self._hashed[0] != content:
            digest = hashlib.sha256()
            for name, value in sorted(state.items()):
                digest.update(name.encode())
                digest.update(_bytes(value))
            self._hashed = content, digest.hexdigest()
        return self._hashed[1]

    def _content(self) -> Any:
        """What differs once a part, a parameter or a buffer has changed.

        With the sum of each tensor, as torch does not count changes by way of `.data`, of numpy or in inference mode:
        those that keep the sum, as of an order, are not seen. Another device is waited for once.
        """
        tensors = [value for value in self._inner.state_dict().values() if isinstance(value, Tensor)]
        # As text, as NaN is not equal to itself.
        return repr(self.module), _versions(tensors), str(_sums(tensors))


def _shown_to_both(images: npt.NDArray[np.float32], fill: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a search may ask about (3 or 4, 3, H, W): the first image and the last, nothing, and half of each."""
    half = images[0].copy()
    half[:, :, ::2] = fill[0][:, :, ::2]
    return np.stack([images[0], *images[1:][-1:], fill[0], half])


def _refuse_text_first(module: nn.Module, *, is_pipeline: bool) -> None:
    """Refuses a model of images and texts, such as CLIP: by the name of what it takes first, or as open_clip's."""
    try:
        first = next(iter(inspect.signature(module.forward).parameters), None)
    except (TypeError, ValueError):  # TorchScript has none
        return
    open_clip = is_open_clip(module)
    if first == "input_ids" or open_clip:
        processor = "" if is_pipeline else "(preprocess, tokenizer), " if open_clip else "processor, "
        cure = f'say which classes: interpix.zero_shot(model, {processor}prompts=["a husky", "a wolf"])'
        name = type(module).__name__
        raise bad_value("model", "a module that takes pictures alone", f"{name}, which also needs text", cure)


def _values(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.dequantize() if tensor.is_quantized else tensor


def _versions(tensors: list[Tensor]) -> list[tuple[int, int] | None]:
    """Where each tensor lies, and how often it was written to; None where torch does not count that."""
    return [None if one.is_inference() else (one.data_ptr(), one._version) for one in tensors]  # noqa: SLF001 - torch's own counter


def _settings(part: nn.Module) -> Any:
    """How a part is set: of torch's own its numbers and words, of others what they show of themselves.

    Parts of other origin may count how often they run.
    """
    if not type(part).__module__.startswith("torch.nn."):
        return part.extra_repr()
    return [one for name, one in vars(part).items() if type(one) in _PLAIN and name != "training"]


def _sums(tensors: list[Tensor]) -> list[Any]:
    """The sums of tensors, of those on one device and of one kind together, for each transfer is waited for."""
    found: list[Any] = []
    waiting: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for one in map(_values, tensors):
        if one.device.type == "cpu" and one.layout == torch.strided:
            found.append(_sum_of_bits(one))
        elif not one.is_meta:
            # In float32 at least: in fewer bits it would stay the same after small changes, or overflow. Wider ones
            # would take a copy of the tensor.
            small = one.is_floating_point() and one.dtype.itemsize < torch.float32.itemsize
            total = one.sum(dtype=torch.float32 if small else None)
            waiting.setdefault((total.device, total.dtype), []).append(total)
    return found + [torch.stack(sums).tolist() for sums in waiting.values()]


def _sum_of_bits(tensor: Tensor) -> int:
    """Of the words of memory as whole numbers: in whatever order, and on however many threads, it is the same."""
    flat = tensor.resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8).numpy()
    words = len(flat) // 8 * 8
    return int(flat[:words].view(np.uint64).sum()) + int(flat[words:].sum())


def _bytes(value: Any) -> bytes:
    """The bytes of a value of a state: a tensor, or what quantized modules keep beside them."""
    if isinstance(value, Tensor):
        return bytes(_values(value).cpu().contiguous().flatten().view(torch.uint8).numpy())
    return b"".join(map(_bytes, value)) if isinstance(value, tuple | list) else repr(value).encode()
