"""MoXI: the group of patches that decides together (Sumiyasu, Kawamoto, Kera, CVPR 2024).

Insertion adds, step by step, the patch that raises the reward of what is already there the most, until the
model answers with the target; deletion takes away the patch that lowers it the most, until it no longer does.
The search itself is in Rust; here the model is asked.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.absence import AbsenceInput, Fill, read_absence
from interpix.arrays import AnyArray, BoolArray, IntArray, from_numpy, to_numpy
from interpix.classifiers import as_classifier
from interpix.classifiers.base import Classifier, compose, resolve_target
from interpix.errors import bad_type, bad_value
from interpix.explanation import Direction, Explanation, Score
from interpix.images import ImageInput, LoadedImage, read_images, to_display
from interpix.progress import EvaluationCounter
from interpix.regions import RegionsInput, read_regions, regions_name
from interpix.rewards import Scores, check_reward, from_log_odds, score_logits

__all__ = ["MoXI", "Stop", "Target"]

Stop: TypeAlias = Literal["flip", "all"] | int
"""At the flip of the answer, after all patches, or after k."""
Target: TypeAlias = int | str | None
"""A class index, a class name, or None for the prediction."""

_AUTO_BATCH_SIZE = 32
_IN_FLIGHT = 64
_BATCH_DIMENSIONS = 4


@dataclass(frozen=True)
class _Job:
    """The images of one call, ready to be scored."""

    images: npt.NDArray[np.float32]
    displays: list[npt.NDArray[np.uint8]]
    fill: npt.NDArray[np.float32]
    regions: IntArray
    targets: list[int]
    predictions: list[int]
    full: list[Score]

    @property
    def players(self) -> int:
        return int(self.regions.max()) + 1


@dataclass(frozen=True)
class _Found:
    """What a search found on one image."""

    image: int
    ranking: npt.NDArray[Any]
    reward: npt.NDArray[Any]
    probability: npt.NDArray[Any]
    predicted: npt.NDArray[Any]
    gaps: npt.NDArray[Any]
    stopped_at: int | None
    empty: Score
    evaluations: int


class MoXI:
    """Finds the smallest groups of patches that make, and that break, a classifier's answer.

    One object serves any number of images; nothing of a call is kept on it.
    """

    def __init__(
        self,
        model: Any,
        *,
        regions: RegionsInput = "auto",
        absence: AbsenceInput = "auto",
        reward: str = "log_odds",
        batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        """Checks the options; no model is run yet.

        Args:
            model: A native model, an `interpix.CallableClassifier`, or any function from float32
                (B, 3, H, W) to logits (B, classes).
            regions: `"auto"` (a grid of 7 x 7 = 49 patches), a grid ("14x14", 14, (14, 14)), or an
                integer label map over the image that the model sees.
            absence: What an absent patch shows, see `Fill`; `"auto"` is zero after normalization.
            reward: `"log_odds"` (the paper's), `"log_probability"`, `"probability"` or `"logit"`.
            batch_size: The greatest number of coalitions scored at once; `"auto"` is 32.
        """
        self._classifier: Classifier = as_classifier(model)
        regions_name(regions)
        self._regions = regions
        self._fill: Fill = read_absence(absence)
        self._reward = check_reward(reward)
        self._batch_size = _AUTO_BATCH_SIZE if batch_size == "auto" else _positive("batch_size", batch_size)

    def explain(  # noqa: PLR0913 - keyword-only options
        self,
        image: ImageInput | Sequence[ImageInput],
        target: Target | Sequence[Target] = None,
        *,
        direction: Direction = "insertion",
        stop: Stop = "flip",
        min_confidence: float = 0.0,
        progress: bool = False,
    ) -> Any:
        """Searches, patch by patch.

        Args:
            image: One image, or a list or batch of them, which then share every batch of the model.
            target: The class to explain, by index or name, or one for each image; None: the prediction.
            direction: `"insertion"`: which patches suffice? `"deletion"`: which ones are needed?
            stop: `"flip"`: once the answer is (insertion) or no longer is (deletion) the target; `"all"`:
                rank all patches; an integer: so many patches.
            min_confidence: With `"flip"` and insertion: the target must reach this probability too.
            progress: Show the number of evaluations on stderr.

        Returns:
            An `Explanation`, or a list of them if many images were given.

        Raises:
            KeyboardInterrupt: After Ctrl-C; its attribute `explanations` holds what was found until then.
        """
        started = time.perf_counter()
        _check_search(direction, stop, min_confidence)
        loaded, many = read_images(image)
        job = self._prepare(loaded, target)
        search = _core.Search(
            [job.players] * len(loaded),
            job.targets,
            direction=direction,
            stop=stop,
            min_confidence=min_confidence,
            batch_size=self._batch_size,
            in_flight=_IN_FLIGHT,
            full=[(score.reward, score.probability, score.predicted) for score in job.full],
        )
        options = {"method": "MoXI", "stop": stop, "min_confidence": min_confidence}

        def results() -> list[Explanation]:
            found = [_found(outcome) for outcome in search.outcomes()]
            return self._results(job, found, direction, options, started)

        try:
            self._drive(search, job, direction, progress=progress)
        except KeyboardInterrupt as interrupt:
            interrupt.explanations = results()  # type: ignore[attr-defined]
            raise
        return results() if many else results()[0]

    def one_shot(
        self,
        image: ImageInput | Sequence[ImageInput],
        target: Target | Sequence[Target] = None,
        *,
        direction: Direction = "insertion",
        progress: bool = False,
    ) -> Any:
        """MoXI(-), for comparison: ranks every patch once by what it does alone, without interactions.

        Takes 2 n evaluations for n patches: n for the ranking, n for the curve along it. Arguments and
        result as in `explain`, with all patches ranked.
        """
        started = time.perf_counter()
        _check_search(direction, "all", 0.0)
        loaded, many = read_images(image)
        job = self._prepare(loaded, target)
        with EvaluationCounter(direction, enabled=progress, total=2 * job.players * len(loaded)) as counter:
            found = [self._rank_once(job, index, direction, counter) for index in range(len(loaded))]
        options = {"method": "MoXI(-)", "stop": "all", "min_confidence": 0.0}
        results = self._results(job, found, direction, options, started)
        return results if many else results[0]

    def attribute(
        self,
        inputs: AnyArray,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: None = None,
        feature_mask: Any = None,
    ) -> AnyArray:
        """Captum's way to ask: preprocessed `inputs` (B, 3, H, W) or (3, H, W) in, heat maps like it out.

        The search is an insertion that stops at the flip. Each channel holds the whole heat map.

        Args:
            inputs: Preprocessed images, numpy or torch.
            baselines: What absent means: a number, or an array that broadcasts to one image, or one
                image for each of `inputs`; None: this object's `absence`.
            target: A class for all, or one for each image; None: the prediction.
            additional_forward_args: Not supported: put them into the function that is the model.
            feature_mask: Integer label map, (H, W) or with leading dimensions, for all images or one
                for each; None: this object's `regions`.
        """
        if additional_forward_args is not None:
            cure = "put the arguments into the function that is the model"
            raise bad_value("additional_forward_args", "None", "something else", cure)
        array = to_numpy(inputs, "inputs")
        single = array.ndim != _BATCH_DIMENSIONS
        batch = array[None] if single else array
        targets = _per_image(target, len(batch))
        maps = np.stack(
            [
                self._for_image(baselines, feature_mask, index, len(batch)).explain(image, targets[index]).attribution()
                for index, image in enumerate(batch)
            ]
        )
        filled = np.repeat(maps[:, None], batch.shape[1], axis=1)
        return from_numpy(filled[0] if single else filled, like=inputs)

    def _for_image(self, baselines: Any, feature_mask: Any, index: int, count: int) -> "MoXI":
        """This object with Captum's `baselines` and `feature_mask` of one image."""
        return MoXI(
            self._classifier,
            regions=self._regions if feature_mask is None else _slice(feature_mask, index, count),
            absence=self._fill if baselines is None else _slice(baselines, index, count),
            reward=self._reward,
            batch_size=self._batch_size,
        )

    def _prepare(self, loaded: list[LoadedImage], target: Any) -> _Job:
        """Preprocesses, and asks the model about the whole images: prediction, target, score."""
        images = _stack([self._input(one) for one in loaded])
        displays = [self._shown(one, image) for one, image in zip(loaded, images, strict=True)]
        regions = read_regions(self._regions, (images.shape[2], images.shape[3]))
        fill = np.stack([self._fill.make(image, self._classifier) for image in images])
        size = self._batch_size
        # Copies: a model may write to its batch, and these images are still needed.
        parts = [self._classifier.logits(images[i : i + size].copy()) for i in range(0, len(images), size)]
        logits = np.concatenate(parts).astype(np.float64)
        predictions = logits.argmax(axis=1).tolist()
        names = self._classifier.class_names
        targets = [
            prediction if wanted is None else resolve_target(wanted, names, logits.shape[1])
            for wanted, prediction in zip(_per_image(target, len(loaded)), predictions, strict=True)
        ]
        full = _score_list(score_logits(logits, np.array(targets), self._reward))
        return _Job(images, displays, fill, regions, targets, predictions, full)

    def _input(self, image: LoadedImage) -> npt.NDArray[np.float32]:
        if image.raw is not None:
            return np.asarray(self._classifier.preprocess(image.raw))
        size, tensor = self._classifier.input_size, image.tensor
        if tensor is None or (size is not None and tensor.shape[1:] != tuple(size)):
            got = "nothing" if tensor is None else f"{tensor.shape[1]} x {tensor.shape[2]}"
            cure = "resize it, or pass the raw image and the model preprocesses it"
            name = self._classifier.name
            raise bad_value("image", f"{size} pixels for model `{name}`", got, cure)
        return tensor

    def _shown(self, image: LoadedImage, seen: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        return to_display(seen) if image.raw is None else np.asarray(self._classifier.display(image.raw))

    def _drive(self, search: Any, job: _Job, direction: Direction, *, progress: bool) -> None:
        """Answers the search until it has no more questions."""
        targets = np.array(job.targets, np.int64)
        with EvaluationCounter(direction, enabled=progress) as counter:
            while (batch := search.ask()) is not None:
                owner = np.asarray(batch.owner)
                search.tell(*self._score(job, owner, np.asarray(batch.masks()), targets[owner]))
                counter.add(len(owner))

    def _score(self, job: _Job, owner: IntArray, masks: BoolArray, targets: IntArray) -> Scores:
        if self._reward == "logit":
            pictures = compose(job.images, job.regions, job.fill, owner, masks)
            logits = np.asarray(self._classifier.logits(pictures), np.float64)
            return score_logits(logits, targets, self._reward)
        odds, probability, predicted = self._classifier.score_masks(
            job.images, job.regions, job.fill, owner, masks, targets
        )
        return from_log_odds(np.asarray(odds, np.float64), self._reward), probability, predicted

    def _rank_once(self, job: _Job, index: int, direction: Direction, counter: EvaluationCounter) -> _Found:
        """All patches of one image by their rewards alone, then the curve along that ranking."""
        players = job.players
        insertion = direction == "insertion"
        alone = np.eye(players, dtype=np.bool_)
        single = self._score_all(job, index, alone if insertion else ~alone, counter)
        ranking = np.argsort(-single[0] if insertion else single[0], kind="stable")
        steps = np.zeros((players + 1, players), np.bool_)
        for step, player in enumerate(ranking, start=1):
            steps[step:, player] = True
        curve = self._score_all(job, index, steps if insertion else ~steps, counter)
        done = (curve[2] == job.targets[index]) == insertion
        ends = _score_list(curve)
        ordered = np.sort(single[0])
        return _Found(
            index,
            ranking,
            *curve,
            gaps=np.append(np.abs(np.diff(ordered[::-1] if insertion else ordered)), np.inf),
            stopped_at=int(done.argmax()) if done.any() else None,
            empty=ends[0] if insertion else ends[-1],
            evaluations=2 * players + 1,
        )

    def _score_all(self, job: _Job, index: int, masks: BoolArray, counter: EvaluationCounter) -> Scores:
        parts = []
        for start in range(0, len(masks), self._batch_size):
            chunk = masks[start : start + self._batch_size]
            owner = np.full(len(chunk), index, np.int64)
            parts.append(self._score(job, owner, chunk, np.full(len(chunk), job.targets[index])))
            counter.add(len(chunk))
        rewards, probabilities, predicted = zip(*parts, strict=True)
        return np.concatenate(rewards), np.concatenate(probabilities), np.concatenate(predicted)

    def _results(
        self, job: _Job, found: list[_Found], direction: Direction, options: dict[str, Any], started: float
    ) -> list[Explanation]:
        names = self._classifier.class_names
        provenance = options | {
            "interpix": _core.__version__,
            "numpy": np.__version__,
            "model": self._classifier.name,
            "regions": regions_name(self._regions),
            "absence": self._fill.name,
            "reward": self._reward,
            "batch_size": self._batch_size,
        }
        return [
            Explanation(
                ranking=one.ranking.astype(np.int64),
                rewards=one.reward,
                probabilities=one.probability,
                predicted=one.predicted.astype(np.int64),
                gaps=one.gaps,
                stopped_at=one.stopped_at,
                target=job.targets[one.image],
                prediction=job.predictions[one.image],
                full=job.full[one.image],
                empty=one.empty,
                direction=direction,
                # The whole image is scored before the search.
                evaluations=one.evaluations + 1,
                seconds=time.perf_counter() - started,
                regions=job.regions,
                image=job.displays[one.image],
                class_names=None if names is None else tuple(names),
                provenance=provenance,
            )
            for one in found
        ]


def _found(outcome: Any) -> _Found:
    return _Found(
        outcome.image,
        np.asarray(outcome.ranking),
        np.asarray(outcome.reward),
        np.asarray(outcome.probability),
        np.asarray(outcome.predicted),
        np.asarray(outcome.gaps, np.float64),
        outcome.stopped_at,
        Score(*outcome.empty),
        outcome.evaluations,
    )


def _score_list(scores: Scores) -> list[Score]:
    return [Score(float(r), float(p), int(c)) for r, p, c in zip(*scores, strict=True)]


def _stack(images: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    sizes = sorted({image.shape for image in images})
    if len(sizes) > 1:
        raise bad_value("image", "images of one size in a call", sizes, "resize them, or call once for each")
    return np.stack(images)


def _per_image(target: Any, count: int) -> list[Any]:
    """One target for each image from one for all, a sequence, or an array."""
    if hasattr(target, "tolist"):
        target = target.tolist()
    if not isinstance(target, list | tuple):
        return [target] * count
    if len(target) != count:
        cure = "pass one for all, or one for each image"
        raise bad_value("target", f"{count} targets for {count} images", len(target), cure)
    return list(target)


def _slice(value: Any, index: int, count: int) -> Any:
    """The part of a Captum argument that belongs to one image."""
    if getattr(value, "ndim", 0) == _BATCH_DIMENSIONS and value.shape[0] == count:
        return value[index]
    return value


def _positive(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_type(name, "a positive integer", value, "or leave it out")
    if value < 1:
        raise bad_value(name, "a positive integer", value, "or leave it out")
    return value


def _check_search(direction: object, stop: object, min_confidence: float) -> None:
    if direction not in ("insertion", "deletion"):
        raise bad_value("direction", '"insertion" or "deletion"', repr(direction), "pick one")
    if stop not in ("flip", "all"):
        if isinstance(stop, str):
            raise bad_value("stop", '"flip", "all" or a number of patches', repr(stop), "pick one")
        _positive("stop", stop)
    if not 0 <= min_confidence <= 1:
        raise bad_value("min_confidence", "a probability in 0 ... 1", min_confidence, "0 asks for none")
