"""One image, ready to be measured: what every metric and every method's map of it share."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray
from interpix.checks import check_positive, check_seed
from interpix.images import ImageInput
from interpix.masks import read_mask
from interpix.models.protocol.classifier import ModelInput
from interpix.models.protocol.workshop import workshop_of
from interpix.options import python_number
from interpix.outputs.reading import OutputInput
from interpix.outputs.readout import Scores
from interpix.question import Question
from interpix.terms import Target

__all__ = ["Sample", "ranked_scores"]


@dataclass(frozen=True, eq=False)
class Sample(Question):
    """A question whose maps are scored: the target is the class that is measured. Make it with `Sample.of`.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> sample = Sample.of(model, np.ones((3, 4, 6), np.float32), target=2, annotation=[(0, 0, 3, 4)])
    >>> sample.target, round(sample.probability, 3), int(sample.annotation.sum())
    (2, 0.333, 12)

    Attributes:
        annotation: True inside the annotated object (H, W), or None.
        batch_size: The greatest number of pictures in one call of the model; no result depends on it.
        seed: Of the random choices; one for each image, the same for all methods.
    """

    annotation: BoolArray | None
    batch_size: int
    seed: int

    @classmethod
    def of(
        cls,
        model: ModelInput,
        image: ImageInput,
        target: Target = None,
        *,
        annotation: Any = None,
        batch_size: int = 32,
        seed: int = 0,
        output: OutputInput = "auto",
    ) -> "Sample":
        """Preprocesses the image and asks the model about it.

        Args:
            model: Anything that `interpix.MoXI` takes.
            image: A raw image, or a preprocessed float tensor (C, H, W).
            target: The class to measure, by index or name; None: the one predicted on the clean image.
            annotation: Where the object is, in the picture as the model sees it: a bool mask (H, W), or
                boxes (left, top, right, bottom) in pixels, right and bottom exclusive.
            batch_size: The greatest number of pictures in one call of the model.
            seed: Of the random choices of all metrics of this image.
            output: What the model's answers mean, see `interpix.outputs`.
        """
        batch_size, seed = python_number(batch_size), python_number(seed)
        check_positive("batch_size", batch_size)
        check_seed("seed", seed)
        question = Question.of(model, image, target, output=output)
        inside = None if annotation is None else read_mask(annotation, question.size)
        asked = {field.name: getattr(question, field.name) for field in dataclasses.fields(Question)}
        return cls(**asked, annotation=inside, batch_size=batch_size, seed=seed)


def ranked_scores(
    sample: Sample, start: npt.NDArray[np.float32], end: npt.NDArray[np.float32], step: IntArray, steps: int
) -> Scores:
    """Scores of the `steps` + 1 pictures on the way from `start` to `end`: the one loop over ranked pixels.

    Args:
        sample: The model and its target.
        start: The picture after no step (C, H, W).
        end: What takes its place (C, H, W).
        step: The step 1 ... `steps` at which each pixel changes (H, W); later ones never do.
        steps: How many.
    """
    workshop = workshop_of(sample.classifier)
    # What is read for every picture is kept small.
    small = np.int16 if steps < np.iinfo(np.int16).max else np.int32
    step, counts = np.minimum(step, steps + 1).astype(small), np.arange(steps + 1, dtype=small)
    before, after, changes, counted = (workshop.bring(one) for one in (start, end, step, counts))

    def pictures() -> Iterator[Any]:
        for first in range(0, steps + 1, sample.batch_size):
            now = counted[first : first + sample.batch_size]
            yield workshop.where(changes <= now[:, None, None, None], after, before)

    return sample.scores_of(workshop, pictures())
