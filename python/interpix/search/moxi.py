"""MoXI: the group of patches that decides together (Sumiyasu, Kawamoto, Kera, CVPR 2024).

Insertion adds, step by step, the patch that raises the reward of what is already there the most, until the
model answers with the target; deletion takes away the patch that lowers it the most, until it no longer does.
The search itself is in Rust; here the model is asked.
"""

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from PIL import Image

from interpix.absence import AbsenceInput
from interpix.arrays import AnyArray, ArrayT
from interpix.checks import MOST_STEPS, check_flag, check_integer
from interpix.errors import bad_type, bad_value, renamed
from interpix.images import ImageInput, split_images
from interpix.models.protocol.classifier import asking
from interpix.options import python_number
from interpix.progress import ProgressCounter
from interpix.question import Question
from interpix.results.catalogue import Catalogue
from interpix.results.coalitions import ScoredCoalitions
from interpix.results.explanation import Explanation
from interpix.results.stability import Stability
from interpix.results.why import Why, rather_than
from interpix.search.arguments import count_of, one_for_each, with_targets
from interpix.search.call import Call, carrying, in_order
from interpix.search.captum import attribute
from interpix.search.contrast import rival_of, search_contrast, search_lead
from interpix.search.explore import exact, list_groups, weigh
from interpix.search.games import ImageGame
from interpix.search.maker import GameMaker, speaking_as
from interpix.search.rules import Rules, read_catalogue, read_frontier, read_rules
from interpix.search.source import Source
from interpix.search.stability import find_stability
from interpix.search.stream import IN_FLIGHT, Asked, Run
from interpix.search.values import PatchValues
from interpix.terms import (
    Direction,
    SearchDirection,
    SearchMethod,
    Stop,
    Target,
    TargetInput,
    check_direction,
)

__all__ = ["MoXI"]


