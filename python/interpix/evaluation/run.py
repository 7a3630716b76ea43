"""`evaluate`: methods by metrics over thousands of images, in several processes; what was interrupted goes on."""

import contextlib
import os
import re
import secrets
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from interpix import _core
from interpix.checks import check_choice, check_flag, check_positive, check_seed, require_module
from interpix.comparison.specs import MethodsInput, MetricsInput, options_of, read_methods, read_metrics
from interpix.comparison.variants import make_variants
from interpix.comparison.versions import library_versions
from interpix.errors import ArgumentError, ModelError, bad_value
from interpix.evaluation.folder import (
    Finished,
    check_answers,
    claim,
    clean,
    finished_images,
    run_name,
    write_config,
)
from interpix.evaluation.items import Item, Opener
from interpix.evaluation.labels import classes_of_file, with_targets
from interpix.evaluation.local import Work, run_here, run_processes
from interpix.evaluation.manifests import PYARROW
from interpix.evaluation.plan import Plan, code_of, load_classifier
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
_CHECKED = 5000
"""Of how many images the sizes of masks and boxes are compared with the image's before the first is scored."""


def evaluate(  # noqa: PLR0913 - each is a choice of the caller, and all but five have a default
    model: str | ModelInput,
    source: SourceInput,
    methods: MethodsInput,
    metrics: MetricsInput,
    out: str | os.PathLike[str],
    *,
    annotations: str | os.PathLike[str] | None = None,
    labels: bool = True,
    classes: str | os.PathLike[str] | Sequence[str] | None = None,
    propagate: bool = True,
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
        methods: As in `interpix.compare`.
        metrics: As in `interpix.compare`.
        out: The folder of results: `rows/` with Parquet shards, `config.toml`. What it has of these images and this
            configuration is not done again.
        annotations: A folder of masks, or of PASCAL VOC's XML files, named as the photos.
        labels: Explain the labelled classes; False: the predictions, whatever the source says.
        classes: The source's label of each class in the model's order, where they are not the model's own: a list, or
            a text file whose lines begin with them, as ImageNet's `synset_words.txt`.
        propagate: Score IProp of each method, too.
        controls: Score what knows nothing of the model, too: noise, its IProp, edges, and a plain blur of each map.
        curves: Keep the scores' curves, in `curves/`.
        maps: Keep the maps, in `maps/`; `interpix.results.load_all` reads each file.
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
    for name, value in (("batch_size", batch_size), ("workers", workers), ("threads", threads)):
        check_positive(name, value)
    check_seed("seed", seed)
    check_choice("engine", engine, ("local", "ray"))
    flags = {"labels": labels, "propagate": propagate, "controls": controls, "curves": curves, "maps": maps}
    for name, flag in {**flags, "retry": retry}.items():
        check_flag(name, flag)
    part, folder = _read_shard(shard), read_path(out, "out")
    explainers, scorers = read_methods(methods), read_metrics(metrics)
    make_variants(explainers, propagate=propagate, controls=controls)  # which refuses equal names
    found = read_source(source, annotations)
    classifier = load_classifier(model)
    for one in (*explainers.values(), *scorers.values()):
        check_model(one, classifier)
    answers = _probe(classifier)
    items = _with_targets(found, classifier, answers.shape[1], labels=labels, classes=classes)
    _check_annotations(items, found.opener, scorers)
    meaning = output_for(output_of(classifier), answers.shape[1]).facts()
    origin = classifier.provenance() | {"output": meaning}
    configuration = _configuration(origin, explainers, scorers, flags, batch_size, seed, threads)
    plan = Plan(
        model,
        found.opener,
        explainers,
        scorers,
        propagate,
        controls,
        curves,
        maps,
        batch_size,
        seed,
        threads,
        folder.absolute(),
        run_name(part, secrets.token_hex(4)),
    )
    called = _called(model, found, methods, metrics, annotations, classes, flags, len(items), _directions(scorers))
    with claim(folder, part):
        write_config(folder, configuration, called)
        check_answers(folder, answers)
        clean(folder, part)
        mine = items[part[0] - 1 :: part[1]]
        work = _left(mine, finished_images(folder), retry=retry)
        _require_space(plan, len(work))
        try:
            outcomes = _start(plan, work, classifier, workers, engine, address, gpus)
            _follow(outcomes, len(mine), len(mine) - len(work), progress=progress)
        finally:
            clean(folder, part)
    return load_evaluation(folder)


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


def _check_annotations(items: Sequence[Item], opener: Opener, metrics: Mapping[str, AnyMetric]) -> None:
    """Refuses masks and boxes that do not fit their images, and metrics that need some where there are none."""
    needs = [name for name, one in metrics.items() if getattr(one, "needs_annotation", False)]
    known = [item for item in items if item.mask is not None or item.boxes]
    if needs and not known:
        cure = "add the columns mask or boxes, name a folder of annotations, or leave the metric out"
        raise bad_value("source", f"masks or boxes for {needs[0]}", "none", cure)
    for item in known[:_CHECKED]:
        try:
            size, mask = image_size(opener.image(item)), opener.mask(item)
        except ArgumentError:  # an image that cannot be read costs its own row
            continue
        try:
            if mask is not None:
                read_mask(mask, size, "source")
        except ArgumentError as error:
            raise ArgumentError(f"{error} ('{item.id}')") from error


def _configuration(
    origin: Mapping[str, Any],
    explainers: Mapping[str, Explainer],
    metrics: Mapping[str, AnyMetric],
    flags: Mapping[str, bool],
    batch_size: int,
    seed: int,
    threads: int,
) -> dict[str, Any]:
    """All that the rows of an image depend on, but for the image."""
    return {
        "model": origin,
        "methods": {name: options_of(one) for name, one in explainers.items()},
        "code": {name: code for name, one in explainers.items() if (code := code_of(one)) is not None},
        "metrics": {name: options_of(one) for name, one in metrics.items()},
        "options": {**flags, "batch_size": batch_size, "seed": seed, "threads": threads},
        "versions": {**library_versions(), "interpix": _core.__version__},
    }


def _called(  # noqa: PLR0913 - what was passed
    model: object,
    source: Source,
    methods: MethodsInput,
    metrics: MetricsInput,
    annotations: str | os.PathLike[str] | None,
    classes: object,
    flags: Mapping[str, bool],
    images: int,
    better: Mapping[str, str],
) -> dict[str, Any]:
    """How the evaluation was called, so far as text can say it."""
    return {
        "images": images,
        "source": source.name,
        "model": model if isinstance(model, str) else None,
        "methods": _as_texts(methods),
        "metrics": _as_texts(metrics),
        "annotations": None if annotations is None else os.fspath(annotations),
        "classes": os.fspath(classes) if isinstance(classes, str | os.PathLike) else None,
        "labels": flags["labels"],
        "better": better,
    }


def _directions(metrics: Mapping[str, AnyMetric]) -> dict[str, str]:
    words = {True: "higher", False: "lower", None: "nearer to 0"}
    return {name: words[one.higher_is_better] for name, one in metrics.items()}


def _as_texts(given: object) -> list[str] | None:
    """Names as they were given; None if some were objects."""
    if isinstance(given, str):
        return [given]
    named = isinstance(given, Sequence) and all(isinstance(one, str) for one in given)
    return list(given) if named else None  # type: ignore[call-overload]


def _left(items: Sequence[Item], finished: Finished, *, retry: bool) -> Work:
    """What is to be done, each with the number of the attempt."""
    work = []
    for item in items:
        attempt, key, failed = finished.get(item.id, (-1, "", False))
        if attempt < 0 or key != item.key or (failed and retry):
            work.append((item, attempt + 1))
    return work


def _require_space(plan: Plan, images: int) -> None:
    variants = len(plan.variants())
    each = variants * len(plan.metrics) * _BYTES_PER_ROW
    each += variants * _BYTES_PER_MAP * plan.maps + variants * _BYTES_PER_CURVES * plan.curves
    require_space(plan.out, images * each, "out")


def _start(
    plan: Plan, work: Work, classifier: Classifier, workers: int, engine: Engine, address: str | None, gpus: float
) -> Generator[Outcome, None, None]:
    if work and engine == "ray":
        from interpix.evaluation.on_ray import run_on_ray  # optional

        return run_on_ray(plan, work, workers, address=address, gpus=gpus)
    if work and workers > 1:
        return run_processes(plan, work, workers)
    return run_here(plan, work, classifier)


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
