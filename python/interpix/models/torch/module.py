"""The one place where a user's torch module is called.

The module is used as it is: its device and number type are followed, it is in evaluation mode while it is asked, and it
leaves with every submodule's mode, hook and gradient as before. Nothing is patched.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from interpix.errors import InterpixError, ModelError, warn
from interpix.models.protocol.classifier import check_logits, keeps_doubles
from interpix.models.protocol.memo import Memo
from interpix.models.torch.memory import Chunks
from interpix.models.torch.modes import evaluating, parts_of
from interpix.models.torch.products import exact_products
from interpix.outputs.base import Output

__all__ = ["TorchModule", "hook_count", "hooked", "in_double", "is_hooked", "unwrap"]

_CPU_BATCH, _GPU_BATCH = 64, 1024
# Where it is not measured what fits: most models of 224 x 224 pixels do.
_GPU_PICTURES = 256
# A CPU takes up to twice as long for each picture of a batch whose activations leave its cache.
_CPU_PIXELS = 8 * 224 * 224
_TAKEN = "answer_taken"
_LOGITS = ("logits",)
_ROWS = ("logits", "image_embeds", "pooler_output")
"""What transformers calls the answers of its models; embeddings are no logits."""
# transformers leaves these hooks in place after it was asked once for hidden states; they only watch.
_WATCHING = "transformers.utils.output_capturing"
_ADAPTED = "peft.peft_model.PeftModel"


class TorchModule:
    """A torch module, asked about pictures.

    >>> net = TorchModule(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).train(), name="mean color")
    >>> net.tensor_logits(torch.ones(2, 3, 4, 6)).tolist(), net.module.training
    ([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], True)

    Attributes:
        module: The module itself.
        name: For people.
        output: What its answers mean; None: what follows from their number.
        memo: What it answered, where the output shares that.
        noticed: What results shall remember of its answers, known once it was asked.
    """

    def __init__(self, module: nn.Module, *, name: str, output: Output | None = None) -> None:
        """Takes the module; nothing is run yet."""
        self.module = module
        self.name = name
        self.output = output
        self.memo = Memo()
        self.noticed: dict[str, Any] = {}

    @property
    def device(self) -> torch.device:
        """Where the module's parameters are."""
        return next((one.device for one in self.module.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The number type of the module's parameters."""
        return next((one.dtype for one in self.module.parameters() if one.is_floating_point()), torch.float32)

    @property
    def batch_size(self) -> int:
        """How many pictures are handed over at once by default."""
        return _CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH

    def pictures_at_once(self, height: int, width: int) -> int:
        """How many pictures of a size go through the module at once; fewer where memory runs out."""
        if self.device.type != "cpu":
            return _GPU_PICTURES
        return max(1, min(self.batch_size, _CPU_PIXELS // (height * width)))

    def tensor(self, array: npt.NDArray[Any]) -> Tensor:
        """A copy of an array as a tensor of the module's device and number type."""
        return torch.from_numpy(np.array(array, np.float32)).to(self.device, self.dtype)

    def tensor_logits(self, batch: Tensor) -> npt.NDArray[np.float64]:
        """Logits (B, classes) of pictures (B, C, H, W) on any device; fewer go at once where memory runs out."""
        chunks = Chunks(self.name, self.pictures_at_once(*batch.shape[2:]))
        with self.evaluating():
            parts = chunks.run(len(batch), lambda part: self._as_numbers(batch[part]))
            return check_logits(torch.cat(parts).cpu().numpy(), len(batch), self.name, self.output)

    def _as_numbers(self, batch: Tensor) -> Tensor:
        """Rows in single precision, as logits are compared; in their own where the numbers themselves count."""
        rows = self.forward(batch.to(self.device, self.dtype))
        return rows if rows.dtype == torch.float64 and keeps_doubles(self.output) else rows.float()

    def forward(self, batch: Tensor) -> Tensor:
        """The module's rows for a batch on its device, as logits (B, classes), unwrapped and of the right shape."""
        output = self.output
        if output is None or output.takes_rows:
            return self.rows(self.answer(batch))
        if not output.shares or torch.is_grad_enabled() or torch.is_autocast_enabled(batch.device.type):
            return self._other_rows(batch)
        shape = str(tuple(batch.shape[1:])).encode()
        host = batch.cpu().contiguous()  # in one transfer
        pictures = [shape + bytes(one.flatten().view(torch.uint8).numpy()) for one in host]

        def ask(index: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
            return np.asarray(self._other_rows(batch[torch.from_numpy(index).to(batch.device)]).cpu())

        rows = self.memo.rows(pictures, ask, self.version)
        return torch.from_numpy(rows).to(batch.device)

    def version(self) -> object:
        """What differs once the module has changed; None: nobody looks."""
        return None

    def _other_rows(self, batch: Tensor) -> Tensor:
        """Rows of an output that does not read (B, K) itself."""
        assert self.output is not None  # noqa: S101 - for the type checker
        with self.errors_named(f"a batch {tuple(batch.shape)}"):
            answer = self.module(batch)
        found: Tensor = self.output.rows(answer, self.name, (batch.shape[2], batch.shape[3]))
        return found

    def answer(self, batch: Tensor) -> Tensor:
        """The module's own answer (B, K) to a batch on its device: what `rows` reads."""
        with self.errors_named(f"a batch {tuple(batch.shape)}"):
            answer = self.module(batch)
        names = _LOGITS if self.output is None or self.output.takes_rewards else _ROWS
        logits = _find_logits(answer, names)
        if isinstance(answer, tuple | list) and len(answer) > 1 and not any(hasattr(answer, name) for name in names):
            self._tell_of_several(answer)
        if not isinstance(logits, Tensor):
            message = f"model `{self.name}`: expected logits, got {type(answer).__name__}; return a tensor (B, classes)"
            raise ModelError(message)
        if logits.ndim != 2 or len(logits) != len(batch):
            check_logits(logits.detach().float().cpu().numpy(), len(batch), self.name, self.output)
            logits = logits[:, None]
        return logits

    def _tell_of_several(self, answer: tuple[Any, ...] | list[Any]) -> None:
        """A warning, once, where nobody has said which of several answers are the logits."""
        if _TAKEN in self.noticed:
            return
        kind = f"a {type(answer).__name__} of {len(answer)}"
        self.noticed[_TAKEN] = f"the first of {kind}"
        warn(
            f"model `{self.name}`: it answers with {kind}, of which the first is taken for its logits; pass a module "
            "that returns its logits alone, or an object with `logits`"
        )

    def rows(self, answer: Any) -> Tensor:
        """What the module, or what computes in its place, answers, as rows (B, D) that its output can read."""
        found: Tensor = answer if self.output is None else self.output.rows(answer, self.name)
        return found

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients; afterwards every submodule is in the mode that it was in.

        A tensor that the module makes for itself and keeps, as a table of positions, can be trained with afterwards.
        The caller's autocast is off, and so is TensorFloat-32: the precision is what was asked for here.
        """
        device = self.device
        kind = device.type
        casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        uncast = torch.autocast(kind, enabled=False) if casts else contextlib.nullcontext()
        with evaluating(self.module), torch.no_grad(), uncast, exact_products(device):
            yield

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Evaluation mode with gradients, whatever the caller has turned off; no parameter collects any."""
        with self.evaluating(), torch.inference_mode(mode=False), torch.enable_grad():
            yield

    def errors_named(self, what: str) -> "_ErrorsNamed":
        """Whatever is raised inside is the model's and names it; out of memory stays what `Chunks` knows."""
        return _ErrorsNamed(self.name, what)


class _ErrorsNamed:
    """See `TorchModule.errors_named`.

    Not of contextlib, which raises a StopIteration itself where it finds an error that was caused by one.
    """

    def __init__(self, name: str, what: str) -> None:
        self._name, self._what = name, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, InterpixError | torch.OutOfMemoryError):
            message = f"model `{self._name}` raised {type(error).__name__} for {self._what}: {error}"
            raise ModelError(message) from error


class _ThreadHook:
    """A hook that sees the forward passes of one thread only: others may ask the module meanwhile."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._thread = function, threading.get_ident()

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments) if threading.get_ident() == self._thread else None


@contextlib.contextmanager
def hooked(
    parts: Iterable[nn.Module], function: Callable[..., Any], *, before: bool = False, with_names: bool = False
) -> Iterator[None]:
    """Calls `function` after (or before) each of `parts` runs in this thread; other threads' passes are not touched.

    Args:
        parts: Of the module that runs meanwhile.
        function: torch's own kind of hook.
        before: It is a forward pre-hook.
        with_names: It takes what is passed by name, too, as a dictionary.
    """
    hook = _ThreadHook(function)
    with contextlib.ExitStack() as stack:
        for part in parts:
            register = part.register_forward_pre_hook if before else part.register_forward_hook
            stack.callback(register(hook, with_kwargs=with_names).remove)
        yield


def is_hooked(module: nn.Module) -> bool:
    """Somebody's hooks or replaced `forward` would not be called by a forward pass of our own."""
    return hook_count(module) > 0 or any("forward" in vars(part) for part in parts_of(module))


def hook_count(module: nn.Module) -> int:
    """The number of the user's own hooks on a module and its parts."""
    return sum(
        1
        for part in parts_of(module)
        if part._forward_pre_hooks or part._forward_hooks  # noqa: SLF001
        # As lists at once: another thread may put its hooks there meanwhile.
        for hook in (*list(part._forward_pre_hooks.values()), *list(part._forward_hooks.values()))  # noqa: SLF001
        if not isinstance(hook, _ThreadHook) and getattr(hook, "__module__", None) != _WATCHING
    )


def in_double(values: Tensor) -> Tensor:
    """Values in double precision: on their device, or, as Apple's has none, on the CPU."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside of torch's own wrappers: compiled, averaged, or parallel over devices; and inside of PEFT's.

    PEFT puts adapters into the module's own layers, so that it answers with them, too.
    """
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
            module = module.module
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        elif any(f"{base.__module__}.{base.__name__}" == _ADAPTED for base in type(module).__mro__):
            inner = module.get_base_model()
            if inner is module.base_model:  # whose inputs it changes
                return module
            module = inner
        else:
            return module


def _find_logits(answer: Any, names: tuple[str, ...]) -> Any:
    """Logits from what models answer: a tensor, an object or dict with one of `names`, or a tuple that starts so."""
    for name in names:
        if isinstance(answer, dict) and name in answer:
            return answer[name]
        if hasattr(answer, name):
            return getattr(answer, name)
    return answer[0] if isinstance(answer, tuple | list) and answer else answer
