"""Classifiers that run in the compiled half: no torch anywhere."""

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.absence import Absence, DropTokens, Fill, MaskAttention
from interpix.arrays import BoolArray, IntArray
from interpix.errors import ModelError, bad_value
from interpix.models.adapters import weights
from interpix.models.protocol.classifier import Coalitions, Scorer, check_finite, check_logits, coalitions_named
from interpix.models.protocol.pictures import PictureScorer, make_fill
from interpix.models.protocol.players import token_players
from interpix.models.protocol.steps import BATCHES_A_STEP, Best, Step
from interpix.normalization import Normalized
from interpix.outputs.base import Output
from interpix.outputs.classes import Sigmoid, Softmax
from interpix.outputs.readout import Readout, read_logits
from interpix.paths import is_file, is_folder
from interpix.terms import Precision

__all__ = ["NativeClassifier", "describe_models", "load_folder", "load_native"]

_TOKEN_BATCH = 1024
"""Coalitions that a search hands out at once; the compiled half divides them by a budget of its own."""
_LINE = 100
"""Letters of a line of names."""
_CONFIGURATIONS = ("config.json", "preprocessor_config.json")


@final
class NativeClassifier(Normalized):
    """A native classifier, following `interpix.models.Classifier`.

    A pickle of it holds no weights but their file's path and hash: another process reads the file, or the same weights
    wherever it finds them, and refuses others. Copies share the compiled model, which nothing changes.

    Args:
        model: The compiled model.
        file: The file that its weights came from.
        folder: The folder that described it, if one did.

    Attributes:
        batch_size: How many pictures go through the model at once by default.
        output: What its logits mean; None: a softmax. Of a folder whose ``config.json`` says that each class is a label
            of its own, a sigmoid.
    """

    batch_size: int = 32
    reads_outputs = True

    def __init__(self, model: _core.NativeModel, file: weights.Weights, folder: Path | None = None) -> None:
        """Wraps `model`, whose weights came from `file`."""
        self._model = model
        self._class_names = model.class_names
        self._file = file
        self._folder = folder
        self._described = None if folder is None else _described(folder)
        self.output: Output | None = Sigmoid() if model.independent else None

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
        if self._folder is None:
            self._file = weights.find_again(name, self._file)
            self._model = _core.NativeModel(name, self._file.path)
            return
        same = self._file.path.is_file() and weights.Weights.of(self._file.path) == self._file
        if not same or _described(self._folder) != self._described:
            message = f"model `{name}`: {self._folder} is not as it was when the model was made; bring back its files"
            raise ModelError(message)
        self._model = _core.NativeModel.from_folder(self._folder)

    def __copy__(self) -> "NativeClassifier":
        """Another object with the same compiled model."""
        copy = NativeClassifier.__new__(NativeClassifier)
        copy.__dict__.update(self.__dict__)
        return copy

    def __deepcopy__(self, _memo: dict[int, Any]) -> "NativeClassifier":
        """The same: nothing of it can be changed."""
        return self.__copy__()

    def __repr__(self) -> str:
        height, width = self.input_size
        return f"NativeClassifier({self.name!r}, {height} x {width}, {self._model.classes} classes)"

    @property
    def name(self) -> str:
        """The checkpoint's name."""
        return self._model.name

    @property
    def class_names(self) -> list[str] | None:
        """One name for each class, where they are known."""
        return None if self._class_names is None else list(self._class_names)

    @property
    def token_grid(self) -> tuple[int, int] | None:
        """Rows and columns of a Vision Transformer's patch tokens; None: pixels can only be filled."""
        return self._model.token_grid

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

    spares_batches = True
    """`logits` does not write to what it is given."""

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (B, classes) of preprocessed images (B, 3, H', W')."""
        logits = self._model.logits(batch)
        check_finite(np.asarray(np.isfinite(logits).all(axis=1)), self.name)
        return self._rows(logits)

    def scorer(self, images: npt.NDArray[np.float32], regions: IntArray, absence: Absence) -> Scorer:
        """See `Classifier.scorer`: tokens are dropped or masked where the model has them, pixels filled anywhere."""
        if self.token_grid is not None and not isinstance(absence, Fill):
            return _TokenScorer(self, self.token_grid, images, regions, absence)
        return _FillScorer(self, images, regions, make_fill(self, images, absence))

    @property
    def _takes_steps(self) -> bool:
        """Whether rows are logits as they come, which the compiled half can compare."""
        return self.output is None or type(self.output) in {Softmax, Sigmoid}

    def _rows(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.output is None:
            return logits
        if not self.output.takes_rows:
            raise bad_value("output", f"one of logits for model `{self.name}`", self.output.name, "leave it out")
        return np.asarray(self.output.rows(logits, self.name), np.float32)

    def provenance(self) -> dict[str, Any]:
        """See `Classifier.provenance`."""
        return {"model": self.name, "model_kind": "native", "weights_sha256": self._file.sha256}


@final
class _FillScorer(PictureScorer):
    """Coalitions as pictures that the compiled half makes."""

    def __init__(
        self,
        classifier: NativeClassifier,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        fill: npt.NDArray[np.float32],
    ) -> None:
        """Takes images and fill (K, 3, H, W) and regions (K, H, W)."""
        self._classifier, self._pictures = classifier, (images, regions, fill)
        self._model = classifier._model  # noqa: SLF001 - it is the same module's
        self.takes_steps = classifier._takes_steps  # noqa: SLF001 - likewise
        super().__init__(self._logits, classifier.name, classifier.batch_size, classifier.output)
        self.candidates_at_once = BATCHES_A_STEP * self.batch_size

    def _logits(self, owner: IntArray, masks: BoolArray) -> npt.NDArray[np.float32]:
        return self._classifier._rows(  # noqa: SLF001 - it is the same module's
            self._model.masked_logits(*self._pictures, owner, masks)
        )

    def best(self, step: Step) -> Callable[[], Best]:
        """See `StepScorer`."""
        return lambda: _told(step, *self._model.masked_best(*self._pictures, step))


@final
class _TokenScorer:
    """Coalitions of a Vision Transformer's patches: the image is embedded once, absent tokens are dropped or masked."""

    batch_size = _TOKEN_BATCH

    def __init__(
        self,
        classifier: NativeClassifier,
        grid: tuple[int, int],
        images: npt.NDArray[np.float32],
        regions: IntArray,
        absence: DropTokens | MaskAttention,
    ) -> None:
        """Takes images (K, 3, H, W) and regions (K, H, W), each made of whole patches."""
        model = classifier._model  # noqa: SLF001 - it is the same module's
        self._classifier, self._name, self._absence = classifier, model.name, absence
        self._from_layer = absence.from_layer if isinstance(absence, MaskAttention) else 0
        depth = model.depth or 0
        if self._from_layer >= depth:
            expected = f"a block of model `{model.name}`, 0 ... {depth - 1}"
            raise bad_value("from_layer", expected, self._from_layer, "0 masks in all blocks")
        self._players = token_players(regions, grid)
        self._tokens = model.tokens(images)
        self.takes_steps = classifier._takes_steps  # noqa: SLF001 - it is the same module's
        self.candidates_at_once = self.batch_size

    @property
    def facts(self) -> dict[str, Any]:
        """See `Scorer`."""
        return {"scored_as": "tokens"}

    def score(self, coalitions: Coalitions, precision: Precision = "exact") -> Readout:
        """See `Scorer`; there is one precision."""
        if precision != "exact":
            cure = 'leave it out: "mixed" is for PyTorch models'
            raise bad_value("precision", f'"exact" for model `{self._name}`', repr(precision), cure)
        masks = coalitions.masks
        kept = np.take_along_axis(masks, self._players[coalitions.owner], axis=1)
        with coalitions_named(self._name, masks):
            found = self._tokens.logits(coalitions.owner, kept, masked=self._masked, from_layer=self._from_layer)
            rows = self._classifier._rows(found)  # noqa: SLF001 - it is the same module's
            logits = check_logits(rows, len(coalitions), self._name, self._classifier.output)
        return read_logits(logits, coalitions.targets, relative=coalitions.relative)

    def best(self, step: Step) -> Callable[[], Best]:
        """See `StepScorer`."""
        best, players, masked, first = self._tokens.best, self._players, self._masked, self._from_layer
        return lambda: _told(step, *best(players, step, masked=masked, from_layer=first))

    @property
    def _masked(self) -> bool:
        return isinstance(self._absence, MaskAttention)


