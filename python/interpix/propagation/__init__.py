"""IProp: let an attribution map's information flow between similar neighboring pixels."""

from interpix.propagation.graph import PixelGraph, Propagation
from interpix.propagation.options import Solver, check_color_weight, check_discount, check_radius
from interpix.propagation.run import propagate

__all__ = ["PixelGraph", "Propagation", "Solver", "check_color_weight", "check_discount", "check_radius", "propagate"]
