"""Who scores the images: this process, several of this machine, or Ray's actors."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from interpix.checks import check_choice, check_number, check_positive
from interpix.errors import bad_value
from interpix.evaluation.local import Work, as_bytes, run_here, run_processes
from interpix.evaluation.plan import Plan
from interpix.evaluation.worker import Outcome
from interpix.models.protocol.classifier import Classifier

__all__ = ["Engine", "Team"]

Engine = Literal["local", "ray"]
"""What runs the workers: this machine's processes, or Ray."""

_MOST_GPUS = 1024


@dataclass(frozen=True)
class Team:
    """Who scores the images: checked against one another before anything is done."""

    workers: int
    engine: Engine
    address: str | None
    gpus: float

    @classmethod
    def of(cls, workers: int, engine: Engine, address: str | None, gpus: float) -> "Team":
        """The arguments of `evaluate`.

        >>> Team.of(2, "local", None, 1)
        Traceback (most recent call last):
        interpix.errors.ArgumentError: `gpus`: expected 0 with engine="local", got 1; processes of one machine share \
its GPU by themselves: leave it out, or pass engine="ray"
        """
        check_positive("workers", workers)
        check_choice("engine", engine, ("local", "ray"))
        need, cure = "a number of GPUs for each worker: 0 ... 1, or a whole one", "0.5 lets two workers share one"
        check_number("gpus", gpus, 0, _MOST_GPUS, need, cure)
        if gpus > 1 and gpus != int(gpus):  # which Ray would say after minutes
            raise bad_value("gpus", need, gpus, cure)
        if address is not None and not (isinstance(address, str) and address.strip()):
            raise bad_value("address", "that of a Ray cluster", repr(address), 'for example "ray://host:10001"')
        if engine == "local" and gpus:
            cure = 'processes of one machine share its GPU by themselves: leave it out, or pass engine="ray"'
            raise bad_value("gpus", '0 with engine="local"', gpus, cure)
        if engine == "local" and address is not None:
            cure = 'pass engine="ray", or leave it out'
            raise bad_value("address", 'none with engine="local"', repr(address), cure)
        if engine == "ray":
            from interpix.evaluation.on_ray import require_ray  # optional

            require_ray()
        return cls(workers, engine, address, gpus)

    def send(self, plan: Plan) -> bytes:
        """The plan as other processes get it; nothing where there are none.

        Raises:
            ArgumentError: It cannot be sent.
        """
        if self.engine == "ray":
            from interpix.evaluation import on_ray  # optional

            return on_ray.as_bytes(plan)
        return as_bytes(plan) if self.workers > 1 else b""

    def start(self, plan: Plan, sent: bytes, work: Work, classifier: Classifier) -> Generator[Outcome, None, None]:
        """Scores the images."""
        if work and self.engine == "ray":
            from interpix.evaluation.on_ray import run_on_ray  # optional

            return run_on_ray(sent, plan.threads, work, self.workers, address=self.address, gpus=self.gpus)
        if work and self.workers > 1:
            return run_processes(sent, plan.threads, work, self.workers)
        return run_here(plan, work, classifier)