def _told(step: Step, player: IntArray, gap: npt.NDArray[np.float64], logits: npt.NDArray[np.float32]) -> Best:
    """What the compiled half says of a step."""
    rows = logits.astype(np.float64)
    return Best(player, read_logits(rows, step.targets[:, None], relative=step.relative), gap)


def load_native(name: str, weights_path: str | os.PathLike[str] | None = None) -> NativeClassifier:
    """A native classifier with its weights.

    Args:
        name: One of the architectures that `describe_models` lists, as ``"vit_tiny_patch16_224"``.
        weights_path: The weights file; found by `interpix.models.adapters.weights.find` if left out.

    Raises:
        ArgumentError: There is no such model or file.
        MissingDependencyError: The weights are not installed.
        ModelError: The weights file is damaged or another model's.
    """
    file = weights.find(name, weights_path)
    return NativeClassifier(_core.NativeModel(name, file.path), file)


def load_folder(folder: str | os.PathLike[str]) -> NativeClassifier:
    """The native classifier that a folder holds, as a hub gives it.

    Args:
        folder: With ``model.safetensors`` and ``config.json``, timm's or transformers'; transformers' with
            ``preprocessor_config.json``, too.

    Raises:
        ArgumentError: There is no such folder, or a file of it is not there.
        ModelError: A file is damaged, or says what no native model does.
    """
    place = Path(folder).absolute()
    if not is_folder(place):
        raise bad_value("name", "native: and a folder", f"`{os.fspath(folder)}`", "check the path")
    for file in ("config.json", "model.safetensors"):
        if not is_file(place / file):
            cure = "give the folder as a hub has it; timm's save_for_hf writes it with safe_serialization=True"
            raise bad_value("name", f"a folder with {file}", f"`{os.fspath(folder)}` without it", cure)
    model = _core.NativeModel.from_folder(place)
    return NativeClassifier(model, weights.Weights.of(place / "model.safetensors"), place)


def _described(folder: Path) -> list[str | None]:
    """The hashes of what a folder says of its model."""
    files = [folder / name for name in _CONFIGURATIONS]
    return [weights.Weights.of(file).sha256 if file.is_file() else None for file in files]


def describe_models() -> str:
    """The native architectures and, for each place where weights are looked for, whether they are there."""
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
    lines += ["", "with weights of your own, load_model(NAME, weights=FILE) or load_model('native:FOLDER'):"]
    names = textwrap.wrap(", ".join(_core.architectures()), _LINE, break_long_words=False)
    lines += [*(f"  {line}" for line in names), *(f"  found   {file}" for file in weights.files_of_architectures())]
    return "\n".join(lines)
