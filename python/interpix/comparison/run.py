"""`compare`: every method asked about every image, with and without IProp, and scored by every measure."""

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interpix import _core
from interpix.attribution import Attribution
from interpix.classifiers import Classifier, as_classifier
from interpix.comparison.result import Comparison, Entry
from interpix.comparison.specs import Measure, name_images, read_mask, read_methods, read_metrics
from interpix.comparison.store import Store, fingerprint
from interpix.errors import InterpixError, bad_value
from interpix.images import ImageInput, read_image
from interpix.methods.propagated import Explainer, Propagated
from interpix.metrics.base import ImageScore
from interpix.metrics.randomization import ModelRandomization
from interpix.metrics.sample import Sample
from interpix.metrics.together import score_map
from interpix.progress import ProgressCounter

__all__ = ["compare"]


@dataclass(frozen=True, eq=False)
class _Photo:
    """One image of the comparison."""

    name: str
    image: ImageInput
    sample: Sample


def compare(  # noqa: PLR0913 - each is a choice of the caller, and all but four have a default
    model: Any,
    images: Any,
    methods: Any,
    metrics: Any,
    masks: Any = None,
    *,
    targets: Any = None,
    propagate: bool = True,
    folder: str | os.PathLike[str] | None = None,
    keep_maps: int = 20,
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = False,
) -> Comparison:
    """Compares attribution methods by measures over images, each method with and without IProp.

    >>> model = lambda batch: batch.sum(axis=(2, 3))
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[1] = np.arange(24).reshape(4, 6)
    >>> inside = np.arange(24).reshape(4, 6) >= 12
    >>> print(compare(model, image, "moxi(regions='2x3', stop='all')", "roc_auc", [inside], propagate=False))
    method                          roc_auc ↑
    moxi(regions='2x3',stop='all')  1*

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
        folder: Where each map, and then its scores, are written as soon as they are known. What is there already is
            read, not computed again: maps for the same model, image, target and method, scores for the same map, mask,
            seed and measures. So a run that was interrupted goes on, and other measures find the maps.
        keep_maps: Of how many images the result holds the maps, too, for pictures.
        batch_size: The greatest number of pictures in one call of the model by a measure.
        seed: Of the measures' random choices.
        progress: Show the number of maps on stderr.

    Raises:
        KeyboardInterrupt: After Ctrl-C; its attribute `comparison` holds what was found until then.
        InterpixError: An argument is wrong, or the model or a method failed; with the same attribute.
    """
    classifier = as_classifier(model)
    explainers, measures, named = read_methods(methods), read_metrics(metrics), name_images(images)
    annotations = _one_each("masks", masks, named)
    goals = _one_each("targets", targets, named)
    origin = classifier.provenance()
    provenance = {
        **origin,
        "methods": list(explainers),
        "measures": list(measures),
        "propagate": propagate,
        "seed": seed,
        "interpix": _core.__version__,
        "numpy": np.__version__,
    }
    store = Store(None if folder is None else Path(folder))
    runner = _Runner(classifier, origin, explainers, measures, store, propagate)
    entries: list[Entry] = []
    total = len(named) * len(explainers) * (1 + propagate)
    try:
        with ProgressCounter("compare", "maps", enabled=progress, total=total) as counter:
            for index, (name, image) in enumerate(named.items()):
                mask = read_mask(annotations[name], read_image(image), classifier)
                sample = Sample.of(
                    classifier, image, target=goals[name], annotation=mask, batch_size=batch_size, seed=seed
                )
                for entry in runner.entries(_Photo(name, image, sample), keep=index < keep_maps):
                    entries.append(entry)
                    counter.add(1)
    except (KeyboardInterrupt, InterpixError) as error:
        error.comparison = Comparison(tuple(entries), measures, provenance)  # type: ignore[union-attr]
        raise
    return Comparison(tuple(entries), measures, provenance)


@dataclass(frozen=True, eq=False)
class _Runner:
    """What is asked about each image."""

    classifier: Classifier
    origin: Mapping[str, Any]
    explainers: Mapping[str, Explainer]
    measures: Mapping[str, Measure]
    store: Store
    propagate: bool

    def entries(self, photo: _Photo, *, keep: bool) -> Iterator[Entry]:
        """All methods' entries of one image, IProp of each after it."""
        for name, explainer in self.explainers.items():
            plain = self._map(photo, explainer, None)
            yield self._entry(photo, name, explainer, plain, keep=keep)
            if self.propagate and not isinstance(explainer, Propagated):
                spread = Propagated(explainer)
                yield self._entry(photo, f"IProp({name})", spread, self._map(photo, spread, plain), keep=keep)

    def _key(self, photo: _Photo, explainer: Explainer, *more: Any) -> str:
        sample = photo.sample
        # The clean probability tells apart functions that have no weights to be hashed.
        return fingerprint(self.origin, sample.tensor, sample.target, sample.probability, explainer, *more)

    def _map(self, photo: _Photo, explainer: Explainer, before: Attribution | None) -> Attribution:
        """One method's map with the seconds that it took; a propagated one is made from the map `before`."""
        key = self._key(photo, explainer)
        found = self.store.load_map(key)
        if found is not None:
            return found
        start = time.perf_counter()
        if before is None:
            made = explainer.explain(self.classifier, photo.image, photo.sample.target)
        else:
            made = before.propagate()
        made = dataclasses.replace(made, provenance={**made.provenance, "seconds": time.perf_counter() - start})
        self.store.save_map(key, made)
        return made

    def _entry(self, photo: _Photo, name: str, explainer: Explainer, found: Attribution, *, keep: bool) -> Entry:
        """One map with its scores."""
        key = self._key(photo, explainer, photo.sample.annotation, photo.sample.seed, self.measures)
        scores = self.store.load_scores(key)
        if scores is None:
            scores = self._scores(photo, explainer, found)
            self.store.save_scores(key, scores)
        return Entry(photo.name, name, scores, found.provenance["seconds"], found if keep else None)

    def _scores(self, photo: _Photo, explainer: Explainer, attribution: Attribution) -> dict[str, ImageScore]:
        maps = {name: one for name, one in self.measures.items() if not isinstance(one, ModelRandomization)}
        scores = score_map(photo.sample, attribution.map, maps)
        for name, measure in self.measures.items():
            if isinstance(measure, ModelRandomization):
                scores[name] = measure.score_method(photo.sample, explainer, photo.image, attribution.map)
        return {name: scores[name] for name in self.measures}


def _one_each(argument: str, given: Any, images: Mapping[str, ImageInput]) -> dict[str, Any]:
    """What was given for each image, by name; None where nothing was."""
    if given is None:
        return dict.fromkeys(images)
    if isinstance(given, Mapping):
        strange = sorted(map(str, given.keys() - images.keys()))
        if strange:
            raise bad_value(argument, "names of images", ", ".join(strange), f"there are {', '.join(images)}")
        return {name: given.get(name) for name in images}
    values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if len(values) != len(images):
        raise bad_value(
            argument, f"one for each of the {len(images)} images", len(values), "use None where there is none"
        )
    return dict(zip(images, values, strict=True))
