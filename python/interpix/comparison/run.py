"""`compare`: every method asked about every image, with and without IProp, and scored by every metric."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interpix import _core
from interpix.checks import check_flag, check_integer, check_positive, check_seed
from interpix.comparison.result import Comparison, Entry
from interpix.comparison.specs import (
    ImagesInput,
    MasksInput,
    MethodsInput,
    MetricsInput,
    TargetsInput,
    mask_as_seen,
    name_images,
    one_each,
    options_of,
    read_masks,
    read_methods,
    read_metrics,
    read_targets,
)
from interpix.comparison.store import Store, fingerprint
from interpix.comparison.variants import Variant, controls_of, make_map, make_variants, score_variant
from interpix.comparison.versions import library_versions
from interpix.errors import ArgumentError
from interpix.images import LoadedImage, read_image
from interpix.metrics.base import AnyMetric
from interpix.metrics.sample import Sample
from interpix.models import as_classifier
from interpix.models.protocol.classifier import ModelInput
from interpix.options import python_number
from interpix.outputs.reading import OutputInput
from interpix.progress import ProgressCounter
from interpix.question import ask_whole, check_model
from interpix.results.attribution import Attribution

__all__ = ["compare"]

_PROBES = 4
_GAPS = 0.5


@dataclass(frozen=True, eq=False)
class _Photo:
    """One image of the comparison.

    Attributes:
        name: Its name.
        sample: The image with the model, prepared and asked about once for all methods and metrics.
        origin: The fingerprint of what its maps depend on besides the method; None if nothing is kept.
    """

    name: str
    sample: Sample
    origin: str | None

    def key(self, *parts: Any) -> str | None:
        """The name under which what depends on this image and on `parts` is kept."""
        return None if self.origin is None else fingerprint(self.origin, *parts)


def compare(  # noqa: PLR0913 - each is a choice of the caller, and all but four have a default
    model: ModelInput,
    images: ImagesInput,
    methods: MethodsInput,
    metrics: MetricsInput,
    masks: MasksInput | None = None,
    *,
    targets: TargetsInput = None,
    propagate: bool = True,
    controls: bool = True,
    folder: str | os.PathLike[str] | None = None,
    keep_maps: int = 20,
    batch_size: int = 32,
    seed: int = 0,
    output: OutputInput = "auto",
    progress: bool = False,
) -> Comparison:
    """Compares attribution methods by metrics over images, each with and without IProp, and with controls.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[1] = np.arange(24).reshape(4, 6)
    >>> inside = np.arange(24).reshape(4, 6) >= 12
    >>> print(compare(model, image, "moxi(regions='2x3', stop='all')", "roc_auc", [inside], controls=False))
    method                                 roc_auc ↑
    moxi(regions='2x3',stop='all')         1*
    IProp(moxi(regions='2x3',stop='all'))  1*

    Args:
        model: Anything that `interpix.MoXI` takes; it is not changed.
        images: A folder of photos, one image of any kind, a list of images, or a dict of them by name.
        methods: Names of `interpix.methods.METHODS`, with options in brackets if wanted: `"rise(count=500)"`;
            objects that `interpix.propagated` takes; or a dict of them with names of your own.
        metrics: Names of `interpix.metrics.METRICS`, or `"model_randomization"`; objects of that module; or a dict.
        masks: Where the object is, one for each image or a dict by the images' names: a bool array of the image's
            size, True inside, the path of a picture that is bright inside, or None. `"roc_auc"` and
            `"pointing_game"` need them.
        targets: The class to explain, one for each image or a dict: an index, a name, or None for the prediction.
        propagate: Score IProp of each method, too.
        controls: Score what knows nothing of the model, too: noise, IProp of it, the picture's edges, and a plain blur
            of each map. A metric that does not tell a method from its control says nothing about that method.
        folder: Where each map, and then its scores, are written as soon as they are known. What is there already is
            read, not computed again: maps for the same model, image, target and method, scores for the same map, mask,
            seed and metrics. So a run that was interrupted goes on, and other metrics find the maps. A function of
            the user's is taken for the same model if it gives the same answers. Maps of functions and of Captum's
            objects are not kept: what these do cannot be told from outside. An object of the user's own class with
            its `explain` is the same as long as its class has the same name and its fields the same values.
        keep_maps: Of how many images the result holds the maps, too, for pictures.
        batch_size: The greatest number of pictures in one call of the model by a metric.
        seed: Of the metrics' random choices.
        output: What the model's answers mean, see `interpix.outputs`.
        progress: Show the number of maps on stderr.

    A photo that cannot be read costs its own row: `Comparison.failed` says why.

    Raises:
        ArgumentError: An argument is wrong, or no photo can be read.
        BaseException: Whatever the model or a method raises, and KeyboardInterrupt after Ctrl-C; its attribute
            `comparison` holds what was found until then.
    """
    batch_size, seed, keep_maps = map(python_number, (batch_size, seed, keep_maps))
    check_positive("batch_size", batch_size)
    check_seed("seed", seed)
    for flag, value in (("propagate", propagate), ("controls", controls), ("progress", progress)):
        check_flag(flag, value)
    check_integer("keep_maps", keep_maps, 0, None, "a number of images", "20 is the default, 0 keeps none")
    classifier = as_classifier(model, output)
    explainers, scorers, named = read_methods(methods), read_metrics(metrics), name_images(images)
    annotations = read_masks(one_each("masks", masks, named), scorers, named)
    goals = read_targets(one_each("targets", targets, named), classifier)
    variants = make_variants(explainers, propagate=propagate, controls=controls)
    for one in (*explainers.values(), *scorers.values()):
        check_model(one, classifier)
    origin = classifier.provenance()
    provenance = {
        **origin,
        "methods": {name: options_of(one) for name, one in explainers.items()},
        "metrics": {name: options_of(one) for name, one in scorers.items()},
        "propagate": bool(propagate),
        "controls": bool(controls),
        "seed": seed,
        "interpix": _core.__version__,
        "numpy": np.__version__,
    }
    store = Store(folder)
    runner = _Runner(variants, scorers, store)
    beside = {one.name: tuple(controls_of(one, variants)) for one in variants}
    entries: list[Entry] = []
    failed: dict[str, str] = {}
    maps = len(named) * len(variants)
    try:
        with ProgressCounter("compare", "maps", enabled=progress, total=maps) as counter:

            def add(entry: Entry) -> None:
                entries.append(entry)
                counter.add(1)

            for index, (name, image) in enumerate(named.items()):
                try:
                    loaded = read_image(image)
                except ArgumentError as error:  # it costs its own row
                    failed[name] = str(error)
                    if len(failed) == len(named):
                        raise
                    counter.add(len(variants))
                    continue
                sample = Sample.of(
                    classifier,
                    loaded.pixels,
                    target=goals[name],
                    annotation=mask_as_seen(annotations[name], loaded, classifier),
                    batch_size=batch_size,
                    seed=seed,
                )
                if not entries:
                    store.require_space(maps, sample.size)
                depends = None if folder is None else _what_maps_depend_on(store, origin, loaded, sample)

                runner.run(_Photo(name, sample, depends), add, keep=index - len(failed) < keep_maps)
    except BaseException as error:
        error.comparison = Comparison(tuple(entries), scorers, provenance, failed, beside)  # type: ignore[attr-defined]
        raise
    return Comparison(tuple(entries), scorers, provenance, failed, beside)


def _what_maps_depend_on(store: Store, origin: Mapping[str, Any], loaded: LoadedImage, sample: Sample) -> str | None:
    """The image and the model: its name and weights, and its answers to the image and to four with random pixels gone.

    The answers tell apart functions, which have no weights. As they may differ by rounding from run to run, what counts
    is whose they are of those that the folder knows.
    """
    gaps = np.random.default_rng(0).random((_PROBES, 1, *sample.size)) < _GAPS
    answers = ask_whole(sample.classifier, np.where(gaps, np.float32(0), sample.tensor))
    meaning = sample.output.facts()
    known = fingerprint(sample.tensor, loaded.raw, sample.target, meaning, origin, library_versions())
    if known is None:
        return None
    return fingerprint(known, store.same_answers(known, np.concatenate([sample.logits[None], answers])))


@dataclass(frozen=True, eq=False)
class _Runner:
    """What is asked about each image."""

    variants: Sequence[Variant]
    metrics: Mapping[str, AnyMetric]
    store: Store

    def run(self, photo: _Photo, add: Callable[[Entry], None], *, keep: bool) -> None:
        """Adds the entries of all variants of one image.

        Not a generator: the user's functions are called here, and their StopIteration would be another error there.
        """
        sources = {one.source for one in self.variants}
        maps: dict[str, Attribution] = {}
        for one in self.variants:
            found = self._map(photo, one, None if one.source is None else maps[one.source])
            if one.name in sources:
                maps[one.name] = found
            add(self._entry(photo, one, found, keep=keep))

    def _map(self, photo: _Photo, variant: Variant, before: Attribution | None) -> Attribution:
        """One variant's map with the seconds that it took, made from the map `before` if there is one."""
        # IProp of a map that is there already takes less time than of one that is not.
        key = photo.key(variant.explainer, before is None)
        found = self.store.load_map(key)
        if found is not None:
            return found
        start = time.perf_counter()
        made = make_map(variant, photo.sample, before)
        made = dataclasses.replace(made, provenance={**made.provenance, "seconds": time.perf_counter() - start})
        self.store.save_map(key, made)
        return made

    def _entry(self, photo: _Photo, variant: Variant, found: Attribution, *, keep: bool) -> Entry:
        """One map with its scores."""
        key = photo.key(variant.explainer, photo.sample.annotation, photo.sample.seed, self.metrics)
        scores = self.store.load_scores(key)
        if scores is None or scores.keys() != self.metrics.keys():
            scores = score_variant(photo.sample, variant.explainer, found, self.metrics)
            self.store.save_scores(key, scores)
        kept, inside = (found, photo.sample.annotation) if keep else (None, None)
        source = variant.source if variant.propagated else None
        return Entry(photo.name, variant.name, scores, found.provenance["seconds"], kept, source, inside)
