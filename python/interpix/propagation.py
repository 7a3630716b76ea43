"""IProp: let an attribution map's information flow between similar neighboring pixels."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, get_args, overload

import numpy as np

from interpix import _core
from interpix.arrays import ArrayT, describe, from_numpy, is_array, to_numpy
from interpix.checks import check_choice, check_number, check_positive
from interpix.errors import ArgumentError, MissingDependencyError, bad_type, bad_value
from interpix.images import ImageInput, rgb_pixels
from interpix.options import python_number
from interpix.results.attribution import Attribution

if TYPE_CHECKING:
    import scipy.sparse
    from numpy.typing import NDArray

__all__ = ["PixelGraph", "Propagation", "Solver", "check_color_weight", "check_discount", "check_radius", "propagate"]

Solver = Literal["auto", "chebyshev", "conjugate_gradients", "value_iteration"]

#: The paper's stopping rule: mean squared difference of two iterates.
_VALUE_ITERATION_TOLERANCE = 1e-7
#: Guaranteed relative maximum-norm error by default.
_TOLERANCE = 1e-4
#: Relative error above which a value iteration that has stopped by its own rule is worth a warning.
_MISLEADING_ERROR = 0.05
#: Of what a pickled graph holds; raise it when that changes.
_STATE_FORMAT = 1

_MEMORY_BUDGET = 1 << 30
#: Beyond it colors would lie outside of what the compiled half takes for CIELAB's.
_GREATEST_COLOR_WEIGHT = 1.5
#: Undirected edges of all pixels from which the default radius is worth a warning: seconds on two fast cores, minutes
#: on a slow one.
_MANY_EDGES = 400_000_000
#: The paper's radius for images of 299 x 299.
_PAPERS_RADIUS = 9


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
        error_bound: guaranteed upper bound of ``max |V - V*| / max |V|``, the largest of all maps; the rounding to the
            maps' dtype counts.
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
        color_weight: by what distances of colors are multiplied, 0 to 1.5: below 1 more flows over edges, at 0 colors
            do not count. The paper's is 1.
        memory_budget: bytes that stored weights may take (about 3 x 2 radius (radius + 1) a pixel: 540 at
            radius 9). Above it they are computed again in every product: no memory, three times the time.

    It can be pickled and copied: a pickle holds the image's colors, 12 bytes a pixel, and weights are computed again.
    Any number of threads may use one graph.

    Raises:
        ArgumentError: the image is empty or not RGB, or an option is out of its range.
        MemoryError: the graph needs more memory than there is; the message says how much.
    """

    def __init__(
        self,
        image: ImageInput,
        radius: int | None = None,
        *,
        color_weight: float = 1.0,
        memory_budget: int = _MEMORY_BUDGET,
    ) -> None:
        """Build the graph."""
        radius, memory_budget = check_radius(radius), _check_budget(memory_budget)
        color_weight = check_color_weight(color_weight)
        pixels = rgb_pixels(image)
        if radius is None:
            radius = _default_radius(pixels.shape, memory_budget)
        lab = _core.rgb_to_lab(pixels)
        # A distance of colors that are nearer to each other by a factor is less by it.
        self._build(lab if color_weight == 1 else lab * np.float32(color_weight), radius, memory_budget, color_weight)

    def _build(self, lab: NDArray[np.float32], radius: int, memory_budget: int, color_weight: float) -> None:
        self._memory_budget = memory_budget
        self._color_weight = color_weight
        self._graph = _core.PixelGraph(lab, radius=radius, memory_budget=memory_budget)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "format": _STATE_FORMAT,
            "version": _core.__version__,
            "colors": self._graph.colors,
            "radius": self.radius,
            "memory_budget": self._memory_budget,
            "color_weight": self._color_weight,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        try:
            made, version = state["format"], state["version"]
            parts = (np.asarray(state["colors"]), check_radius(state["radius"]), _check_budget(state["memory_budget"]))
            color_weight = check_color_weight(state.get("color_weight", 1.0))
        except (KeyError, TypeError) as error:
            raise bad_value("state", "a pickled PixelGraph", "another", "pickle the graph again") from error
        if made != _STATE_FORMAT:
            got = f"format {made!r} of interpix {version}"
            cure = f"build it again: this is interpix {_core.__version__}"
            raise bad_value("state", f"a PixelGraph pickled in format {_STATE_FORMAT}", got, cure)
        colors, radius, memory_budget = parts
        if colors.dtype != np.float32 or colors.ndim != 3 or radius is None:
            raise bad_value("state", "colors (3, H, W) and a radius", describe(colors), "pickle the graph again")
        self._build(colors, radius, memory_budget, color_weight)

    def __copy__(self) -> PixelGraph:
        """The graph itself: it never changes."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> PixelGraph:
        """The graph itself: it never changes."""
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._graph.shape

    @property
    def radius(self) -> int:
        """Chebyshev radius of the neighborhood."""
        return self._graph.radius

    @property
    def color_weight(self) -> float:
        """By what distances of colors are multiplied."""
        return self._color_weight

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
            ArgumentError: sizes differ, a value is not finite, an option is out of range, or the propagated values do
                not fit into the maps' dtype.
            ConvergenceError: ``max_iterations`` did not suffice.
            MemoryError: the solver needs more memory than there is; the message says how much.
        """
        options = _solve_options(discount, tolerance, solver, max_iterations)
        shape: tuple[int, ...]
        rewards, shape = _read_maps(maps, channel_axis, self.shape)
        values, iterations, residuals, bounds = self._graph.propagate(rewards, **options)
        if np.ndim(discount) > 0:
            shape = (len(values), *shape)
        with np.errstate(over="ignore"):  # what does not fit is refused next
            answer = from_numpy(values.reshape(shape), like=maps)
        bounds = _after_rounding(bounds, values, answer)
        bound = float(bounds.max())
        if solver == "value_iteration" and bound > _MISLEADING_ERROR:
            warnings.warn(
                f"value iteration stopped by its own rule with an error of up to {bound:.0%}: the rule is absolute, so "
                'it depends on the scale of the map; use solver="auto" or a smaller `tolerance`',
                stacklevel=2,
            )
        return Propagation(answer, iterations, float(residuals.max()), bound)

    def transition_matrix(self) -> scipy.sparse.csr_array:
        """P as ``scipy.sparse.csr_array``, (H W, H W): rows sum to 1, pixels are numbered row by row."""
        try:
            from scipy.sparse import csr_array  # optional
        except ImportError as error:
            msg = "transition_matrix() needs scipy: pip install scipy"
            raise MissingDependencyError(msg) from error
        # Beside the matrix itself nothing is allocated: scipy takes the arrays as they are.
        data, columns, starts = self._graph.transition_matrix()
        pixels = self.shape[0] * self.shape[1]
        return csr_array((data, columns, starts), shape=(pixels, pixels))


