"""Methods, metrics and images as a comparison takes them: names, objects, or a dict with names of one's own."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard, TypeVar

import numpy as np

from interpix.arrays import BoolArray, describe, is_array, to_numpy
from interpix.errors import ArgumentError, bad_type, bad_value
from interpix.images import ImageInput, LoadedImage, image_size
from interpix.masks import MaskInput, read_mask
from interpix.methods import METHODS
from interpix.methods.controls import Blurred
from interpix.methods.propagated import MethodInput, Propagated, as_explainer
from interpix.metrics import METRICS
from interpix.metrics.annotation import annotation_as_seen
from interpix.metrics.base import AnyMetric, MethodMetric, Metric
from interpix.metrics.randomization import ModelRandomization
from interpix.models.protocol.classifier import Classifier, output_of
from interpix.options import fields_as_json, make_named
from interpix.paths import is_file, is_folder
from interpix.question import Explainer
from interpix.targets import resolve_target
from interpix.terms import Target, TargetInput

__all__ = [
    "PHOTO_SUFFIXES",
    "ImagesInput",
    "MasksInput",
    "MethodsInput",
    "MetricsInput",
    "TargetsInput",
    "mask_as_seen",
    "name_images",
    "one_each",
    "options_of",
    "read_masks",
    "read_methods",
    "read_metrics",
    "read_targets",
]

MethodsInput: TypeAlias = str | MethodInput | Sequence[str | MethodInput] | Mapping[str, str | MethodInput]
"""Names, objects, or a dict of them with names of one's own."""
MetricsInput: TypeAlias = str | AnyMetric | Sequence[str | AnyMetric] | Mapping[str, str | AnyMetric]
"""Names, objects, or a dict of them with names of one's own."""
ImagesInput: TypeAlias = ImageInput | Sequence[ImageInput] | Mapping[str, ImageInput]
"""A folder, one image, several, or a dict of them."""
MasksInput: TypeAlias = MaskInput | Sequence[MaskInput | None] | Mapping[str, MaskInput | None]
"""Where the object is: one for each image, or a dict by the images' names."""
TargetsInput: TypeAlias = TargetInput | Mapping[str, Target]
"""One class for each image, or a dict by the images' names."""

_Made = TypeVar("_Made")

