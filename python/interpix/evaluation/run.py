"""`evaluate`: methods by metrics over thousands of images, in several processes; what was interrupted goes on."""

import contextlib
import os
import re
import secrets
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from interpix import _core
from interpix.checks import check_choice, check_flag, check_number, check_positive, check_seed, require_module
from interpix.comparison.specs import MethodsInput, MetricsInput, options_of, read_methods, read_metrics
from interpix.comparison.variants import Variant, controls_of, make_variants
from interpix.comparison.versions import library_versions
from interpix.errors import ArgumentError, ModelError, bad_value
from interpix.evaluation.config import BETTER, write_config
from interpix.evaluation.folder import Finished, check_answers, claim, clean, finished_images, kept_file, run_name
from interpix.evaluation.items import Item, Opener
from interpix.evaluation.labels import classes_of_file, with_targets
from interpix.evaluation.local import Work, as_bytes, run_here, run_processes
from interpix.evaluation.manifests import PYARROW
from interpix.evaluation.plan import Plan, code_of, load_classifier
from interpix.evaluation.presets import PRESETS, PresetName, chosen
from interpix.evaluation.result import Evaluation, load_evaluation
from interpix.evaluation.sources import Source, SourceInput, read_source
from interpix.evaluation.worker import Outcome
from interpix.images import image_size
from interpix.masks import read_mask
from interpix.metrics.base import AnyMetric
from interpix.models.protocol.classifier import Classifier, ModelInput, output_of
from interpix.options import python_number
from interpix.outputs.reading import output_for
from interpix.progress import ProgressCounter
from interpix.question import Explainer, ask_whole, check_model
from interpix.storage import read_path, require_space

__all__ = ["Engine", "evaluate"]

Engine = Literal["local", "ray"]
"""What runs the workers: this machine's processes, or Ray."""

_PROBE = (64, 80, 3)
"""The size of the picture of noise that tells a model from another of its name."""
_BYTES_PER_ROW = 100
_BYTES_PER_MAP, _BYTES_PER_CURVES = 350_000, 40_000
"""Of 224 x 224 pixels, with its picture; and of one method's curves."""
_HOPELESS = 20
"""If none of so many first images has a score, something is wrong with all."""
_MOST_GPUS = 1024
_CHECKED = 5000
"""Of how many images the sizes of masks and boxes are compared with the image's before the first is scored."""


