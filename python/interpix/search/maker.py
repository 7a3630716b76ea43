"""Games made of images: what all that MoXI can be asked shares, and how a call of it begins."""

import inspect
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self, TypeVar

import numpy as np

from interpix import _core
from interpix.absence import Absence, AbsenceInput, Fill, read_absence
from interpix.checks import check_choice, check_flag, check_positive
from interpix.errors import bad_value, warn
from interpix.images import ImageInput, LoadedImage, checked_image, read_images
from interpix.models import as_classifier
from interpix.models.protocol.classifier import Classifier, ModelInput, token_grid_at
from interpix.options import python_number
from interpix.outputs.reading import OutputInput
from interpix.question import Question, ask, by_size, model_input
from interpix.regions import RegionsInput, read_regions, regions_name
from interpix.search.arguments import count_of, one_for_each, part_of
from interpix.search.call import Call
from interpix.search.games import make_games
from interpix.search.record import Record
from interpix.terms import Precision, SearchDirection, TargetInput, check_reward

__all__ = ["GameMaker", "speaking_as"]

_Public = TypeVar("_Public", bound=type)


class GameMaker:
    """A model with what is absent, what a player is and what is earned; makes games of any number of images."""

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
        guessed = isinstance(absence, str) and absence == "auto" and isinstance(self._absence, Fill)
        self._unused = _tell_of_tokens_inside(self._classifier) if guessed else None
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

    def _begin(
        self,
        image: ImageInput | Question | Sequence[ImageInput],
        target: TargetInput,
        direction: SearchDirection,
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
        direction: SearchDirection,
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
        unused = {} if self._unused is None else {"tokens_unused": self._unused}
        provenance = options | described | versions | unused | self._classifier.provenance()
        return Call(games, places, direction, batch_size, provenance, started)

    def _begin_one(
        self,
        image: ImageInput | Question,
        target: TargetInput,
        direction: SearchDirection,
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

    def _checked(self, image: ImageInput) -> ImageInput | LoadedImage:
        """An image of a list, if it can be one; read, and of a size that the model takes, where that is cheap."""
        checked = checked_image(image)
        if isinstance(checked, LoadedImage) and checked.tensor is not None:
            model_input(self._classifier, checked)
        return checked

    def for_image(self, baselines: Any, feature_mask: Any, index: int, count: int) -> Self:
        """This object with Captum's `baselines` and `feature_mask` of one image."""
        return self.varied(
            regions=None if feature_mask is None else part_of(feature_mask, index, count, channels=False),
            absence=None if baselines is None else part_of(baselines, index, count),
        )

    @property
    def absence(self) -> Absence:
        """What absent means."""
        return self._absence

    def varied(self, *, regions: RegionsInput | None = None, absence: AbsenceInput | None = None) -> Self:
        """This object with other regions, or another absence; None: its own."""
        own = "tokens" if self._by_tokens else self._regions
        return type(self)(
            self._classifier,
            regions=own if regions is None else regions,
            absence=self._absence if absence is None else absence,
            reward=self._reward,
            precision=self._precision,
            batch_size=self._given_batch_size or "auto",
            keep_coalitions=self._keeps,
        )


def speaking_as(*bases: type) -> Callable[[_Public], _Public]:
    """A decorator of the class that people know: Python's own errors about methods of its `bases` name it, not them."""

    def rename(public: _Public) -> _Public:
        for base in bases:
            for name, method in inspect.getmembers(base, inspect.isfunction):
                if name in vars(base):
                    method.__qualname__ = f"{public.__name__}.{name}"
        return public

    return rename


def _tell_of_tokens_inside(classifier: Classifier) -> str | None:
    """What is not used of a Vision Transformer inside of something else, so that patches are filled; with a warning."""
    inside: str | None = getattr(classifier, "tokens_inside", None)
    if inside is not None:
        message = (
            f"model `{classifier.name}`: {inside}, so absent patches are filled with zero; pass a Vision Transformer "
            "itself (merge adapters into it first), or say where its tokens are, as interpix.TorchClassifier(model, "
            'tokens=interpix.Tokens("encoder.layers", patch=16)), or say absence="zero" if this is what you want'
        )
        warn(message)
    return inside
