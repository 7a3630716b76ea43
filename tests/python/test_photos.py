"""The script that takes photos out of packages, on small packages made here."""

import csv
import hashlib
import io
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import loaded

ROOT = Path(__file__).parents[2]
COPYRIGHT = """\
Format: 1.0

Files: *
Copyright: 2010 A
           2011 B
License: GPL-3+

Files: src/animals/cat.jpg
       src/animals/d*.jpg
Copyright: 2012, Somebody
License: CC-BY-SA-3.0
Comment: https://example.org/cat

Files: src/animals/secret.png
Copyright: Nobody
License: Proprietary

License: CC-BY-SA-3.0
 A long text.
 .
 Files: of a text, which name none
"""


@pytest.fixture
def script():
    with loaded("photos") as module:
        yield module


@pytest.fixture
def packaging(script):  # which imports it from its own folder
    return sys.modules["photo_packages"]


def picture(seed, size=(220, 210), mode="RGB"):
    """Greenish noise."""
    values = np.random.default_rng(seed).integers(0, 256, (6, 7, len(mode)), np.uint8)
    values[..., 0] //= 2
    out = io.BytesIO()
    Image.fromarray(values, mode).resize(size).save(out, "webp", lossless=True)
    return out.getvalue()


def rcc(files, version=3):
    """A Qt resource: a root, one folder, and files in it, each packed by zlib where asked."""
    names, contents, nodes = b"", b"", []

    def name(text):
        nonlocal names
        at = len(names)
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return at

    nodes.append(struct.pack(">IHII", 0, 2, 1, 1))
    nodes.append(struct.pack(">IHII", name("src"), 2, len(files), 2))
    for text, (content, packed) in files.items():
        body = struct.pack(">I", len(content)) + zlib.compress(content) if packed else content
        nodes.append(struct.pack(">IHHHI", name(text), int(packed), 0, 0, len(contents)))
        contents += struct.pack(">I", len(body)) + body
    tree = b"".join(node + bytes(8 if version > 1 else 0) for node in nodes)
    head = 20
    offsets = head, head + len(tree), head + len(tree) + len(contents)
    return b"qres" + struct.pack(">4I", version, *offsets) + tree + contents + names


