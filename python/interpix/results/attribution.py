"""The result of an attribution method: one raw number for each pixel, and where it came from."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import describe, read_only
from interpix.errors import bad_value
from interpix.storage import read_arrays, require_arrays, write_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Attribution", "load_attribution"]

_FORMAT = 1
_ARRAYS = ("map", "image")


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each pixel matters to a class, by one method.

    Attributes:
        map: The method's raw values, never rescaled, float32 (H, W).
        target: The class explained.
        prediction: The class that the model gives to the image.
        class_names: One name for each class, or None.
        image: What the model saw, uint8 (H, W, 3).
        method: The method's name.
        provenance: The method's options, versions, model.
    """

    map: npt.NDArray[np.float32]
    target: int
    prediction: int
    class_names: tuple[str, ...] | None
    image: npt.NDArray[np.uint8]
    method: str
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Makes both arrays own read-only copies, the map float32.

        Raises:
            ArgumentError: The map has another size than the image, or is not finite.
        """
        object.__setattr__(self, "map", read_only(np.asarray(self.map, np.float32)))
        object.__setattr__(self, "image", read_only(self.image))
        height, width = self.image.shape[:2]
        if self.map.shape != (height, width):
            cure = "return a number for each pixel that the model sees"
            raise bad_value("map", f"a map of {height} x {width}", describe(self.map), cure)
        if not np.isfinite(self.map).all():
            count = int((~np.isfinite(self.map)).sum())
            raise bad_value("map", "finite numbers", f"{count} NaN or infinite ones", f"check {self.method}")

    def name_of(self, index: int) -> str:
        """The name of a class, or "class 7" if the model has no names."""
        return f"class {index}" if self.class_names is None else self.class_names[index]

    def propagate(self, *, radius: int | None = None, discount: float = 0.99) -> "Attribution":
        """The same with the map propagated over the image: see `interpix.propagate`."""
        from interpix.propagation import propagate  # noqa: PLC0415 - only when asked for

        values = np.asarray(propagate(self.map, self.image, radius=radius, discount=discount))
        method = f"IProp({self.method})"
        provenance = {**self.provenance, "method": method, "radius": radius, "discount": discount}
        return dataclasses.replace(self, map=values, method=method, provenance=provenance)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draws the map in its raw values over the gray image; needs matplotlib."""
        from interpix.plots import plot_map  # noqa: PLC0415 - matplotlib only when asked for

        ax = plot_map(self.map, image=self.image, ax=ax)
        ax.set_title(f"{self.method}: {self.name_of(self.target)}")
        return ax

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a safetensors file that `load_attribution` reads: to a temporary name, then renamed."""
        fields = [field.name for field in dataclasses.fields(self) if field.name not in _ARRAYS]
        scalars = {name: getattr(self, name) for name in fields} | {"provenance": dict(self.provenance)}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        write_arrays(path, arrays, {"attribution_format": _FORMAT, "attribution": scalars})

    def __repr__(self) -> str:
        """One line for people."""
        height, width = self.map.shape
        return f"<Attribution of {self.name_of(self.target)!r} by {self.method}: {height} x {width}>"


def load_attribution(path: str | os.PathLike[str]) -> Attribution:
    """The attribution that `Attribution.save` wrote."""
    arrays, metadata = read_arrays(path)
    if metadata.get("attribution_format") != _FORMAT:
        got = metadata.get("attribution_format", f"another result of interpix in '{os.fspath(path)}'")
        raise bad_value("path", f"an attribution of format {_FORMAT}", got, "use interpix.load for an explanation")
    require_arrays(arrays, _ARRAYS, path)
    fields: dict[str, Any] = {**metadata["attribution"], **arrays}
    names = fields.pop("class_names")
    return Attribution(**fields, class_names=None if names is None else tuple(names))
