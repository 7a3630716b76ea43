"""Why does this model see this class in this image? The image is prepared, and the model asked about it, once."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.arrays import as_batch, describe, read_only
from interpix.errors import ModelError, bad_type, bad_value, renamed, warn
from interpix.images import ImageInput, LoadedImage, read_image, read_images
from interpix.models import Classifier, as_classifier
from interpix.models.protocol.agreement import difference
from interpix.models.protocol.classifier import ModelInput, asking, output_of, token_grid_at
from interpix.models.protocol.memo import doubting
from interpix.models.protocol.workshop import Workshop
from interpix.normalization import (
    Normalization,
    Shown,
    check_preprocessing,
    has_own_display,
    leaves_unnormalized,
    looks_unnormalized,
    picture_of,
)
from interpix.options import as_json
from interpix.outputs.base import Output
from interpix.outputs.classes import doubt
from interpix.outputs.numbers import Value
from interpix.outputs.reading import OutputInput, output_for
from interpix.outputs.readout import Score, Scores, read_logits
from interpix.results.attribution import Attribution
from interpix.terms import Reward, Target

_COLORS = 3
_ENDS_IN = "ends_in"
"""What a classifier has noticed whose module's last part is a Sigmoid."""

__all__ = [
    "Asker",
    "Explainer",
    "Question",
    "ask",
    "ask_whole",
    "by_size",
    "check_model",
    "embed",
    "explain_with",
    "model_input",
    "score_all",
]


