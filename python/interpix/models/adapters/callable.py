"""Any function from a batch of images to logits, as a classifier."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from interpix.absence import Absence
from interpix.arrays import IntArray, is_array, to_numpy
from interpix.errors import ModelError, bad_type, bad_value
from interpix.models.protocol.classifier import Scorer, check_logits, keeps_doubles
from interpix.models.protocol.memo import Memo
from interpix.models.protocol.pictures import picture_scorer
from interpix.normalization import Display, Normalized, read_display
from interpix.outputs.reading import OutputInput, read_output
from interpix.targets import read_class_names

__all__ = ["CallableClassifier"]


class CallableClassifier(Normalized):
    """A function from float32 (B, C, H, W) to logits (B, classes), numpy or torch, as a classifier.

    What the function raises comes out as it is, but for StopIteration, which Python takes for the end of a loop: that
    becomes a ModelError. What it answers is checked: one finite row for each image.

    >>> model = CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), class_names=["red", "green", "blue"])
    >>> model.logits(np.ones((1, 3, 4, 6), np.float32))
    array([[24., 24., 24.]], dtype=float32)

    Attributes:
        function: The function itself.
        name: For people.
        class_names: One name for each class, or None.
        input_size: Height and width that the function wants, or None if it takes any.
        token_grid: None: pixels can only be filled.
        batch_size: How many pictures the function gets at once by default.
        output: What its answers mean; None: what follows from their number.
        memo: What it answered, where the output shares that.
    """

    token_grid: tuple[int, int] | None = None
    reads_outputs = True
    batch_size: int = 32

    _cure: ClassVar[str] = "wrap the function as interpix.CallableClassifier(function, preprocess=...)"

    def __init__(
        self,
        function: Callable[[npt.NDArray[np.float32]], Any],
        *,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        preprocess: Callable[[npt.NDArray[np.uint8]], Any] | None = None,
        input_size: tuple[int, int] | None = None,
        output: OutputInput = "auto",
        display: Display | None = None,
    ) -> None:
        """Wraps `function`.

        Args:
            function: From float32 (B, C, H, W) to logits (B, classes).
            name: For people; the function's own name by default.
            class_names: One name for each class.
            preprocess: From a raw uint8 image (H, W, 3) to float32 (C, H', W'); without it, only
                preprocessed images are taken.
            input_size: Height and width of a preprocessed image, if only one size will do.
            output: What the answers mean, see `interpix.outputs`; `"auto"`: a softmax of two or more logits, a sigmoid
                of one.
            display: What people see of the input: a function from (C, H, W) to uint8 (H, W, 3), or the channels that
                are red, green and blue; for models that take something else than colors.
        """
        if not callable(function):
            raise bad_type("function", "a function from images to logits", function, "pass a function")
        self.function = function
        self._preprocess = preprocess
        self.name: str = name or str(getattr(function, "__name__", type(function).__name__))
        self.class_names = None if class_names is None else read_class_names(class_names)
        self.input_size = input_size
        self.output = read_output(output)
        self.memo = Memo()
        self.shown = read_display(display)

    def preprocess(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The function's input (C, H', W') for a raw image (H, W, 3)."""
        if self._preprocess is None:
            cure = f"pass a float tensor (C, H, W), or {self._cure}"
            need = f"a preprocessed image, as `{self.name}` does not say how to preprocess raw ones"
            raise bad_value("image", need, "a raw image", cure)
        return to_numpy(self._preprocess(image), "preprocess").astype(np.float32)

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (B, classes) of preprocessed images (B, C, H, W)."""
        if self.output is not None and self.output.shares:
            pictures = [str(one.shape).encode() + one.tobytes() for one in batch]
            return self.memo.rows(pictures, lambda index: self._answer(batch[index]))
        return self._answer(batch)

    def _answer(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        try:
            answer = self.function(batch)
        except StopIteration as error:
            message = f"model `{self.name}` raised StopIteration for a batch {batch.shape}: {error}"
            raise ModelError(message) from error
        if self.output is not None and not self.output.takes_rows:
            answer = self.output.rows(answer, self.name, (batch.shape[2], batch.shape[3]))
        if not is_array(answer):
            message = (
                f"model `{self.name}`: expected an array of logits, got {type(answer).__name__}; "
                "return a numpy array or a torch tensor"
            )
            raise ModelError(message)
        logits = to_numpy(answer, "logits")
        if self.output is not None and self.output.takes_rows:
            logits = self.output.rows(logits, self.name)
        rows = check_logits(logits, len(batch), self.name, self.output)
        return rows if keeps_doubles(self.output) else rows.astype(np.float32)  # type: ignore[return-value]

    def scorer(self, images: npt.NDArray[np.float32], regions: IntArray, absence: Absence) -> Scorer:
        """See `Classifier.scorer`; absent pixels can only be filled."""
        return picture_scorer(self, images, regions, absence)

    def provenance(self) -> dict[str, Any]:
        """See `Classifier.provenance`."""
        return {"model": self.name, "model_kind": "callable"}
