"""What a method assigns to each patch, for comparison with a search: MoXI(-) and Shapley values."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.checks import MOST_SAMPLES, check_positive, check_seed
from interpix.images import ImageInput
from interpix.options import python_number
from interpix.progress import ProgressCounter
from interpix.question import Question
from interpix.results.explanation import Explanation
from interpix.search.assigned import Assign, Game, assign_all
from interpix.search.call import Call, carrying, in_order
from interpix.search.games import Found
from interpix.search.maker import GameMaker
from interpix.terms import Direction, Sampler, TargetInput, check_direction, check_sampler

__all__ = ["PatchValues"]


class PatchValues(GameMaker):
    """The values of an image's patches."""

    @overload
    def one_shot(
        self,
        image: ImageInput | Question,
        target: TargetInput = None,
        *,
        direction: Direction = ...,
        progress: bool = ...,
    ) -> Explanation: ...

    @overload
    def one_shot(
        self,
        image: Sequence[ImageInput],
        target: TargetInput = None,
        *,
        direction: Direction = ...,
        progress: bool = ...,
    ) -> list[Explanation]: ...

    def one_shot(
        self,
        image: ImageInput | Question | Sequence[ImageInput],
        target: TargetInput = None,
        *,
        direction: Direction = "insertion",
        progress: bool = False,
    ) -> Explanation | list[Explanation]:
        """MoXI(-), for comparison: ranks every patch once by what it does alone, without interactions.

        Takes 2 n + 3 evaluations for n patches: n + 1 for the ranking, n + 1 for the curve along it, and the whole
        image. Arguments and result as in `explain`, with all patches ranked; the patches' `values` are f(a) - f({})
        (insertion) or (f(N) - f(N - a)) / n (deletion).
        """

        def assign(game: Game, players: int, batch_size: int) -> tuple[npt.NDArray[np.float64], int]:
            _, values = _core.one_shot(players, game, direction=direction, batch_size=batch_size)
            return values, players + 1

        return self._assign(image, target, direction, {"method": "MoXI(-)"}, assign, progress=progress)

    @overload
    def shapley(
        self,
        image: ImageInput | Question,
        target: TargetInput = None,
        *,
        sampler: Sampler = ...,
        rounds: int = ...,
        seed: int = ...,
        direction: Direction = ...,
        progress: bool = ...,
    ) -> Explanation: ...

    @overload
    def shapley(
        self,
        image: Sequence[ImageInput],
        target: TargetInput = None,
        *,
        sampler: Sampler = ...,
        rounds: int = ...,
        seed: int = ...,
        direction: Direction = ...,
        progress: bool = ...,
    ) -> list[Explanation]: ...

    def shapley(
        self,
        image: ImageInput | Question | Sequence[ImageInput],
        target: TargetInput = None,
        *,
        sampler: Sampler = "moxi",
        rounds: int = 200,
        seed: int = 0,
        direction: Direction = "insertion",
        progress: bool = False,
    ) -> Explanation | list[Explanation]:
        """Shapley values of the patches, for comparison, and the curve along their ranking.

        Args:
            image: As in `explain`.
            target: As in `explain`.
            sampler: `"moxi"`: the paper's, `rounds` random coalitions for each patch, of one size ratio a round;
                `"permutation"`: `rounds` random orders of all patches; `"exact"`: all coalitions, up to 16 patches.
            rounds: Of the samplers; for n patches `"moxi"` evaluates 2 n coalitions a round, `"permutation"` n + 1.
            seed: Of the samplers.
            direction: Whether the curve adds (insertion) or removes (deletion) the most important patches first.
            progress: Show the number of evaluations on stderr.

        Returns:
            An `Explanation` with `values`, or a list of them if many images were given. After Ctrl-C, or if the model
            failed, the exception's attribute `explanations` holds those of the images that were done.
        """
        rounds, seed = python_number(rounds), python_number(seed)
        check_positive("rounds", rounds, greatest=MOST_SAMPLES)
        check_seed("seed", seed)
        check_sampler(sampler)

        def assign(game: Game, players: int, batch_size: int) -> tuple[npt.NDArray[np.float64], int]:
            values, _, evaluations = _core.shapley_values(
                players, game, sampler=sampler, rounds=rounds, seed=seed, batch_size=batch_size
            )
            return values, evaluations

        options = {"method": "Shapley", "sampler": sampler, "rounds": rounds, "seed": seed}
        return self._assign(image, target, direction, options, assign, progress=progress)

    def _assign(
        self,
        image: ImageInput | Question | Sequence[ImageInput],
        target: TargetInput,
        direction: Direction,
        options: dict[str, Any],
        assign: Assign,
        *,
        progress: bool,
    ) -> Explanation | list[Explanation]:
        """Explains with a method that assigns a value to each patch: values, ranking, and the curve along it."""
        check_direction(direction)
        options = {**options, "stop": "all", "min_confidence": 0.0}
        calls, many = self._begin(image, target, direction, options)
        done: dict[int, Explanation] = {}
        with ProgressCounter(str(options["method"]), enabled=progress) as counter:
            for call in calls:
                ranked: list[Found] = []

                def results(call: Call = call, ranked: list[Found] = ranked) -> dict[int, Explanation]:
                    return done | call.results(ranked)

                with carrying(results):
                    assign_all(call, assign, ranked, counter)
                done.update(results())
        return in_order(done) if many else done[0]
