"""Options of IProp, checked before any work is done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from interpix import _core
from interpix.arrays import is_array, to_numpy
from interpix.checks import check_choice, check_number, check_positive
from interpix.errors import bad_type, bad_value, warn
from interpix.options import python_number

__all__ = [
    "GPU_SPEED",
    "MAX_ITERATIONS",
    "MEMORY_BUDGET",
    "ON_DEVICES",
    "SolveOptions",
    "SolvedBy",
    "Solver",
    "check_budget",
    "check_color_weight",
    "check_discount",
    "check_radius",
    "default_radius",
    "solve_options",
]

Solver = Literal["auto", "chebyshev", "conjugate_gradients", "value_iteration"]
SolvedBy = Literal["rust", "torch", "triton"]

MAX_ITERATIONS = 100_000
"""Products with P before a solver gives up."""
MEMORY_BUDGET = 1 << 30
"""Bytes that stored weights may take by default."""
GPU_SPEED = 50
"""About how many times as many edges a GPU walks as a CPU in the same time: an estimate, not measured."""
ON_DEVICES = "chebyshev"
"""The solver that runs on a GPU, too; the others are there to be compared with."""
#: The paper's stopping rule: mean squared difference of two iterates.
_VALUE_ITERATION_TOLERANCE = 1e-7
#: Guaranteed relative maximum-norm error by default.
_TOLERANCE = 1e-4
#: Beyond it colors would lie outside of what the compiled half takes for CIELAB's.
_GREATEST_COLOR_WEIGHT = 1.5
#: Undirected edges of all pixels from which the default radius is worth a warning: seconds on two fast cores, minutes
#: on a slow one.
_MANY_EDGES = 400_000_000
#: The paper's radius for images of 299 x 299.
_PAPERS_RADIUS = 9


class SolveOptions(TypedDict):
    """What the compiled solver is told, and the one on a GPU."""

    discounts: NDArray[np.float64]
    tolerance: float
    solver: str
    max_iterations: int


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


def check_budget(memory_budget: Any) -> int:
    """Bytes, cut where no memory is as large."""
    memory_budget = python_number(memory_budget)
    if isinstance(memory_budget, bool) or not isinstance(memory_budget, int):
        raise bad_type("memory_budget", "an integer number of bytes", memory_budget, "or leave it out")
    if memory_budget < 0:
        raise bad_value("memory_budget", "0 bytes or more", memory_budget, "0 stores no weights")
    return min(memory_budget, sys.maxsize)


def solve_options(discount: Any, tolerance: Any, solver: Any, max_iterations: Any = MAX_ITERATIONS) -> SolveOptions:
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
    options: SolveOptions = {
        "discounts": np.array([check_discount(one) for one in several], np.float64),
        "tolerance": float(tolerance),
        "solver": "chebyshev" if solver == "auto" else solver,
        "max_iterations": min(max_iterations, sys.maxsize),
    }
    _core.check_solve(**{**options, "discounts": options["discounts"].tolist()})
    return options


def default_radius(shape: tuple[int, ...], memory_budget: int, *, speed: int = 1) -> int:
    """The paper's radius, with a warning where it makes a map take long; `speed` is relative to a CPU's."""
    height, width = shape[:2]
    radius = _core.default_radius(height, width)
    cost, papers = (_cost(height, width, each, memory_budget) for each in (radius, _PAPERS_RADIUS))
    if cost > _MANY_EDGES * speed:
        warn(
            f"the default radius for {height} x {width} pixels is {radius}: a map takes seconds to minutes, "
            f"{cost / papers:.0f} times as long as with radius={_PAPERS_RADIUS}; pass `radius` to choose"
        )
    return radius


def _cost(height: int, width: int, radius: int, memory_budget: int) -> int:
    """Edges that a product walks; three times as long where weights are computed."""
    edges = height * width * 2 * radius * (radius + 1)
    return edges if 3 * edges <= memory_budget else 3 * edges
