"""MoXI and the values of its games as attribution methods: one number for all pixels of a patch. No torch needed."""

import abc
import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from interpix.absence import AbsenceInput, read_absence
from interpix.checks import check_positive, check_rounds, check_seed
from interpix.methods.base import Method
from interpix.question import Question
from interpix.regions import RegionsInput, check_regions
from interpix.results.attribution import Attribution
from interpix.results.explanation import Explanation
from interpix.search.moxi import MoXI
from interpix.terms import Direction, Sampler, Stop, check_direction, check_reward, check_sampler, check_stop

__all__ = ["MoXIMap", "MoXIOneShot", "Shapley"]


@dataclass(frozen=True)
class _Game(Method):
    """What the three methods share.

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
        check_rounds(self.rounds)
        check_seed(self.seed)

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