@overload
def propagate(
    attribution: Attribution,
    image: ImageInput | None = None,
    *,
    radius: int | None = ...,
    color_weight: float = ...,
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
    color_weight: float = ...,
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
    color_weight: float = 1.0,
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
        color_weight: see `PixelGraph`.
        discount: see `PixelGraph.propagate`.
        tolerance: see `PixelGraph.propagate`.
        solver: see `PixelGraph.propagate`.
        channel_axis: see `PixelGraph.propagate`; an `Attribution` has no channels.

    Returns:
        The propagated map in the same kind of array, channels summed: (H, W), (M, H, W) or (B, 1, H, W). Of an
        `Attribution` another one, which says how exact it is.

    Raises:
        ArgumentError: sizes differ, a value is not finite, an option is out of range, or the propagated values do not
            fit into the map's dtype. All of it but the last is said before the graph is built.
        ConvergenceError: the solver did not reach the tolerance.
        MemoryError: the graph or the solver needs more memory than there is; the message says how much.

    Warns:
        UserWarning: the default radius makes a map of so large an image take long.

    Example:
        Two pixels of nearly one color, the only neighbors of each other: V0 = 1 + V1 / 2 and V1 = V0 / 2.

        >>> image = np.array([[[120, 120, 120], [121, 121, 121]]], np.uint8)
        >>> propagate(np.array([[1.0, 0.0]]), image, discount=0.5, tolerance=1e-6).round(4)
        array([[1.3333, 0.6667]])
    """
    options: dict[str, Any] = {"discount": discount, "tolerance": tolerance, "solver": solver}
    radius, color_weight = check_radius(radius), check_color_weight(color_weight)
    _solve_options(**options)
    if isinstance(attribution, Attribution):
        if channel_axis is not None:
            raise bad_value("channel_axis", "None for an Attribution, a map (H, W)", channel_axis, "leave it out")
        pixels = _checked_pixels(attribution.map, attribution.image if image is None else image)
        found = _graph(pixels, radius, color_weight).propagate(attribution.map, **options)
        return attribution.propagated_to(
            found.values, found.error_bound, radius=radius, color_weight=color_weight, discount=discount
        )
    if image is None:
        cure = "pass it; only an Attribution brings its own"
        raise bad_value("image", "the picture that the map explains", "none", cure)
    array = to_numpy(attribution, "attribution")
    if array.ndim == 4 and channel_axis is None and (isinstance(image, list | tuple) or np.ndim(image) == 4):
        if len(array) != len(image):
            expected = f"{len(array)} images, one for each map of (B, C, H, W)"
            raise bad_value("image", expected, len(image), "pass as many images as maps")
        # All are read before the first is solved: what is wrong with the last is said at once.
        pictures = [_checked_pixels(maps, picture, 0) for maps, picture in zip(array, image, strict=True)]
        solved = [
            _graph(pixels, radius, color_weight).propagate(maps, channel_axis=0, **options).values
            for maps, pixels in zip(array, pictures, strict=True)
        ]
        return from_numpy(np.stack(solved)[:, None], like=attribution)
    pixels = _checked_pixels(array, image, channel_axis)
    return _graph(pixels, radius, color_weight).propagate(attribution, channel_axis=channel_axis, **options).values


def check_radius(radius: Any) -> int | None:
    """A radius as Python's own number, None for the paper's; one beyond any image is cut.

    >>> check_radius(np.int64(3)), check_radius(None)
    (3, None)
    """
    radius = python_number(radius)
    if radius is None:
        return None
    if isinstance(radius, bool) or not isinstance(radius, int):
        raise bad_type("radius", "an integer of at least 1", radius, "leave it out for the paper's choice")
    if radius < 1:
        raise bad_value("radius", "at least 1", radius, "leave it out for the paper's choice")
    return min(radius, sys.maxsize)


def check_discount(discount: Any) -> float:
    """A discount as Python's own number.

    >>> check_discount(1)
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `discount`: expected 0 <= discount < 1, got 1; 0.99 is the paper's
    """
    discount = python_number(discount)
    if isinstance(discount, bool) or not isinstance(discount, int | float):
        raise bad_type("discount", "a number in 0 ... 1, not 1", discount, "0.99 is the paper's")
    if not 0 <= discount < 1:
        raise bad_value("discount", "0 <= discount < 1", discount, "0.99 is the paper's")
    return float(discount)


def check_color_weight(color_weight: Any) -> float:
    """A factor of color distances as Python's own number.

    >>> check_color_weight(2)
    Traceback (most recent call last):
    interpix.errors.ArgumentError: `color_weight`: expected a number in 0 ... 1.5, got 2; 1 is the paper's
    """
    color_weight = python_number(color_weight)
    need, cure = f"a number in 0 ... {_GREATEST_COLOR_WEIGHT}", "1 is the paper's"
    check_number("color_weight", color_weight, 0, _GREATEST_COLOR_WEIGHT, need, cure)
    return float(color_weight)


def _check_budget(memory_budget: Any) -> int:
    """Bytes, cut where no memory is as large."""
    memory_budget = python_number(memory_budget)
    if isinstance(memory_budget, bool) or not isinstance(memory_budget, int):
        raise bad_type("memory_budget", "an integer number of bytes", memory_budget, "or leave it out")
    if memory_budget < 0:
        raise bad_value("memory_budget", "0 bytes or more", memory_budget, "0 stores no weights")
    return min(memory_budget, sys.maxsize)


def _solve_options(discount: Any, tolerance: Any, solver: Any, max_iterations: Any = 1) -> dict[str, Any]:
    """The options of the compiled solver, checked."""
    check_choice("solver", solver, get_args(Solver))
    several = list(discount) if isinstance(discount, Sequence) and not isinstance(discount, str) else [discount]
    if is_array(discount) and discount.ndim == 1:
        several = to_numpy(discount, "discount").tolist()
    if tolerance is None:
        tolerance = _VALUE_ITERATION_TOLERANCE if solver == "value_iteration" else _TOLERANCE
    tolerance, max_iterations = python_number(tolerance), python_number(max_iterations)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
        raise bad_type("tolerance", "a number in 0 ... 1", tolerance, "leave it out for a good choice")
    if not 0 < tolerance < 1:
        raise bad_value("tolerance", "0 < tolerance < 1", tolerance, "leave it out for a good choice")
    check_positive("max_iterations", max_iterations)
    options = {
        "discounts": np.array([check_discount(one) for one in several], np.float64),
        "tolerance": float(tolerance),
        "solver": "chebyshev" if solver == "auto" else solver,
        "max_iterations": min(max_iterations, sys.maxsize),
    }
    _core.check_solve(**options)
    return options


def _graph(pixels: NDArray[Any], radius: int | None, color_weight: float) -> PixelGraph:
    """The graph of a picture that `rgb_pixels` gave, for the function that users call."""
    radius = _default_radius(pixels.shape, _MEMORY_BUDGET, stacklevel=4) if radius is None else radius
    return PixelGraph(pixels, radius, color_weight=color_weight)


def _default_radius(shape: tuple[int, ...], memory_budget: int, stacklevel: int = 3) -> int:
    """The paper's radius, with a warning where it makes a map take long."""
    height, width = shape[:2]
    radius = _core.default_radius(height, width)
    cost, papers = (_cost(height, width, each, memory_budget) for each in (radius, _PAPERS_RADIUS))
    if cost > _MANY_EDGES:
        warnings.warn(
            f"the default radius for {height} x {width} pixels is {radius}: a map takes seconds to minutes, "
            f"{cost / papers:.0f} times as long as with radius={_PAPERS_RADIUS}; pass `radius` to choose",
            stacklevel=stacklevel,
        )
    return radius


def _cost(height: int, width: int, radius: int, memory_budget: int) -> int:
    """Edges that a product walks; three times as long where weights are computed."""
    edges = height * width * 2 * radius * (radius + 1)
    return edges if 3 * edges <= memory_budget else 3 * edges


def _checked_pixels(maps: NDArray[Any], image: ImageInput, channel_axis: int | None = None) -> NDArray[Any]:
    """The colors of a picture whose maps are of its size: what is wrong is said before a graph is built."""
    pixels = rgb_pixels(image)
    _read_maps(maps, channel_axis, (pixels.shape[0], pixels.shape[1]))
    return pixels


def _read_maps(
    maps: object, channel_axis: int | None, size: tuple[int, int]
) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Maps as a stack (M, H, W), and the shape to give back."""
    stack, shape = _as_stack(to_numpy(maps, "attribution"), channel_axis)
    if stack.shape[1:] != size:
        msg = (
            f"`attribution`: expected maps of the image's size {size}, got {stack.shape[1:]}; resize the "
            'map first, for example torch.nn.functional.interpolate(map[None, None], size=(H, W), mode="bilinear")'
        )
        raise ArgumentError(msg)
    if len(stack) == 0:
        raise bad_value("attribution", "at least one map", f"shape {shape}", "pass maps")
    if not np.isfinite(stack).all():
        got = "NaN" if np.isnan(stack).any() else "infinity"
        raise bad_value("attribution", "finite values", got, "replace NaN and infinity first")
    return stack, shape


def _after_rounding(bounds: NDArray[np.float64], values: NDArray[np.float64], answer: object) -> NDArray[np.float64]:
    """The bounds (D, M) of `values` (D, M, H, W) for the answer, which lost something in its dtype.

    Each is relative to the greatest value, which may have been rounded down.
    """
    kept = to_numpy(answer).reshape(values.shape)
    largest = np.abs(kept).max(axis=(2, 3)).astype(np.float64)
    lost = np.abs(kept.astype(np.float64) - values).max(axis=(2, 3))
    if not np.isfinite(largest).all() or (largest[lost > 0] == 0).any():
        got = f"up to {np.abs(values).max():.1e}"
        cure = "convert the map to float64, or scale it"
        raise bad_value("attribution", f"a map whose propagated values fit into {kept.dtype}", got, cure)
    before = np.abs(values).max(axis=(2, 3))
    rounded: NDArray[np.float64] = (bounds * before + lost) / np.where(largest > 0, largest, 1)
    return np.where(largest > 0, rounded, bounds)


def _as_stack(maps: NDArray[Any], channel_axis: Any) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Maps as a stack (M, H, W), and the shape to give back. Sums are taken in double precision."""
    if maps.dtype.kind not in "iuf":
        msg = f"`attribution`: expected real numbers, got dtype {maps.dtype}; convert it to float32"
        raise ArgumentError(msg)
    channel_axis = python_number(channel_axis)
    if channel_axis is not None:
        if isinstance(channel_axis, bool) or not isinstance(channel_axis, int):
            raise bad_type("channel_axis", "an axis of the maps, or None", channel_axis, "or leave it out")
        if not -maps.ndim <= channel_axis < maps.ndim:
            expected = f"one of the {maps.ndim} axes of the maps"
            raise bad_value("channel_axis", expected, channel_axis, "count from 0, or from the end with -1")
        maps = maps.sum(axis=channel_axis, dtype=np.float64)
    elif maps.ndim == 4 and len(maps) == 1:  # Captum's (B, C, H, W)
        maps = maps.sum(axis=1, keepdims=True, dtype=np.float64)
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
    return np.ascontiguousarray(stack, dtype=np.float64), shape
