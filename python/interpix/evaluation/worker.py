"""One process of an evaluation: it has the model, and turns images into rows, one after the other."""

import contextlib
import dataclasses
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from interpix.arrays import BoolArray
from interpix.comparison.specs import mask_as_seen
from interpix.comparison.variants import Variant, make_map, score_variant
from interpix.errors import InterpixError, bad_value
from interpix.evaluation.folder import kept_file
from interpix.evaluation.items import Item
from interpix.evaluation.plan import Plan, load_classifier
from interpix.evaluation.rows import Journal, Kept, read_journal, rows_folder
from interpix.images import read_image
from interpix.metrics.sample import Sample
from interpix.models.protocol.classifier import Classifier
from interpix.results.attribution import Attribution
from interpix.results.base import save_all
from interpix.results.scores import Curve, ImageScore
from interpix.storage import FORMAT, make_folder, write_arrays

__all__ = ["Outcome", "Worker", "limit_threads", "thread_limits"]

_ATTEMPTS = 3
"""How often an image is begun that ends its process: once may be an accident."""
_LONGEST_REASON = 500


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes:
        image: Its id.
        failure: Why there are no scores of it; None if there are.
    """

    image: str
    failure: str | None


@dataclass(frozen=True)
class _Scored:
    """What was found out about one image: rows, maps and curves by their names, and where the object is."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    maps: dict[str, Attribution] = field(default_factory=dict)
    curves: dict[tuple[str, str], Curve] = field(default_factory=dict)
    annotation: BoolArray | None = None


class Worker:
    """Scores images by a plan; the model is made once.

    What goes wrong with one image is a row. What is wrong with the folder of results is raised.
    """

    def __init__(self, plan: Plan, classifier: Classifier | None = None) -> None:
        """Loads the model, unless it is there already."""
        self._plan = plan
        self._classifier = load_classifier(plan.model) if classifier is None else classifier
        self._variants = plan.variants()
        self._folder = rows_folder(plan.out)
        self._journal = Journal(self._folder, f"{plan.run}-{secrets.token_hex(4)}")
        self._before = self._known()

    def _known(self) -> Kept:
        """What other workers of this run have done: some may have died with an image that this one gets."""
        known = Kept()
        for path in self._folder.glob(f"{self._plan.run}-*.jsonl"):
            kept = read_journal(path)
            known.finished.update(kept.finished)
            for image, count in kept.started.items():
                known.started[image] = known.started.get(image, 0) + count
        return known

    def run(self, item: Item, attempt: int = 0) -> Outcome:
        """Scores one image and keeps its rows."""
        if item.id in self._before.finished:
            return Outcome(item.id, None)
        if self._before.started.get(item.id, 0) >= _ATTEMPTS:
            scored = _Scored([self._row(item, attempt, status="failed", reason=_DIED)])
        else:
            with _writing(self._plan.out):
                self._journal.start(item.id)
            scored = self._score(item, attempt)
        rows = scored.rows
        with _writing(self._plan.out):
            # Maps and curves come before the rows, which say that the image is finished.
            self._keep(item, attempt, scored)
            self._journal.finish(item.id, rows)
        failed = [row["reason"] for row in rows if row["status"] == "failed"]
        return Outcome(item.id, failed[0] if len(failed) == len(rows) else None)

    def close(self) -> None:
        """Leaves nothing but shards."""
        with _writing(self._plan.out):
            self._journal.close()

    def _score(self, item: Item, attempt: int) -> "_Scored":
        with _as_rows() as failure:
            return self._score_image(item, attempt)
        return _Scored([self._row(item, attempt, status="failed", reason=failure[0])])

    def _score_image(self, item: Item, attempt: int) -> "_Scored":
        loaded = read_image(self._plan.opener.image(item))
        mask = self._plan.opener.mask(item)
        sample = Sample.of(
            self._classifier,
            loaded.pixels,
            target=item.target,
            annotation=mask_as_seen(mask, loaded, self._classifier),
            batch_size=self._plan.batch_size,
            seed=self._plan.seed,
        )
        about = {
            "target": sample.target,
            "prediction": sample.prediction,
            "probability": sample.answer if sample.output.is_probability else None,
        }
        scored = _Scored(annotation=sample.annotation)
        for variant in self._variants:
            made, found, scores = self._score_variant(variant, sample, scored.maps)
            scored.rows.extend(self._row(item, attempt, variant=variant, **about, **one) for one in made)
            if found is not None:
                scored.maps[variant.name] = found
            for name, score in scores.items():
                if score.curve is not None:
                    scored.curves[variant.name, name] = score.curve
        return scored

    def _score_variant(
        self, variant: Variant, sample: Sample, maps: Mapping[str, Attribution]
    ) -> tuple[list[dict[str, Any]], Attribution | None, Mapping[str, ImageScore]]:
        """The cells of a variant's rows, its map, and its scores; one cell that says why, where there are none."""
        if variant.source is not None and variant.source not in maps:
            return [{"status": "failed", "reason": f"{variant.source} failed"}], None, {}
        with _as_rows() as failure:
            start = time.perf_counter()
            found = make_map(variant, sample, None if variant.source is None else maps[variant.source])
            seconds = time.perf_counter() - start
        if failure:
            return [{"status": "failed", "reason": failure[0]}], None, {}
        scores, reasons = self._scores(variant, sample, found)
        cells = [
            _cells(name, scores[name], seconds)
            if name in scores
            else {"metric": name, "status": "failed", "reason": reasons[name], "seconds": seconds}
            for name in self._plan.metrics
        ]
        return cells, found, scores

    def _scores(
        self, variant: Variant, sample: Sample, found: Attribution
    ) -> tuple[Mapping[str, ImageScore], Mapping[str, str]]:
        """The scores of a map, and why some metrics have none."""
        metrics = self._plan.metrics
        with _as_rows():
            return score_variant(sample, variant.explainer, found, metrics), {}
        # One of them raised: the others have their say.
        scores: dict[str, ImageScore] = {}
        reasons: dict[str, str] = {}
        for name, metric in metrics.items():
            with _as_rows() as failure:
                scores |= score_variant(sample, variant.explainer, found, {name: metric})
            if failure:
                reasons[name] = failure[0]
        return scores, reasons

    def _keep(self, item: Item, attempt: int, scored: "_Scored") -> None:
        """Writes maps and curves, if they are asked for now or were before; an earlier attempt's never stay."""
        out, plan = self._plan.out, self._plan
        maps, curves, mask = (kept_file(out, kind, item.id) for kind in ("maps", "curves", "masks"))
        keeps_maps, keeps_curves = (
            wanted or (attempt > 0 and path.exists()) for path, wanted in ((maps, plan.maps), (curves, plan.curves))
        )
        for path in (maps, curves, mask) if attempt else ():
            path.unlink(missing_ok=True)
        if not scored.maps:
            return
        if keeps_maps:
            make_folder(maps.parent, "out")
            save_all(maps, [_named(name, found) for name, found in scored.maps.items()])
        if keeps_maps and scored.annotation is not None:
            make_folder(mask.parent, "out")
            write_arrays(mask, {"inside": scored.annotation}, {"format": FORMAT, "mask": 1})
        if keeps_curves:
            # Also where no metric has any: it says that they were asked for.
            make_folder(curves.parent, "out")
            arrays = {str(index): np.stack([one.x, one.y]) for index, one in enumerate(scored.curves.values())}
            write_arrays(curves, arrays, {"format": FORMAT, "curves": list(map(list, scored.curves))})

    def _row(self, item: Item, attempt: int, *, variant: Variant | None = None, **cells: Any) -> dict[str, Any]:
        return {
            "image": item.id,
            "method": None if variant is None else variant.method,
            "propagated": None if variant is None else variant.propagated,
            "control": None if variant is None else variant.control,
            "metric": cells.get("metric"),
            "value": cells.get("value"),
            "status": cells["status"],
            "reason": cells.get("reason"),
            "seconds": cells.get("seconds"),
            "target": cells.get("target"),
            "prediction": cells.get("prediction"),
            "probability": cells.get("probability"),
            "attempt": attempt,
            "key": item.key,
        }