def deb(files, packed="xz"):
    """A .deb: an `ar` archive of three members, the first of odd length."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{packed}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    data = b"!<arch>\n"
    members = {"debian-binary": b"2.0\n!", "control.tar.xz": b"", f"data.tar.{packed}": out.getvalue()}
    for name, content in members.items():
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{0o644:<8o}{len(content):<10}`\n".encode() + content
        data += b"\n" * (len(content) % 2)
    return data


def wheel(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


class Model:
    """Sure of class 1 where a picture has more green than red."""

    class_names = ("red", "green", "blue")

    def preprocess(self, pixels):
        return pixels.transpose(2, 0, 1).astype(np.float32)

    def logits(self, pictures):
        return np.sign(pictures.mean(axis=(2, 3)) @ [[1, -1, 0], [-1, 1, 0], [0, 0, 0]]) * 2


def package(packaging, data, **options):
    told = {"registry": "debian", "version": "1.0-1", "file": "pool/p/play/play_1.0-1_all.deb", "photos": ()}
    return packaging.Package(**{**told, "sha256": hashlib.sha256(data).hexdigest(), **options})


@pytest.fixture
def stage(script, packaging, tmp_path, monkeypatch):
    """A mirror with a .deb that has a Qt resource, and a wheel among the packages that are there already."""
    cat = picture(1)
    resource = rcc(
        {
            "cat.webp": (cat, False),
            "copy.webp": (cat, True),
            "dog.webp": (picture(2), True),
            "small.webp": (picture(3, (220, 90)), False),
            "clear.webp": (picture(4, mode="RGBA"), False),
            "secret.webp": (picture(5), False),
            "notes.txt": (b"no picture", False),
        }
    )
    play = deb({"usr/share/play/animals.rcc": resource, "usr/share/doc/play/copyright": COPYRIGHT.encode()})
    tools = wheel({"tools/data/imagenet_00_1.jpg": picture(6), "tools/data/imagenet_01_7.jpg": picture(7)})
    mirror, packages = tmp_path / "mirror", tmp_path / "packages"
    (mirror / "pool/p/play").mkdir(parents=True)
    (mirror / "pool/p/play/play_1.0-1_all.deb").write_bytes(play)
    packages.mkdir()
    (packages / "tools.whl").write_bytes(tools)
    of_debian = package(packaging, play, photos=("usr/share/play/*.rcc:src/*.webp",), drop="src/", add="src/animals/")
    of_pypi = package(
        packaging,
        tools,
        registry="pypi",
        file="tools.whl",
        photos=("tools/data/*.jpg",),
        licenses=(("*", "NOASSERTION", "", "its name"),),
    )
    monkeypatch.setattr(script, "PACKAGES", {"play": of_debian, "foolbox": of_pypi})
    monkeypatch.setattr(script, "SURE", 0.3)
    folders = {"packages": packages, "folder": tmp_path / "photos"}
    return {"mirror": mirror.as_uri(), "list": tmp_path / "list.csv", **folders}


def listed(script, stage):
    photos = list(script.choose(Model(), stage["packages"], stage["mirror"]))
    script.write_list(stage["list"], photos)
    return photos


def table(stage, name="metadata"):
    with (stage["folder"] / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def run(script, stage, *more):
    wanted = (str(stage["folder"]), "--packages", str(stage["packages"]), "--mirror", stage["mirror"], *more)
    return script.main(list(wanted))


def test_chosen_by_the_rule(script, stage, capsys):
    photos = {one.file_name: one for one in listed(script, stage)}
    said = capsys.readouterr().err
    for name, why in {"copy": "a copy of", "small": "small", "clear": "a cut-out", "secret": "no license"}.items():
        assert f"play_animals_{name}.webp is left out: {why}" in said
    assert "foolbox_imagenet_01_7.jpg is left out: wrong" in said
    cat = photos["play_animals_cat.webp"]
    assert (cat.license, cat.author, cat.source) == ("CC-BY-SA-3.0", "2012, Somebody", "https://example.org/cat")
    assert cat.license_of == "src/animals/cat.jpg"
    assert (cat.width, cat.height, cat.label_from) == (220, 210, "efficientnet_lite0")
    assert cat.class_name == Model.class_names[cat.label]
    assert photos["play_animals_dog.webp"].license_of == "src/animals/d*.jpg"
    assert all(one.half == script.half(name) for name, one in photos.items())
    assert script.read_list(stage["list"]) == list(photos.values())


def test_laid_out_and_gone_on_with(script, stage, capsys, monkeypatch):
    photos = listed(script, stage)
    monkeypatch.setattr(script, "LIST", stage["list"])
    assert run(script, stage) == 0
    assert f"{len(photos)} of them new" in capsys.readouterr().out
    for one in photos:
        content = (stage["folder"] / one.file_name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == one.sha256
    assert [row["file_name"] for row in table(stage)] == [one.file_name for one in photos]
    assert len(table(stage, "a")) + len(table(stage, "b")) == len(photos)
    (stage["folder"] / photos[0].file_name).write_bytes(b"half of it")
    # What is there is not fetched again: no package is needed for it.
    (stage["packages"] / "tools.whl").unlink()
    assert run(script, stage) == 0
    assert "1 of them new" in capsys.readouterr().out


def test_without_those_that_have_no_license(script, stage, capsys, monkeypatch):
    assert {one.license for one in listed(script, stage)} == {"CC-BY-SA-3.0", "NOASSERTION"}
    monkeypatch.setattr(script, "LIST", stage["list"])
    assert run(script, stage, "--licensed") == 0
    assert {row["license"] for row in table(stage)} == {"CC-BY-SA-3.0"}


def test_another_package_than_the_known_one_is_refused(script, stage, capsys):
    listed(script, stage)
    path = stage["packages"] / "play_1.0-1_all.deb"
    path.write_bytes(path.read_bytes() + b"\n")
    assert run(script, stage, "--list", str(stage["list"])) == 1
    assert "expected SHA-256" in capsys.readouterr().err


def test_no_network_is_said_in_a_line(script, packaging, stage, capsys, monkeypatch, tmp_path):
    listed(script, stage)
    monkeypatch.setattr(script, "LIST", stage["list"])
    (stage["packages"] / "play_1.0-1_all.deb").unlink()
    assert run(script, {**stage, "mirror": (tmp_path / "nowhere").as_uri()}) == 1
    said = capsys.readouterr().err
    assert "cannot be had" in said
    assert "--mirror" in said
    monkeypatch.setattr(packaging.shutil, "which", lambda name: None)
    wanted = [str(stage["folder"]), "--packages", str(stage["packages"])]
    assert script.main(wanted) == 1
    assert "there is no apt-get here; pass --mirror" in capsys.readouterr().err
    assert not list(stage["packages"].glob("*.deb"))


@pytest.mark.parametrize("version", [1, 3])
def test_qt_resources(packaging, version):
    files = {"a.webp": (b"plain", False), "b.webp": (b"packed " * 9, True)}
    found = dict(packaging.rcc_files(rcc(files, version)))
    assert found == {"src/a.webp": b"plain", "src/b.webp": b"packed " * 9}
    with pytest.raises(packaging.PhotosError, match="not a Qt resource"):
        dict(packaging.rcc_files(b"RIFF" + bytes(40)))


@pytest.mark.parametrize("packed", ["xz", "gz", "bz2"])
def test_debian_packages(packaging, packed):
    data = deb({"usr/a.jpg": b"1", "usr/b.txt": b"2"}, packed)
    assert list(packaging.deb_files(data, ["usr/*.jpg"])) == [("usr/a.jpg", b"1")]
    with pytest.raises(packaging.PhotosError, match="no `ar` archive"):
        packaging.ar_members(b"PK")


def test_the_list_of_the_repository(script, packaging):
    """It names only what the script knows, each photo has a license, and its half is its name's."""
    photos = script.read_list(script.LIST)
    assert len(photos) >= 100
    assert len({one.file_name for one in photos}) == len({one.sha256 for one in photos}) == len(photos)
    for one in photos:
        assert one.version == script.PACKAGES[one.package].version
        assert one.half == script.half(one.file_name)
        assert one.file_name == script.named(one.package, one.inside)
        assert one.probability >= script.SURE
        assert min(one.width, one.height) >= script.SMALLEST
        assert one.license in {*packaging.SPDX.values(), script.UNLICENSED, "GFDL-1.1-or-later"}
        assert (one.license == script.UNLICENSED) == (one.package == "foolbox")
    assert all(len(one.sha256) == 64 for one in script.PACKAGES.values())
