"""Evaluation on Ray: actors, on this machine or on a cluster, that Ray Data feeds with rows of id and path.

Each actor makes the model once and writes to a journal of its own, as any worker does; what Ray does again after an
actor has died is looked up there. So Ray's own checkpoints are not needed, and rows are those of the other engine.
"""

import contextlib
import logging
import os
import pickle
import sys
from collections.abc import Generator, Iterator
from typing import Any

from interpix.checks import require_module
from interpix.errors import InterpixError, ModelError, bad_value
from interpix.evaluation.items import Item
from interpix.evaluation.local import Work
from interpix.evaluation.plan import Plan
from interpix.evaluation.worker import Outcome, Worker, limit_threads, thread_limits

__all__ = ["as_bytes", "require_ray", "run_on_ray"]

_RAY = '`engine="ray"` needs Ray: pip install "interpix[evaluate,ray]"'
_IMAGES_PER_BLOCK = 8
"""What is handed to an actor at once; progress comes in as many."""


def require_ray() -> Any:
    """Ray, with the part of it that feeds actors."""
    require_module("ray.data", _RAY)
    return require_module("ray", _RAY)


def as_bytes(plan: Plan) -> bytes:
    """The plan as actors get it.

    Raises:
        ArgumentError: It cannot be sent.
    """
    try:
        sent: bytes = require_ray().cloudpickle.dumps(plan)
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        raise bad_value("engine", "a model that Ray can send", got, "pass the model's name") from error
    return sent


def run_on_ray(
    sent: bytes, threads: int, work: Work, workers: int, *, address: str | None, gpus: float
) -> Generator[Outcome, None, None]:
    """Scores the images in so many actors.

    Args:
        sent: The plan as `as_bytes` has it.
        threads: Of each actor.
        work: Images.
        workers: How many actors.
        address: Of a cluster; None: one of this machine.
        gpus: Of each actor.

    Raises:
        ArgumentError: No cluster answers, or this machine has not so many GPUs.
    """
    ray = require_ray()
    with _cluster(ray, address, workers, gpus) as variables:
        blocks = max(1, min(len(work), max(workers, len(work) // _IMAGES_PER_BLOCK)))
        rows = [{"item": item.as_json(), "attempt": attempt} for item, attempt in work]
        found = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            _Actor,
            fn_constructor_args=(sent,),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(workers, blocks)),
            # With whole cores for actors, a machine of two cores has none left for what feeds them.
            num_cpus=0,
            num_gpus=gpus,
            runtime_env={"env_vars": variables | thread_limits(threads)},
        )
        try:
            for row in found.iter_rows():
                yield Outcome(row["image"], row["failure"] or None)
        except Exception as error:
            raise _known(error) from error


@contextlib.contextmanager
def _cluster(ray: Any, address: str | None, workers: int, gpus: float) -> Iterator[dict[str, str]]:
    """A cluster that is there, or one on this machine that ends with the block.

    Yields:
        The environment of actors: on this machine they import what this process can.
    """
    if ray.is_initialized():
        yield {}
        return
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        else:
            ray.init(num_cpus=max(workers, 1) + 1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        got = f"{address or 'none'} ({error})"
        raise bad_value("address", "a Ray cluster that answers", got, "see `ray status`") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        if not address:
            _require_gpus(ray, workers, gpus)
        yield {} if address else {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    finally:
        ray.shutdown()


def _require_gpus(ray: Any, workers: int, gpus: float) -> None:
    """Refuses more GPUs than this machine has: Ray would wait for them for ever. A cluster may still grow."""
    there = int(ray.cluster_resources().get("GPU", 0))
    # A worker's part is of one GPU: two of 0.6 do not share one.
    fit = workers if gpus == 0 else int(there // gpus) if gpus >= 1 else there * int(1 / gpus)
    if workers > fit:
        got = f"{workers} workers with {gpus:g} each"
        raise bad_value("gpus", f"no more than the {there} of this machine", got, "ask for fewer, or less of each")


def _known(error: Exception) -> Exception:
    """What an actor raised, without what Ray wraps it in."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InterpixError):
            return type(cause)(str(cause).splitlines()[-1])
        cause = cause.__cause__ or getattr(cause, "cause", None)
    return ModelError(f"Ray ended: {str(error).splitlines()[-1]}")


class _Actor:
    """A worker as Ray Data calls it: with a batch of rows, for a batch of rows."""

    def __init__(self, sent: bytes) -> None:
        plan: Plan = pickle.loads(sent)  # noqa: S301 - of the driver's making
        self._threads = plan.threads
        self._worker = Worker(plan)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        with limit_threads(self._threads):
            outcomes = [
                self._worker.run(Item.from_json(str(item)), int(attempt))
                for item, attempt in zip(batch["item"], batch["attempt"], strict=True)
            ]
        return {"image": [one.image for one in outcomes], "failure": [one.failure or "" for one in outcomes]}
