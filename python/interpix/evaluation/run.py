"""`evaluate`: methods by metrics over thousands of images, in several processes; what was interrupted goes on."""

import contextlib
import os
import re
import secrets
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interpix.checks import check_choice, check_flag, check_positive, check_seed, require_module
from interpix.comparison.specs import MethodsInput, MetricsInput, read_methods, read_metrics
from interpix.comparison.variants import Variant, make_variants
from interpix.errors import ArgumentError, ModelError, bad_value, warn
from interpix.evaluation.called import as_tables, called, configuration, directions
from interpix.evaluation.config import write_config
from interpix.evaluation.folder import Finished, check_answers, claim, clean, finished_images, kept_file, run_name
from interpix.evaluation.items import Item, Opener
from interpix.evaluation.labels import classes_of_file, with_targets
from interpix.evaluation.local import Work
from interpix.evaluation.manifests import PYARROW
from interpix.evaluation.plan import Plan, load_classifier
from interpix.evaluation.presets import PRESETS, PresetName, chosen
from interpix.evaluation.result import Evaluation, load_evaluation
from interpix.evaluation.sources import Source, SourceInput, read_source
from interpix.evaluation.team import Engine, Team
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

__all__ = ["evaluate"]

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
    team = Team.of(workers, engine, address, gpus)
    check_positive("batch_size", batch_size)
    check_positive("threads", threads)
    check_seed("seed", seed)
    flags = {"labels": labels, "controls": controls, "curves": curves, "maps": maps, "retry": retry}
    for name, flag in {**flags, "progress": progress}.items():
        check_flag(name, flag)
    part, folder = _read_shard(shard), read_path(out, "out")
    _check_names(methods, metrics, preset=preset, propagate=propagate)
    found, classifier = read_source(source, annotations), load_classifier(model)
    what = _what(found, classifier, methods, metrics, preset, propagate=propagate, controls=bool(controls))
    answers = _probe(classifier)
    items = _with_targets(found, classifier, answers.shape[1], labels=labels, classes=classes)
    mine = items[part[0] - 1 :: part[1]]
    _check_annotations(items, mine, found.opener, what.metrics)
    plan = Plan(
        model=model,
        opener=found.opener,
        explainers=what.explainers,
        metrics=what.metrics,
        propagate=what.propagate,
        controls=bool(controls),
        curves=bool(curves),
        maps=bool(maps),
        batch_size=batch_size,
        seed=seed,
        threads=threads,
        out=folder.absolute(),
        run=run_name(part, secrets.token_hex(4)),
    )
    run = {
        **called(model, source, what.named_methods, what.named_metrics, annotations, classes),
        **_options(plan, labels=labels),
        "curves": plan.curves,
        "maps": plan.maps,
        "images": len(items),
        "preset": preset,
        "without": what.without or None,
        "better": directions(what.metrics),
        "variants": as_tables(what.variants),
    }
    origin = classifier.provenance() | {"output": output_for(output_of(classifier), answers.shape[1]).facts()}
    rows_depend_on = configuration(origin, what.explainers, what.variants, what.metrics, _options(plan, labels=labels))
    sent = team.send(plan)
    with claim(folder, part):
        write_config(folder, rows_depend_on, run)
        check_answers(folder, answers)
        clean(folder, part)
        work = _left(mine, finished_images(folder), plan, retry=retry)
        _require_space(plan, len(work))
        try:
            outcomes = team.start(plan, sent, work, classifier)
            _follow(outcomes, len(mine), len(mine) - len(work), progress=progress)
        finally:
            clean(folder, part)
    return load_evaluation(folder)


def _options(plan: Plan, *, labels: bool) -> dict[str, Any]:
    """What rows depend on besides the model, methods and metrics."""
    return {
        "labels": bool(labels),
        "propagate": plan.propagate,
        "controls": plan.controls,
        "batch_size": plan.batch_size,
        "seed": plan.seed,
        "threads": plan.threads,
    }


def _check_names(
    methods: MethodsInput | None, metrics: MetricsInput | None, *, preset: str | None, propagate: bool | None
) -> None:
    """Refuses what can be refused before a model is loaded."""
    if preset is not None:
        check_choice("preset", preset, tuple(PRESETS))
    if propagate is not None:
        check_flag("propagate", propagate)
    if preset is None and (methods is None or metrics is None):
        raise _nothing("methods" if methods is None else "metrics")
    if methods is not None:
        read_methods(methods)
    if metrics is not None:
        read_metrics(metrics)


def _nothing(name: str) -> ArgumentError:
    return bad_value(name, "some", "none", "name them, or pass preset=, which has some")


@dataclass(frozen=True)
class _What:
    """What is scored by what.

    Attributes:
        named_methods: As they were passed, or as the preset has them.
        named_metrics: Likewise.
        explainers: The methods by name.
        metrics: By name.
        variants: All maps of an image that are scored.
        propagate: Whether IProp of each method is among them.
        without: Why some of the preset are not.
    """

    named_methods: MethodsInput
    named_metrics: MetricsInput
    explainers: Mapping[str, Explainer]
    metrics: Mapping[str, AnyMetric]
    variants: list[Variant]
    propagate: bool
    without: Mapping[str, str]


def _what(
    found: Source,
    classifier: Classifier,
    methods: MethodsInput | None,
    metrics: MetricsInput | None,
    preset: PresetName | None,
    *,
    propagate: bool | None,
    controls: bool,
) -> _What:
    """What is scored, once it is sure that the model can do it."""
    without: Mapping[str, str] = {}
    if preset is not None:
        annotated = any(item.mask is not None or item.boxes for item in found.items)
        methods, metrics, without = chosen(preset, classifier, methods, metrics, annotated=annotated)
    if methods is None or metrics is None:
        raise _nothing("methods" if methods is None else "metrics")
    if propagate is None:
        propagate = preset is None or PRESETS[preset].propagate
    explainers, scorers = read_methods(methods), read_metrics(metrics)
    variants = make_variants(explainers, propagate=bool(propagate), controls=controls)
    for one in (*explainers.values(), *scorers.values()):
        check_model(one, classifier)
    return _What(methods, metrics, explainers, scorers, variants, bool(propagate), without)


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


def _left(items: Sequence[Item], finished: Mapping[str, Finished], plan: Plan, *, retry: bool) -> Work:
    """What is to be done, each with the number of the attempt: also what was finished without files that are wanted."""
    kinds = [kind for kind, wanted in (("curves", plan.curves), ("maps", plan.maps)) if wanted]
    work: list[tuple[Item, int]] = []
    without: list[list[str]] = []
    for item in items:
        known = finished.get(item.id)
        if known is None:
            work.append((item, 0))
        elif known.key != item.key or (known.failed and retry):
            work.append((item, known.attempt + 1))
        elif known.scored and (missing := [kind for kind in kinds if not kept_file(plan.out, kind, item.id).exists()]):
            work.append((item, known.attempt + 1))
            without.append(missing)
    if without:
        what = " and ".join(kind for kind in kinds if any(kind in missing for missing in without))
        warn(f"{len(without)} finished images have no {what} and are done again for them")
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
