"""The result of a MoXI search: which patches, together, decide."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from interpix.arrays import IntArray
from interpix.errors import bad_value
from interpix.images import ImageInput
from interpix.outputs.readout import Score
from interpix.results.attribution import Attribution
from interpix.results.base import Result, check_field, is_count, is_number
from interpix.results.coalitions import ScoredCoalitions
from interpix.terms import SearchDirection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Explanation", "PlotKind"]

_SOFTMAX = {"name": "softmax", "quantity": "probability", "is_probability": True, "exclusive": True}
"""What results of earlier versions do not say."""
_COALITIONS = "coalitions"

_WITHOUT = ("rewards_without", "answers_without", "predicted_without", "holds_without")

PlotKind: TypeAlias = Literal["group", "heatmap", "curve"]
"""What `Explanation.plot` draws."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation(Result):
    """Which patches, together, decide: the outcome of one search on one image.

    >>> import numpy as np
    >>> from interpix import MoXI
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> found = MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3").explain(image, direction="deletion")
    >>> found, found.group, found.name_of(found.target)
    (<Explanation deletion of 'class 0': 1 of 6 patches>, (3,), 'class 0')
    >>> found.attribution().map[::2, ::2]
    array([[0., 0., 0.],
           [1., 0., 0.]], dtype=float32)

    Attributes:
        ranking: The patches in the order they were found (k,); the most important comes first.
        rewards: After 0, 1, ..., k patches (k + 1,), in the units of the run's reward.
        answers: What the model says of the target after 0 ... k patches (k + 1,): of a classifier its probability, of
            another output what `output` names.
        predicted: The most probable class after 0 ... k patches (k + 1,); -1 where the output knows no classes.
        holds: Whether the model still says what is explained after 0 ... k patches (k + 1,).
        gaps: By how much each patch beat the second best one, in units of the reward (k,);
            infinite where there was no other.
        stopped_at: The least number of patches at which the answer is the target (insertion) or no
            longer is (deletion); 0 if it was so from the start, None if it never was.
        target: The class explained, or what else the output has for targets.
        prediction: The class that the model gives to the whole image.
        full: The score of the whole image.
        empty: The score with all patches absent.
        direction: "insertion", "deletion", or "both": patches that suffice and are needed at once.
        evaluations: How many coalitions the model scored.
        seconds: Wall time from the begin of the call to this result; the images of a call share it.
        regions: The patch of each pixel (H, W), labels 0 ... n-1.
        image: What the model saw, uint8 (H, W, 3).
        class_names: One name for each class, or None.
        provenance: Versions, model and options.
        values: What a method assigned to each patch (n,), as Shapley values; None for a search, which only ranks.
        removed_before: Patches that were absent from the start, as after the first phase of `MoXI.contrast`.
        minimal_group: The patches up to the flip without those that can be left out, in the order found: each of them
            is needed by itself, which was checked by leaving out one at a time; None if that was not asked for.
        minimal_score: What the model says to it.
        rewards_without: With direction "both", where `rewards` are those of the patches alone: the rewards of the image
            without the first 0 ... k of them (k + 1,). None otherwise.
        answers_without: The answers to it, likewise.
        predicted_without: The most probable class, likewise.
        holds_without: Whether the model still says what is explained, likewise.
        minimal_without: With direction "both": what the model says to the image without the minimal group.
        none_up_to: All groups of up to so many patches were tried, and none does what was asked for; None: not tried.
        all_parts_tried: Not only those that lack one patch, all parts of the group were tried, and none does.
        coalitions: Every coalition that was scored, where `MoXI(keep_coalitions=True)` asked for that; else None.
    """

    ranking: IntArray
    rewards: npt.NDArray[np.float64]
    answers: npt.NDArray[np.float64]
    predicted: IntArray
    holds: npt.NDArray[np.bool_]
    gaps: npt.NDArray[np.float64]
    stopped_at: int | None
    full: Score
    empty: Score
    direction: SearchDirection
    evaluations: int
    seconds: float
    regions: IntArray
    values: npt.NDArray[np.float64] | None = None
    removed_before: tuple[int, ...] = ()
    minimal_group: tuple[int, ...] | None = None
    minimal_score: Score | None = None
    rewards_without: npt.NDArray[np.float64] | None = None
    answers_without: npt.NDArray[np.float64] | None = None
    predicted_without: IntArray | None = None
    holds_without: npt.NDArray[np.bool_] | None = None
    minimal_without: Score | None = None
    none_up_to: int | None = None
    all_parts_tried: bool = False
    coalitions: ScoredCoalitions | None = None

    kind: ClassVar[str] = "explanation"
    array_names: ClassVar[tuple[str, ...]] = (
        "ranking",
        "rewards",
        "answers",
        "predicted",
        "holds",
        "gaps",
        "regions",
        "image",
    )
    optional_arrays: ClassVar[tuple[str, ...]] = ("values", *_WITHOUT)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by field, and those of the coalitions."""
        kept = {} if self.coalitions is None else self.coalitions.arrays()
        return super().arrays() | {f"{_COALITIONS}.{name}": array for name, array in kept.items()}

    def scalars(self) -> dict[str, Any]:
        """See `Result.scalars`."""
        return {name: value for name, value in super().scalars().items() if name != _COALITIONS}

    @classmethod
    def restored(cls, scalars: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `Result.restored`; JSON has lists for tuples."""
        read: dict[str, Any] = {name: Score(*scalars[name]) for name in ("full", "empty")} | {
            "removed_before": tuple(scalars["removed_before"])
        }
        if scalars.get("minimal_group") is not None:  # from format 4 on
            read |= {"minimal_group": tuple(scalars["minimal_group"])}
            read |= {"minimal_score": Score(*scalars["minimal_score"])}
        if scalars.get("minimal_without") is not None:
            read |= {"minimal_without": Score(*scalars["minimal_without"])}
        own = {name: array for name, array in arrays.items() if not name.startswith(f"{_COALITIONS}.")}
        if len(own) < len(arrays):  # from format 6 on
            kept = {name.partition(".")[2]: arrays[name] for name in arrays.keys() - own.keys()}
            read |= {_COALITIONS: ScoredCoalitions.restored(int(own["regions"].max()) + 1, kept)}
        return super().restored({**scalars, **read}, own)

    def check(self) -> None:
        """See `Result.check`."""
        super().check()
        check_field("regions", _is_label_map(self.regions, self.image.shape[:2]), "a label for each pixel, 0 ... n-1")
        found, players = len(self.ranking), self.players
        patches = range(players)
        check_field("ranking", self.ranking.dtype == np.int64 and self.ranking.ndim == 1, "patches")
        removed = self.removed_before
        check_field("removed_before", _are_distinct(removed, patches), "patches, each once")
        # None is found that was gone from the start.
        check_field("ranking", _are_distinct([*removed, *self.ranking.tolist()], patches), "patches, each once")
        for name, length in (("rewards", found + 1), ("answers", found + 1), ("gaps", found)):
            array = getattr(self, name)
            check_field(name, array.dtype == np.float64 and array.shape == (length,), f"{length} numbers")
        check_field("rewards", np.isfinite(self.rewards).all(), "finite numbers")
        check_field("output", _is_output(self.output), "what the model's answers mean")
        check_field("answers", np.isfinite(self.answers).all(), "finite numbers")
        if self.output["is_probability"]:
            in_range = (self.answers >= 0) & (self.answers <= 1)
            check_field("answers", in_range.all(), "numbers in 0 ... 1")
        check_field("holds", self.holds.dtype == bool and self.holds.shape == (found + 1,), "whether each holds")
        check_field("gaps", not np.isnan(self.gaps).any(), "numbers")
        predicted = self.predicted
        check_field("predicted", predicted.dtype == np.int64 and predicted.shape == (found + 1,), "classes")
        names = self.class_names
        fine = bool((predicted >= -1).all()) and (names is None or bool((predicted < len(names)).all()))
        check_field("predicted", fine, "classes")
        stopped = self.stopped_at
        check_field("stopped_at", stopped is None or (is_count(stopped) and stopped <= found), "a number of patches")
        check_field("direction", self.direction in get_args(SearchDirection), "a direction")
        check_field("evaluations", is_count(self.evaluations), "a number of evaluations")
        check_field("seconds", is_number(self.seconds), "seconds")
        for name in ("full", "empty"):
            check_field(name, _is_score(getattr(self, name)), "reward, answer, class, and whether it holds")
        check_field("minimal_group", self._has_minimal_group(), "some of the patches up to the flip, with a score")
        self._check_without(found)
        known = self.none_up_to
        check_field("none_up_to", known is None or is_count(known), "a number of patches, or None")
        check_field("all_parts_tried", isinstance(self.all_parts_tried, bool), "True or False")
        if self.coalitions is not None:
            check_field(_COALITIONS, self.coalitions.players == players, "of the patches of the image")
            known = None if names is None else len(names)
            self.coalitions.check(known, is_probability=bool(self.output["is_probability"]))
        values = self.values
        fine = values is None or (
            values.dtype == np.float64 and values.shape == (players,) and bool(np.isfinite(values).all())
        )
        check_field("values", fine, "a number for each patch, or None")

    def _check_without(self, found: int) -> None:
        """Refuses all but a whole second curve with direction "both", and none otherwise."""
        both = self.direction == "both"
        kinds = (np.float64, np.float64, np.int64, np.bool_)
        for name, kind in zip(_WITHOUT, kinds, strict=True):
            array = getattr(self, name)
            fits = array is not None and array.dtype == kind and array.shape == (found + 1,)
            fine = fits if both else array is None
            check_field(name, fine, f"{found + 1} of them" if both else "None")
        for array in (self.rewards_without, self.answers_without):
            check_field("answers_without", array is None or np.isfinite(array).all(), "finite numbers")
        score = self.minimal_without
        fine = score is None if not both or self.minimal_group is None else score is not None and _is_score(score)
        check_field("minimal_without", fine, "what is said without the minimal group")

    def _has_minimal_group(self) -> bool:
        group, score = self.minimal_group, self.minimal_score
        if group is None or score is None:
            return group is None and score is None
        return (
            _is_score(score)
            and _are_distinct(group, range(self.players))
            and set(group) <= set(self.ranking[: self.stopped_at or 0].tolist())
        )

    @property
    def output(self) -> Mapping[str, Any]:
        """What the model's answers mean: the `name` of its output, the `quantity` of its answers, its options."""
        found: Mapping[str, Any] = self.provenance.get("output", _SOFTMAX)
        return found

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """The `answers`, if they are probabilities.

        Raises:
            ArgumentError: They are not: the output is a number, say.
        """
        if not self.output["is_probability"]:
            raise bad_value("output", "one with probabilities", self.output["name"], "see `answers`")
        return self.answers

    @property
    def players(self) -> int:
        """The number of patches of the image."""
        return int(self.regions.max()) + 1

    @property
    def group(self) -> tuple[int, ...]:
        """The patches that suffice (insertion) or that the answer needs (deletion), in the order found.

        All of those up to the flip, or the `minimal_group` where it was asked for. Empty if the search was over at the
        start, or if no group was found: see `stopped_at`.
        """
        return (
            tuple(self.ranking[: self.stopped_at or 0].tolist()) if self.minimal_group is None else self.minimal_group
        )

    @property
    def group_score(self) -> Score | None:
        """What the model says to the group, or to the image without it (deletion); None if no group was found."""
        at = self.stopped_at
        if at is None or self.minimal_score is not None:
            return self.minimal_score
        return Score(*(column[at].item() for column in (self.rewards, self.answers, self.predicted, self.holds)))

    @property
    def group_score_without(self) -> Score | None:
        """With direction "both": what the model says to the image without the group; None if no group was found."""
        at, curves = self.stopped_at, [getattr(self, name) for name in _WITHOUT]
        if at is None or curves[0] is None or self.minimal_without is not None:
            return self.minimal_without
        return Score(*(curve[at].item() for curve in curves))

    @property
    def proven(self) -> str:
        """What is known of the group beyond that it does what was asked for, in words; "" if nothing is."""
        known = []
        if self.stopped_at is not None and self.minimal_group is not None:
            known.append("no part of it does" if self.all_parts_tried else "no single patch can be left out")
        # That no part of a group does is said of the empty one, too.
        if self.none_up_to is not None and not (self.none_up_to == 0 and self.all_parts_tried and known):
            up_to = "1 patch" if self.none_up_to == 1 else f"up to {self.none_up_to} patches"
            tried = f"no group of {up_to} does (all tried)"
            known.append("an empty group does not" if self.none_up_to == 0 else tried)
        return "; ".join(known)

    def mask(self) -> npt.NDArray[np.bool_]:
        """The pixels (H, W) of the group, True = in the group."""
        return np.isin(self.regions, self.group)

    def attribution(self) -> Attribution:
        """The heat map: the patches' `values`; else the first found has k, the next k - 1, ..., the rest 0."""
        values = np.zeros(self.players, np.float32)
        if self.values is not None:
            values[:] = self.values
        else:
            values[self.ranking] = np.arange(len(self.ranking), 0, -1)
        method = f"{self.provenance.get('method', 'MoXI')} ({self.direction})"
        return Attribution(
            map=values[self.regions],
            target=self.target,
            prediction=self.prediction,
            class_names=self.class_names,
            image=self.image,
            method=method,
            provenance={**self.provenance, "method": method},
        )

    def on_photo(self, photo: ImageInput, model: Any) -> Attribution:
        """The heat map on the photo itself, of which the model saw a part: see `Attribution.on_photo`."""
        return self.attribution().on_photo(photo, model)

    def propagate(self, *, radius: int | None = None, color_weight: float = 1.0, discount: float = 0.99) -> Attribution:
        """The heat map from patches to pixels: see `interpix.propagate`."""
        return self.attribution().propagate(radius=radius, color_weight=color_weight, discount=discount)

    def plot(self, kind: PlotKind = "group", *, ax: "Axes | None" = None) -> "Axes":
        """Draws the result on `ax`; needs matplotlib.

        Args:
            kind: `"group"`: the image with the group in full light, or blanked out; `"heatmap"`: the ranking as the
                papers draw it; `"curve"`: the target's probability, patch by patch.
            ax: Where to draw; new axes by default.
        """
        from interpix import plots  # matplotlib only when asked for

        if kind == "group":
            return plots.plot_group(self, ax=ax)
        if kind == "heatmap":
            return plots.plot_heatmap(self, ax=ax)
        if kind == "curve":
            return plots.plot_curves(self, ax=ax)
        raise bad_value("kind", '"group", "heatmap" or "curve"', repr(kind), "pick one")

    def to_html(self, path: str | os.PathLike[str], *others: "Explanation", overwrite: bool = False) -> None:
        """Writes one HTML file that needs no network, with a slider over the steps and patches that can be toggled.

        A coalition that was scored shows its answer; `MoXI(keep_coalitions=True)` keeps them all.

        Args:
            path: Of a new file, or of one that interpix wrote.
            others: Results of the same image and target, a deletion beside an insertion, say.
            overwrite: Replace what interpix did not write, too.
        """
        from interpix.page import write_page  # only when asked for

        write_page(path, [self, *others], overwrite=overwrite)

    def summary(self) -> dict[str, Any]:
        """The numbers as plain JSON values with names, without the arrays of pixels: `docs/explain-1.schema.json`."""
        score, without = self.group_score, self.group_score_without
        return {
            "direction": self.direction,
            "target": self._named(self.target),
            "prediction": self._named(self.prediction),
            "output": dict(self.output),
            "group": list(self.group),
            "minimal": self.minimal_group is not None,
            "stopped_at": self.stopped_at,
            "group_score": None if score is None else self._described(score),
            "group_score_without": None if without is None else self._described(without),
            "proven": self.proven,
            "full": self._described(self.full),
            "empty": self._described(self.empty),
            "steps": self._steps(),
            "steps_without": self._steps_without(),
            "removed_before": list(self.removed_before),
            "patches": {"count": self.players, "grid": self._grid(), "boxes": self._boxes()},
            "values": None if self.values is None else self.values.tolist(),
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "provenance": dict(self.provenance),
        }

    def _named(self, index: int) -> dict[str, Any] | None:
        """A class by index and name; None where there is no class."""
        if index < 0:
            return None
        return {"index": index, "name": None if self.class_names is None else self.name_of(index)}

    def _described(self, score: Score) -> dict[str, Any]:
        return {**score._asdict(), "predicted": self._named(score.predicted)}

    def _steps(self) -> list[dict[str, Any]]:
        """What was said after 0, 1, ... patches, each with the patch of the step."""
        columns = self.rewards, self.answers, self.predicted, self.holds
        scores = [Score(*(value.item() for value in row)) for row in zip(*columns, strict=True)]
        steps = [{"patch": None, "gap": None} | self._described(scores[0])]
        for patch, gap, score in zip(self.ranking.tolist(), self.gaps.tolist(), scores[1:], strict=True):
            # JSON has no infinity.
            steps.append({"patch": patch, "gap": gap if math.isfinite(gap) else None} | self._described(score))
        return steps

    def _steps_without(self) -> list[dict[str, Any]] | None:
        """With direction "both": what was said without 0, 1, ... patches."""
        curves = [getattr(self, name) for name in _WITHOUT]
        if curves[0] is None:
            return None
        return [self._described(Score(*(value.item() for value in row))) for row in zip(*curves, strict=True)]

    def _grid(self) -> list[int] | None:
        """Rows and columns of the patches, if they are cells of a grid, row by row."""
        first_row, first_column = self.regions[0], self.regions[:, 0]
        columns = int(first_row.max()) + 1
        rows = np.unique(first_column).size
        is_grid = (self.regions == first_column[:, None] + first_row).all() and self.players == rows * columns
        return [rows, columns] if is_grid and (np.diff(first_row) >= 0).all() else None

    def _boxes(self) -> list[list[int]]:
        """Left, top, right and bottom of each patch, in pixels, right and bottom exclusive."""
        height, width = self.regions.shape
        boxes = np.tile(np.array([width, height, 0, 0]), (self.players, 1))
        y, x = np.indices((height, width))
        labels = self.regions.ravel()
        for column, (reduce, values) in enumerate(
            ((np.minimum, x), (np.minimum, y), (np.maximum, x + 1), (np.maximum, y + 1))
        ):
            reduce.at(boxes[:, column], labels, values.ravel())
        return [[int(side) for side in box] for box in boxes]

    def __repr__(self) -> str:
        """One line for people."""
        found = "no group found" if self.stopped_at is None else f"{len(self.group)} of {self.players} patches"
        if self.minimal_group is not None:
            found += ", none can be left out"
        return f"<Explanation {self.direction} of {self.name_of(self.target)!r}: {found}>"


def _is_score(score: Score) -> bool:
    fine = is_number(score.reward, -math.inf) and is_number(score.answer, -math.inf)
    return fine and is_count(score.predicted, -1) and isinstance(score.holds, bool)


def _is_output(output: object) -> bool:
    return isinstance(output, Mapping) and all(
        isinstance(output.get(name), type(value)) for name, value in _SOFTMAX.items()
    )


def _is_label_map(regions: npt.NDArray[Any], size: tuple[int, ...]) -> bool:
    if regions.dtype != np.int64 or regions.shape != size or not regions.size:
        return False
    labels = np.unique(regions)
    return int(labels[0]) == 0 and int(labels[-1]) == len(labels) - 1


def _are_distinct(numbers: Sequence[object], allowed: range) -> bool:
    return len(set(numbers)) == len(numbers) and all(type(one) is int and one in allowed for one in numbers)
