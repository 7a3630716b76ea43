"""What all results share: whose answer they explain, where they came from, and how they are kept.

A file holds one or several results as one safetensors file: array `name` of result `i` is called `i.name`, and the
rest is JSON in the header, `{"format": 6, "results": [{"kind": "explanation" or "attribution", ...}, ...]}`.
"""

import abc
import base64
import dataclasses
import html
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from interpix.arrays import read_only
from interpix.errors import bad_value
from interpix.storage import FORMAT, write_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Result", "check_field", "is_count", "is_number", "save_all"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Result(abc.ABC):
    """What was found out about one answer of a model to one image.

    Attributes:
        target: The class explained, or what else the model's output has for targets.
        prediction: The class that the model gives to the whole image; the target, where the output knows no classes.
        class_names: One name for each class, or None.
        image: What the model saw, uint8 (H, W, 3).
        provenance: Versions, model and options.
    """

    target: int
    prediction: int
    class_names: tuple[str, ...] | None
    image: npt.NDArray[np.uint8]
    provenance: Mapping[str, Any]

    kind: ClassVar[str]
    """The word for it in files."""
    array_names: ClassVar[tuple[str, ...]]
    """The fields that hold arrays."""
    optional_arrays: ClassVar[tuple[str, ...]] = ()
    """Those that may be None instead."""

    def __post_init__(self) -> None:
        """Copies every array and the provenance, so that nobody else can write to them."""
        for name in (*self.array_names, *self.optional_arrays):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, read_only(getattr(self, name)))
        object.__setattr__(self, "provenance", dict(self.provenance))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by field."""
        found = {name: getattr(self, name) for name in (*self.array_names, *self.optional_arrays)}
        return {name: array for name, array in found.items() if array is not None}

    def scalars(self) -> dict[str, Any]:
        """All other fields, as JSON can hold them."""
        names = [field.name for field in dataclasses.fields(self)]
        others = [name for name in names if name not in (*self.array_names, *self.optional_arrays)]
        return {name: getattr(self, name) for name in others} | {"provenance": dict(self.provenance)}

    @classmethod
    def restored(cls, scalars: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The result that `scalars` and `arrays` came from."""
        names = scalars["class_names"]
        if not isinstance(names, list | None) or not isinstance(scalars["provenance"], dict):
            raise TypeError("JSON of something else")
        return cls(**{**scalars, **arrays, "class_names": None if names is None else tuple(names)})

    def name_of(self, index: int) -> str:
        """The name of a class, or "class 7" if the model has no names."""
        return f"class {index}" if self.class_names is None else self.class_names[index]

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a safetensors file that `interpix.load` reads: to a temporary name, then renamed.

        Args:
            path: Of a new file, or of one that interpix wrote.
            overwrite: Replace what interpix did not write, too.
        """
        save_all(path, [self], overwrite=overwrite)

    def check(self) -> None:
        """Refuses fields that no method would have filled so: whoever saved them could not load them.

        Raises:
            ArgumentError: It names the field.
        """
        for name in ("target", "prediction"):
            check_field(name, is_count(getattr(self, name)), "the index of a class")
        names = self.class_names
        known = names is None or (
            all(isinstance(one, str) for one in names) and max(self.target, self.prediction) < len(names)
        )
        check_field("class_names", known, "a name for each class")
        image = self.image
        fine = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0
        check_field("image", fine, "uint8 (H, W, 3) with pixels")

    @abc.abstractmethod
    def plot(self, *, ax: "Axes | None" = None) -> "Axes":
        """Draws the result on `ax`; needs matplotlib."""

    def _repr_html_(self) -> str:
        """The picture in a notebook; only text where matplotlib is missing."""
        try:
            from matplotlib.figure import Figure  # optional
        except ImportError:
            return html.escape(repr(self))
        figure = Figure(figsize=(5, 5), layout="constrained")
        self.plot(ax=figure.subplots())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        picture = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="{html.escape(repr(self))}" src="data:image/png;base64,{picture}">'


def check_field(name: str, fine: object, need: str) -> None:
    """Refuses a field that is not `fine`."""
    if not fine:
        raise bad_value(name, need, "something else", "no method of interpix fills it so")


def is_count(value: object, least: int = 0) -> bool:
    """Whether a value is a whole number of at least `least`.

    >>> is_count(3), is_count(-1), is_count(True), is_count("3")
    (True, False, False, False)
    """
    return type(value) is int and value >= least


def is_number(value: object, least: float = 0.0, greatest: float = math.inf) -> bool:
    """Whether a value is a finite number in a range.

    >>> is_number(0.5, 0, 1), is_number(float("nan")), is_number("1")
    (True, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return least <= value <= greatest and math.isfinite(value)


def save_all(path: str | os.PathLike[str], results: Sequence[Result], *, overwrite: bool = False) -> None:
    """Writes several results into one safetensors file that `load_all` reads; arguments as in `Result.save`.

    >>> import tempfile
    >>> from interpix import MoXI
    >>> from interpix.results import load_all
    >>> path = tempfile.mkdtemp() + "/results.safetensors"
    >>> found = MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2").explain(np.ones((3, 2, 4), np.float32))
    >>> save_all(path, [found, found.attribution()])
    >>> [result.kind for result in load_all(path)]
    ['explanation', 'attribution']
    """
    for one in results:
        one.check()
    arrays = {f"{index}.{name}": array for index, one in enumerate(results) for name, array in one.arrays().items()}
    about = {"format": FORMAT, "results": [{"kind": one.kind, **one.scalars()} for one in results]}
    write_arrays(path, arrays, about, overwrite=overwrite)
