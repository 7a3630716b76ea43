"""Where the images of an evaluation come from: folders, manifests, data sets and archives, as a list of items.

Nothing is decoded here: ids, places, labels and annotations alone are read, so that 50,000 images cost seconds.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from interpix.comparison.specs import PHOTO_SUFFIXES
from interpix.errors import ArgumentError, bad_type, bad_value
from interpix.evaluation.annotations import annotated
from interpix.evaluation.items import Files, Item, Opener
from interpix.evaluation.manifests import read_manifest
from interpix.paths import is_file, is_folder, is_there

__all__ = ["Source", "SourceInput", "read_source"]

SourceInput: TypeAlias = str | os.PathLike[str] | Any
"""A folder, a manifest, tar files, `hf:NAME`, or a data set of Hugging Face."""

_MANIFESTS = (".csv", ".jsonl", ".parquet")
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Source:
    """The images of an evaluation.

    Attributes:
        name: What was asked for, as text.
        items: All images, in an order that does not change from run to run.
        opener: How their pixels are read.
        label_names: The names that labels which are numbers stand for; None where they stand for the model's classes.
    """

    name: str
    items: list[Item]
    opener: Opener
    label_names: Sequence[str] | None = None


def read_source(source: SourceInput, annotations: str | os.PathLike[str] | None = None) -> Source:
    """The images of a source with their labels, masks and boxes, none of them opened.

    >>> folder = getfixture("tmp_path")
    >>> for name in ("cat/1.jpg", "dog/1.jpg"):
    ...     (folder / name).parent.mkdir()
    ...     (folder / name).touch()
    >>> [(one.id, one.target) for one in read_source(folder).items]
    [('cat/1.jpg', 'cat'), ('dog/1.jpg', 'dog')]

    Args:
        source: What `interpix.evaluate` takes.
        annotations: A folder of pictures that are bright inside of the object, or of PASCAL VOC's XML files, named as
            the photos.

    Raises:
        ArgumentError: There is none, it cannot be read, or two of its images have one id.
    """
    found = _read(source)
    if not found.items:
        endings = ", ".join(PHOTO_SUFFIXES)
        raise bad_value("source", "images", f"none in '{found.name}'", f"names of photos end in {endings}")
    for item in found.items:
        _as_text(item.id)
    doubled = [name for name, count in Counter(item.id for item in found.items).items() if count > 1]
    if doubled:
        shown = ", ".join(doubled[:_SHOWN])
        raise bad_value("source", "each image once", f"{shown} twice", "leave it out, or give it another name")
    if annotations is not None:
        found = replace(found, items=annotated(found.items, Path(os.fspath(annotations))))
    return found


def _read(source: SourceInput) -> Source:
    if not isinstance(source, str | os.PathLike):
        if type(source).__module__.split(".")[0] == "datasets":
            from interpix.evaluation.huggingface import read_dataset  # optional

            return Source("a data set of Hugging Face", *read_dataset(source))
        raise bad_type("source", "a folder, a manifest, tar files or a data set", source, "pass its path")
    text = os.fspath(source)
    if text.startswith("hf:"):
        from interpix.evaluation.huggingface import read_named  # optional

        return Source(text, *read_named(text.removeprefix("hf:")))
    path = Path(text)
    if text.endswith(".tar") or (is_folder(path) and not _has_photos(path) and any(path.glob("*.tar"))):
        from interpix.evaluation.archives import read_archives  # optional

        return Source(text, *read_archives(text))
    try:
        return _read_path(path)
    except OSError as error:
        got = f"'{path}' ({error.strerror})"
        raise bad_value("source", "a folder or file that can be read", got, "check the path and its rights") from error


def _read_path(path: Path) -> Source:
    if is_folder(path):
        if (path / "dataset_info.json").exists() and (path / "state.json").exists():
            from interpix.evaluation.huggingface import read_saved  # optional

            return Source(str(path), *read_saved(path))
        manifests = [path / f"metadata{ending}" for ending in _MANIFESTS if (path / f"metadata{ending}").exists()]
        if len(manifests) > 1:
            got = " and ".join(one.name for one in manifests)
            raise bad_value("source", "one file of metadata", got, "remove the others")
        if manifests:
            return Source(str(path), read_manifest(manifests[0]), Files(str(path.absolute())))
        return Source(str(path), _folder(path), Files(str(path.absolute())))
    if path.suffix.lower() in _MANIFESTS and is_file(path):
        return Source(str(path), read_manifest(path), Files(str(path.parent.absolute())))
    if is_there(path):
        kinds = f"a folder, a manifest ({', '.join(_MANIFESTS)}) or tar files"
        raise bad_value("source", kinds, f"'{path}'", "put photos into a folder")
    raise bad_value("source", "a folder or file that exists", f"'{path}'", "check the path")


def _folder(folder: Path) -> list[Item]:
    """The photos in a folder and below; where all lie in folders of it, those are their classes."""
    paths = sorted(_photos(folder, ""))
    classes = bool(paths) and all("/" in path for path in paths)
    return [Item(path, path, path.split("/", 1)[0] if classes else None) for path in paths]


def _photos(folder: Path, prefix: str) -> list[str]:
    found: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                found += _photos(Path(entry.path), f"{prefix}{entry.name}/")
            elif entry.name.lower().endswith(PHOTO_SUFFIXES):
                found.append(_as_text(f"{prefix}{entry.name}"))
    return found


def _has_photos(folder: Path) -> bool:
    return any(path.name.lower().endswith(PHOTO_SUFFIXES) for path in folder.iterdir())


def _as_text(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode(errors="replace").decode()
        message = f"`source`: expected names that are text, got '{shown}'; rename it"
        raise ArgumentError(message) from None
    return name
