"""An ONNX model, run by ONNX Runtime wherever its session's execution providers run it."""

import ast
import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from interpix.errors import MissingDependencyError, ModelError, bad_type, bad_value
from interpix.models.adapters.callable import CallableClassifier
from interpix.normalization import Display
from interpix.outputs.reading import OutputInput
from interpix.paths import is_file

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxClassifier"]

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_COLORS = (1, 3)
_MOST_CHANNELS = 64
_AXES = 4


class OnnxClassifier(CallableClassifier):
    """An ONNX image classifier: an input (B, C, H, W) or (B, H, W, 3) of floats, and logits (B, classes) as an output.

    What the session was made with, its execution providers above all, is kept. Where the batch axis has a fixed length,
    batches are cut and filled up to it.

    A file that means each color:

    >>> import onnx.parser
    >>> text = '''<ir_version: 9, opset_import: ["": 18]> means (float[N, 3, H, W] x) => (float[N, 3] y) {
    ...     axes = Constant <value_ints = [2, 3]> ()
    ...     y = ReduceMean <keepdims = 0> (x, axes)
    ... }'''
    >>> path = getfixture("tmp_path") / "means.onnx"
    >>> onnx.save(onnx.parser.parse_model(text), path)
    >>> model = OnnxClassifier(path, class_names=["red", "green", "blue"])
    >>> model.name, model.layout, model.logits(np.ones((1, 3, 4, 6), np.float32))
    ('onnx:means', 'NCHW', array([[1., 1., 1.]], dtype=float32))

    Attributes:
        session: The `onnxruntime.InferenceSession`.
        layout: "NCHW" or "NHWC", as the input's shape says.
        name: For people.
        class_names: One name for each class, or None.
        input_size: Height and width of the input, or None if it takes any.
        batch_size: How many pictures go through the model at once by default.
    """

    _cure: ClassVar[str] = "say how photos are prepared, in Python: interpix.OnnxClassifier(file, preprocess=...)"

    def __init__(
        self,
        model: "str | os.PathLike[str] | onnxruntime.InferenceSession",
        *,
        preprocess: Callable[[npt.NDArray[np.uint8]], Any] | None = None,
        class_names: Sequence[str] | None = None,
        name: str | None = None,
        output: OutputInput = "auto",
        display: Display | None = None,
    ) -> None:
        """Opens a file, or takes a session as it is; nothing is run yet.

        Args:
            model: The path of a `.onnx` file, which runs on the CPU, or a session.
            preprocess: From a raw uint8 image (H, W, 3) to float32 (C, H', W'); without it, only preprocessed images
                are taken.
            class_names: One name for each class; by default those that the file's metadata holds under "names", as
                some exporters write them.
            name: For people; the file's by default.
            output: What the answers mean, see `interpix.outputs`.
            display: What people see of the input: a function from (C, H, W) to uint8 (H, W, 3), or the channels that
                are red, green and blue; for models that take something else than colors.

        Raises:
            ArgumentError: There is no such file, or its inputs or outputs are not those of an image classifier.
            MissingDependencyError: ONNX Runtime is not installed.
            ModelError: ONNX Runtime cannot read it: it is damaged, or of an operator set that is not known.
        """
        self.session = _open(model)
        path = getattr(self.session, "_model_path", None)
        self._path = Path(path).resolve() if path else None
        self._hashed: tuple[tuple[int, int], str] | None = None
        self._input, self.layout = _read_input(self.session)
        self._output = _read_output(self.session)
        fixed, *_ = shape = self._input.shape
        self._fixed_batch = fixed if isinstance(fixed, int) else None
        height, width = shape[2:] if self.layout == "NCHW" else shape[1:3]
        size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        super().__init__(
            self._run,
            name=name or f"onnx:{self._path.stem if self._path else 'model'}",
            class_names=_names_in(self.session) if class_names is None else class_names,
            preprocess=preprocess,
            input_size=size,
            output=output,
            display=display,
        )
        self.batch_size = self._fixed_batch or self.batch_size

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: where the file is, and what ran it. A session itself cannot be sent."""
        if self._path is None:
            cure = "make it from a file"
            raise bad_value("model", "a session that was made from a file", "one made from bytes", cure)
        session = {"providers": self.session.get_providers(), "sha256": self._file_hash()}
        return self.__dict__ | {"session": session, "function": None, "_input": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens the file again, if it is the same still."""
        self.__dict__.update(state)
        opened, self.session = self.session, _open(self._path, self.session["providers"])
        if opened["sha256"] != self._file_hash():
            raise bad_value("model", f"the file '{self._path}' as it was", "another one", "pickle the model again")
        self._input, _ = _read_input(self.session)
        self.function = self._run

    def provenance(self) -> dict[str, Any]:
        """See `Classifier.provenance`."""
        return {
            "model": self.name,
            "model_kind": "onnx",
            "onnxruntime": _runtime().__version__,
            "providers": self.session.get_providers(),
            "input_name": self._input.name,
            "output_name": self._output,
            "layout": self.layout,
            "weights_sha256": self._file_hash(),
        }

    def _file_hash(self) -> str | None:
        if self._path is None:
            return None
        found = self._path.stat()
        state = (found.st_mtime_ns, found.st_size)
        if self._hashed is None or self._hashed[0] != state:
            with self._path.open("rb") as file:
                self._hashed = state, hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashed[1]

    def _run(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Logits of any number of pictures (B, C, H, W)."""
        pictures = batch if self.layout == "NCHW" else batch.transpose(0, 2, 3, 1)
        pictures = np.ascontiguousarray(pictures, _DTYPES[self._input.type])
        size = self._fixed_batch
        if size is None:
            return self._ask(pictures)
        answers = []
        for start in range(0, len(pictures), size):
            part = pictures[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            answers.append(self._ask(filled)[: len(part)])
        return np.concatenate(answers)

    def _ask(self, pictures: npt.NDArray[Any]) -> npt.NDArray[Any]:
        try:
            (answer,) = self.session.run([self._output], {self._input.name: pictures})
        except Exception as error:  # ONNX Runtime has no base class for its own
            message = f"model `{self.name}` raised {type(error).__name__} for a batch {pictures.shape}: {error}"
            raise ModelError(message) from error
        return np.asarray(answer)


def _runtime() -> Any:
    try:
        import onnxruntime  # optional
    except ImportError as error:
        raise MissingDependencyError('ONNX models need ONNX Runtime: pip install "interpix[onnx]"') from error
    return onnxruntime


def _open(model: Any, providers: Sequence[str] = ("CPUExecutionProvider",)) -> "onnxruntime.InferenceSession":
    runtime = _runtime()
    if isinstance(model, runtime.InferenceSession):
        return model
    if not isinstance(model, str | os.PathLike):
        raise bad_type("model", "the path of a .onnx file, or an onnxruntime.InferenceSession", model, "pass either")
    path = os.fspath(model)
    if not is_file(path):
        raise bad_value("model", "a file that exists", f"'{path}'", "check the path")
    try:
        return runtime.InferenceSession(path, providers=list(providers))
    except Exception as error:  # ONNX Runtime has no base class for its own
        message = f"'{path}' cannot be opened by ONNX Runtime {runtime.__version__}: {error}; export it again"
        raise ModelError(message) from error


def _read_input(session: "onnxruntime.InferenceSession") -> tuple[Any, str]:
    """The one input, and where its channels are."""
    inputs = session.get_inputs()
    need, cure = "a model with one input, (B, C, H, W) or (B, H, W, 3) of floats", "export the image model alone"
    got = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
    if len(inputs) != 1 or inputs[0].type not in _DTYPES or len(inputs[0].shape) != _AXES:
        raise bad_value("model", need, got or "none", cure)
    _, first, _, last = inputs[0].shape
    if last in _COLORS and first not in _COLORS:
        return inputs[0], "NHWC"
    if not isinstance(first, int) or first <= _MOST_CHANNELS:
        return inputs[0], "NCHW"
    raise bad_value("model", need, got, cure)


def _read_output(session: "onnxruntime.InferenceSession") -> str:
    """The name of the first output (B, classes)."""
    outputs = session.get_outputs()
    found = [one.name for one in outputs if len(one.shape) == 2]
    if not found:
        got = ", ".join(f"{one.name} {one.shape}" for one in outputs)
        raise bad_value("model", "an output (B, classes)", got, "export the logits as an output")
    return str(found[0])


def _names_in(session: "onnxruntime.InferenceSession") -> list[str] | None:
    """Class names of the file's metadata: a list, or a dict by index, as Python writes them."""
    text = session.get_modelmeta().custom_metadata_map.get("names")
    names: Any = None
    with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        names = ast.literal_eval(text) if text else None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[index] for index in range(len(names))]
    return names if isinstance(names, list) and all(isinstance(one, str) for one in names) else None