def evaluate(  # noqa: PLR0913 - each is a choice of the caller, and all but five have a default
    model: str | ModelInput,
    source: SourceInput,
    methods: MethodsInput | None,
    metrics: MetricsInput | None,
    out: str | os.PathLike[str],
    *,
    preset: PresetName | None = None,
    annotations: str | os.PathLike[str] | None = None,
    labels: bool = True,
    classes: str | os.PathLike[str] | Sequence[str] | None = None,
    propagate: bool | None = None,
    controls: bool = True,
    curves: bool = False,
    maps: bool = False,
    shard: str | tuple[int, int] = (1, 1),
    retry: bool = False,
    workers: int = 1,
    engine: Engine = "local",
    address: str | None = None,
    gpus: float = 0,
    threads: int = 1,
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Scores methods by metrics over any number of images, and goes on where an earlier run was interrupted.

    >>> from PIL import Image
    >>> folder = getfixture("tmp_path")
    >>> Image.fromarray(np.arange(72, dtype=np.uint8).reshape(4, 6, 3)).save(folder / "photo.png")
    >>> scale = lambda raw: raw.transpose(2, 0, 1).astype(np.float32) / 255
    >>> from interpix import CallableClassifier
    >>> model = CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), preprocess=scale)
    >>> found = evaluate(model, folder, "moxi(regions='2x3')", "insertion(steps=4)", folder / "out", controls=False)
    >>> found.images, [row["method"] for row in found.rows()]
    (1, ["moxi(regions='2x3')", "moxi(regions='2x3')"])

    Args:
        model: The name of one for `interpix.load_model`, or anything that `interpix.MoXI` takes.
        source: A folder of photos; of folders of photos, which name their classes; or with `metadata.csv`, `.jsonl` or
            `.parquet`; such a table itself, with the columns `file_name` and, if known, `label`, `mask` and `boxes`;
            tar files as WebDataset has them; `"hf:NAME:SPLIT"` or a data set of Hugging Face.
        methods: As in `interpix.compare`; None: those of the `preset`.
        metrics: As in `interpix.compare`; None: those of the `preset`.
        out: The folder of results: `rows/` with Parquet shards, `config.toml`. What it has of these images and this
            configuration is not done again.
        preset: `"iprop"` or `"moxi"`: a paper's methods and metrics, but for what the model or the source cannot do,
            which is said by a warning.
        annotations: A folder of masks, or of PASCAL VOC's XML files, named as the photos.
        labels: Explain the labelled classes; False: the predictions, whatever the source says.
        classes: The source's label of each class in the model's order, where they are not the model's own: a list, or
            a text file whose lines begin with them, as ImageNet's `synset_words.txt`.
        propagate: Score IProp of each method, too; None: yes, or as the `preset` does.
        controls: Score what knows nothing of the model, too: noise, its IProp, edges, and a plain blur of each map.
        curves: Keep the scores' curves, in `curves/`. Images that were finished without them are done again.
        maps: Keep the maps, in `maps/`; `interpix.results.load_all` reads each file. Likewise.
        shard: `"i/n"`: only every n-th image, from the i-th, i = 1 ... n; several runs may share one folder so.
        retry: Do again what failed.
        workers: Processes that score images, each with a model of its own; 1: this one.
        engine: `"local"`: processes of this machine; `"ray"`: actors, on one machine or many.
        address: Of a Ray cluster; None: `RAY_ADDRESS`, or one that is started here and ends with the call.
        gpus: Of each of Ray's actors.
        threads: CPU threads of each process. Rows are the same to the bit for any number of workers, not of threads.
        batch_size: The greatest number of pictures in one call of the model by a metric.
        seed: Of the metrics' random choices.
        progress: Show images, images a second and the time left on stderr.

    What goes wrong with one image, a method or a metric is a row whose status is `failed`; the rest goes on.

    Raises:
        ArgumentError: An argument is wrong; all that can be is said before the first image.
        MissingDependencyError: pyarrow is not installed.
        ModelError: None of the first images could be scored.
    """
    require_module("pyarrow.parquet", PYARROW)
    batch_size, seed, workers, threads, gpus = map(python_number, (batch_size, seed, workers, threads, gpus))
    team = _Team.of(workers, engine, address, gpus)
    for name, value in (("batch_size", batch_size), ("threads", threads)):
        check_positive(name, value)
    check_seed("seed", seed)
    kinds = {"curves": curves, "maps": maps}
    for name, flag in {"labels": labels, "controls": controls, **kinds, "retry": retry, "progress": progress}.items():
        check_flag(name, flag)
    if propagate is not None:
        check_flag("propagate", propagate)
    part, folder = _read_shard(shard), read_path(out, "out")
    if preset is not None:
        check_choice("preset", preset, tuple(PRESETS))
    found = read_source(source, annotations)
    classifier = load_classifier(model)
    without: Mapping[str, str] = {}
    if preset is not None:
        annotated = any(item.mask is not None or item.boxes for item in found.items)
        methods, metrics, without = chosen(preset, classifier, methods, metrics, annotated=annotated)
    if methods is None or metrics is None:
        missing = "methods" if methods is None else "metrics"
        raise bad_value(missing, "some", "none", "name them, or pass preset=, which has some")
    if propagate is None:
        propagate = True if preset is None else PRESETS[preset].propagate
    explainers, scorers = read_methods(methods), read_metrics(metrics)
    variants = make_variants(explainers, propagate=propagate, controls=controls)
    for one in (*explainers.values(), *scorers.values()):
        check_model(one, classifier)
    answers = _probe(classifier)
    items = _with_targets(found, classifier, answers.shape[1], labels=labels, classes=classes)
    mine = items[part[0] - 1 :: part[1]]
    _check_annotations(items, mine, found.opener, scorers)
    plan = Plan(
        model=model,
        opener=found.opener,
        explainers=explainers,
        metrics=scorers,
        propagate=propagate,
        controls=controls,
        curves=curves,
        maps=maps,
        batch_size=batch_size,
        seed=seed,
        threads=threads,
        out=folder.absolute(),
        run=run_name(part, secrets.token_hex(4)),
    )
    sent = team.send(plan)
    options = {
        "labels": bool(labels),
        "propagate": bool(propagate),
        "controls": bool(controls),
        "batch_size": batch_size,
        "seed": seed,
        "threads": threads,
    }
    called = {
        **_called(model, source, methods, metrics, annotations, classes),
        **options,
        **{name: bool(flag) for name, flag in kinds.items()},
        "images": len(items),
        "preset": preset,
        "without": without or None,
        "better": _directions(scorers),
        "variants": _as_tables(variants),
    }
    origin = classifier.provenance() | {"output": output_for(output_of(classifier), answers.shape[1]).facts()}
    with claim(folder, part):
        write_config(folder, _configuration(origin, explainers, variants, scorers, options), called)
        check_answers(folder, answers)
        clean(folder, part)
        work = _left(mine, finished_images(folder), folder, [name for name, flag in kinds.items() if flag], retry=retry)
        _require_space(plan, len(work))
        try:
            outcomes = team.start(plan, sent, work, classifier)
            _follow(outcomes, len(mine), len(mine) - len(work), progress=progress)
        finally:
            clean(folder, part)
    return load_evaluation(folder)


@dataclass(frozen=True)
class _Team:
    """Who scores the images: checked against one another before anything is done."""

    workers: int
    engine: Engine
    address: str | None
    gpus: float

    @classmethod
    def of(cls, workers: int, engine: Engine, address: str | None, gpus: float) -> "_Team":
        """The arguments of `evaluate`.

        >>> _Team.of(2, "local", None, 1)
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


