"""The result of an attribution method: one raw number for each pixel."""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.arrays import AnyArray, describe, to_numpy
from interpix.errors import bad_value
from interpix.results.base import Result, check_field, is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Attribution", "MapInput", "map_values"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Attribution(Result):
    """How much each pixel matters to a class, by one method. numpy and matplotlib take it for its `map`.

    >>> from interpix import CallableClassifier
    >>> from interpix.methods import MoXIMap
    >>> model = CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), class_names=["red", "green", "blue"])
    >>> image = np.zeros((3, 2, 4), np.float32)
    >>> image[1, :, 2:] = 1
    >>> found = MoXIMap(regions="1x2").explain(model, image)
    >>> found
    <Attribution of 'green' by moxi: 2 x 4>
    >>> np.asarray(found)
    array([[0., 0., 1., 1.],
           [0., 0., 1., 1.]], dtype=float32)

    Attributes:
        target: The class explained.
        prediction: The class that the model gives to the whole image.
        class_names: One name for each class, or None.
        image: What the model saw, uint8 (H, W, 3).
        provenance: The method's options, versions, model.
        map: The method's raw values, never rescaled, float32 (H, W).
        method: The method's name.
        error_bound: For a propagated map, a guaranteed upper bound of its greatest error, relative to its greatest
            absolute value; None for others.
    """

    map: npt.NDArray[np.float32]
    method: str
    error_bound: float | None = None

    kind: ClassVar[str] = "attribution"
    array_names: ClassVar[tuple[str, ...]] = ("map", "image")

    def __post_init__(self) -> None:
        """Copies both arrays, the map as float32.

        Raises:
            ArgumentError: The map has another size than the image, or does not fit into finite single precision.
        """
        given = np.asarray(self.map)
        with np.errstate(over="ignore", under="ignore"):
            object.__setattr__(self, "map", np.asarray(given, np.float32))
        super().__post_init__()
        height, width = self.image.shape[:2]
        if self.map.shape != (height, width):
            cure = "return a number for each pixel that the model sees"
            raise bad_value("map", f"a map of {height} x {width}", describe(self.map), cure)
        if not np.isfinite(self.map).all():
            count = int((~np.isfinite(self.map)).sum())
            raise bad_value("map", "finite numbers", f"{count} NaN or infinite ones", f"check {self.method}")
        peak = float(np.abs(given).max(initial=0))
        if 0 < peak < np.finfo(np.float32).tiny:
            cure = "scale it: only how values compare to each other matters"
            raise bad_value("map", "numbers that fit into single precision", f"a map of up to {peak:.1e}", cure)

    def check(self) -> None:
        """See `Result.check`."""
        super().check()
        check_field("method", isinstance(self.method, str), "the method's name")
        check_field("error_bound", self.error_bound is None or is_number(self.error_bound), "a bound, or None")

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:  # noqa: FBT001 - numpy's protocol
        """The map, for numpy."""
        return np.array(self.map, dtype=dtype, copy=copy)

    def propagate(
        self, *, radius: int | None = None, color_weight: float = 1.0, discount: float = 0.99
    ) -> "Attribution":
        """The same with the map propagated over the image: see `interpix.propagate`."""
        from interpix.propagation import propagate  # only when asked for

        return propagate(self, radius=radius, color_weight=color_weight, discount=discount)

    def propagated_to(
        self,
        values: npt.NDArray[np.float32],
        error_bound: float,
        *,
        radius: int | None,
        color_weight: float,
        discount: float,
    ) -> "Attribution":
        """The same with the map that IProp made of this one, and how exact that is."""
        method = f"IProp({self.method})"
        options = {"radius": radius, "color_weight": color_weight, "discount": discount}
        provenance = {**self.provenance, "method": method, **options}
        return dataclasses.replace(self, map=values, method=method, provenance=provenance, error_bound=error_bound)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draws the map in its raw values over the gray image; needs matplotlib."""
        from interpix.plots import plot_map  # matplotlib only when asked for

        ax = plot_map(self, image=self.image, ax=ax)
        ax.set_title(f"{self.method}: {self.name_of(self.target)}", parse_math=False)
        return ax

    def __repr__(self) -> str:
        """One line for people."""
        height, width = self.map.shape
        bound = "" if self.error_bound is None else f", error at most {_rounded_up(self.error_bound)}"
        return f"<Attribution of {self.name_of(self.target)!r} by {self.method}: {height} x {width}{bound}>"


MapInput: TypeAlias = AnyArray | Attribution
"""A map (H, W) of an image, numpy or torch, Captum's (1, C, H, W) included, or a result that has one."""


def map_values(attribution: MapInput) -> npt.NDArray[Any]:
    """The numbers of a map, as they are.

    >>> map_values(np.ones((2, 3), np.float16)).dtype
    dtype('float16')
    """
    return to_numpy(attribution.map if isinstance(attribution, Attribution) else attribution)


def _rounded_up(bound: float) -> str:
    """A bound to one digit, which is a bound still.

    >>> _rounded_up(8.2e-5), _rounded_up(9.2e-5), _rounded_up(0.0)
    ('9e-05', '1e-04', '0')
    """
    if bound == 0:
        return "0"
    unit = 10.0 ** math.floor(math.log10(bound))
    return f"{math.ceil(bound / unit) * unit:.0e}"
