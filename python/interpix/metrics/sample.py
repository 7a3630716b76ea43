"""One image, ready to be measured: what every measure and every method's map of it share."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray
from interpix.checks import check_positive
from interpix.images import ImageInput, read_image
from interpix.metrics.annotation import read_annotation
from interpix.models import Classifier, as_classifier
from interpix.models.protocol.targets import read_target
from interpix.normalization import Normalization
from interpix.outputs import read_logits, scores_of
from interpix.search.games import model_display, model_input

__all__ = ["Sample", "ranked_scores"]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with the model that is asked about it; make it with `Sample.of`.

    Attributes:
        classifier: The model.
        tensor: The image as the model's input, float32 (3, H, W).
        image: The picture that the model sees, uint8 (H, W, 3): what `interpix.MoXI` and the methods segment.
        target: The class whose probability is measured.
        prediction: The most probable class of the clean image.
        probability: The target's softmax probability on the clean image.
        annotation: True inside the annotated object (H, W), or None.
        batch_size: The greatest number of pictures in one call of the model; no result depends on it.
        seed: Of the random choices; one for each image, the same for all methods.
    """

    classifier: Classifier
    tensor: npt.NDArray[np.float32]
    image: npt.NDArray[np.uint8]
    target: int
    prediction: int
    probability: float
    annotation: BoolArray | None
    batch_size: int
    seed: int

    @classmethod
    def of(
        cls,
        model: Any,
        image: ImageInput,
        *,
        target: int | str | None = None,
        annotation: Any = None,
        batch_size: int = 32,
        seed: int = 0,
    ) -> "Sample":
        """Preprocesses the image and asks the model about it.

        Args:
            model: Anything that `interpix.MoXI` takes.
            image: A raw image, or a preprocessed float tensor (3, H, W).
            target: The class to measure, by index or name; None: the one predicted on the clean image.
            annotation: Where the object is, in the picture as the model sees it: a bool mask (H, W), or
                boxes (left, top, right, bottom) in pixels, right and bottom exclusive.
            batch_size: The greatest number of pictures in one call of the model.
            seed: Of the random choices of all measures of this image.
        """
        check_positive("batch_size", batch_size)
        classifier = as_classifier(model)
        loaded = read_image(image)
        tensor = model_input(classifier, loaded)
        shown = model_display(classifier, loaded, tensor)
        # A copy: a model may write to its batch.
        logits = np.asarray(classifier.logits(tensor[None].copy()), np.float64)
        prediction = int(logits[0].argmax())
        chosen = read_target(target, prediction, classifier.class_names, logits.shape[1])
        _, probability, _ = scores_of(read_logits(logits, np.array([[chosen]])), "probability")
        size = (tensor.shape[1], tensor.shape[2])
        inside = None if annotation is None else read_annotation(annotation, size)
        return cls(classifier, tensor, shown, chosen, prediction, float(probability[0]), inside, batch_size, seed)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture that the model sees."""
        return self.tensor.shape[1], self.tensor.shape[2]

    @cached_property
    def normalization(self) -> Normalization:
        """The end of the model's preprocessing; it must have one."""
        return Normalization.of(self.classifier)

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """The picture as the model sees it, uint8 (H, W, 3), before normalization."""
        return self.normalization.restore(self.tensor)

    def scores(self, pictures: Iterator[npt.NDArray[np.float32]]) -> tuple[npt.NDArray[np.float64], IntArray]:
        """Probability of the target and predicted class of batches of pictures (b, 3, H, W)."""
        probabilities, predicted = [], []
        for batch in pictures:
            logits = np.asarray(self.classifier.logits(batch), np.float64)
            _, probability, classes = scores_of(
                read_logits(logits, np.full((len(batch), 1), self.target)), "probability"
            )
            probabilities.append(probability)
            predicted.append(classes)
        return np.concatenate(probabilities), np.concatenate(predicted)


def ranked_scores(
    sample: Sample, start: npt.NDArray[np.float32], end: npt.NDArray[np.float32], step: IntArray, steps: int
) -> tuple[npt.NDArray[np.float64], IntArray]:
    """Scores of the `steps` + 1 pictures on the way from `start` to `end`: the one loop over ranked pixels.

    Args:
        sample: The model and its target.
        start: The picture after no step (3, H, W).
        end: What takes its place (3, H, W).
        step: The step 1 ... `steps` at which each pixel changes (H, W); later ones never do.
        steps: How many.

    Returns:
        Probability of the target, and predicted class, after 0 ... `steps` steps.
    """

    def pictures() -> Iterator[npt.NDArray[np.float32]]:
        for first in range(0, steps + 1, sample.batch_size):
            now = np.arange(first, min(first + sample.batch_size, steps + 1))
            yield np.where(step <= now[:, None, None, None], end, start)

    return sample.scores(pictures())
