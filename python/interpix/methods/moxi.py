"""MoXI and the values of its games as attribution methods: one number for all pixels of a patch. No torch needed."""

import abc
import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from interpix.absence import AbsenceInput, read_absence
from interpix.checks import MOST_SAMPLES, check_positive, check_seed
from interpix.methods.base import Method
from interpix.options import plain_options
from interpix.question import Question
from interpix.regions import RegionsInput, check_regions
from interpix.results.attribution import Attribution
from interpix.results.explanation import Explanation
from interpix.search.moxi import MoXI
from interpix.search.rules import read_catalogue, read_rules
from interpix.terms import (
    Direction,
    Sampler,
    SearchDirection,
    SearchMethod,
    Stop,
    check_direction,
    check_reward,
    check_sampler,
    check_stop,
)

__all__ = ["CatalogueMap", "GroupSearch", "MoXIMap", "MoXIOneShot", "Shapley"]


@dataclass(frozen=True)
class _Game(Method):
    """What these methods share.

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        absence: What absent means, as in `interpix.MoXI`.
        reward: What a set of patches earns, as in `interpix.MoXI`.
        batch_size: Sets in one batch; None: the model's own choice.
    """

    regions: RegionsInput = "auto"
    absence: AbsenceInput = "auto"
    reward: str = "log_odds"
    batch_size: int | None = None

    presets: ClassVar = {"moxi": {"regions": "auto", "absence": "auto", "reward": "log_odds"}}

    def __post_init__(self) -> None:
        plain_options(self)
        check_regions(self.regions)
        read_absence(self.absence)
        check_reward(self.reward)
        check_positive("batch_size", self.batch_size, optional=True)

    def explain_question(self, question: Question) -> Attribution:
        """See `Method.explain_question`."""
        search = MoXI(
            question.classifier,
            regions=self.regions,
            absence=self.absence,
            reward=self.reward,
            batch_size="auto" if self.batch_size is None else self.batch_size,
        )
        found = self._play(search, question)
        facts = {"group": list(found.group), "evaluations": found.evaluations}
        provenance = {**self.options(), **found.provenance, "method": self.name, **facts}
        return dataclasses.replace(found.attribution(), method=self.name, provenance=provenance)

    @abc.abstractmethod
    def _play(self, search: MoXI, question: Question) -> Explanation:
        """What the search says about one image."""


@dataclass(frozen=True)
class Shapley(_Game):
    """Shapley values of the patches (`interpix.MoXI.shapley`).

    A model that sums gives each patch its own sum:

    >>> import numpy as np
    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.arange(8, dtype=np.float32).reshape(2, 4) * np.ones((3, 1, 1), np.float32)
    >>> Shapley(regions="1x2", sampler="exact", reward="logit").explain(model, image, target=1).map
    array([[10., 10., 18., 18.],
           [10., 10., 18., 18.]], dtype=float32)

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        absence: What absent means, as in `interpix.MoXI`.
        reward: What a set of patches earns, as in `interpix.MoXI`.
        batch_size: Sets in one batch; None: the model's own choice.
        sampler: `"moxi"`, `"permutation"` or `"exact"`.
        rounds: Of the samplers.
        seed: Of the samplers.
    """

    sampler: Sampler = "moxi"
    rounds: int = 200
    seed: int = 0

    name = "shapley"
    presets: ClassVar = {"moxi": {"sampler": "moxi", "rounds": 200, "reward": "log_odds"}}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sampler(self.sampler)
        check_positive("rounds", self.rounds, greatest=MOST_SAMPLES)
        check_seed("seed", self.seed)

    def _play(self, search: MoXI, question: Question) -> Explanation:
        return search.shapley(question, sampler=self.sampler, rounds=self.rounds, seed=self.seed)


@dataclass(frozen=True)
class MoXIOneShot(_Game):
    """MoXI(-): what each patch does alone, without interactions (`interpix.MoXI.one_shot`).

    >>> import numpy as np
    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.arange(8, dtype=np.float32).reshape(2, 4) * np.ones((3, 1, 1), np.float32)
    >>> MoXIOneShot(regions="1x2", reward="logit").explain(model, image, target=1).map
    array([[10., 10., 18., 18.],
           [10., 10., 18., 18.]], dtype=float32)

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        absence: What absent means, as in `interpix.MoXI`.
        reward: What a set of patches earns, as in `interpix.MoXI`.
        batch_size: Sets in one batch; None: the model's own choice.
        direction: Alone added to nothing (`"insertion"`), or alone taken from the whole (`"deletion"`).
    """

    direction: Direction = "insertion"

    name = "moxi_one_shot"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_direction(self.direction)

    def _play(self, search: MoXI, question: Question) -> Explanation:
        return search.one_shot(question, direction=self.direction)


