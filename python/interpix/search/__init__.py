"""Coalition searches: MoXI, its games, and their values."""

from interpix.search.moxi import MoXI

__all__ = ["MoXI"]
