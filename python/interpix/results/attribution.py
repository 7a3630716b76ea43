"""The result of an attribution method: one raw number for each pixel."""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.arrays import AnyArray, describe, to_numpy
from interpix.errors import bad_type, bad_value, renamed, warn
from interpix.images import ImageInput, read_image
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

    def on_photo(self, photo: ImageInput, model: Any) -> "Attribution":
        """The map on the photo itself: each of its pixels has the value of the one that it went into, the rest 0.

        Models see a part of a photo, resized. Which part is found from what the model's preprocessing makes of
        photos whose pixels say where they are; `provenance` has it as `placement`, and `plot` outlines it.

        >>> import interpix as ix
        >>> def left_half(photo):
        ...     return photo[:, : photo.shape[1] // 2].transpose(2, 0, 1) / np.float32(255)
        >>> model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), preprocess=left_half)
        >>> photo = np.zeros((40, 80, 3), np.uint8)
        >>> photo[:20, :20, 0] = 200
        >>> found = ix.MoXI(model, regions="2x2").explain(photo, direction="deletion").attribution()
        >>> found.map.shape, found.on_photo(photo, model).map.shape
        ((40, 40), (40, 80))
        >>> found.on_photo(photo, model).provenance["placement"]["seen"]
        0.5

        Args:
            photo: The photo that was explained, as a file, a PIL image or uint8 (H, W, 3).
            model: The model, which knows how it preprocesses.

        Raises:
            ArgumentError: The photo is preprocessed already; or is not the one that was explained, prepared by the
                model; or preprocessing does more than resizing, cropping and adding borders.
        """
        from interpix.models.adapters.adapt import as_classifier  # only when asked for
        from interpix.placement import check_picture, find_placement

        if "placement" in self.provenance:
            raise bad_value("map", "one of the model's picture", "one that is on a photo already", "use it as it is")
        with renamed(image="photo"):
            raw = read_image(photo).raw
        if raw is None or raw.shape[-1] != 3:
            cure = "pass the file, or its pixels before preprocessing"
            raise bad_value("photo", "a photo in colors, uint8 (H, W, 3)", "another array", cure)
        found = find_placement(as_classifier(model), (raw.shape[0], raw.shape[1]))
        if found.picture != self.map.shape:
            need = f"one whose picture is {self.map.shape[0]} x {self.map.shape[1]}, as the map"
            got = f"{found.picture[0]} x {found.picture[1]}"
            raise bad_value("photo", need, got, "pass the photo and the model that were explained")
        confirmed = check_picture(found, raw, self.image, stretched=self.provenance.get("colors") == "stretched")
        if not confirmed:
            warn("`photo`: mirrored or upside down it would be taken, too; see that it is the one that was explained")
        lies = {name: round(getattr(found, name), 2) for name in ("top", "left", "height", "width")}
        provenance = {**self.provenance, "placement": {**lies, "seen": round(found.seen, 4), "confirmed": confirmed}}
        return dataclasses.replace(self, map=found.spread(self.map), image=raw, provenance=provenance)

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
        if isinstance(ax, str):
            raise bad_type("ax", "matplotlib's axes, or None", ax, "leave it out: a map has one picture")
        from interpix.plots import plot_attribution  # matplotlib only when asked for

        return plot_attribution(self, ax=ax)

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
