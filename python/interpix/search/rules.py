"""How each image of a call is searched."""

from dataclasses import dataclass

from interpix.checks import check_flag, check_number, check_positive
from interpix.errors import bad_value
from interpix.options import python_number
from interpix.terms import Direction, Stop, check_direction, check_stop

__all__ = ["Rules", "check_search", "read_rules"]


@dataclass(frozen=True)
class Rules:
    """How each image is searched.

    Attributes:
        direction: Grow from nothing, or shrink from the whole image.
        stop: When the search of an image ends.
        min_confidence: What an insertion has to reach.
        min_patches: How many patches are ranked at least.
        minimal: Whether groups are pruned.
    """

    direction: Direction
    stop: Stop
    min_confidence: float
    min_patches: int
    minimal: bool


def read_rules(direction: object, stop: object, min_confidence: object, min_patches: object, minimal: object) -> Rules:
    """The options of a search, checked."""
    stop, min_confidence, min_patches = map(python_number, (stop, min_confidence, min_patches))
    check_search(direction, stop, min_confidence)
    if min_patches != 0:
        check_positive("min_patches", min_patches)
    check_flag("minimal", minimal)
    if minimal and stop != "flip":
        raise bad_value("minimal", 'False unless `stop` is "flip"', minimal, 'pass stop="flip", or leave it out')
    return Rules(direction, stop, min_confidence, min_patches, bool(minimal))  # type: ignore[arg-type]


def check_search(direction: object, stop: object, min_confidence: object) -> None:
    """Refuses options of a search that cannot be."""
    check_direction(direction)
    check_stop(stop)
    check_number("min_confidence", min_confidence, 0, 1, "a probability in 0 ... 1", "0 asks for none")
