"""MoXI: the group of patches that decides together (Sumiyasu, Kawamoto, Kera, CVPR 2024).

Insertion adds, step by step, the patch that raises the reward of what is already there the most, until the
model answers with the target; deletion takes away the patch that lowers it the most, until it no longer does.
The search itself is in Rust; here the model is asked.
"""

import dataclasses
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from interpix import _core
from interpix.absence import AbsenceInput, Fill, read_absence
from interpix.arrays import AnyArray, ArrayT, from_numpy, to_numpy
from interpix.checks import MOST_SAMPLES, check_choice, check_flag, check_positive, check_seed
from interpix.errors import bad_type, bad_value, renamed
from interpix.images import ImageInput, LoadedImage, checked_image, read_images, split_images
from interpix.models import as_classifier
from interpix.models.protocol.classifier import Classifier, ModelInput, asking, token_grid_at
from interpix.options import python_number
from interpix.outputs.reading import OutputInput
from interpix.progress import ProgressCounter
from interpix.question import Question, ask, by_size, model_input
from interpix.regions import RegionsInput, read_regions, regions_name
from interpix.results.explanation import Explanation
from interpix.search.arguments import count_of, one_for_each, part_of, with_targets
from interpix.search.assigned import Assign, Game, assign_all
from interpix.search.call import Call, carrying, in_order
from interpix.search.contrast import search_contrast
from interpix.search.games import Found, ImageGame, make_games
from interpix.search.record import Record
from interpix.search.rules import Rules, check_search, read_rules
from interpix.search.source import Source
from interpix.search.stream import IN_FLIGHT, Asked, Run
from interpix.terms import (
    Direction,
    Precision,
    Sampler,
    Stop,
    Target,
    TargetInput,
    check_reward,
    check_sampler,
)

__all__ = ["MoXI"]