@speaking_as(GameMaker, PatchValues)
class MoXI(PatchValues):
    """Finds small groups of patches that make, and that break, a classifier's answer.

    Patches are numbered from 0, row by row from the top left. A group is enough when the class is the most probable one
    with it alone, however little that may be; `min_confidence` asks for more. One object serves any number of images;
    nothing of a call is kept on it.

    A model that sums each color, and a picture with a red and a green patch: the red one makes the answer, class 0.

    >>> import numpy as np
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

    @overload
    def explain(
        self,
        image: ImageInput | Question,
        target: TargetInput = None,
        *,
        direction: SearchDirection = ...,
        stop: Stop = ...,
        min_confidence: float = ...,
        min_patches: int = ...,
        minimal: bool = ...,
        search: SearchMethod = ...,
        weight: float | None = ...,
        width: int | None = ...,
        progress: bool = ...,
    ) -> Explanation: ...

    @overload
    def explain(
        self,
        image: Sequence[ImageInput],
        target: TargetInput = None,
        *,
        direction: SearchDirection = ...,
        stop: Stop = ...,
        min_confidence: float = ...,
        min_patches: int = ...,
        minimal: bool = ...,
        search: SearchMethod = ...,
        weight: float | None = ...,
        width: int | None = ...,
        progress: bool = ...,
    ) -> list[Explanation]: ...

    def explain(  # noqa: PLR0913 - one for each choice
        self,
        image: ImageInput | Question | Sequence[ImageInput],
        target: TargetInput = None,
        *,
        direction: SearchDirection = "insertion",
        stop: Stop = "flip",
        min_confidence: float = 0.0,
        min_patches: int = 0,
        minimal: bool = False,
        search: SearchMethod = "greedy",
        weight: float | None = None,
        width: int | None = None,
        progress: bool = False,
    ) -> Explanation | list[Explanation]:
        """Searches, patch by patch.

        Args:
            image: One image, or a list or batch of them, which then share every batch of the model; or a `Question`,
                which holds its target.
            target: The class to explain, by index or name, or one for each image; None: the prediction. Several for one
                image are as many questions about it. An output that has no classes has targets of its own.
            direction: `"insertion"`: which patches suffice? `"deletion"`: which ones are needed? `"both"`: which ones
                suffice and are needed, at once: each step takes the patch b of the greatest
                weight f(S + b) - (1 - weight) f(N - S - b), until S says it and N - S no longer does.
            stop: `"flip"`: once the answer is (insertion) or no longer is (deletion) the target, by the model's output;
                `"all"`: rank all patches; an integer: so many patches.
            min_confidence: With `"flip"` and insertion: the target must reach this probability too.
            min_patches: With `"flip"`: rank at least so many patches, for heat maps; the group stays that of the flip.
            minimal: With `"flip"`: leave out of the group what it does not need, until each of its patches is needed by
                itself; a few more evaluations. See `Explanation.minimal_group`.
            search: `"greedy"`: patch by patch, as MoXI does. Others are not MoXI, and score exactly whatever
                `precision` says: `"beam"`: the best `width` groups of each size, until one does what it shall;
                `"bidirectional"`: the best patch to the front and the worst to the back, as LiMA does, for half of the
                evaluations of a whole ranking; `"swap"`: greedy, then exchanges of one patch for another where they
                lead to smaller groups. See `docs/groups.md` for what they are worth.
            weight: With `"both"`, how much the patches alone count, 0 ... 1; None: 0.5. With reward="probability", 0.8
                and `"bidirectional"` it is LiMA's objective, but for its entropy term of weight 0.01.
            width: Of `"beam"`, which takes up to so many times the evaluations of greedy search; None: 4.
            progress: Show the number of evaluations on stderr.

        Returns:
            An `Explanation`, or a list of them if many images were given (of a batch (B, C, H, W), too, which a type
            checker cannot tell from one image).

        Raises:
            KeyboardInterrupt: After Ctrl-C; its attribute `explanations` holds what was found until then.
            ModelError: The model failed; its attribute `explanations` holds what was found until then.
        """
        rules = read_rules(direction, stop, min_confidence, min_patches, minimal, search, weight, width)
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

    def stream(  # noqa: PLR0913 - one for each choice
        self,
        images: Iterable[ImageInput],
        target: Target | Iterable[Target] = None,
        *,
        direction: SearchDirection = "insertion",
        stop: Stop = "flip",
        min_confidence: float = 0.0,
        min_patches: int = 0,
        minimal: bool = False,
        search: SearchMethod = "greedy",
        weight: float | None = None,
        width: int | None = None,
        progress: bool = False,
    ) -> Iterator[Explanation]:
        """Searches any number of images, one result after the other, in their order.

        Images are read when there is a place for them: 64 are searched at the same time, share the model's batches, and
        make room for the next ones as they end. Files are decoded beside the search. What is held at any time does not
        depend on how many images there are, but for the results that you keep. Do not change the model before the end.

        >>> import numpy as np
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
            search: As of `explain`.
            weight: As of `explain`.
            width: As of `explain`.
            progress: Show the number of evaluations on stderr.

        Yields:
            An `Explanation` for each image. Its `seconds` count from the first image's begin.

        Raises:
            ArgumentError: An option is wrong, which is told at once; or, in its turn, an image cannot be read.
            KeyboardInterrupt: After Ctrl-C; its attribute `explanations` holds what was found and not yet given.
            ModelError: The model failed, or its weights changed between two results; its attribute `explanations` holds
                likewise.
        """
        rules = read_rules(direction, stop, min_confidence, min_patches, minimal, search, weight, width)
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
        started = time.perf_counter()

        def make(asked: Sequence[Asked]) -> Call:
            places, questions = zip(*asked, strict=True)
            call = self._call(list(places), list(questions), rules.direction, rules.options(), started)
            return exact(call) if rules.explores else call

        return Run(source, make, rules, counter, in_flight=in_flight, watched=watched)

    def frontier(
        self,
        image: ImageInput | Question,
        target: Target = None,
        *,
        weights: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        stop: Stop = "flip",
        min_confidence: float = 0.0,
        minimal: bool = False,
        progress: bool = False,
    ) -> list[Explanation]:
        """What `explain(direction="both")` finds with several weights; no set of patches is asked about twice.

        A weight of 1 looks at what the patches say alone, one of 0 at what is said without them.

        >>> import numpy as np
        >>> model = lambda batch: batch.sum(axis=(2, 3))
        >>> image = np.zeros((3, 4, 6), np.float32)
        >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
        >>> alone, both, without = MoXI(model, regions="2x3").frontier(image, weights=[1, 0.5, 0])
        >>> both.group, both.group_score.holds, both.group_score_without.holds
        ((3,), True, False)

        Args:
            image: One image.
            target: As in `explain`, one.
            weights: Each in 0 ... 1.
            stop: As in `explain`.
            min_confidence: As in `explain`.
            minimal: As in `explain`.
            progress: Show the number of evaluations on stderr.

        Returns:
            An `Explanation` for each weight. Their `evaluations` are those of all together.

        Raises:
            KeyboardInterrupt: After Ctrl-C; its attribute `explanations` holds those of the weights that were done.
            ModelError: The model failed; it has the same attribute.
        """
        rules = read_frontier(weights, stop, min_confidence, minimal)
        call = self._begin_one(image, target, "both", rules[0].options(), "call frontier once for each")
        with ProgressCounter("frontier", enabled=progress) as counter:
            return weigh(call, rules, counter)

    def catalogue(  # noqa: PLR0913 - one for each choice
        self,
        image: ImageInput | Question,
        target: Target = None,
        *,
        direction: SearchDirection = "insertion",
        count: int = 5,
        overlap: float = 0.5,
        min_confidence: float = 0.0,
        width: int = 4,
        exhaust: int | None = None,
        tries: int | None = None,
        known: ScoredCoalitions | None = None,
        progress: bool = False,
    ) -> Catalogue:
        """Several minimal groups of one image: is there more than one reason for the answer?

        All groups of up to `exhaust` patches are tried. Then beams look for larger ones: the first among all patches,
        each further one without some patches of a group that was found, so that what it finds is another. Of each group
        no single patch can be left out, and `Explanation.proven` says what else is known; none contains another.

        >>> import numpy as np
        >>> from interpix import MoXI
        >>> image = np.zeros((3, 4, 6), np.float32)
        >>> image[0, :2, :2], image[0, 2:, 4:], image[1, :2, 2:4] = 3, 4, 2
        >>> model = lambda batch: np.stack([batch[:, 0].max(axis=(1, 2)), batch[:, 1].max(axis=(1, 2)) + 0.5], axis=1)
        >>> [one.group for one in MoXI(model, regions="2x3").catalogue(image)]
        [(5,), (0,)]

        Args:
            image: One image.
            target: As in `explain`, one.
            direction: As in `explain`: groups that suffice, that are needed, or that do both.
            count: Most groups.
            overlap: The greatest part of the patches of the smaller of two groups that they may share, 0 ... 1.
            min_confidence: As in `explain`.
            width: Of the beams.
            exhaust: All groups of up to so many patches are tried, which for 49 patches and 2, 3 or 4 of them takes
                1,226, 19,650 or 231,526 evaluations; as many as there are patches is the whole truth, for up to 16.
                None: all for up to 10 patches, else 1.
            tries: Most beams; None: four for each group asked for. Groups of more than twice the size of the first one
                (or four patches more) are not looked for.
            known: What an earlier search of this image and target has kept (`keep_coalitions=True`), which is not asked
                again, but for eight to see that they are answered alike: so a catalogue goes on that was interrupted.
            progress: Show the number of evaluations on stderr.

        Returns:
            A `Catalogue`, a sequence of `Explanation` objects.

        Raises:
            KeyboardInterrupt: After Ctrl-C; its attribute `explanations` holds the groups that were found until then,
                and with `keep_coalitions=True` its `coalitions` what was asked.
            ModelError: The model failed; its attribute `explanations` holds likewise.
        """
        rules = read_catalogue(direction, count, overlap, min_confidence, width, exhaust, tries)
        if known is not None and not isinstance(known, ScoredCoalitions):
            cure = "pass the `coalitions` of a result, or of the error that ended a search, with keep_coalitions=True"
            raise bad_type("known", "ScoredCoalitions", known, cure)
        call = self._begin_one(image, target, direction, rules.options(), "ask about each alone")
        with ProgressCounter("catalogue", enabled=progress) as counter:
            return list_groups(call, rules, counter, known)

    def stability(
        self,
        image: ImageInput | Question,
        target: Target = None,
        *,
        direction: SearchDirection = "insertion",
        minimal: bool = False,
        min_confidence: float = 0.0,
        shift: int = 1,
        absences: Sequence[AbsenceInput] | None = None,
        progress: bool = False,
    ) -> Stability:
        """How sure is the group? The search again, where the photo is moved a little or absence looks otherwise.

        Args:
            image: One image.
            target: As in `explain`, one.
            direction: As in `explain`.
            minimal: As in `explain`.
            min_confidence: As in `explain`.
            shift: The photo is moved by so many pixels up, down, left and right, its edge repeated, while the patches
                stay where they are; 0: not moved.
            absences: Other meanings of absence, as `MoXI` takes them; None: the fills "zero", "mean" and "blur".
            progress: Show the number of evaluations on stderr, search by search: as many as `explain` takes, for each
                variant.

        Returns:
            A `Stability`: the group, those of the variants, and how often each patch is in them.
        """
        rules = read_rules(direction, "flip", min_confidence, 0, minimal)
        check_integer("shift", shift := python_number(shift), 0, MOST_STEPS, "a number of pixels", "1 is usual")
        questions, _ = self._questions(image, target)
        if len(questions) > 1:
            raise bad_value("image", "one image", "several", "ask about each alone")
        check_flag("progress", progress)
        options = {
            "direction": direction,
            "minimal": rules.minimal,
            "min_confidence": rules.min_confidence,
            "progress": progress,
        }
        return find_stability(self, questions[0], absences, shift, options)

    def contrast(
        self,
        image: ImageInput | Question,
        target: int | str,
        rival: int | str | None = None,
        *,
        direction: Direction = "deletion",
        progress: bool = False,
    ) -> Explanation:
        """Why this class and not that one?

        Deletion is the paper's class-discriminative localization (Appendix F): patches are removed until `target` is
        the answer, then those that this answer needs, its region. Insertion finds the least patches, greedily, that
        make `target` more probable than `rival`, whatever else they say.

        Args:
            image: One image.
            target: The class to find.
            rival: With insertion, the other class; None: the most probable one that is not the target.
            direction: `"deletion"` or `"insertion"`.
            progress: Show the number of evaluations on stderr.

        Returns:
            Of deletion: one whose `group` is the target's region and whose `removed_before` are the patches that went
            first. `stopped_at` is None if the target never became the answer, or if it still is when no patch is left.
            Of insertion: one whose rewards are the target's log-odds less the rival's, and which `holds` where these
            are above 0.

        Raises:
            ArgumentError: The output knows no classes, or both classes are the same.
        """
        check_direction(direction)
        options = {"method": "MoXI contrast", "stop": "flip", "min_confidence": 0.0}
        call = self._begin_one(image, target, direction, options, "call contrast once for each")
        output, question = call.games.output, call.games.questions[0]
        if not output.among_classes:
            need, cure = "an output whose classes can be compared", 'use explain(image, target, direction="deletion")'
            raise bad_value("output", need, output.name, cure)
        if direction == "deletion":
            if rival is not None:
                raise bad_value("rival", 'None unless `direction` is "insertion"', rival, 'pass direction="insertion"')
            with ProgressCounter("contrast", enabled=progress) as counter:
                removed, found = search_contrast(call.games, call.batch_size, counter)
            return call.results([found], removed_before=tuple(removed))[0]
        other = rival_of(question.logits, question.target) if rival is None else _class_of(question, rival, "rival")
        if other == question.target:
            raise bad_value("rival", "another class than the target", rival, "leave it out for the most probable one")
        with ProgressCounter("contrast", enabled=progress) as counter:
            found, full = search_lead(call.games, other, call.batch_size, counter)
        return rather_than(call.results([found])[0], other, full)

    def why(
        self, image: ImageInput | Question, wrong: int | str | None, right: int | str, *, progress: bool = False
    ) -> Why:
        """Why did it say this, which is wrong, and not that? In words, and as a picture.

        >>> import numpy as np
        >>> model = lambda batch: batch.sum(axis=(2, 3))
        >>> image = np.zeros((3, 4, 6), np.float32)
        >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
        >>> print(MoXI(model, regions="2x3").why(image, None, 1))
        The model says 'class 0' (p = .98), not 'class 1' (p = .02).
        1 of 6 patches alone makes it say 'class 0' rather than 'class 1'.
        Without 1 of 6 patches it says 'class 1', which then needs 1 other.

        Args:
            image: One image.
            wrong: The class that the model says; None: its answer.
            right: The class that it should have said.
            progress: Show the number of evaluations on stderr.

        Returns:
            A `Why`, with both results of `contrast`.

        Raises:
            ArgumentError: As `contrast`.
            KeyboardInterrupt: After Ctrl-C; its attribute `explanations` holds the first result, if it was found.
        """
        with renamed(target="wrong"):
            questions, _ = self._questions(image, wrong)
        if len(questions) > 1:
            raise bad_value("image", "one image", "several", "ask about each alone")
        said = questions[0]
        target = _class_of(said, right, "right")
        if target == said.target:
            raise bad_value("right", "another class than the wrong one", right, "name the class it should have said")
        with renamed(rival="right"):
            makes = self.contrast(said, said.target, target, direction="insertion", progress=progress)
        with carrying(lambda: {0: makes}):
            hides = self.contrast(dataclasses.replace(said, target=target), target, progress=progress)
        return Why(makes_wrong=makes, hides_right=hides)

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
        return attribute(self, inputs, baselines, target, additional_forward_args, feature_mask)


def _class_of(question: Question, given: int | str, name: str) -> int:
    """A class by index or name; `name`: of the argument, for errors."""
    names = question.class_names
    with renamed(target=name):
        return question.output.read_target(given, question.logits, None if names is None else list(names))
