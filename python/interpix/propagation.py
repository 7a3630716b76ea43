"""IProp: let an attribution map's information flow between similar neighboring pixels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

import numpy as np

from interpix import _core
from interpix.arrays import ArrayT, from_numpy, is_array, to_numpy
from interpix.errors import ArgumentError, MissingDependencyError, bad_value
from interpix.images import ImageInput, rgb_pixels
from interpix.results.attribution import Attribution

if TYPE_CHECKING:
    import scipy.sparse
    from numpy.typing import NDArray

__all__ = ["PixelGraph", "Propagation", "Solver", "propagate"]

Solver = Literal["auto", "chebyshev", "conjugate_gradients", "value_iteration"]

#: The paper's stopping rule: mean squared difference of two iterates.
_VALUE_ITERATION_TOLERANCE = 1e-7
#: Guaranteed relative maximum-norm error by default.
_TOLERANCE = 1e-4
#: Relative error above which a value iteration that has stopped by its own rule is worth a warning.
_MISLEADING_ERROR = 0.05


@dataclass(frozen=True)
class Propagation(Generic[ArrayT]):
    """Propagated maps and how exactly they solve V = R + discount P V.

    >>> found = PixelGraph(np.full((1, 2, 3), 120, np.uint8)).propagate(np.array([[1.0, 0.0]]), discount=0.5)
    >>> found.values.round(3), found.error_bound < 1e-4
    (array([[1.333, 0.667]]), True)

    Attributes:
        values: V, in the kind and the shape of the maps; several discounts add an axis in front.
        iterations: products with P, the certificate's not counted.
        residual: ``max |R + discount P V - V|`` over all maps.
        error_bound: guaranteed upper bound of ``max |V - V*| / max |V|``, the largest of all maps.
    """

    values: ArrayT
    iterations: int
    residual: float
    error_bound: float


class PixelGraph:
    """The pixels of one image and the probability of stepping from each to its neighbors.

    Build it once and propagate any number of maps. Source: IProp (CIKM 2024), equations 1-6.

    >>> graph = PixelGraph(np.full((1, 3, 3), 120, np.uint8))
    >>> graph.shape, graph.radius
    ((1, 3), 1)
    >>> graph.transition_matrix().toarray()
    array([[0. , 1. , 0. ],
           [0.5, 0. , 0.5],
           [0. , 1. , 0. ]])

    Args:
        image: the picture as the eye sees it, never normalized: a PIL image, a path, a uint8 array (H, W, 3), or a
            float array (H, W, 3) or (3, H, W) of sRGB values in 0..1.
        radius: Chebyshev radius of a pixel's neighborhood, at least 1; None is the paper's ``max(H, W) // 32``.
        memory_budget: bytes that stored weights may take (about 3 x 2 radius (radius + 1) a pixel: 540 at
            radius 9). Above it they are computed again in every product: no memory, three times the time.

    Raises:
        ArgumentError: the image is empty or not RGB, or the radius is 0.
    """

    def __init__(self, image: ImageInput, radius: int | None = None, *, memory_budget: int = 1 << 30) -> None:
        """Build the graph."""
        if radius is not None and radius < 1:
            raise bad_value("radius", "at least 1", radius, "leave it out for the paper's choice")
        lab = _core.rgb_to_lab(rgb_pixels(image))
        self._graph = _core.PixelGraph(lab, radius=radius, memory_budget=memory_budget)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._graph.shape

    @property
    def radius(self) -> int:
        """Chebyshev radius of the neighborhood."""
        return self._graph.radius

    @property
    def weight_bytes(self) -> int:
        """Bytes of stored weights; 0 when they are computed in every product."""
        return self._graph.weight_bytes

    def propagate(
        self,
        maps: ArrayT,
        *,
        discount: float | Sequence[float] = 0.99,
        tolerance: float | None = None,
        solver: Solver = "auto",
        max_iterations: int = 100_000,
        channel_axis: int | None = None,
    ) -> Propagation[ArrayT]:
        """Solve V = R + discount P V for one or several maps of this image.

        Args:
            maps: (H, W) one map, (M, H, W) a stack, or (1, C, H, W) Captum's layout with channels summed.
            discount: how far information flows, 0 <= discount < 1. Several share one recurrence.
            tolerance: guaranteed relative maximum-norm error, 1e-6 to 1 (1e-4 by default). For
                ``"value_iteration"`` the paper's rule: mean squared difference of two iterates (1e-7 by default).
            solver: ``"auto"`` is Chebyshev, the fastest; ``"value_iteration"`` is the paper's Algorithm 1.
            max_iterations: products with P before the solver gives up.
            channel_axis: axis of ``maps`` to sum first, for any other layout.

        Returns:
            Values with iterations, residual and guaranteed error.

        Raises:
            ArgumentError: sizes differ, a value is not finite, or an option is out of range.
            ConvergenceError: ``max_iterations`` did not suffice.
        """
        shape: tuple[int, ...]
        rewards, shape = _as_stack(to_numpy(maps, "attribution"), channel_axis)
        if rewards.shape[1:] != self.shape:
            msg = (
                f"`attribution`: expected maps of the image's size {self.shape}, got {rewards.shape[1:]}; resize the "
                'map first, for example torch.nn.functional.interpolate(map[None, None], size=(H, W), mode="bilinear")'
            )
            raise ArgumentError(msg)
        several = np.ndim(discount) > 0
        discounts = np.atleast_1d(np.asarray(discount, dtype=np.float64))
        if tolerance is None:
            tolerance = _VALUE_ITERATION_TOLERANCE if solver == "value_iteration" else _TOLERANCE
        values, iterations, residuals, bounds = self._graph.propagate(
            rewards,
            discounts=discounts,
            tolerance=tolerance,
            solver="chebyshev" if solver == "auto" else solver,
            max_iterations=max_iterations,
        )
        bound = float(bounds.max())
        if solver == "value_iteration" and bound > _MISLEADING_ERROR:
            warnings.warn(
                f"value iteration stopped by its own rule with an error of up to {bound:.0%}: the rule is absolute, so "
                'it depends on the scale of the map; use solver="auto" or a smaller `tolerance`',
                stacklevel=2,
            )
        values = values.reshape((len(discounts), *shape)) if several else values.reshape(shape)
        return Propagation(from_numpy(values, like=maps), iterations, float(residuals.max()), bound)

    def transition_matrix(self) -> scipy.sparse.csr_array:
        """P as ``scipy.sparse.csr_array``, (H W, H W): rows sum to 1, pixels are numbered row by row."""
        try:
            from scipy.sparse import csr_array  # optional
        except ImportError as error:
            msg = "transition_matrix() needs scipy: pip install scipy"
            raise MissingDependencyError(msg) from error
        data, columns, starts = self._graph.transition_matrix()
        pixels = self.shape[0] * self.shape[1]
        return csr_array((data, columns, starts), shape=(pixels, pixels))


@overload
def propagate(
    attribution: Attribution,
    image: ImageInput | None = None,
    *,
    radius: int | None = ...,
    discount: float = ...,
    tolerance: float | None = ...,
    solver: Solver = ...,
) -> Attribution: ...


@overload
def propagate(
    attribution: ArrayT,
    image: ImageInput | Sequence[ImageInput],
    *,
    radius: int | None = ...,
    discount: float = ...,
    tolerance: float | None = ...,
    solver: Solver = ...,
    channel_axis: int | None = ...,
) -> ArrayT: ...


def propagate(
    attribution: Any,
    image: Any = None,
    *,
    radius: int | None = None,
    discount: float = 0.99,
    tolerance: float | None = None,
    solver: Solver = "auto",
    channel_axis: int | None = None,
) -> Any:
    """Propagate any attribution map over the image that it explains.

    Args:
        attribution: (H, W) one map, (M, H, W) a stack of maps of one image, or (B, C, H, W) Captum's layout with one
            image each, channels summed. numpy or torch; any sign, any method. Or an `Attribution`.
        image: see `PixelGraph`; for (B, C, H, W) a sequence of B images or an array with a batch axis; None: an
            `Attribution`'s own.
        radius: see `PixelGraph`.
        discount: see `PixelGraph.propagate`.
        tolerance: see `PixelGraph.propagate`.
        solver: see `PixelGraph.propagate`.
        channel_axis: see `PixelGraph.propagate`; an `Attribution` has no channels.

    Returns:
        The propagated map in the same kind of array, channels summed: (H, W), (M, H, W) or (B, 1, H, W). Of an
        `Attribution` another one, which says how exact it is.

    Raises:
        ArgumentError: sizes differ, a value is not finite, or an option is out of range.
        ConvergenceError: the solver did not reach the tolerance.

    Example:
        Two pixels of nearly one color, the only neighbors of each other: V0 = 1 + V1 / 2 and V1 = V0 / 2.

        >>> image = np.array([[[120, 120, 120], [121, 121, 121]]], np.uint8)
        >>> propagate(np.array([[1.0, 0.0]]), image, discount=0.5, tolerance=1e-6).round(4)
        array([[1.3333, 0.6667]])
    """
    if isinstance(attribution, Attribution):
        if channel_axis is not None:
            raise bad_value("channel_axis", "None for an Attribution, a map (H, W)", channel_axis, "leave it out")
        picture = attribution.image if image is None else image
        options: dict[str, Any] = {"discount": discount, "tolerance": tolerance, "solver": solver}
        found = PixelGraph(picture, radius).propagate(attribution.map, **options)
        return attribution.propagated_to(found.values, found.error_bound, radius=radius, discount=discount)
    if image is None:
        cure = "pass it; only an Attribution brings its own"
        raise bad_value("image", "the picture that the map explains", "none", cure)
    array = to_numpy(attribution, "attribution")
    several = (isinstance(image, Sequence) and not isinstance(image, str)) or (is_array(image) and image.ndim == 4)
    if several and array.ndim == 4 and channel_axis is None:
        if len(array) != len(image):
            cure = "pass one image for each map"
            raise bad_value("image", f"{len(array)} images, one for each of the maps", len(image), cure)
        pairs = zip(array, image, strict=True)
        alike: dict[str, Any] = {"radius": radius, "discount": discount, "tolerance": tolerance, "solver": solver}
        stack = [propagate(maps, picture, channel_axis=0, **alike) for maps, picture in pairs]
        return from_numpy(np.stack(stack)[:, None], like=attribution)
    graph = PixelGraph(image, radius)
    solved = graph.propagate(
        attribution, discount=discount, tolerance=tolerance, solver=solver, channel_axis=channel_axis
    )
    return solved.values


def _as_stack(maps: NDArray[Any], channel_axis: int | None) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Maps as a float32 stack (M, H, W), and the shape to give back."""
    if maps.dtype.kind not in "iuf":
        msg = f"`attribution`: expected real numbers, got dtype {maps.dtype}; convert it to float32"
        raise ArgumentError(msg)
    if channel_axis is not None:
        maps = maps.sum(axis=channel_axis)
    elif maps.ndim == 4 and len(maps) == 1:  # Captum's (B, C, H, W)
        maps = maps.sum(axis=1, keepdims=True)
    shape = maps.shape
    if maps.ndim == 4 and len(maps) == 1:
        maps = maps[0]
    if maps.ndim not in {2, 3}:
        msg = (
            f"`attribution`: expected (H, W), (M, H, W) or (B, C, H, W) with one image each, got shape {shape}; "
            "name another layout's channels with `channel_axis`"
        )
        raise ArgumentError(msg)
    stack = maps[None] if maps.ndim == 2 else maps
    return np.ascontiguousarray(stack, dtype=np.float32), shape
