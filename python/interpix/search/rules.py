"""How each image is searched."""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from interpix import _core
from interpix.checks import MOST_SAMPLES, check_choice, check_flag, check_integer, check_number, check_positive
from interpix.errors import bad_type, bad_value, renamed
from interpix.options import python_number
from interpix.terms import SearchDirection, SearchMethod, Stop, check_stop

__all__ = ["CatalogueRules", "Rules", "read_catalogue", "read_frontier", "read_rules"]

_WIDTH = 4
_WEIGHT = 0.5
_BEAMS_A_GROUP = 4
# Groups of all sizes are tried by default of as many patches, and at all of so many.
_TRIED_ALL, _MOST_FOR_ALL = 10, 16
_MOST_TRIED = 100_000_000


@dataclass(frozen=True)
class Rules:
    """How each image is searched.

    Attributes:
        direction: Which patches suffice, which are needed, or which do both.
        stop: When the search of an image ends.
        min_confidence: What a group that suffices has to reach.
        min_patches: How many patches are ranked at least.
        minimal: Whether groups are pruned.
        search: How groups are looked for.
        weight: With `"both"`: how much the reward of the group alone counts.
        width: Of a beam.
    """

    direction: SearchDirection
    stop: Stop = "flip"
    min_confidence: float = 0.0
    min_patches: int = 0
    minimal: bool = False
    search: SearchMethod = "greedy"
    weight: float = _WEIGHT
    width: int = _WIDTH

    @property
    def explores(self) -> bool:
        """Whether this goes beyond MoXI's own two searches."""
        return self.direction == "both" or self.search != "greedy"

    def options(self) -> dict[str, Any]:
        """What a result remembers of them, and what it calls them: MoXI is the greedy search in one direction."""
        names = ["stop", "min_confidence", "min_patches", "minimal"]
        if self.explores:
            names += ["search"]
        if self.direction == "both":
            names += ["weight"]
        if self.search == "beam":
            names += ["width"]
        name = f"{self.search} search" if self.explores else "MoXI"
        return {"method": name, **{name: getattr(self, name) for name in names}}

    def plan(self) -> _core.Plan:
        """The same for an explorer."""
        return _core.Plan(
            self.direction,
            self.search,
            weight=self.weight,
            stop=self.stop,
            min_confidence=self.min_confidence,
            min_players=self.min_patches,
            minimal=self.minimal,
            width=self.width,
        )


def read_rules(
    direction: object,
    stop: object,
    min_confidence: object,
    min_patches: object,
    minimal: object,
    search: object = "greedy",
    weight: object = None,
    width: object = None,
) -> Rules:
    """The options of a search, checked."""
    stop, min_confidence, min_patches = map(python_number, (stop, min_confidence, min_patches))
    check_search(direction, stop, min_confidence)
    check_choice("search", search, get_args(SearchMethod))
    if min_patches != 0:
        check_positive("min_patches", min_patches, greatest=sys.maxsize)
        if search in {"beam", "swap"}:
            raise bad_value("min_patches", f'0 with search="{search}"', min_patches, "leave it out, or search greedily")
    check_flag("minimal", minimal)
    if minimal and stop != "flip":
        raise bad_value("minimal", 'False unless `stop` is "flip"', minimal, 'pass stop="flip", or leave it out')
    if search == "swap" and stop != "flip":
        raise bad_value("stop", '"flip" with search="swap"', stop, "leave it out, or search greedily")
    if weight is not None:
        if direction != "both":
            raise bad_value("weight", 'None unless `direction` is "both"', weight, 'pass direction="both"')
        check_number("weight", weight := python_number(weight), 0, 1, "a number in 0 ... 1", "0.5 weighs both alike")
    if width is not None:
        if search != "beam":
            raise bad_value("width", 'None unless `search` is "beam"', width, 'pass search="beam"')
        check_positive("width", width := python_number(width), greatest=sys.maxsize)
    return Rules(
        direction,  # type: ignore[arg-type]
        stop,  # type: ignore[arg-type]
        min_confidence,  # type: ignore[arg-type]
        min_patches,  # type: ignore[arg-type]
        bool(minimal),
        search,  # type: ignore[arg-type]
        _WEIGHT if weight is None else weight,  # type: ignore[arg-type]
        _WIDTH if width is None else width,  # type: ignore[arg-type]
    )


