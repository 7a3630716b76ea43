"""Tar files as WebDataset has them: what of one picture has one name, and endings say what it is.

`.jpg`, `.png` and so on are the picture, `.cls` its label, `.mask.png` or `.seg.png` where the object is; `.json` may
hold `label` and `boxes`. Contents are found again by their places, so any process reads any image at once.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interpix.checks import require_module
from interpix.comparison.specs import PHOTO_SUFFIXES
from interpix.errors import bad_value
from interpix.evaluation.items import Item, Tars
from interpix.evaluation.manifests import read_boxes
from interpix.paths import is_folder

__all__ = ["read_archives"]

_WEBDATASET = 'tar files need webdataset: pip install "interpix[webdataset]"'
_PICTURES = tuple(ending.removeprefix(".") for ending in PHOTO_SUFFIXES)
_MASKS = ("mask.png", "seg.png")


def read_archives(text: str) -> tuple[list[Item], Tars]:
    """The images of tar files: of a folder, of one, or of several by a pattern, `photos-{000..009}.tar`.

    Raises:
        ArgumentError: One is missing or damaged.
    """
    base_plus_ext = require_module("webdataset.tariterators", _WEBDATASET).base_plus_ext
    expand = require_module("webdataset.shardlists", _WEBDATASET).expand_urls
    paths = sorted(Path(text).glob("*.tar")) if is_folder(text) else [Path(one) for one in expand(text)]
    items: list[Item] = []
    for path in paths:
        prefix = f"{path.name}/" if len(paths) > 1 else ""
        try:
            with tarfile.open(path) as tar:
                items += _samples(tar, path.absolute(), prefix, base_plus_ext)
        except (OSError, ValueError, tarfile.TarError) as error:  # a name may hold what no path can
            got = f"'{path}' ({error})"
            raise bad_value(
                "source", "tar files that can be read", got, "check the path, and that it is whole"
            ) from error
    return items, Tars()


def _samples(tar: tarfile.TarFile, path: Path, prefix: str, base_plus_ext: Any) -> Iterator[Item]:
    """The pictures of one file, each with what has its name."""
    parts: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in tar:
        name, ending = base_plus_ext(member.name) if member.isfile() else (None, None)
        if name is not None and ending is not None:
            parts.setdefault(name.removeprefix("./"), {})[ending.lower()] = member
    for name, found in parts.items():
        picture = next((ending for ending in _PICTURES if ending in found), None)
        if picture is None:
            continue

        def place(ending: str, found: dict[str, tarfile.TarInfo] = found) -> str:
            return f"{found[ending].offset_data}:{found[ending].size}:{path}"

        def content(ending: str, found: dict[str, tarfile.TarInfo] = found) -> str:
            file = tar.extractfile(found[ending])
            return "" if file is None else file.read().decode()

        try:
            about = json.loads(content("json")) if "json" in found else {}
            about = about if isinstance(about, dict) else {}
            label = content("cls").strip() if "cls" in found else about.get("label")
        except ValueError as error:
            got = f"'{name}' in '{path}' ({error})"
            raise bad_value("source", "labels that are text, and JSON", got, "write the file again") from error
        mask = next((ending for ending in _MASKS if ending in found), None)
        boxes = read_boxes(about.get("boxes"), f"'{name}' in '{path.name}'")
        yield Item(f"{prefix}{name}", place(picture), label, None if mask is None else place(mask), boxes)