_ALL_METRICS: Mapping[str, Callable[..., AnyMetric]] = {**METRICS, ModelRandomization.name: ModelRandomization}
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""The endings of files in a folder that are taken for photos, in small letters."""


def read_methods(methods: MethodsInput) -> dict[str, Explainer]:
    """Methods by name, from names, objects, or a dict of them."""

    def read(one: Any) -> Explainer:
        return make_named("methods", one, METHODS) if isinstance(one, str) else as_explainer(one)

    return _by_name("methods", methods, read)


def read_metrics(metrics: MetricsInput) -> dict[str, AnyMetric]:
    """Metrics by name, from names, objects, or a dict of them."""

    def read(one: Any) -> AnyMetric:
        if isinstance(one, str):
            return make_named("metrics", one, _ALL_METRICS)
        if isinstance(one, Metric | MethodMetric) and not isinstance(one, type):
            return one
        raise bad_type("metrics", "names or objects of interpix.metrics", one, 'use "insertion", for example')

    return _by_name("metrics", metrics, read)


def name_images(images: ImagesInput) -> dict[str, ImageInput]:
    """Images by name, from a folder, one image, several, or a dict of them.

    Files keep their names, other images are numbered.
    """
    if isinstance(images, Mapping):
        named = {str(name): image for name, image in images.items()}
    elif isinstance(images, str | os.PathLike) and is_folder(images):
        named = {path.name: path for path in sorted(Path(images).iterdir()) if path.suffix.lower() in PHOTO_SUFFIXES}
        if not named:
            raise bad_value(
                "images", "a folder with photos", f"'{images}'", f"names end in {', '.join(PHOTO_SUFFIXES)}"
            )
    else:
        many: list[Any] = list(images) if _holds_several(images) else [images]
        names = [_file_name(one) or f"image {index}" for index, one in enumerate(many, start=1)]
        if len(set(names)) < len(names):
            names = [str(one) if _file_name(one) else name for one, name in zip(many, names, strict=True)]
        named = dict(zip(names, many, strict=True))
        if len(named) < len(many):
            raise bad_value("images", "each image once", f"{len(many)} images, {len(named)} names", "pass a dict")
    if not named:
        raise bad_value("images", "at least one image", "none", "pass images")
    # A file's name need be no text; in pictures and pages it must be.
    texts = [name.encode(errors="backslashreplace").decode() for name in named]
    if len(set(texts)) < len(texts):
        raise bad_value("images", "names that differ as text, too", ", ".join(texts), "pass a dict")
    named = dict(zip(texts, named.values(), strict=True))
    for image in named.values():
        # Hours later, a wrong name would cost more.
        if isinstance(image, str | os.PathLike) and not is_file(image):
            raise bad_value("images", "files that exist", f"'{image}'", "check the path")
    return named


def one_each(argument: str, given: Any, images: Mapping[str, ImageInput]) -> dict[str, Any]:
    """What was given for each image, by name; None where nothing was."""
    if given is None:
        return dict.fromkeys(images)
    if isinstance(given, Mapping):
        named = {str(name): one for name, one in given.items()}
        strange = sorted(named.keys() - images.keys())
        if strange:
            raise bad_value(argument, "names of images", ", ".join(strange), f"there are {', '.join(images)}")
        return {name: named.get(name) for name in images}
    if is_array(given):
        given = list(to_numpy(given, argument)) if len(np.shape(given)) and len(given) == len(images) else [given]
    values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if len(values) != len(images):
        cure = "use None where there is none"
        raise bad_value(argument, f"one for each of the {len(images)} images", len(values), cure)
    return dict(zip(images, values, strict=True))


def read_targets(targets: Mapping[str, Any], classifier: Classifier) -> dict[str, Any]:
    """The same with whole numbers of any kind as int; names that the model does not have are refused.

    Names stay names until the model has answered: only then it is known whether its classes are those of the names.
    """
    read = {}
    for image, target in targets.items():
        one = target
        if is_array(target):
            values = to_numpy(target, "targets")
            if values.size != 1:
                raise bad_value("targets", "one class for each image", describe(values), "pass a list of them")
            one = values.item()
        output = output_of(classifier)
        if isinstance(one, str) and (output is None or output.takes_rows):
            names = classifier.class_names
            resolve_target(one, names, len(names or ()))
        read[image] = int(one) if isinstance(one, np.integer) else one
    return read


def read_masks(
    masks: Mapping[str, Any], metrics: Mapping[str, AnyMetric], images: Mapping[str, ImageInput]
) -> dict[str, Any]:
    """The same masks, once it is sure that each can be read and fits its image, and that there is one if need be.

    An hour later, a bad one would cost more. An image that cannot be read is not this function's to tell of.
    """
    needs = [name for name, one in metrics.items() if getattr(one, "needs_annotation", False)]
    if needs and all(mask is None for mask in masks.values()):
        raise bad_value(
            "masks", f"a mask of the object for {needs[0]}", "none", "pass one for each image, or leave it out"
        )
    for mask in masks.values():
        if isinstance(mask, str | os.PathLike) and not is_file(mask):
            raise bad_value("masks", "files that exist", f"'{mask}'", "check the path")
    for name, mask in masks.items():
        try:
            size = image_size(images[name])
        except ArgumentError:
            continue
        if mask is not None:
            read_mask(mask, size, "masks")
    return dict(masks)


def options_of(one: Any) -> Any:
    """A method's or metric's options as plain JSON values; its class if it does not say."""
    if isinstance(one, Propagated):
        own = {"radius": one.radius, "discount": one.discount, "color_weight": one.color_weight, "signed": one.signed}
        return {"method": options_of(one.method), **own}
    if isinstance(one, Blurred):
        return {"method": options_of(one.method), "sigma": one.sigma}
    name = str(getattr(one, "name", type(one).__name__))
    # What `as_explainer` wraps a function in has nothing to say but its name.
    if not dataclasses.is_dataclass(one) or isinstance(one, type) or hasattr(one, "ask"):
        return name
    return {"name": name, **fields_as_json(one)}


def mask_as_seen(mask: MaskInput | None, image: LoadedImage, classifier: Classifier) -> BoolArray | None:
    """Where the object is, True inside, in the picture as the model sees it (H, W).

    Args:
        mask: A bool array of the size of the image that was passed in, boxes in it, or the path of a picture of its
            size, bright inside; None: unknown.
        image: That image.
        classifier: Whose preprocessing resizes and crops a raw image.
    """
    if mask is None:
        return None
    inside = read_mask(mask, image.size, "masks")
    return inside if image.raw is None else annotation_as_seen(classifier, inside)


def _by_name(argument: str, given: Any, read: Callable[[Any], _Made]) -> dict[str, _Made]:
    if isinstance(given, Mapping):
        made = {str(name): read(one) for name, one in given.items()}
    else:
        several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        pairs = [(one if isinstance(one, str) else None, read(one)) for one in several]
        names = [text.replace(" ", "") if text else str(one.name) for text, one in pairs]  # type: ignore[attr-defined]
        made = dict(zip(names, (one for _, one in pairs), strict=True))
        if len(made) < len(pairs):
            got = ", ".join(sorted({name for name in names if names.count(name) > 1}))
            raise bad_value(argument, "each name once", f"{got} twice", "pass a dict with names of your own")
    if not made:
        raise bad_value(argument, "at least one", "none", f"see docs/{argument}.md")
    return made


def _holds_several(images: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(images, list | tuple) or (is_array(images) and to_numpy(images).ndim == 4)


def _file_name(image: ImageInput) -> str | None:
    return Path(image).name if isinstance(image, str | os.PathLike) else None