@dataclass(frozen=True, eq=False)
class Question:
    """An image, a model, and a class of the model's.

    It is what methods explain, and, as `interpix.metrics.Sample`, what metrics score maps of; made once, it serves any
    number of both.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> question = Question.of(model, np.ones((3, 4, 6), np.float32) * np.array([1, 3, 2], np.float32)[:, None, None])
    >>> question.prediction, question.target, question.size
    (1, 1, (4, 6))

    Attributes:
        classifier: The model.
        source: The image as it was given: raw, or the model's input.
        tensor: The image as the model's input, float32 (C, H, W).
        image: The picture that the model sees, uint8 (H, W, 3), which nobody can write to.
        logits: What the model answers to the whole image, float64 (classes,), or another row of numbers.
        target: The class to explain, or what else the output has for targets.
        output: What the numbers mean.
        facts: What was noticed meanwhile and a result shall remember, as plain JSON values.
    """

    classifier: Classifier
    source: LoadedImage
    tensor: npt.NDArray[np.float32]
    image: npt.NDArray[np.uint8]
    logits: npt.NDArray[np.float64]
    target: int
    output: Output
    facts: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @classmethod
    def of(
        cls, model: ModelInput, image: ImageInput, target: Target = None, *, output: OutputInput = "auto"
    ) -> "Question":
        """Prepares one image and asks the model about it.

        Args:
            model: Anything that `interpix.MoXI` takes; it is not changed.
            image: A raw image, or a preprocessed float tensor (C, H, W).
            target: The class to explain, by index or name; None: the prediction.
            output: What the model's answers mean, see `interpix.outputs`.

        Raises:
            ArgumentError: The image or the target cannot be read, or the model wants another size.
            ModelError: The model raised, or answered with something unusable.
        """
        if isinstance(image, list | tuple):
            cure = "call it once for each, or use interpix.compare, which takes many"
            raise bad_type("image", "one image", image, cure)
        return ask(as_classifier(model, output), [read_image(image)], [target])[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture that the model sees."""
        return self.tensor.shape[1], self.tensor.shape[2]

    @cached_property
    def prediction(self) -> int:
        """The class that the model gives to the whole image; the target, where the output knows no classes."""
        return self.output.prediction(self.logits) if self.output.among_classes else self.target

    @cached_property
    def class_names(self) -> tuple[str, ...] | None:
        """A name for each target."""
        names = self.output.names(self.classifier.class_names, self.logits)
        return None if names is None else tuple(names)

    @cached_property
    def answer(self) -> float:
        """What the output says of the target on the whole image: its probability, of a classifier."""
        return self.score("log_odds").answer

    @property
    def probability(self) -> float:
        """The target's probability on the whole image.

        Raises:
            ArgumentError: The output has none.
        """
        if not self.output.is_probability:
            raise bad_value("output", "one with probabilities", self.output.name, "see `answer`")
        return self.answer

    @cached_property
    def normalization(self) -> Normalization:
        """The end of the model's preprocessing; it must have one."""
        return Normalization.of(self.classifier)

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """The picture as the model sees it, uint8 (H, W, 3), before normalization."""
        return self.normalization.restore(self.tensor)

    def score(self, reward: Reward) -> Score:
        """What the model says to the whole image."""
        return self.output.score_whole(self.logits, self.target, reward)

    def scores(self, rows: npt.NDArray[Any], reward: Reward = "log_odds") -> Scores:
        """What the model's rows (c, D) for other pictures say of the target."""
        return self.output.score_rows(np.asarray(rows, np.float64), self.target, self.logits, reward)

    def scores_of(self, workshop: Workshop, batches: Iterable[Any]) -> Scores:
        """What the model says of the target to batches of pictures (b, C, H, W), made in its workshop when it is asked.

        >>> from interpix.models.protocol.workshop import workshop_of
        >>> question = Question.of(lambda batch: batch.sum(axis=(2, 3)), np.ones((3, 4, 6), np.float32), 2)
        >>> workshop = workshop_of(question.classifier)
        >>> image = workshop.bring(question.tensor)
        >>> question.scores_of(workshop, (share * image[None] for share in (0, 1))).answer.round(3)
        array([0.333, 0.333])
        """
        with asking(self.classifier):
            return Scores.joined(self.scores(workshop.logits(batch)) for batch in batches)

    def asked_of(self, classifier: Classifier) -> "Question":
        """The same image and class for another model with the same preprocessing and classes.

        Raises:
            ArgumentError: What is explained is the model's own find, as a detector's box.
        """
        if self.output.shares:
            cure = "leave out metrics that compare models, as model_randomization"
            raise bad_value("output", "one whose targets other models have, too", self.output.name, cure)
        logits = ask_whole(classifier, self.tensor[None])[0]
        # What was noticed of the other model's answers is not this one's.
        facts = {name: fact for name, fact in self.facts.items() if name in ("colors", "output")}
        return dataclasses.replace(self, classifier=classifier, logits=logits, facts=facts)

    def attribution(self, values: npt.NDArray[Any], method: str, facts: dict[str, Any]) -> Attribution:
        """The result whose map is `values` (H, W), with the method's name and what else is to be remembered."""
        versions = {"interpix": _core.__version__, "numpy": np.__version__}
        return Attribution(
            map=values,
            target=self.target,
            prediction=self.prediction,
            class_names=self.class_names,
            image=self.image,
            method=method,
            provenance={"method": method, **facts, **versions, **self.facts, **self.classifier.provenance()},
        )


@runtime_checkable
class Explainer(Protocol):
    """An attribution method: of `interpix.methods`, or the user's own."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    def explain(self, model: ModelInput, image: ImageInput, target: Target = None) -> Attribution:
        """How much each pixel of an image matters to a class."""
        ...


def check_model(one: object, classifier: Classifier) -> None:
    """Refuses, before any work, a model that a method or a metric of interpix cannot do with, and what is missing."""
    own = getattr(one, "check_model", None)
    if own is not None:
        own(classifier)


def explain_with(explainer: Explainer, question: Question) -> Attribution:
    """The explainer's map. Those of interpix take the question as it is; a user's own gets model, image and class."""
    own = getattr(explainer, "explain_question", None)
    if own is not None:
        found: Attribution = own(question)
        return found
    return explainer.explain(question.classifier, question.source.pixels, question.target)


def ask(classifier: Classifier, images: Sequence[LoadedImage], targets: Sequence[Target]) -> list[Question]:
    """Prepares the images of a call, which share batches, and asks the model about the whole of each.

    Args:
        classifier: The model.
        images: At least one.
        targets: One for each image.
    """
    return Asker(classifier).ask(images, targets)


class Asker:
    """Asks a model about the images of a call, some after the others; what needs to be seen once is seen at the first.

    Whether colors are true is seen at the first photo, and whether answers depend on chance or on the batch at the
    first image.
    """

    def __init__(self, classifier: Classifier) -> None:
        """Takes the model; nothing is asked yet."""
        self._classifier = classifier
        self._colors_confirmed: bool | None = None
        self._doubted = False
        self._noticed: dict[str, Any] | None = None

    def ask(self, images: Sequence[LoadedImage], targets: Sequence[Target]) -> list[Question]:
        """See `interpix.question.ask`."""
        classifier = self._classifier
        tensors = [model_input(classifier, image) for image in images]
        shown = [_picture(classifier, image, tensor) for image, tensor in zip(images, tensors, strict=True)]
        doubts = self._doubt_range(images, tensors, shown)
        colors = self._check_colors(images, tensors, [one.true_colors for one in shown])
        with _channels_named(tensors[0]):
            logits = ask_whole(classifier, tensors)
        if self._noticed is None:
            self._noticed = _ask_again(classifier, tensors[0], logits[0])
        output = output_for(output_of(classifier), logits.shape[1])
        lists = [output.names(classifier.class_names, answer) for answer in logits]
        aims = [output.read_target(*asked) for asked in zip(targets, logits, lists, strict=True)]
        names = _shared(lists)
        answers = _scores_of(output, logits, aims, "log_odds").answer.tolist()
        guessed = {} if output_of(classifier) is not None else {"chosen": "by the number of logits"}
        plain = as_json(output.facts()) | guessed
        questions = []
        for place, image in enumerate(images):
            aim, named, whole = aims[place], names[place], logits[place]
            claims = plain | _claims(output, aim, whole, answers[place], named)
            facts = self._noticed | colors[place] | doubts[place] | {"output": claims}
            question = Question(classifier, image, tensors[place], shown[place].pixels, whole, aim, output, facts=facts)
            vars(question).update(class_names=named, answer=answers[place])  # its cached properties, known already
            questions.append(question)
        return questions

    def _doubt_range(
        self, images: Sequence[LoadedImage], tensors: Sequence[npt.NDArray[np.float32]], shown: Sequence[Shown]
    ) -> list[dict[str, Any]]:
        """Warns, once, of inputs that look as if nobody had normalized them; what results shall remember of each."""
        facts: list[dict[str, Any]] = []
        for image, tensor, picture in zip(images, tensors, shown, strict=True):
            if image.raw is None:
                found = looks_unnormalized(self._classifier, tensor, picture.range)
                cause = f"an image has values in {found}, as pixels before the model's normalization"
                cure = "if they are, pass the photo as uint8 (H, W, 3), or normalize it"
            else:
                found = leaves_unnormalized(self._classifier)
                cause = f"its preprocessing gives values in {found}, but its configuration has a mean and a deviation"
                cure = "end it in Normalize(mean, std) of these, or leave `preprocess` out"
            facts.append({} if found is None else {"looks_unnormalized": found})
            if found is not None and not self._doubted:
                self._doubted = True
                warn(f"model `{self._classifier.name}`: {cause}; {cure}")
        return facts

    def _check_colors(
        self,
        images: Sequence[LoadedImage],
        tensors: Sequence[npt.NDArray[np.float32]],
        true_colors: Sequence[bool],
    ) -> list[dict[str, Any]]:
        """The rule for shortcuts: a recovered normalization is compared with what preprocessing makes of a photo.

        Returns:
            What a result of each image shall remember of its colors.

        Raises:
            ArgumentError: Preprocessing makes another tensor of the same photo each time.
        """
        classifier = self._classifier
        facts = [{} if true else {"colors": "stretched"} for true in true_colors]
        if has_own_display(classifier):
            return facts
        raw = next((index for index, image in enumerate(images) if image.raw is not None), None)
        if self._colors_confirmed is None and raw is not None:
            photo = images[raw].raw
            self._colors_confirmed = photo is None or check_preprocessing(classifier, photo, tensors[raw])
            if not (self._colors_confirmed and true_colors[raw]):
                message = (
                    f"model `{classifier.name}`: its preprocessing does not end in (pixel - mean) / scale for each "
                    "channel, so the picture is shown, and pixels are taken for similar, in colors that may not be the "
                    "photo's; pass a preprocessing that does, or preprocessed images"
                )
                warn(message)
        unsure = {"colors": "not confirmed"} if self._colors_confirmed is False else {}
        return [unsure | one for one in facts]


@contextlib.contextmanager
def _channels_named(tensor: npt.NDArray[np.float32]) -> Iterator[None]:
    """A model that fails on an image of other channels than colors is told with them, which may be the cause."""
    try:
        yield
    except ModelError as error:
        channels = len(tensor)
        if channels == _COLORS:
            raise
        cure = "pass as many as the model takes: of a gray one for a model of colors, np.repeat(image, 3, axis=0)"
        raise ModelError(f"{error}; the image has {channels} channels: {cure}") from error.__cause__


def _shared(names: Sequence[list[str] | None]) -> list[tuple[str, ...] | None]:
    """The names of each image, one tuple for all that have the same.

    >>> first, second, other = _shared([["cat", "dog"], ["cat", "dog"], None])
    >>> first is second, other
    (True, None)
    """
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    # Most outputs give the same list each time.
    last: tuple[list[str] | None, tuple[str, ...] | None] = None, None
    found = []
    for own in names:
        if own is not None and own != last[0]:
            mine = tuple(own)
            last = own, known.setdefault(mine, mine)
        found.append(None if own is None else last[1])
    return found


def _claims(
    output: Output, target: int, whole: npt.NDArray[np.float64], answer: float, names: tuple[str, ...] | None
) -> dict[str, Any]:
    """What the output claims of an image."""
    named = f"class {target}" if names is None else names[target]
    outline = output.outline(target, whole)
    placed = {} if outline is None else {"outline": list(outline)}
    return {"claim": output.claim(repr(named), answer), **placed}


def score_all(questions: Sequence[Question], reward: Reward) -> Scores:
    """What the model says to the whole images of questions that share an output."""
    rows = np.stack([question.logits for question in questions])
    return _scores_of(questions[0].output, rows, [question.target for question in questions], reward)


def _scores_of(output: Output, rows: npt.NDArray[np.float64], targets: Sequence[int], reward: Reward) -> Scores:
    """The scores of the rows (K, D) of whole images."""
    columns = [list(output.columns(target, rows.shape[1])) for target in targets]
    readout = read_logits(rows, np.array(columns, np.int64), relative=output.relative)
    return output.scores(readout, np.arange(len(rows)), targets, list(rows), reward)


def embed(model: ModelInput, images: ImageInput | Sequence[ImageInput]) -> npt.NDArray[np.float64]:
    """The model's own numbers for whole images (K, D), each preprocessed as a search would.

    They are what `interpix.outputs.Similarity` compares with:

    >>> import interpix as ix
    >>> means = lambda batch: batch.mean(axis=(2, 3))
    >>> red, mixed = np.zeros((3, 2, 4), np.float32), np.zeros((3, 2, 4), np.float32)
    >>> red[0], mixed[0, :, :2], mixed[1, :, 2:] = 1, 1, 1
    >>> near_red = ix.outputs.Similarity(embed(means, red), threshold=0.9)
    >>> ix.MoXI(means, regions="1x2", output=near_red).explain(mixed, direction="insertion").group
    (0,)

    Args:
        model: Anything that `interpix.MoXI` takes.
        images: One image, or a list or batch of them.
    """
    # What the numbers mean does not matter here, and so neither which of them is greatest, nor how many there are.
    classifier = as_classifier(model, Value(tolerance=0.0))
    loaded, _ = read_images(images)
    return ask_whole(classifier, [model_input(classifier, image) for image in loaded])


def model_input(classifier: Classifier, image: LoadedImage) -> npt.NDArray[np.float32]:
    """What the model takes (C, H, W): a raw image preprocessed, or a preprocessed one; if its size is right."""
    if image.raw is not None:
        bands = image.raw.shape[2]
        if bands != _COLORS and getattr(classifier, "shown", None) is None:
            cure = "leave out transparency, or say `display=` when wrapping a model that takes other bands"
            raise bad_value("image", "a raw uint8 image of shape (H, W, 3)", describe(image.raw), cure)
        name, tensor = "preprocess", _preprocess(classifier, image.raw)
        cure = "make the preprocessing resize and crop to it"
    else:
        name, tensor = "image", np.asarray(image.pixels, np.float32)
        cure = "resize it, or pass the raw image and the model preprocesses it"
    size = classifier.input_size
    if size is not None and tensor.shape[1:] != tuple(size):
        got = f"{tensor.shape[1]} x {tensor.shape[2]}"
        raise bad_value(name, f"{size} pixels for model `{classifier.name}`", got, cure)
    with renamed(images=name):
        token_grid_at(classifier, tensor.shape[1:])  # which refuses sizes that are no multiple of the patch
    return tensor


def _preprocess(classifier: Classifier, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    try:
        return np.asarray(classifier.preprocess(image))
    except StopIteration as error:  # which Python takes for the end of a loop
        got = f"StopIteration for a photo {image.shape}"
        raise bad_value("preprocess", "a function that gives a tensor", got, "see what it iterates over") from error


def _picture(classifier: Classifier, image: LoadedImage, tensor: npt.NDArray[np.float32]) -> Shown:
    """What people see of an image whose `tensor` the model takes."""
    if image.raw is not None and has_own_display(classifier):
        return Shown(read_only(np.asarray(classifier.display(image.raw, tensor))), true_colors=True)
    found = picture_of(classifier, tensor, None if image.raw is None else image.raw.shape[:2])
    if found.range is None:
        return found._replace(pixels=read_only(found.pixels))
    found.pixels.setflags(write=False)  # it was made here, and is nobody else's
    return found


def ask_whole(
    classifier: Classifier, images: npt.NDArray[np.float32] | Sequence[npt.NDArray[np.float32]]
) -> npt.NDArray[np.float64]:
    """Logits (K, classes) of whole images (C, H, W), of any sizes; those of one size share batches."""
    rows: dict[int, npt.NDArray[Any]] = {}
    for places in by_size(images):
        for start in range(0, len(places), classifier.batch_size):
            some = places[start : start + classifier.batch_size]
            batch = as_batch([images[place] for place in some])
            with doubting():
                answers = classifier.logits(_to_give(classifier, batch))
            rows |= dict(zip(some, answers, strict=True))
    widths = sorted({len(row) for row in rows.values()})
    if len(widths) > 1:
        got = f"{' and '.join(map(str, widths))} of them"
        need = "as many numbers for images of any size"
        raise ModelError(f"model `{classifier.name}`: expected {need}, got {got}; resize the images")
    return np.stack([rows[place] for place in range(len(images))]).astype(np.float64)


def by_size(images: npt.NDArray[np.float32] | Sequence[npt.NDArray[np.float32]]) -> list[list[int]]:
    """The places of images (C, H, W) of equal size, in the order in which the sizes first appear.

    >>> by_size([np.zeros((3, 4, 6)), np.zeros((3, 2, 2)), np.zeros((3, 4, 6))])
    [[0, 2], [1]]
    """
    places: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault(image.shape, []).append(place)
    return list(places.values())


def _ask_again(
    classifier: Classifier, picture: npt.NDArray[np.float32], answer: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """What a result shall remember of a model, each with a warning: answers that depend on chance, or are no logits."""
    batch = _among_others(picture)[: classifier.batch_size]
    try:
        answers = _answers(classifier, batch)
    except Exception:
        # It may take one picture at a time, as some methods do; a search does not, and hears of it.
        if not _refuses(classifier, batch):
            raise
        batch = batch[:1]
        answers = _answers(classifier, batch)
    output = output_for(output_of(classifier), len(answer))
    facts = dict(getattr(classifier, "noticed", {}))
    if _ENDS_IN not in facts:  # which was told, and says more
        facts |= _doubt_logits(classifier, output, np.concatenate([answer[None], answers]))
    again, answer = output.comparable(answers[0]), output.comparable(answer)
    differ = difference(answer, again)
    if differ is None:
        return facts
    by_chance = difference(again, output.comparable(_answers(classifier, batch)[0])) is not None
    cause, cure = (
        ("chance", "turn off what is random in it, such as dropout by a function")
        if by_chance
        else ("what else is in the batch", "let it use statistics of its own, or wrap it so that pictures go singly")
    )
    message = (
        f"model `{classifier.name}`: its answer to one picture depends on {cause}, its logits by up to {differ:.2g} "
        f"(the largest is {abs(answer).max():.2g}), and so does any explanation; {cure}"
    )
    warn(message)
    return facts | {"answers_depend_on": "chance" if by_chance else "batch", "answers_differ_by": differ}


def _doubt_logits(classifier: Classifier, output: Output, rows: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Warns of answers (c, K) that are taken for logits and look like something else; what results shall remember."""
    found = doubt(output, rows, guessed=output_of(classifier) is None)
    if found is None:
        return {}
    warn(f"model `{classifier.name}`: {found}")
    return {"logits_look_like": "probabilities"}


def _among_others(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A picture (C, H, W) and two of other statistics, (3, C, H, W), for models that answer by those of a batch."""
    batch = np.empty((3, *picture.shape), np.float32)
    batch[0] = picture
    ramp = np.linspace(0, 1, picture.shape[2], dtype=np.float32)
    # Neither is brighter anywhere, so that none of their means is the picture's own.
    np.multiply(picture[:, :, ::-1], 0.5, out=batch[1])
    (np.multiply if picture.any() else np.add)(ramp, picture, out=batch[2])
    return batch


def _refuses(classifier: Classifier, pictures: npt.NDArray[np.float32]) -> bool:
    """Whether the model raises for these pictures each time, and not by an accident."""
    try:
        _answers(classifier, pictures)
    except Exception:  # noqa: BLE001 - what a user's function raises is its own affair
        return True
    return False


def _answers(classifier: Classifier, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    with doubting():
        return np.asarray(classifier.logits(_to_give(classifier, pictures)), np.float64)


def _to_give(classifier: Classifier, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A batch that is still needed, as a classifier may have it that may write to it."""
    return batch if getattr(classifier, "spares_batches", False) else batch.copy()
