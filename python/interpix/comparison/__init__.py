"""Attribution methods compared by metrics over images: one call, one table, one report."""

from interpix.comparison.result import Comparison, Entry
from interpix.comparison.run import compare

__all__ = ["Comparison", "Entry", "compare"]
