"""The command `interpix evaluate`: thousands of images, from a shell."""

import argparse
import contextlib
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpix.drawing import require_matplotlib
from interpix.errors import InterpixWarning, bad_value

if TYPE_CHECKING:
    from interpix.evaluation import Evaluation

__all__ = ["add_evaluate"]

_DEFAULTS: Mapping[str, Any] = {
    "source": None,
    "model": "efficientnet_lite0",
    "methods": ("rise(count=500)", "moxi_one_shot", "moxi"),
    "metrics": ("insertion", "deletion", "dir"),
    "annotations": None,
    "classes": None,
    "labels": True,
    "propagate": True,
    "controls": True,
    "curves": False,
    "maps": False,
    "batch_size": 32,
    "seed": 0,
    "threads": 1,
}
"""What is not said by the command's options, nor by `--config`."""
_PARTLY = 1
"""Some images have no scores."""
_SECONDS_BETWEEN_TABLES = 2.0
_CLEAR = "\033[H\033[2J"


def add_evaluate(commands: Any) -> None:
    """Adds the command to a parser's commands."""
    evaluate = commands.add_parser(
        "evaluate",
        help="evaluate attribution methods over thousands of images; writes Parquet and an HTML report",
        description="Every method is scored with and without IProp, beside controls that know nothing of the model. A "
        "run that was interrupted goes on when it is started again with the same folder.",
        argument_default=argparse.SUPPRESS,
    )
    evaluate.add_argument(
        "source",
        nargs="?",
        help="folder of photos or of class folders, table (.csv, .jsonl, .parquet), .tar files, or hf:NAME:SPLIT",
    )
    evaluate.add_argument("-o", "--out", type=Path, default=Path("out"), help="folder (default: %(default)s)")
    evaluate.add_argument("-m", "--model", help=f"as of `explain` (default: {_DEFAULTS['model']})")
    for flag in ("methods", "metrics"):
        default = " ".join(_DEFAULTS[flag])
        evaluate.add_argument(f"--{flag}", nargs="+", metavar="NAME", help=f"as of `compare` (default: {default})")
    evaluate.add_argument("--annotations", help="folder of masks or PASCAL VOC's XML files, named as the photos")
    evaluate.add_argument(
        "--classes", help="text file whose lines begin with the source's label of each class, in order"
    )
    for flag, text in (
        ("labels", "explain the predictions, whatever the source says"),
        ("propagate", "no IProp"),
        ("controls", "no noise, edges and plain blurs beside the methods"),
    ):
        evaluate.add_argument(f"--no-{flag}", dest=flag, action="store_false", help=text)
    evaluate.add_argument("--curves", action="store_true", help="keep the curves of scores, as safetensors")
    evaluate.add_argument("--maps", action="store_true", help="keep the maps, as safetensors")
    _add_run(evaluate)
    for flag, text in (
        ("batch-size", "pictures in one call of the model by a metric"),
        ("seed", "of the metrics' random choices"),
        ("threads", "CPU threads of each worker"),
    ):
        default = _DEFAULTS[flag.replace("-", "_")]
        evaluate.add_argument(f"--{flag}", type=int, help=f"{text} (default: {default})")
    evaluate.add_argument(
        "--preset",
        choices=("iprop", "moxi"),
        help="a paper's methods and metrics, so far as model and source can do them; its tables: docs/evaluation.md",
    )
    evaluate.add_argument("--config", type=Path, help="the config.toml of another run, which is done again")
    evaluate.add_argument("--watch", type=Path, metavar="OUT", help="show the table of a run while it goes on")
    evaluate.add_argument("--quiet", action="store_true", default=False, help="no progress on stderr")
    evaluate.add_argument(
        "--overwrite", action="store_true", default=False, help="replace a report that interpix did not write"
    )
    evaluate.set_defaults(run=_evaluate)


def _add_run(evaluate: argparse.ArgumentParser) -> None:
    """How it is done, on which no row depends."""
    evaluate.add_argument(
        "--shard", default="1/1", metavar="I/N", help="only every N-th image, from the I-th, as $SLURM_ARRAY_TASK_ID/8"
    )
    evaluate.add_argument("--retry", action="store_true", default=False, help="do again what failed")
    evaluate.add_argument("--workers", type=int, default=1, help="processes that score images (default: %(default)s)")
    evaluate.add_argument("--engine", choices=("local", "ray"), default="local", help="(default: %(default)s)")
    evaluate.add_argument(
        "--address", default=None, help="of a Ray cluster (default: RAY_ADDRESS, or one on this machine)"
    )
    evaluate.add_argument("--gpus", type=float, default=0.0, help="of each worker of Ray (default: %(default)s)")


def _evaluate(options: argparse.Namespace) -> int:
    from interpix.evaluation import evaluate  # heavy parts load when they are used

    if "watch" in options:
        _watch(options.watch)
        return 0
    require_matplotlib()
    wanted = {**_DEFAULTS, **(_repeated(options.config) if "config" in options else {})}
    if "preset" in options:
        # Instead of what any other run had; what is named beside it counts.
        wanted |= {"methods": None, "metrics": None, "propagate": None, "preset": options.preset}
    wanted |= {name: value for name, value in vars(options).items() if name in _DEFAULTS}
    model, source, methods, metrics = (wanted.pop(name) for name in ("model", "source", "methods", "metrics"))
    if source is None:
        raise bad_value("source", "a folder, a table or tar files", "none", "name it, or a run's --config")
    with _told():
        found = evaluate(
            model,
            source,
            None if methods is None else list(methods),
            None if metrics is None else list(metrics),
            options.out,
            **wanted,
            shard=options.shard,
            retry=options.retry,
            workers=options.workers,
            engine=options.engine,
            address=options.address,
            gpus=options.gpus,
            progress=not options.quiet,
        )
    print(found)
    for line in found.left_out():
        sys.stderr.write(f"interpix: {line}\n")
    page = found.report(overwrite=options.overwrite)
    print(f"report: {page}  rows: {options.out / 'rows'}")
    return _PARTLY if found.failed() else 0


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the library warns of, as lines for people."""
    show = warnings.showwarning

    def tell(message: Warning | str, category: type[Warning], filename: str, *about: Any, **more: Any) -> None:
        if category is InterpixWarning:
            sys.stderr.write(f"interpix: {message}\n")
        else:
            show(message, category, filename, *about, **more)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=InterpixWarning)
        warnings.showwarning = tell
        yield


def _repeated(path: Path) -> dict[str, Any]:
    """The arguments of another run."""
    from interpix.evaluation.config import repeated  # heavy parts load when they are used

    return repeated(path)


def _watch(out: Path) -> None:
    """Shows the table again and again, until nobody writes to the folder any more."""
    from interpix.evaluation import load_evaluation  # heavy parts load when they are used
    from interpix.evaluation.folder import is_running

    clear = _CLEAR if sys.stdout.isatty() else ""
    shown = ""
    while True:
        running = is_running(out)
        found = load_evaluation(out)
        if (text := _shown(found, running=running)) != shown:
            print(f"{clear}{text}", flush=True)
            shown = text
        if not running:
            return
        time.sleep(_SECONDS_BETWEEN_TABLES)


def _shown(found: "Evaluation", *, running: bool) -> str:
    end = "" if running or found.is_finished else "\nnobody is writing to it: start the run again, and it goes on"
    return f"{found}{end}"