def _read_shard(shard: object) -> tuple[int, int]:
    need, cure = "i/n with i in 1 ... n", '"1/1" is all'
    if isinstance(shard, str) and (match := re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard.strip())):
        shard = (int(match[1]), int(match[2]))
    if not isinstance(shard, tuple) or len(shard) != 2 or not all(type(one) is int for one in shard):
        raise bad_value("shard", need, repr(shard), cure)
    if not 1 <= shard[0] <= shard[1]:
        raise bad_value("shard", need, f"{shard[0]}/{shard[1]}", cure)
    return shard[0], shard[1]


def _probe(classifier: Classifier) -> Any:
    """The model's answer to a picture of noise: how many classes it has, and whether it is the same model."""
    noise = np.random.default_rng(0).integers(0, 256, _PROBE, dtype=np.uint8)
    return ask_whole(classifier, np.asarray(classifier.preprocess(noise))[None])


def _with_targets(
    source: Source,
    classifier: Classifier,
    count: int,
    *,
    labels: bool,
    classes: str | os.PathLike[str] | Sequence[str] | None,
) -> list[Item]:
    if not labels:
        return [Item(one.id, one.place, None, one.mask, one.boxes) for one in source.items]
    known = classes_of_file(classes) if isinstance(classes, str | os.PathLike) else classes
    return with_targets(source.items, classifier.class_names, count, classes=known, label_names=source.label_names)


def _check_annotations(
    items: Sequence[Item], mine: Sequence[Item], opener: Opener, metrics: Mapping[str, AnyMetric]
) -> None:
    """Refuses masks and boxes that do not fit their images, and metrics that need some where there are none.

    Those of other parts than `mine` are opened by the runs that score them.
    """
    needs = [name for name, one in metrics.items() if getattr(one, "needs_annotation", False)]
    if needs and not any(item.mask is not None or item.boxes for item in items):
        cure = "add the columns mask or boxes, name a folder of annotations, or leave the metric out"
        raise bad_value("source", f"masks or boxes for {needs[0]}", "none", cure)
    for item in [item for item in mine if item.mask is not None or item.boxes][:_CHECKED]:
        try:
            size = image_size(opener.image(item))
        except ArgumentError:  # an image that cannot be read costs its own row
            continue
        try:
            if (mask := opener.mask(item)) is not None:
                read_mask(mask, size, "source")
        except ArgumentError as error:
            raise ArgumentError(f"{error} ('{item.id}')") from error