@dataclass(frozen=True)
class MoXIMap(_Game):
    """MoXI's group as a map: the first patch found gets the number of patches found, the last one 1, all others 0.

    The right half has the greater sum, and comes first:

    >>> import numpy as np
    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.arange(8, dtype=np.float32).reshape(2, 4) * np.ones((3, 1, 1), np.float32)
    >>> MoXIMap(regions="1x2", reward="logit", stop="all").explain(model, image, target=1).map
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]], dtype=float32)

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        absence: What absent means, as in `interpix.MoXI`.
        reward: What a set of patches earns, as in `interpix.MoXI`.
        batch_size: Sets in one batch; None: the model's own choice.
        direction: Which patches suffice (`"insertion"`), or which are needed (`"deletion"`).
        stop: `"flip"`, `"all"`, or a number of patches.
    """

    direction: Direction = "insertion"
    stop: Stop = "flip"

    name = "moxi"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_direction(self.direction)
        check_stop(self.stop)

    def _play(self, search: MoXI, question: Question) -> Explanation:
        return search.explain(question, direction=self.direction, stop=self.stop)


@dataclass(frozen=True)
class GroupSearch(_Game):
    """A group by a search beyond MoXI's, as a map like `MoXIMap`'s: see `interpix.MoXI.explain`.

    The right half is enough, and needed:

    >>> import numpy as np
    >>> model = lambda batch: batch.sum(axis=(2, 3)) * [1, -1, 0] + [0, 0, 20]
    >>> image = np.arange(8, dtype=np.float32).reshape(2, 4) * np.ones((3, 1, 1), np.float32)
    >>> GroupSearch(regions="1x2", reward="logit").explain(model, image, target=0).map
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]], dtype=float32)

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        absence: What absent means, as in `interpix.MoXI`.
        reward: What a set of patches earns, as in `interpix.MoXI`.
        batch_size: Sets in one batch; None: the model's own choice.
        direction: Which patches suffice (`"insertion"`), are needed (`"deletion"`), or do both at once (`"both"`).
        search: `"greedy"`, `"beam"`, `"bidirectional"` or `"swap"`.
        weight: With `"both"`: how much the patches alone count; None: 0.5.
        width: Of a beam; None: 4.
        stop: `"flip"`, `"all"`, or a number of patches.
        minimal: Leave out what the group does not need; its patches come first then, in the order found.
    """

    direction: SearchDirection = "both"
    search: SearchMethod = "greedy"
    weight: float | None = None
    width: int | None = None
    stop: Stop = "flip"
    minimal: bool = False

    name = "group_search"
    presets: ClassVar = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        read_rules(self.direction, self.stop, 0.0, 0, self.minimal, self.search, self.weight, self.width)

    def _play(self, search: MoXI, question: Question) -> Explanation:
        found = search.explain(
            question,
            direction=self.direction,
            stop=self.stop,
            minimal=self.minimal,
            search=self.search,
            weight=self.weight,
            width=self.width,
        )
        if found.minimal_group is None:
            return found
        # What the group does not need matters less than what it does, and more than what was never found.
        others = [patch for patch in found.ranking.tolist() if patch not in found.minimal_group]
        order = [*found.minimal_group, *others]
        values = np.zeros(found.players)
        values[order] = np.arange(len(order), 0, -1)
        return dataclasses.replace(found, values=values)


@dataclass(frozen=True)
class CatalogueMap(_Game):
    """How many of an image's minimal groups each patch is in, 0 ... 1: see `interpix.MoXI.catalogue`.

    Either half is enough:

    >>> import numpy as np
    >>> model = lambda batch: batch.sum(axis=(2, 3)) * [1, -1, 0] + [0, 0, 1]
    >>> image = np.arange(8, dtype=np.float32).reshape(2, 4) * np.ones((3, 1, 1), np.float32)
    >>> CatalogueMap(regions="1x2", reward="logit").explain(model, image, target=0).map
    array([[0.5, 0.5, 0.5, 0.5],
           [0.5, 0.5, 0.5, 0.5]], dtype=float32)

    Attributes:
        regions: The patches, as in `interpix.MoXI`.
        absence: What absent means, as in `interpix.MoXI`.
        reward: What a set of patches earns, as in `interpix.MoXI`.
        batch_size: Sets in one batch; None: the model's own choice.
        direction: Which groups, as in `GroupSearch`.
        count: Most groups.
        overlap: The greatest part of the smaller of two groups that they share.
        width: Of the beams.
    """

    direction: SearchDirection = "insertion"
    count: int = 5
    overlap: float = 0.5
    width: int = 4

    name = "catalogue"
    presets: ClassVar = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        read_catalogue(self.direction, self.count, self.overlap, 0.0, self.width, None, None)

    def _play(self, search: MoXI, question: Question) -> Explanation:
        found = search.catalogue(
            question, direction=self.direction, count=self.count, overlap=self.overlap, width=self.width
        )
        if not found.groups:  # no patch matters more than another
            nothing = search.explain(question, direction=self.direction, stop=1)
            return dataclasses.replace(nothing, values=np.zeros(nothing.players))
        return dataclasses.replace(found[0], values=found.frequency())
