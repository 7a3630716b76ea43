"""Evaluation on this machine: in this process, or in several that are spawned."""

import contextlib
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from interpix.errors import InterpixError, ModelError, bad_value
from interpix.evaluation.items import Item
from interpix.evaluation.plan import Plan
from interpix.evaluation.worker import Outcome, Worker, limit_threads, thread_limits
from interpix.models.protocol.classifier import Classifier

__all__ = ["Work", "as_bytes", "run_here", "run_processes"]

_MOST_DEATHS = 4
"""Of each process in a row, without an image that was scored: one more than an image may end."""
_SIGKILL = 9

Work = Sequence[tuple[Item, int]]
"""Images, and which attempt at each this is."""


def run_here(plan: Plan, work: Work, classifier: Classifier) -> Generator[Outcome, None, None]:
    """Scores the images in this process, one after the other."""
    with limit_threads(plan.threads):
        worker = Worker(plan, classifier)
        try:
            for item, attempt in work:
                yield worker.run(item, attempt)
        finally:
            worker.close()


def run_processes(sent: bytes, threads: int, work: Work, count: int) -> Generator[Outcome, None, None]:
    """Scores the images in spawned processes, each with a model of its own; a process that dies is replaced.

    Args:
        sent: The plan as `as_bytes` has it.
        threads: Of each process.
        work: Images.
        count: Of processes.
    """
    left = list(reversed(work))
    with contextlib.ExitStack() as stack:
        team = [_Process(sent, threads, stack) for _ in range(min(count, len(work)))]
        busy = {one: one.give(left.pop()) for one in team}
        deaths = 0
        while busy:
            for one in _ready(busy):
                outcome = one.answer()
                if outcome is None:  # it is dead
                    again = busy.pop(one)
                    deaths += 1
                    if deaths > _MOST_DEATHS * count:
                        raise _all_die(one.exit_code)
                    replacement = _Process(sent, threads, stack)
                    busy[replacement] = replacement.give(again)
                    continue
                deaths = 0
                yield outcome
                del busy[one]
                if left:
                    busy[one] = one.give(left.pop())
                else:
                    one.stop()


def _all_die(exit_code: int | None) -> ModelError:
    reason = "killed, perhaps for want of memory" if exit_code == -_SIGKILL else f"exit code {exit_code}"
    return ModelError(
        f"worker processes end before they have scored any image ({reason}); try workers=1, which shows why"
    )


def as_bytes(plan: Plan) -> bytes:
    """The plan as other processes get it.

    Raises:
        ArgumentError: It cannot be sent.
    """
    try:
        return pickle.dumps(plan)
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        cure = "pass the model's name, define functions at the top of a module, or use workers=1"
        raise bad_value("workers", "1, or a model and methods that other processes can be sent", got, cure) from error


class _Process:
    """A spawned process that scores one image at a time."""

    def __init__(self, sent: bytes, threads: int, stack: contextlib.ExitStack) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        with _environment(thread_limits(threads)):
            self._process = context.Process(target=_serve, args=(sent, threads, theirs), daemon=True)
            self._process.start()
        theirs.close()
        stack.push(self._leave)

    def give(self, one: tuple[Item, int]) -> tuple[Item, int]:
        # It may be dead, which is noticed when its answer is awaited.
        with contextlib.suppress(OSError):
            self._ours.send(one)
        return one

    @property
    def waits_for(self) -> Connection:
        return self._ours

    def answer(self) -> Outcome | None:
        """What it says; None if it is dead."""
        try:
            found = self._ours.recv()
        except (EOFError, OSError):
            self._process.join()
            return None
        if isinstance(found, BaseException):
            raise found
        outcome: Outcome = found
        return outcome

    @property
    def exit_code(self) -> int | None:
        """How it ended; minus the number of the signal that ended it."""
        return self._process.exitcode

    def _leave(self, kind: object, _error: object, _trace: object) -> None:
        """After an error it is ended: what it has not finished is done again by the next run."""
        if kind is not None:
            self._process.terminate()
        self.stop()

    def stop(self) -> None:
        """Lets it write its last shard, and waits."""
        with contextlib.suppress(OSError):
            self._ours.send(None)
        self._ours.close()
        self._process.join()


def _ready(busy: dict[_Process, Any]) -> list[_Process]:
    ready = wait([one.waits_for for one in busy])
    return [one for one in busy if one.waits_for in ready]


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(sent: bytes, threads: int, pipe: Any) -> None:
    """What a spawned process does."""
    _end_with_parent()
    try:
        plan: Plan = pickle.loads(sent)  # noqa: S301 - of the parent's making
        worker = Worker(plan)
        with limit_threads(threads):
            while (one := _next(pipe)) is not None:
                pipe.send(worker.run(*one))
            worker.close()
    except KeyboardInterrupt:
        return
    except Exception as error:  # noqa: BLE001 - told to the parent, which ends the run
        _tell(pipe, error)


def _next(pipe: Any) -> tuple[Item, int] | None:
    try:
        one: tuple[Item, int] | None = pipe.recv()
    except EOFError:
        return None
    return one


def _tell(pipe: Any, error: Exception) -> None:
    shown = (
        error if isinstance(error, InterpixError) else ModelError(f"a worker ended: {type(error).__name__}: {error}")
    )
    try:
        pipe.send(pickle.loads(pickle.dumps(shown)))  # noqa: S301 - whether the parent could read it
    except Exception:  # noqa: BLE001 - an exception of a kind that cannot be sent
        pipe.send(ModelError(f"a worker ended: {type(error).__name__}: {error}"))


def _end_with_parent() -> None:
    """Ends this process at once when its parent is killed: the next run must not meet it."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int = parent.sentinel, leave: Callable[[int], Any] = os._exit) -> None:
        wait([sentinel])
        leave(1)

    threading.Thread(target=watch, daemon=True, name="interpix-parent").start()
