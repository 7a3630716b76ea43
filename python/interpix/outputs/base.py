"""What a model says about a picture, and whether it still says so: what every kind of output shares."""

import abc
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from interpix.arrays import BoolArray, IntArray
from interpix.errors import ArgumentError, ModelError, bad_value
from interpix.outputs.readout import Readout, Score, Scores, predict, write_probability
from interpix.targets import read_target
from interpix.terms import Reward

__all__ = ["Numbers", "Output", "describe", "digest", "refuse"]

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Output(abc.ABC):
    """What the numbers of a model mean. Derive from it for an output of your own: `reward` and `holds` are enough.

    A model answers a picture with a row of D numbers. A search compares pictures by the `reward` of their rows, and
    ends where the model says what it says of the whole image (`holds`), or no longer does.

    A ranking model scores D documents; does the same one stay first, by how much?

    >>> class First(Output):
    ...     name = "first"
    ...     def reward(self, rows, target, whole):
    ...         return rows[:, target] - np.delete(rows, target, axis=1).max(axis=1)
    ...     def holds(self, rows, target, whole):
    ...         return self.reward(rows, target, whole) > 0
    >>> import interpix as ix
    >>> image = np.arange(8, dtype=np.float32).reshape(2, 4) * np.array([1, 2, 3], np.float32)[:, None, None]
    >>> found = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2", output=First()).explain(image)
    >>> found.target, found.group, found.full.answer
    (2, (1,), 28.0)
    """

    name: ClassVar[str] = "output"
    """For people and files."""
    sign: ClassVar[int] = 1
    """1 where a greater answer is more of what is explained, -1 where a smaller one is."""
    verb: ClassVar[str] = "say"
    """What the model does with what is explained."""
    quantity: ClassVar[str] = "answer"
    """What the `answer` is a quantity of, for axes."""
    is_probability: ClassVar[bool] = False
    """Whether the `answer` is a probability, which `min_confidence` may ask for."""
    among_classes: ClassVar[bool] = False
    """Whether the greatest number of a row is the model's answer, as of classes."""
    exclusive: ClassVar[bool] = False
    """Whether the answer holds exactly where the target is the greatest number, so that another takes its place."""
    relative: ClassVar[bool] = False
    """Whether log-odds against all other classes are needed."""
    takes_rewards: ClassVar[bool] = False
    """Whether a search's `reward` chooses among log-odds, probability and logit; else there is one alone."""
    takes_rows: ClassVar[bool] = True
    """Whether the model itself answers with rows (B, D), so that what computes rows in its place may be used."""

    shares: ClassVar[bool] = False
    """Whether a row says of every target what it needs, at a price that is worth remembering it."""

    @abc.abstractmethod
    def reward(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """What a search compares, (c,): greater is more of what is explained.

        Args:
            rows: The model's answers to c pictures, (c, D); of an output that has `columns`, these.
            target: What of the row is explained: a column, unless the output reads targets itself.
            whole: The model's answer to the whole image, (D,).
        """

    @abc.abstractmethod
    def holds(self, rows: Numbers, target: int, whole: Numbers) -> BoolArray:
        """Whether the model still says what is explained, (c,); arguments as of `reward`."""

    def answer(self, rows: Numbers, target: int, whole: Numbers) -> Numbers:
        """What people are shown of each row, (c,); arguments as of `reward`. By default the reward."""
        return self.reward(rows, target, whole)

    def claim(self, named: str, answer: float) -> str:
        """What is explained, in words that end "these patches are enough for ...".

        Args:
            named: The target's name, in quotes.
            answer: That to the whole image.
        """
        return f"{named} ({describe(self.facts(), answer)})"

    def rows(self, raw: Any, model: str, size: tuple[int, int] | None = None) -> Any:
        """The own answer (B, ...) of the model of that name, numpy or torch, as rows (B, D).

        Args:
            raw: The answer.
            model: For errors.
            size: Height and width of the pictures, where they are known.

        Raises:
            ModelError: It is nothing that this output can read.
        """
        return raw

    def check(self, rows: npt.NDArray[Any], model: str) -> None:  # noqa: B027 - most can mean any
        """Refuses rows (B, D) that this output cannot mean.

        Raises:
            ModelError: It says what was expected and what came.
        """

    def outline(self, target: int, whole: Numbers) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom of what is explained, in pixels, for pictures; None: it has no place."""
        return None

    def moved(self, target: int, whole: Numbers, down: int, right: int) -> Any:
        """The same target, as `read_target` takes it, of the picture moved by some pixels; by default itself."""
        return target

    def comparable(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What of rows (..., D) is the same if the same picture is asked about again; by default all."""
        return rows

    def columns(self, target: int, count: int) -> Sequence[int]:
        """Which of `count` columns `reward` and `holds` need; by default all, in their order."""
        return range(count)

    def prediction(self, whole: Numbers) -> int:
        """What the model says of the whole image: the target where none is given."""
        return int(predict(whole[None])[0])

    def read_target(self, target: object, whole: Numbers, names: list[str] | None) -> int:
        """What of the row a user means, by index or name; None: the model's `prediction`.

        Raises:
            ArgumentError: There is no such target.
        """
        return read_target(target, self.prediction(whole) if target is None else 0, names, len(whole))

    def names(self, class_names: Sequence[str] | None, whole: Numbers) -> list[str] | None:
        """A name for each target, from those of the model's classes, if it has any."""
        return None if class_names is None else list(class_names)

    def scores(
        self, readout: Readout, owner: IntArray, targets: Sequence[int], wholes: Sequence[Numbers], reward: Reward
    ) -> Scores:
        """Scores of c coalitions of several images.

        Args:
            readout: The `columns` of their rows.
            owner: The image of each, (c,).
            targets: Of each image.
            wholes: The answer to each whole image, (D,).
            reward: What a classifier's coalitions earn; other outputs have rewards of their own.
        """
        found = Scores.unknown(len(owner))
        for image in np.unique(owner).tolist():
            mine = owner == image
            rows = readout.logits[mine]
            rows.flags.writeable = False  # what one of them changed, the next would read
            asked = rows, targets[image], wholes[image]
            found.reward[mine] = self._checked("reward", self.reward(*asked), len(rows))
            found.answer[mine] = self._checked("answer", self.answer(*asked), len(rows))
            found.holds[mine] = self._checked("holds", self.holds(*asked), len(rows))
        found.predicted[:] = readout.predicted if self.among_classes else -1
        return found

    def _checked(self, method: str, values: Any, count: int) -> Any:
        """What a method gave for `count` rows, if it is one number, or one truth, for each."""
        array = np.asarray(values)
        kinds, need = ("b", "True or False") if method == "holds" else ("iuf", "a number")
        if array.shape != (count,) or array.dtype.kind not in kinds:
            got = f"{array.dtype} {array.shape}"
            cure = f"see what {type(self).__name__}.{method} returns"
            raise bad_value("output", f"{need} for each of {count} rows of `{method}`", got, cure)
        return array

    def score_rows(self, rows: Numbers, target: int, whole: Numbers, reward: Reward) -> Scores:
        """The same for whole rows (c, D) of pictures of one image."""
        columns = list(self.columns(target, rows.shape[1]))
        chosen = rows[:, columns]
        readout = Readout(chosen, chosen, predict(rows))
        return self.scores(readout, np.zeros(len(rows), np.int64), [target], [whole], reward)

    def score_whole(self, whole: Numbers, target: int, reward: Reward) -> Score:
        """The score of the whole image."""
        return self.score_rows(whole[None], target, whole, reward).rows()[0]

    def differentiable(self, rows: Any, target: int, *, probability: bool) -> Any:
        """What gradients are taken of, (B,), from a torch tensor of rows (B, D): the reward, or the probability.

        Raises:
            ArgumentError: The output has none.
        """
        raise self._without_gradient()

    def require_gradient(self) -> None:
        """Refuses an output that has no `differentiable`.

        Raises:
            ArgumentError: It has none.
        """
        if type(self).differentiable is Output.differentiable:
            raise self._without_gradient()

    def _without_gradient(self) -> ArgumentError:
        need = f"one without gradients, as the output {self.name} has none"
        cure = "use RISE, SuperpixelRISE, LIME, Shapley, MoXIMap or MoXIOneShot"
        return bad_value("method", need, "one with gradients", cure)

    def _column(self, rows: Any, target: int, *, probability: bool) -> Any:
        """What gradients are taken of where a column is what is explained, and no probability."""
        if probability:
            need = f'"logit", as {self.name} is no probability'
            raise bad_value("output", need, '"probability"', "leave it out")
        return rows[:, target]

    def facts(self) -> dict[str, Any]:
        """What a result remembers of the output, as plain JSON values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: value for name, value in fields.items() if isinstance(value, bool | int | float | str | None)}
        words = {
            "verb": self.verb,
            "quantity": self.quantity,
            "is_probability": self.is_probability,
            "exclusive": self.exclusive,
        }
        return {"name": self.name, **words, **plain}


def digest(array: Any) -> str:
    """The hash of an array that is too large to be remembered itself."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def refuse(model: str, expected: str, got: object, cure: str) -> ModelError:
    """The error of an output that does not fit what a model returned."""
    return ModelError(f"model `{model}`: expected {expected}, got {got}; {cure}")


def describe(facts: Mapping[str, Any], answer: float) -> str:
    """An answer in words, by what a result remembers of the output.

    >>> describe({"quantity": "value", "is_probability": False}, 31.25)
    'value 31.25'
    >>> describe({"quantity": "probability", "is_probability": True}, 0.981)
    'p = .98'
    >>> describe({"quantity": "probability", "is_probability": True}, 0.9999)
    'p > .99'
    """
    if facts["is_probability"]:
        written = write_probability(answer)
        return f"p {written}" if written[0] in "<>" else f"p = {written}"
    return f"{facts['quantity']} {answer:.4g}"
