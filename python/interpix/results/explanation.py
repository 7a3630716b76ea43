"""The result of a MoXI search: raw numbers and where they came from."""

import base64
import dataclasses
import html
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.arrays import IntArray, read_only
from interpix.errors import bad_value
from interpix.outputs import Score
from interpix.storage import read_arrays, require_arrays, write_arrays
from interpix.terms import Direction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Explanation", "PlotKind", "load", "load_all", "save_all"]

PlotKind: TypeAlias = Literal["group", "heatmap", "curve"]
"""What `Explanation.plot` draws."""

_FORMAT = 1
_ARRAYS = ("ranking", "rewards", "probabilities", "predicted", "gaps", "regions", "image")
_OPTIONAL_ARRAYS = ("values",)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which patches, together, decide: the outcome of one search on one image.

    Attributes:
        ranking: The patches in the order they were found (k,); the most important comes first.
        rewards: After 0, 1, ..., k patches (k + 1,), in the units of the run's reward.
        probabilities: Softmax probability of the target after 0 ... k patches (k + 1,).
        predicted: The most probable class after 0 ... k patches (k + 1,).
        gaps: By how much each patch beat the second best one, in units of the reward (k,);
            infinite where there was no other.
        stopped_at: The least number of patches at which the answer is the target (insertion) or no
            longer is (deletion); 0 if it was so from the start, None if it never was.
        target: The class explained.
        prediction: The class that the model gives to the whole image.
        full: The score of the whole image.
        empty: The score with all patches absent.
        direction: "insertion" or "deletion".
        evaluations: How many coalitions the model scored.
        seconds: Wall time of the call, shared by all the images of the call.
        regions: The patch of each pixel (H, W), labels 0 ... n-1.
        image: What the model saw, uint8 (H, W, 3).
        class_names: One name for each class, or None.
        provenance: Versions, model and options.
        values: What a method assigned to each patch (n,), as Shapley values; None for a search, which only ranks.
        removed_before: Patches that were absent from the start, as after the first phase of `MoXI.contrast`.
    """

    ranking: IntArray
    rewards: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    predicted: IntArray
    gaps: npt.NDArray[np.float64]
    stopped_at: int | None
    target: int
    prediction: int
    full: Score
    empty: Score
    direction: Direction
    evaluations: int
    seconds: float
    regions: IntArray
    image: npt.NDArray[np.uint8]
    class_names: tuple[str, ...] | None
    provenance: Mapping[str, Any]
    values: npt.NDArray[np.float64] | None = None
    removed_before: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Makes every array an own read-only copy."""
        for name in self._arrays():
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def _arrays(self) -> list[str]:
        """The fields that hold arrays."""
        return [*_ARRAYS, *(name for name in _OPTIONAL_ARRAYS if getattr(self, name) is not None)]

    @property
    def players(self) -> int:
        """The number of patches of the image."""
        return int(self.regions.max()) + 1

    @property
    def group(self) -> tuple[int, ...]:
        """The patches that suffice (insertion) or that the answer needs (deletion), in the order found.

        Empty if the search was over at the start, or if no group was found: see `stopped_at`.
        """
        return tuple(self.ranking[: self.stopped_at or 0].tolist())

    def name_of(self, index: int) -> str:
        """The name of a class, or "class 7" if the model has no names."""
        return f"class {index}" if self.class_names is None else self.class_names[index]

    def mask(self) -> npt.NDArray[np.bool_]:
        """The pixels (H, W) of the group, True = in the group."""
        return np.isin(self.regions, self.group)

    def attribution(self) -> npt.NDArray[np.float32]:
        """Heat map (H, W): the patches' `values`; else the first found has k, the next k - 1, ..., the rest 0."""
        if self.values is not None:
            return self.values.astype(np.float32)[self.regions]
        values = np.zeros(self.players, np.float32)
        values[self.ranking] = np.arange(len(self.ranking), 0, -1)
        return values[self.regions]

    def propagate(self, *, radius: int | None = None, discount: float = 0.99) -> npt.NDArray[np.float32]:
        """The heat map from patches to pixels (H, W): see `interpix.propagate`."""
        from interpix.propagation import propagate  # noqa: PLC0415 - only when asked for

        return np.asarray(propagate(self.attribution(), self.image, radius=radius, discount=discount))

    def plot(self, kind: PlotKind = "group", *, ax: "Axes | None" = None) -> "Axes":
        """Draws the result on `ax`; needs matplotlib.

        Args:
            kind: `"group"`: the image with the group in full light, or blanked out; `"heatmap"`: the ranking as the
                papers draw it; `"curve"`: the target's probability, patch by patch.
            ax: Where to draw; new axes by default.
        """
        from interpix import plots  # noqa: PLC0415 - matplotlib only when asked for

        if kind == "group":
            return plots.plot_group(self, ax=ax)
        if kind == "heatmap":
            return plots.plot_heatmap(self, ax=ax)
        if kind == "curve":
            return plots.plot_curves(self, ax=ax)
        raise bad_value("kind", '"group", "heatmap" or "curve"', repr(kind), "pick one")

    def summary(self) -> dict[str, Any]:
        """The numbers as plain JSON values, without the arrays of pixels."""
        names = None if self.class_names is None else self.name_of(self.target)
        return {
            "target": self.target,
            "target_name": names,
            "prediction": self.prediction,
            "prediction_name": None if self.class_names is None else self.name_of(self.prediction),
            "direction": self.direction,
            "group": list(self.group),
            "stopped_at": self.stopped_at,
            "patches": self.players,
            "ranking": self.ranking.tolist(),
            "removed_before": list(self.removed_before),
            "rewards": self.rewards.tolist(),
            "probabilities": self.probabilities.tolist(),
            "predicted": self.predicted.tolist(),
            "full": list(self.full),
            "empty": list(self.empty),
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "provenance": dict(self.provenance),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a safetensors file that `interpix.load` reads: to a temporary name, then renamed."""
        save_all(path, [self])

    def __repr__(self) -> str:
        """One line for people."""
        found = "no group found" if self.stopped_at is None else f"{self.stopped_at} of {self.players} patches"
        return f"<Explanation {self.direction} of {self.name_of(self.target)!r}: {found}>"

    def _repr_html_(self) -> str:
        """The picture in a notebook; only text where matplotlib is missing."""
        try:
            from matplotlib.figure import Figure  # noqa: PLC0415 - optional
        except ImportError:
            return html.escape(repr(self))
        figure = Figure(figsize=(5, 5), layout="constrained")
        self.plot(ax=figure.subplots())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        picture = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="{html.escape(repr(self))}" src="data:image/png;base64,{picture}">'


def save_all(path: str | os.PathLike[str], explanations: Sequence[Explanation]) -> None:
    """Writes several explanations into one safetensors file that `load_all` reads."""
    arrays = {
        f"{index}.{name}": getattr(one, name)
        for index, one in enumerate(explanations)
        for name in one._arrays()  # noqa: SLF001 - of the same module
    }
    write_arrays(path, arrays, {"format": _FORMAT, "explanations": [_scalars(one) for one in explanations]})


def load_all(path: str | os.PathLike[str]) -> list[Explanation]:
    """The explanations in a file, in the order they were given to `save_all`."""
    arrays, metadata = read_arrays(path)
    if metadata.get("format") != _FORMAT:
        cure = "read it with the version of interpix that wrote it"
        raise bad_value("path", f"a result of format {_FORMAT}", metadata.get("format"), cure)
    saved = metadata["explanations"]
    require_arrays(arrays, (f"{index}.{name}" for index in range(len(saved)) for name in _ARRAYS), path)
    return [
        _restore(scalars, {name: arrays.get(f"{index}.{name}") for name in (*_ARRAYS, *_OPTIONAL_ARRAYS)})
        for index, scalars in enumerate(saved)
    ]


def load(path: str | os.PathLike[str]) -> Explanation:
    """The explanation that `Explanation.save` wrote."""
    explanations = load_all(path)
    if len(explanations) != 1:
        cure = "use interpix.results.explanation.load_all"
        raise bad_value("path", "a file with one explanation", len(explanations), cure)
    return explanations[0]


def _scalars(one: Explanation) -> dict[str, Any]:
    arrays = (*_ARRAYS, *_OPTIONAL_ARRAYS)
    fields = [field.name for field in dataclasses.fields(one) if field.name not in arrays]
    return {name: getattr(one, name) for name in fields} | {"provenance": dict(one.provenance)}


def _restore(scalars: dict[str, Any], arrays: dict[str, Any]) -> Explanation:
    names = scalars["class_names"]
    scalars["class_names"] = None if names is None else tuple(names)
    scalars["removed_before"] = tuple(scalars["removed_before"])
    scalars["full"], scalars["empty"] = Score(*scalars["full"]), Score(*scalars["empty"])
    return Explanation(**arrays, **scalars)