def _configuration(
    origin: Mapping[str, Any],
    explainers: Mapping[str, Explainer],
    variants: Sequence[Variant],
    metrics: Mapping[str, AnyMetric],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """All that the rows of an image depend on, but for the image."""
    return {
        "model": origin,
        "methods": {name: options_of(one) for name, one in explainers.items()},
        "controls": {one.name: options_of(one.explainer) for one in variants if one.control},
        "code": {name: code for name, one in explainers.items() if (code := code_of(one)) is not None},
        "metrics": {name: options_of(one) for name, one in metrics.items()},
        "options": options,
        "versions": {**library_versions(), "interpix": _core.__version__},
    }


def _called(
    model: object,
    source: SourceInput,
    methods: MethodsInput,
    metrics: MetricsInput,
    annotations: str | os.PathLike[str] | None,
    classes: str | os.PathLike[str] | Sequence[str] | None,
) -> dict[str, Any]:
    """How the evaluation was called, so far as text can say it; `objects` names the rest."""
    told = {
        "model": model if isinstance(model, str) else None,
        "source": _resolved(source) if isinstance(source, str | os.PathLike) else None,
        "methods": _as_texts(methods),
        "metrics": _as_texts(metrics),
    }
    objects = [name for name, one in told.items() if one is None]
    labels = _resolved(classes) if isinstance(classes, str | os.PathLike) else classes and list(map(str, classes))
    return {
        **told,
        "annotations": None if annotations is None else _resolved(annotations),
        "classes": labels,
        "objects": objects or None,
    }


def _resolved(path: str | os.PathLike[str]) -> str:
    """A path as any process finds it, wherever it is started; names of data sets stay."""
    text = os.fspath(path)
    return text if text.startswith("hf:") else str(Path(text).absolute())


def _as_tables(variants: list[Variant]) -> list[dict[str, Any]]:
    """What each variant is, which no name says for sure: a method of one's own may be called IProp(rise), too."""
    return [
        {
            "name": one.name,
            "method": one.method,
            "propagated": one.propagated,
            "control": one.control,
            "against": controls_of(one, variants),
        }
        for one in variants
    ]


def _directions(metrics: Mapping[str, AnyMetric]) -> dict[str, str]:
    words = {value: word for word, value in BETTER.items()}
    return {name: words[one.higher_is_better] for name, one in metrics.items()}


def _as_texts(given: object) -> list[str] | None:
    """Names as they were given; None if some were objects."""
    if isinstance(given, str):
        return [given]
    named = isinstance(given, Sequence) and all(isinstance(one, str) for one in given)
    return list(given) if named else None  # type: ignore[call-overload]


def _left(
    items: Sequence[Item], finished: Mapping[str, Finished], folder: Path, kinds: Sequence[str], *, retry: bool
) -> Work:
    """What is to be done, each with the number of the attempt: also what was finished without the `kinds` of files."""
    work, without = [], 0
    for item in items:
        known = finished.get(item.id)
        if known is None:
            work.append((item, 0))
        elif known.key != item.key or (known.failed and retry):
            work.append((item, known.attempt + 1))
        elif known.scored and not all(kept_file(folder, kind, item.id).exists() for kind in kinds):
            work.append((item, known.attempt + 1))
            without += 1
    if without:
        what = " and ".join(kinds)
        warnings.warn(f"{without} finished images have no {what} and are done again for them", stacklevel=3)
    return work


def _require_space(plan: Plan, images: int) -> None:
    variants = len(plan.variants())
    each = variants * len(plan.metrics) * _BYTES_PER_ROW
    each += variants * _BYTES_PER_MAP * plan.maps + variants * _BYTES_PER_CURVES * plan.curves
    require_space(plan.out, images * each, "out")


def _follow(outcomes: Generator[Outcome], total: int, done: int, *, progress: bool) -> None:
    """Counts images as they are finished.

    Raises:
        ModelError: None of the first images has a score.
    """
    scored, failures = 0, []
    counter = ProgressCounter("evaluate", "images", enabled=progress, total=total, done=done)
    with counter, contextlib.closing(outcomes):
        for outcome in outcomes:
            counter.add(1)
            if outcome.failure is None:
                scored += 1
            else:
                failures.append(outcome.failure)
            if not scored and len(failures) == _HOPELESS:
                message = f"none of the first {_HOPELESS} images could be scored, the last: {failures[-1]}"
                raise ModelError(message)
