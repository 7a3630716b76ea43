"""Classifiers that run in the compiled half: no torch anywhere."""

import os
from typing import Any, final

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.absence import Absence
from interpix.arrays import BoolArray, IntArray
from interpix.errors import bad_value
from interpix.models.adapters import weights
from interpix.models.protocol.classifier import Scorer
from interpix.models.protocol.pictures import PictureScorer, make_fill
from interpix.normalization import Normalized
from interpix.outputs.base import Output

__all__ = ["NativeClassifier", "describe_models", "load_native"]


@final
class NativeClassifier(Normalized):
    """A native classifier, following `interpix.models.Classifier`.

    A pickle of it holds no weights but their file's path and hash: another process reads the file, or the same weights
    wherever it finds them, and refuses others. Copies share the compiled model, which nothing changes.

    Args:
        model: The compiled model.
        file: The file that its weights came from.

    Attributes:
        token_grid: None: pixels can only be filled.
        batch_size: How many pictures go through the model at once by default.
        output: What its logits mean; None: a softmax.
    """

    token_grid: tuple[int, int] | None = None
    batch_size: int = 32

    def __init__(self, model: _core.NativeModel, file: weights.Weights) -> None:
        """Wraps `model`, whose weights came from `file`."""
        self._model = model
        self._class_names = model.class_names
        self._file = file
        self.output: Output | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: all but the compiled model."""
        return {name: value for name, value in self.__dict__.items() if name != "_model"} | {"name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Reads the weights again.

        Raises:
            ModelError: They are not there.
        """
        name = state.pop("name")
        self.__dict__.update(state)
        self._file = weights.find_again(name, self._file)
        self._model = _core.NativeModel(name, self._file.path)

    def __copy__(self) -> "NativeClassifier":
        """Another object with the same compiled model."""
        copy = NativeClassifier(self._model, self._file)
        copy.__dict__.update(self.__dict__)
        return copy

    def __deepcopy__(self, _memo: dict[int, Any]) -> "NativeClassifier":
        """The same: nothing of it can be changed."""
        return self.__copy__()

    def __repr__(self) -> str:
        height, width = self.input_size
        return f"NativeClassifier({self.name!r}, {height} x {width}, {len(self._class_names)} classes)"

    @property
    def name(self) -> str:
        """The checkpoint's name."""
        return self._model.name

    @property
    def class_names(self) -> list[str]:
        """One name for each class."""
        return list(self._class_names)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that the model wants."""
        return self._model.input_size

    def preprocess(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """A raw image (H, W, 3) resized, cropped and normalized as in the model's training: (3, H', W')."""
        return self._model.preprocess(image)

    def display(
        self,
        image: npt.NDArray[np.uint8],
        tensor: npt.NDArray[np.float32] | None = None,  # noqa: ARG002 - see above
    ) -> npt.NDArray[np.uint8]:
        """The part (H', W', 3) of a raw image that the model sees, byte for byte; `tensor` is not needed."""
        return self._model.display(image)

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (B, classes) of preprocessed images (B, 3, H', W')."""
        return self._rows(self._model.logits(batch))

    def scorer(self, images: npt.NDArray[np.float32], regions: IntArray, absence: Absence) -> Scorer:
        """See `Classifier.scorer`; absent pixels can only be filled."""
        fill = make_fill(self, images, absence)

        def masked_logits(owner: IntArray, masks: BoolArray) -> npt.NDArray[np.float32]:
            return self._rows(self._model.masked_logits(images, regions, fill, owner, masks))

        return PictureScorer(masked_logits, self.name, self.batch_size, self.output)

    def _rows(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.output is None:
            return logits
        if not self.output.takes_rows:
            raise bad_value("output", f"one of logits for model `{self.name}`", self.output.name, "leave it out")
        return np.asarray(self.output.rows(logits, self.name), np.float32)

    def provenance(self) -> dict[str, Any]:
        """See `Classifier.provenance`."""
        return {"model": self.name, "model_kind": "native", "weights_sha256": self._file.sha256}


def load_native(name: str, weights_path: str | os.PathLike[str] | None = None) -> NativeClassifier:
    """A native classifier with its weights.

    Args:
        name: ``"efficientnet_lite0"`` (ImageNet-1k, 224 x 224).
        weights_path: The weights file; found by `interpix.models.adapters.weights.find` if left out.

    Raises:
        ArgumentError: There is no such model or file.
        MissingDependencyError: The weights are not installed.
        ModelError: The weights file is damaged or another model's.
    """
    file = weights.find(name, weights_path)
    return NativeClassifier(_core.NativeModel(name, file.path), file)


def describe_models() -> str:
    """The native models and, for each place where weights are looked for, whether they are there."""
    lines = []
    for name, checkpoint in weights.CHECKPOINTS.items():
        places = [(kind, path, path.is_file()) for kind, path in weights.places(name)]
        lines.append(f"{name} (weights: {checkpoint.license})")
        lines += [f"  {'found ' if found else 'absent'}  {kind}: {path}" for kind, path, found in places]
        chosen = [found for kind, _, found in places if kind == weights.VARIABLE]
        if chosen and not any(chosen):
            lines.append(f"  {weights.VARIABLE} is set, so that no other place is used: correct it, or unset it")
        elif not any(found for _, _, found in places):
            lines.append(f"  {checkpoint.install}")
    return "\n".join(lines)