_DIED = f"the process that scored it ended {_ATTEMPTS} times: it may need more memory than there is"


@contextlib.contextmanager
def _as_rows() -> Iterator[list[str]]:
    """What is raised inside becomes a reason: one image costs its own rows, whatever a model or a method does."""
    reasons: list[str] = []
    try:
        yield reasons
    except Exception as error:  # noqa: BLE001 - the rest goes on; who interrupts is heard
        text = str(error) or "out of memory" if isinstance(error, InterpixError | MemoryError) else _described(error)
        reasons.append(" ".join(text.split())[:_LONGEST_REASON])


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """A folder that cannot be written to ends the run: there is nowhere to say what went wrong."""
    try:
        yield
    except OSError as error:
        got = f"'{out}' ({error.strerror})"
        raise bad_value("out", "a folder that can be written to", got, "make room, and start the run again") from error


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _cells(name: str, score: ImageScore, seconds: float) -> dict[str, Any]:
    value = float(score.value)
    if score.skipped is not None or not np.isfinite(value):
        reason = score.skipped or "the score is no finite number"
        return {"metric": name, "status": "skipped", "reason": reason, "seconds": seconds}
    return {"metric": name, "value": value, "status": "ok", "seconds": seconds}


def _named(name: str, found: Attribution) -> Attribution:
    return dataclasses.replace(found, method=name, class_names=None)


def thread_limits(threads: int) -> dict[str, str]:
    """The environment in which the libraries of a new process use so many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


@contextlib.contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """So many threads of torch, if it is there: sums of more are sums in another order."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
