"""The graph of one picture, and maps propagated over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
from numpy.typing import NDArray

from interpix import _core
from interpix.arrays import ArrayT, describe, from_numpy
from interpix.errors import ArgumentError, ArgumentTypeError, MissingDependencyError, bad_value, warn
from interpix.images import ImageInput, rgb_pixels
from interpix.propagation.maps import bounds_after_rounding, peaks_of, read_maps
from interpix.propagation.options import (
    GPU_SPEED,
    MAX_ITERATIONS,
    MEMORY_BUDGET,
    ON_DEVICES,
    SolvedBy,
    Solver,
    check_budget,
    check_color_weight,
    check_radius,
    default_radius,
    solve_options,
)
from interpix.propagation.places import place_named, place_of

if TYPE_CHECKING:
    import scipy.sparse
    import torch

    from interpix.propagation.device import DeviceGraph

__all__ = ["PixelGraph", "Propagation"]

#: Relative error above which a value iteration that has stopped by its own rule is worth a warning.
_MISLEADING_ERROR = 0.05
#: Of what a pickled graph holds; raise it when that changes.
_STATE_FORMAT = 1


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
        solved_by: whose products with P were used: ``"rust"`` on the CPU; on a GPU ``"triton"``, a kernel, or
            ``"torch"``, its operations.
        note: why it was torch's operations and not the kernel; else empty.
    """

    values: ArrayT
    iterations: int
    residual: float
    error_bound: float
    solved_by: SolvedBy = "rust"
    note: str = ""


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
            radius 9). Above it they are computed again in every product: no memory, three times the time. On a GPU
            torch's operations take up to 4 x 4 radius (radius + 1) bytes a pixel, and Triton's kernel stores none.
        device: the torch device where maps are propagated; None: where the image lies, if that is a tensor on a GPU.
            `"cuda"` stays on the GPU (NVIDIA's or AMD's); everything else is Rust on the CPU.

    It can be pickled and copied: a pickle holds the image's colors, 12 bytes a pixel, and the name of its GPU, if it
    lies on one; weights are computed again. Any number of threads may use one graph.

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
        memory_budget: int = MEMORY_BUDGET,
        device: str | torch.device | None = None,
    ) -> None:
        """Build the graph."""
        radius, memory_budget = check_radius(radius), check_budget(memory_budget)
        color_weight = check_color_weight(color_weight)
        place = place_of(image) if device is None else place_named(device)
        if place is not None:
            from interpix.propagation.device.colors import colors_of  # torch is there when a GPU is named

            colors = colors_of(image, place, color_weight)
            if radius is None:
                radius = default_radius(tuple(colors.shape[1:]), memory_budget, speed=GPU_SPEED)
            self._build(colors, radius, memory_budget, color_weight)
            return
        pixels = rgb_pixels(image)
        if radius is None:
            radius = default_radius(pixels.shape, memory_budget)
        lab = _core.rgb_to_lab(pixels)
        # A distance of colors that are nearer to each other by a factor is less by it.
        self._build(lab if color_weight == 1 else lab * np.float32(color_weight), radius, memory_budget, color_weight)

    def _build(
        self, lab: NDArray[np.float32] | torch.Tensor, radius: int, memory_budget: int, color_weight: float
    ) -> None:
        self._memory_budget = memory_budget
        self._color_weight = color_weight
        self._graph: _core.PixelGraph | DeviceGraph
        if isinstance(lab, np.ndarray):
            self._graph = _core.PixelGraph(lab, radius=radius, memory_budget=memory_budget)
            return
        from interpix.propagation.device import DeviceGraph  # only for tensors: torch is there

        self._graph = DeviceGraph(lab, radius, memory_budget)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "format": _STATE_FORMAT,
            "version": _core.__version__,
            "colors": self._graph.colors,
            "radius": self.radius,
            "memory_budget": self._memory_budget,
            "color_weight": self._color_weight,
            "device": self._device,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        try:
            made, version = state["format"], state["version"]
            parts = (np.asarray(state["colors"]), check_radius(state["radius"]), check_budget(state["memory_budget"]))
            color_weight = check_color_weight(state.get("color_weight", 1.0))
            device = state.get("device")
        except (KeyError, TypeError) as error:
            raise bad_value("state", "a pickled PixelGraph", "another", "pickle the graph again") from error
        if made != _STATE_FORMAT:
            got = f"format {made!r} of interpix {version}"
            cure = f"build it again: this is interpix {_core.__version__}"
            raise bad_value("state", f"a PixelGraph pickled in format {_STATE_FORMAT}", got, cure)
        colors, radius, memory_budget = parts
        if colors.dtype != np.float32 or colors.ndim != 3 or radius is None:
            raise bad_value("state", "colors (3, H, W) and a radius", describe(colors), "pickle the graph again")
        try:
            place = None if device is None else place_named(device)
        except (ArgumentError, ArgumentTypeError) as error:
            cure = 'build it again here: PixelGraph(image, device="cpu"), for example'
            raise bad_value("state", "a PixelGraph of a device that is here", f"one of {device!r}", cure) from error
        if place is None:
            self._build(colors, radius, memory_budget, color_weight)
            return
        import torch  # a GPU was named

        self._build(torch.from_numpy(colors.copy()).to(place), radius, memory_budget, color_weight)

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
    def _device(self) -> str | None:
        """The GPU's name, for a pickle; None on the CPU."""
        return None if isinstance(self._graph, _core.PixelGraph) else str(self._graph.device)

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
        max_iterations: int = MAX_ITERATIONS,
        channel_axis: int | None = None,
    ) -> Propagation[ArrayT]:
        """Solve V = R + discount P V for one or several maps of this image.

        Args:
            maps: (H, W) one map, (M, H, W) a stack, or (1, C, H, W) Captum's layout with channels summed. They are
                brought to where the graph lies, and the values back.
            discount: how far information flows, 0 <= discount < 1. Several share one recurrence.
            tolerance: guaranteed relative maximum-norm error, 1e-6 to 1 (1e-4 by default). For
                ``"value_iteration"`` the paper's rule: mean squared difference of two iterates (1e-7 by default).
            solver: ``"auto"`` is Chebyshev, the fastest; ``"value_iteration"`` is the paper's Algorithm 1. The others
                are there to be compared with, and run in Rust also where the graph lies on a GPU.
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
        options = solve_options(discount, tolerance, solver, max_iterations)
        several = np.ndim(discount) > 0
        graph = self._graph
        if not isinstance(graph, _core.PixelGraph):
            if options["solver"] == ON_DEVICES:
                answer, iterations, residuals, bounds = graph.propagate(maps, channel_axis, options, several=several)
                found = float(residuals.max()), float(bounds.max())
                return Propagation(answer, iterations, *found, graph.solved_by, graph.note)
            graph = self._on_host()
        shape: tuple[int, ...]
        rewards, shape = read_maps(maps, channel_axis, self.shape)
        values, iterations, residuals, bounds = graph.propagate(rewards, **options)
        if several:
            shape = (len(values), *shape)
        with np.errstate(over="ignore"):  # what does not fit is refused next
            answer = from_numpy(values.reshape(shape), like=maps)
        bounds = bounds_after_rounding(bounds, *peaks_of(values, answer))
        bound = float(bounds.max())
        if solver == "value_iteration" and bound > _MISLEADING_ERROR:
            warn(
                f"value iteration stopped by its own rule with an error of up to {bound:.0%}: the rule is absolute, so "
                'it depends on the scale of the map; use solver="auto" or a smaller `tolerance`'
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
        data, columns, starts = self._on_host().transition_matrix()
        pixels = self.shape[0] * self.shape[1]
        return csr_array((data, columns, starts), shape=(pixels, pixels))

    def _on_host(self) -> _core.PixelGraph:
        """The compiled half's graph: made anew where this one lies on a GPU."""
        if isinstance(self._graph, _core.PixelGraph):
            return self._graph
        return _core.PixelGraph(self._graph.colors, radius=self.radius, memory_budget=self._memory_budget)