def read_frontier(weights: Sequence[object], stop: object, min_confidence: object, minimal: object) -> list[Rules]:
    """The options of a frontier, checked: rules for each weight."""
    if isinstance(weights, str) or not isinstance(weights, Iterable):
        raise bad_type("weights", "a list of numbers in 0 ... 1", weights, "pass [0, 0.5, 1], for example")
    given = [python_number(weight) for weight in weights]
    if not given:
        raise bad_value("weights", "at least one", "none", 'pass [0.5], or use explain(direction="both")')
    with renamed(weight="weights"):
        return [read_rules("both", stop, min_confidence, 0, minimal, "greedy", weight) for weight in given]


@dataclass(frozen=True)
class CatalogueRules:
    """How the groups of a catalogue are looked for: see `interpix.MoXI.catalogue`."""

    direction: SearchDirection
    count: int
    overlap: float
    min_confidence: float
    width: int
    exhaust: int | None
    tries: int

    def options(self) -> dict[str, Any]:
        """What a result remembers of them."""
        return {"method": "catalogue"} | {name: value for name, value in vars(self).items() if name != "direction"}

    def tried(self, players: int) -> int:
        """Up to which size all groups are tried, of an image of so many patches.

        Raises:
            ArgumentError: These are too many.
        """
        tried = (players if players <= _TRIED_ALL else 1) if self.exhaust is None else min(self.exhaust, players)
        if tried == players > _MOST_FOR_ALL:
            need = f"less than all {players} patches: groups of {_MOST_FOR_ALL} patches at most can all be tried"
            raise bad_value("exhaust", need, self.exhaust, "pass 2 or 3, or fewer regions")
        sets = sum(math.comb(players, size) for size in range(tried + 1))
        if sets > _MOST_TRIED:
            need = f"so few of {players} patches that there are no more than {_MOST_TRIED:,} groups"
            raise bad_value("exhaust", need, f"{self.exhaust}, {sets:.3g} groups", "pass 2 or 3, or fewer regions")
        return tried

    def plan(self, players: int) -> _core.Plan:
        """The same for an explorer, of an image of so many patches."""
        return _core.Plan(
            self.direction,
            "catalogue",
            stop="flip",
            min_confidence=self.min_confidence,
            minimal=True,
            count=self.count,
            overlap=self.overlap,
            width=self.width,
            exhaust=self.tried(players),
            tries=self.tries,
        )


def read_catalogue(
    direction: object,
    count: object,
    overlap: object,
    min_confidence: object,
    width: object,
    exhaust: object,
    tries: object,
) -> CatalogueRules:
    """The options of a catalogue, checked."""
    count, overlap, min_confidence, width = map(python_number, (count, overlap, min_confidence, width))
    exhaust, tries = map(python_number, (exhaust, tries))
    check_search(direction, "flip", min_confidence)
    for name, number in {"count": count, "width": width}.items():
        check_positive(name, number, greatest=MOST_SAMPLES)
    check_positive("tries", tries, optional=True, greatest=MOST_SAMPLES)
    check_number("overlap", overlap, 0, 1, "a number in 0 ... 1", "0 for groups that share no patch")
    if exhaust is not None:
        check_integer("exhaust", exhaust, 0, None, "a number of patches", "1 is usual")
    beams = _BEAMS_A_GROUP * count if tries is None else tries  # type: ignore[operator]
    return CatalogueRules(direction, count, overlap, min_confidence, width, exhaust, beams)  # type: ignore[arg-type]


def check_search(direction: object, stop: object, min_confidence: object) -> None:
    """Refuses options of a search that cannot be."""
    check_choice("direction", direction, get_args(SearchDirection))
    check_stop(stop)
    check_number("min_confidence", min_confidence, 0, 1, "a probability in 0 ... 1", "0 asks for none")