class MoXI:
    """Finds the smallest groups of patches that make, and that break, a classifier's answer.

    One object serves any number of images; nothing of a call is kept on it.

    A model that sums each color, and a picture with a red and a green patch: the red one makes the answer, class 0.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = MoXI(model, regions="2x3")
    >>> needed = moxi.explain(image, direction="deletion")
    >>> needed.prediction, needed.group, needed.predicted
    (0, (3,), array([0, 1]))
    >>> MoXI(model, regions="2x3", reward="logit").shapley(image, sampler="exact").values
    array([ 0.,  0.,  0., 12.,  0.,  0.])
    """

    def __init__(
        self,
        model: ModelInput,
        *,
        regions: RegionsInput = "auto",
        absence: AbsenceInput = "auto",
        reward: str = "log_odds",
        precision: Precision = "exact",
        batch_size: int | Literal["auto"] = "auto",
        output: OutputInput = "auto",
        keep_coalitions: bool = False,
    ) -> None:
        """Checks the options; no model is run yet.

        Args:
            model: A torch module (timm, torchvision, Hugging Face or any other that returns logits), a Hugging Face
                pipeline, an `interpix.TorchClassifier`, a native model, an `interpix.CallableClassifier`, or any
                function from float32 (B, C, H, W) to logits (B, classes).
            regions: `"auto"` (the tokens of a Vision Transformer where tokens are dropped, else a grid of 7 x 7 = 49
                patches), `"tokens"`, a grid ("14x14", 14, (14, 14)), `Superpixels`, or an integer label map over the
                image that the model sees.
            absence: What absent means, see `DropTokens`, `MaskAttention` and `Fill`; `"auto"` is `DropTokens` where the
                model has tokens, else zero after normalization. The result says which.
            reward: `"log_odds"` (the paper's), `"log_probability"`, `"probability"` or `"logit"`.
            precision: `"mixed"` scores a step's candidates with bfloat16 products and then those that may be the best
                exactly, by a statistical rule (see `interpix.search.recheck`); PyTorch models only.
            batch_size: The greatest number of coalitions handed out at once; `"auto"` is the model's own choice. How
                many of these go through it at once follows from a CPU's cache or a CUDA device's free memory, measured
                on the first few; where memory runs out, fewer do, and the result says so.
            output: What the model's answers mean, see `interpix.outputs`; `"auto"`: what the model itself says, else a
                softmax of two or more logits, a sigmoid of one. The result says which.
            keep_coalitions: Whether results keep every coalition that was scored, as `Explanation.coalitions`: some 50
                bytes for each where there are 196 patches. Whole steps are then not taken where the model is, which on
                a GPU is slower. With `"mixed"` those that could not be the best keep their inexact scores.
        """
        self._classifier = as_classifier(model, output)
        self._reward = check_reward(reward)
        check_choice("precision", precision, ("exact", "mixed"))
        self._precision: Precision = precision
        check_flag("keep_coalitions", keep_coalitions)
        self._keeps = bool(keep_coalitions)
        self._absence = read_absence(absence, self._classifier.token_grid)
        if isinstance(absence, str) and absence == "auto" and isinstance(self._absence, Fill):
            _tell_of_tokens_inside(self._classifier)
        automatic = isinstance(regions, str) and regions == "auto" and isinstance(self._absence, Fill)
        self._regions = read_regions(regions, None if automatic else self._classifier.token_grid)
        # Of images of another size a model may have more tokens, or fewer.
        tokens = isinstance(regions, str) and regions in {"auto", "tokens"} and not automatic
        self._by_tokens = tokens and self._classifier.token_grid is not None
        self._given_batch_size: int | None = None
        if not (isinstance(batch_size, str) and batch_size == "auto"):
            given = python_number(batch_size)
            check_positive("batch_size", given)
            self._given_batch_size = min(given, sys.maxsize)

    def __repr__(self) -> str:
        """One line for people: what `"auto"` has picked, too."""
        return f"MoXI({self._classifier.name}, regions={regions_name(self._regions)}, absence={self._absence.name})"

    @overload
    def explain(
        self,
        image: ImageInput | Question,
        target: TargetInput = None,
        *,
        direction: Direction = ...,
        stop: Stop = ...,
        min_confidence: float = ...,
        min_patches: int = ...,
        minimal: bool = ...,
        progress: bool = ...,
    ) -> Explanation: ...

    @overload
    def explain(
        self,
        image: Sequence[ImageInput],
        target: TargetInput = None,
        *,
        direction: Direction = ...,
        stop: Stop = ...,
        min_confidence: float = ...,
        min_patches: int = ...,
        minimal: bool = ...,
        progress: bool = ...,
    ) -> list[Explanation]: ...

    def explain(
        self,
        image: ImageInput | Question | Sequence[ImageInput],
        target: TargetInput = None,
        *,
        direction: Direction = "insertion",
        stop: Stop = "flip",
        min_confidence: float = 0.0,
        min_patches: int = 0,
        minimal: bool = False,
        progress: bool = False,
    ) -> Explanation | list[Explanation]:
        """Searches, patch by patch.

        Args:
            image: One image, or a list or batch of them, which then share every batch of the model; or a `Question`,
                which holds its target.
            target: The class to explain, by index or name, or one for each image; None: the prediction. Several for one
                image are as many questions about it. An output that has no classes has targets of its own.
            direction: `"insertion"`: which patches suffice? `"deletion"`: which ones are needed?
            stop: `"flip"`: once the answer is (insertion) or no longer is (deletion) the target, by the model's output;
                `"all"`: rank all patches; an integer: so many patches.
            min_confidence: With `"flip"` and insertion: the target must reach this probability too.
            min_patches: With `"flip"`: rank at least so many patches, for heat maps; the group stays that of the flip.
            minimal: With `"flip"`: leave out of the group what it does not need, until each of its patches is needed by
                itself; a few more evaluations. See `Explanation.minimal_group`.
            progress: Show the number of evaluations on stderr.

        Returns:
            An `Explanation`, or a list of them if many images were given (of a batch (B, C, H, W), too, which a type
            checker cannot tell from one image).

        Raises:
            KeyboardInterrupt: After Ctrl-C; its attribute `explanations` holds what was found until then.
            ModelError: The model failed; its attribute `explanations` holds what was found until then.
        """
        rules = read_rules(direction, stop, min_confidence, min_patches, minimal)
        done: dict[int, Explanation] = {}
        if isinstance(image, Question):
            source, many = Source.of(self._own(image)), False
        else:
            images, many = split_images(image)
            if not many and (count := count_of(target)) > 1:  # several questions about one image
                images, many = images * count, True
            targets = one_for_each(target, len(images))
            if many:  # cheap checks first: it may take hours to come to the last one
                images = [self._checked(one) for one in images]
            source = Source(self._classifier, zip(images, targets, strict=True), targets)
        with ProgressCounter(direction, enabled=progress) as counter, asking(self._classifier):
            in_flight = IN_FLIGHT if getattr(self._classifier, "replaces_images", False) else None
            run = self._run(source, rules, counter, in_flight=in_flight)
            with carrying(lambda: done | run.unfinished()):
                done.update(run.results())
        return in_order(done) if many else done[0]

    def stream(
        self,
        images: Iterable[ImageInput],
        target: Target | Iterable[Target] = None,
        *,
        direction: Direction = "insertion",
        stop: Stop = "flip",
        min_confidence: float = 0.0,
        min_patches: int = 0,
        minimal: bool = False,
        progress: bool = False,
    ) -> Iterator[Explanation]:
        """Searches any number of images, one result after the other, in their order.

        Images are read when there is a place for them: 64 are searched at the same time, share the model's batches, and
        make room for the next ones as they end. Files are decoded beside the search. What is held at any time does not
        depend on how many images there are, but for the results that you keep. Do not change the model before the end.

        >>> import interpix as ix
        >>> moxi = ix.MoXI(lambda batch: batch.mean(axis=(2, 3)), regions="2x3")
        >>> images = (np.random.default_rng(seed).random((3, 4, 6), np.float32) for seed in range(1000))
        >>> sum(found.stopped_at for found in moxi.stream(images, 1) if found.stopped_at is not None) > 0
        True

        Args:
            images: What `explain` takes as one image: photos, their paths, arrays or preprocessed tensors.
            target: The class to explain, by index or name; None: the prediction. Or an iterable, one for each image.
            direction: As of `explain`.
            stop: As of `explain`.
            min_confidence: As of `explain`.
            min_patches: As of `explain`.
            minimal: As of `explain`.
            progress: Show the number of evaluations on stderr.

        Yields:
            An `Explanation` for each image. Its `seconds` count from the first image's begin.

        Raises:
            ArgumentError: An option is wrong, which is told at once; or, in its turn, an image cannot be read.
            KeyboardInterrupt: After Ctrl-C; its attribute `explanations` holds what was found and not yet given.
            ModelError: The model failed, or its weights changed between two results; its attribute `explanations` holds
                likewise.
        """
        rules = read_rules(direction, stop, min_confidence, min_patches, minimal)
        if isinstance(images, str | os.PathLike | Image.Image) or not isinstance(images, Iterable):
            raise bad_type("images", "an iterable of images", images, "pass a list, or use explain for one image")
        check_flag("progress", progress)
        items = with_targets(images, target)
        return self._streamed(Source(self._classifier, items, copies=True), rules, progress=progress)

    def _streamed(self, source: Source, rules: Rules, *, progress: bool) -> Iterator[Explanation]:
        waiting: dict[int, Explanation] = {}
        place = 0
        with ProgressCounter(rules.direction, enabled=progress) as counter:
            # Whoever takes the results may change the model between two of them.
            watched = self._classifier if getattr(self._classifier, "replaces_images", False) else None
            run = self._run(source, rules, counter, in_flight=IN_FLIGHT, watched=watched)
            with carrying(lambda: waiting | run.unfinished()):
                for number, result in run.results():
                    waiting[number] = result
                    while place in waiting:
                        yield waiting.pop(place)
                        place += 1

    def _checked(self, image: ImageInput) -> ImageInput | LoadedImage:
        """An image of a list, if it can be one; read, and of a size that the model takes, where that is cheap."""
        checked = checked_image(image)
        if isinstance(checked, LoadedImage) and checked.tensor is not None:
            model_input(self._classifier, checked)
        return checked

    def _run(
        self,
        source: Source,
        rules: Rules,
        counter: ProgressCounter,
        *,
        in_flight: int | None,
        watched: Any = None,
    ) -> Run:
        """The searches of some images, of which so many are in flight; `watched` must not change meanwhile."""
        options = {"method": "MoXI"} | {name: value for name, value in vars(rules).items() if name != "direction"}
        started = time.perf_counter()

        def make(asked: Sequence[Asked]) -> Call:
            places, questions = zip(*asked, strict=True)
            return self._call(list(places), list(questions), rules.direction, options, started)

        return Run(source, make, rules, counter, in_flight=in_flight, watched=watched)

    @overload
    def one_shot(
        self,
        image: ImageInput | Question,
        target: TargetInput = None,
        *,
        direction: Direction = ...,
        progress: bool = ...,
    ) -> Explanation: ...

    @overload
    def one_shot(
        self,
        image: Sequence[ImageInput],
        target: TargetInput = None,
        *,
        direction: Direction = ...,
        progress: bool = ...,
    ) -> list[Explanation]: ...

    def one_shot(
        self,
        image: ImageInput | Question | Sequence[ImageInput],
        target: TargetInput = None,
        *,
        direction: Direction = "insertion",
        progress: bool = False,
    ) -> Explanation | list[Explanation]:
        """MoXI(-), for comparison: ranks every patch once by what it does alone, without interactions.

        Takes 2 n + 3 evaluations for n patches: n + 1 for the ranking, n + 1 for the curve along it, and the whole
        image. Arguments and result as in `explain`, with all patches ranked; the patches' `values` are f(a) - f({})
        (insertion) or (f(N) - f(N - a)) / n (deletion).
        """

        def assign(game: Game, players: int, batch_size: int) -> tuple[npt.NDArray[np.float64], int]:
            _, values = _core.one_shot(players, game, direction=direction, batch_size=batch_size)
            return values, players + 1

        return self._assign(image, target, direction, {"method": "MoXI(-)"}, assign, progress=progress)

    @overload
    def shapley(
        self,
        image: ImageInput | Question,
        target: TargetInput = None,
        *,
        sampler: Sampler = ...,
        rounds: int = ...,
        seed: int = ...,
        direction: Direction = ...,
        progress: bool = ...,
    ) -> Explanation: ...

    @overload
    def shapley(
        self,
        image: Sequence[ImageInput],
        target: TargetInput = None,
        *,
        sampler: Sampler = ...,
        rounds: int = ...,
        seed: int = ...,
        direction: Direction = ...,
        progress: bool = ...,
    ) -> list[Explanation]: ...

    def shapley(
        self,
        image: ImageInput | Question | Sequence[ImageInput],
        target: TargetInput = None,
        *,
        sampler: Sampler = "moxi",
        rounds: int = 200,
        seed: int = 0,
        direction: Direction = "insertion",
        progress: bool = False,
    ) -> Explanation | list[Explanation]:
        """Shapley values of the patches, for comparison, and the curve along their ranking.

        Args:
            image: As in `explain`.
            target: As in `explain`.
            sampler: `"moxi"`: the paper's, `rounds` random coalitions for each patch, of one size ratio a round;
                `"permutation"`: `rounds` random orders of all patches; `"exact"`: all coalitions, up to 16 patches.
            rounds: Of the samplers; for n patches `"moxi"` evaluates 2 n coalitions a round, `"permutation"` n + 1.
            seed: Of the samplers.
            direction: Whether the curve adds (insertion) or removes (deletion) the most important patches first.
            progress: Show the number of evaluations on stderr.

        Returns:
            An `Explanation` with `values`, or a list of them if many images were given. After Ctrl-C, or if the model
            failed, the exception's attribute `explanations` holds those of the images that were done.
        """
        rounds, seed = python_number(rounds), python_number(seed)
        check_positive("rounds", rounds, greatest=MOST_SAMPLES)
        check_seed("seed", seed)
        check_sampler(sampler)

        def assign(game: Game, players: int, batch_size: int) -> tuple[npt.NDArray[np.float64], int]:
            values, _, evaluations = _core.shapley_values(
                players, game, sampler=sampler, rounds=rounds, seed=seed, batch_size=batch_size
            )
            return values, evaluations

        options = {"method": "Shapley", "sampler": sampler, "rounds": rounds, "seed": seed}
        return self._assign(image, target, direction, options, assign, progress=progress)

    def contrast(self, image: ImageInput | Question, target: int | str, *, progress: bool = False) -> Explanation:
        """Where is a class that is not the prediction? Class-discriminative localization (Appendix F).

        Patches are removed until `target` is the model's answer, then those that this answer needs: its region.

        Args:
            image: One image.
            target: The class to find.
            progress: Show the number of evaluations on stderr.

        Returns:
            A deletion whose `group` is the target's region and whose `removed_before` are the patches that went first.
            `stopped_at` is None if the target never became the answer, or if it still is when no patch is left.
        """
        options = {"method": "MoXI contrast", "stop": "flip", "min_confidence": 0.0}
        call = self._begin_one(image, target, "deletion", options, "call contrast once for each")
        if not call.games.output.among_classes:
            need, cure = "an output whose classes can be compared", 'use explain(image, target, direction="deletion")'
            raise bad_value("output", need, call.games.output.name, cure)
        with ProgressCounter("contrast", enabled=progress) as counter:
            removed, found = search_contrast(call.games, call.batch_size, counter)
        return call.results([found], removed_before=tuple(removed))[0]

    def game(self, image: ImageInput | Question, target: Target = None) -> ImageGame:
        """The game on one image for other libraries (shapiq): `n_players`, and a call from coalitions to rewards."""
        call = self._begin_one(image, target, "insertion", {}, "make a game of each")
        return ImageGame(dataclasses.replace(call.games, record=None), call.batch_size)

    @overload
    def attribute(
        self,
        inputs: ArrayT,
        baselines: AbsenceInput | None = ...,
        target: TargetInput = ...,
        additional_forward_args: None = ...,
        feature_mask: AnyArray | None = ...,
    ) -> ArrayT: ...

    @overload
    def attribute(
        self,
        inputs: tuple[ArrayT],
        baselines: AbsenceInput | None = ...,
        target: TargetInput = ...,
        additional_forward_args: None = ...,
        feature_mask: AnyArray | None = ...,
    ) -> tuple[ArrayT]: ...

    def attribute(
        self,
        inputs: Any,
        baselines: AbsenceInput | None = None,
        target: TargetInput = None,
        additional_forward_args: None = None,
        feature_mask: AnyArray | None = None,
    ) -> Any:
        """Captum's way to ask: preprocessed `inputs` (B, C, H, W) or (C, H, W) in, heat maps like it out.

        The search is an insertion that stops at the flip. Each channel holds the whole heat map.

        Args:
            inputs: Preprocessed images, numpy or torch; or a tuple of one such batch, and the maps are one, too.
            baselines: What absent means: a number, or an array that broadcasts to one image, or one
                image for each of `inputs`; None: this object's `absence`.
            target: A class for all, or one for each image; None: the prediction.
            additional_forward_args: Not supported: put them into the function that is the model.
            feature_mask: Integer label map, (H, W), (1, H, W) or (1, 1, H, W) for all images, or (B, H, W) or
                (B, 1, H, W) with one for each; None: this object's `regions`.
        """
        if additional_forward_args is not None:
            cure = "put the arguments into the function that is the model"
            raise bad_value("additional_forward_args", "None", "something else", cure)
        if isinstance(inputs, tuple):
            if len(inputs) != 1:
                raise bad_value("inputs", "one batch of images", f"{len(inputs)} of them", "pass the images alone")
            more = baselines, target, additional_forward_args, feature_mask
            return (self.attribute(inputs[0], *more),)
        array = to_numpy(inputs, "inputs")
        single = array.ndim != 4
        batch = array[None] if single else array
        targets = one_for_each(target, len(batch))
        known = {} if feature_mask is None else {"regions": "feature_mask"}
        known |= {} if baselines is None else {"absence": "baselines"}
        with renamed(image="inputs", **known):
            maps = np.stack(
                [
                    self._for_image(baselines, feature_mask, index, len(batch))
                    .explain(image, targets[index])
                    .attribution()
                    .map
                    for index, image in enumerate(batch)
                ]
            )
        filled = np.repeat(maps[:, None], batch.shape[1], axis=1)
        return from_numpy(filled[0] if single else filled, like=inputs)

    def _for_image(self, baselines: Any, feature_mask: Any, index: int, count: int) -> "MoXI":
        """This object with Captum's `baselines` and `feature_mask` of one image."""
        own = "tokens" if self._by_tokens else self._regions
        return MoXI(
            self._classifier,
            regions=own if feature_mask is None else part_of(feature_mask, index, count, channels=False),
            absence=self._absence if baselines is None else part_of(baselines, index, count),
            reward=self._reward,
            precision=self._precision,
            batch_size=self._given_batch_size or "auto",
        )

    def _begin(
        self,
        image: ImageInput | Question | Sequence[ImageInput],
        target: TargetInput,
        direction: Direction,
        options: dict[str, Any],
    ) -> tuple[list[Call], bool]:
        """Reads the images and prepares their games, those of one size together; also whether many were given."""
        started = time.perf_counter()
        questions, many = self._questions(image, target)
        calls = []
        for places in by_size([question.tensor for question in questions]):
            some = [questions[place] for place in places]
            calls.append(self._call(places, some, direction, options, started))
        return calls, many

    def _call(
        self,
        places: list[int],
        questions: list[Question],
        direction: Direction,
        options: dict[str, Any],
        started: float,
    ) -> Call:
        """The games of questions about images of one size, at these places of the call."""
        output = questions[0].output
        if not output.takes_rewards and self._reward != "log_odds":
            cure = "leave it out"
            raise bad_value("reward", f"the own one of the output {output.name}", repr(self._reward), cure)
        if options.get("min_confidence") and not output.is_probability:
            cure = "leave it out"
            raise bad_value("min_confidence", f"0, as {output.name} is no probability", options["min_confidence"], cure)
        grid = token_grid_at(self._classifier, questions[0].size) if self._by_tokens else None
        regions = self._regions if grid is None else grid
        games = make_games(
            self._classifier,
            questions,
            regions=regions,
            absence=self._absence,
            reward=self._reward,
            precision=self._precision,
            record=Record() if self._keeps else None,
        )
        described = {
            "regions": regions_name(regions),
            "absence": self._absence.name,
            "reward": self._reward if output.takes_rewards else output.name,
            "precision": self._precision,
        }
        batch_size = self._given_batch_size or games.scorer.batch_size
        versions = {"interpix": _core.__version__, "numpy": np.__version__, "batch_size": batch_size}
        provenance = options | described | versions | self._classifier.provenance()
        return Call(games, places, direction, batch_size, provenance, started)

    def _begin_one(
        self,
        image: ImageInput | Question,
        target: TargetInput,
        direction: Direction,
        options: dict[str, Any],
        cure: str,
    ) -> Call:
        """The same for one image alone."""
        calls, _ = self._begin(image, target, direction, options)
        if len(calls) > 1 or len(calls[0].places) > 1:
            raise bad_value("image", "one image", "several", cure)
        return calls[0]

    def _questions(
        self, image: ImageInput | Question | Sequence[ImageInput], target: TargetInput
    ) -> tuple[list[Question], bool]:
        """The images, prepared and asked about; also whether many were given."""
        if isinstance(image, Question):
            return self._own(image), False
        loaded, many = read_images(image)
        if not many and (count := count_of(target)) > 1:  # several questions about one image
            loaded, many = loaded * count, True
        return ask(self._classifier, loaded, one_for_each(target, len(loaded))), many

    def _own(self, question: Question) -> list[Question]:
        """A question to this object's model."""
        if question.classifier is not self._classifier:
            cure = "make the search for the question's own classifier"
            raise bad_value("image", f"a question to `{self._classifier.name}`", question.classifier.name, cure)
        return [question]

    def _assign(
        self,
        image: ImageInput | Question | Sequence[ImageInput],
        target: TargetInput,
        direction: Direction,
        options: dict[str, Any],
        assign: Assign,
        *,
        progress: bool,
    ) -> Explanation | list[Explanation]:
        """Explains with a method that assigns a value to each patch: values, ranking, and the curve along it."""
        check_search(direction, "all", 0.0)
        options = {**options, "stop": "all", "min_confidence": 0.0}
        calls, many = self._begin(image, target, direction, options)
        done: dict[int, Explanation] = {}
        with ProgressCounter(str(options["method"]), enabled=progress) as counter:
            for call in calls:
                ranked: list[Found] = []

                def results(call: Call = call, ranked: list[Found] = ranked) -> dict[int, Explanation]:
                    return done | call.results(ranked)

                with carrying(results):
                    assign_all(call, assign, ranked, counter)
                done.update(results())
        return in_order(done) if many else done[0]


def _tell_of_tokens_inside(classifier: Classifier) -> None:
    """A warning where patches are filled only because a Vision Transformer is inside of something else."""
    inside = getattr(classifier, "tokens_inside", None)
    if inside is not None:
        message = (
            f"model `{classifier.name}`: {inside}, so absent patches are filled with zero; pass a Vision Transformer "
            "itself (merge adapters into it first), or say where its tokens are, as interpix.TorchClassifier(model, "
            'tokens=interpix.Tokens("encoder.layers", patch=16)), or say absence="zero" if this is what you want'
        )
        warnings.warn(message, stacklevel=3)
