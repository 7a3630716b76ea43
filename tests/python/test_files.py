"""Files: nothing is changed in silence, nothing foreign is lost, and none costs more than it holds."""

import contextlib
import dataclasses
import itertools
import json
import os
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import interpix as ix
from interpix import storage
from interpix.results import load_all, save_all
from interpix.storage import FORMAT, read_arrays, remove_leftovers, replace_file, write_arrays

DATA = Path(__file__).parents[1] / "data"
MODEL = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), name="sums", class_names=["red", "green", "blue"])


@pytest.fixture(params=["explanation", "attribution"])
def result(request):
    image = np.zeros((3, 2, 3), np.float32)
    image[0, :, 1] = 1
    found = ix.MoXI(MODEL, regions="1x3").explain(image, stop="all")
    return found if request.param == "explanation" else found.attribution()


def same(one, other):
    if type(one) is not type(other) or one.scalars() != other.scalars():
        return False
    return all(np.array_equal(array, other.arrays()[name], equal_nan=True) for name, array in one.arrays().items())


def test_no_flip_of_a_bit_changes_a_result(result, tmp_path):
    """R9: one bit of the file after the other: the same result, or one clean error."""
    path = tmp_path / "result.safetensors"
    result.save(path)
    content = path.read_bytes()
    assert same(ix.load(path), result)
    refused = 0
    for position in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            found = ix.load(path)
        except ix.ArgumentError:
            refused += 1
        else:
            assert same(found, result), position
    assert refused > 0.9 * len(content) / 3


@pytest.mark.parametrize("version", [1, 2])
def test_flips_in_files_without_a_checksum_end_in_results_or_clean_errors(version, tmp_path):
    """R9: the first formats."""
    path = tmp_path / "result.safetensors"
    for kind in ("explanation", "attribution"):
        content = (DATA / f"{kind}-{version}.safetensors").read_bytes()
        for position in range(0, len(content), 5):
            damaged = bytearray(content)
            damaged[position] ^= 1 << position % 8
            path.write_bytes(damaged)
            with contextlib.suppress(ix.ArgumentError):
                ix.load(path)


def test_no_truncation_is_read(result, tmp_path):
    """R9: a file that was cut off."""
    path = tmp_path / "result.safetensors"
    result.save(path)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ix.ArgumentError, match="a result of interpix"):
            ix.load(path)


BAD_FIELDS = {
    "target": ["x", None, -1, True, 3, 1.0],
    "prediction": [-1, 3],
    "class_names": [[], [1, 2, 3], "red"],
    "direction": [5, "sideways", None],
    "stopped_at": [-1, 9, "2", True],
    "full": [
        [1.0, 0.5, "0", True],
        [float("nan"), 0.5, 0, True],
        [1.0, 0.5, -2, True],
        [1.0, 0.5, 0, 1],
        [1.0, 0.5, 0],
        None,
    ],
    "empty": [[1.0, float("inf"), 0, False]],
    "evaluations": [-1, 1.5, None],
    "seconds": [-1.0, "1", float("inf")],
    "removed_before": [[7], [0, 0], [-1], ["1"], [0]],
    "recipe": [1],
    "provenance": [[], 3, {"output": 3}, {"output": {"name": "value"}}],
}
BAD_ARRAYS = {
    "ranking": [[0, 0, 1], [0, 1, 7], [[0, 1, 2]], np.uint8([0, 1, 2]), [0.0, 1.0, 2.0]],
    "rewards": [[0.0, 1.0], [0.0, np.nan, 1.0, 2.0]],
    "answers": [[0.0, 0.5, 1.5, 0.2], [0.0, 0.5, np.nan, 0.2], [0.5]],
    "holds": [[True, False], [0, 0, 1, 1]],
    "predicted": [[0, 0, 0, -2], [0, 0], [0, 0, 0, 3]],
    "gaps": [[0.0, np.nan, 1.0], [1.0]],
    "regions": [[[0, 1], [2, 3]], [[0, 1, 3], [0, 1, 3]], np.zeros((0, 0), np.int64)],
    "image": [np.zeros((2, 3), np.uint8), np.zeros((2, 3, 3)), np.zeros((0, 0, 3), np.uint8)],
    "values": [[0.0, 1.0], [0.0, np.inf, 1.0], [0, 1, 2]],
}


@pytest.mark.parametrize(("name", "value"), [(name, one) for name, values in BAD_FIELDS.items() for one in values])
def test_every_field_is_checked(name, value, tmp_path):
    """R9: a file that something else wrote, with a checksum of its own."""
    image = np.zeros((3, 2, 3), np.float32)
    path = tmp_path / "result.safetensors"
    ix.MoXI(MODEL, regions="1x3").explain(image, stop="all").save(path)
    arrays, metadata = read_arrays(path)
    metadata["results"][0][name] = value
    write_arrays(path, arrays, metadata)
    with pytest.raises(ix.ArgumentError, match=r"`path`: expected a result of interpix, got .*result\.safetensors"):
        ix.load(path)


@pytest.mark.parametrize(("name", "value"), [(name, one) for name, values in BAD_ARRAYS.items() for one in values])
def test_every_array_is_checked(name, value, tmp_path):
    """R9: arrays of another size, type or range."""
    path = tmp_path / "result.safetensors"
    ix.MoXI(MODEL, regions="1x3").explain(np.zeros((3, 2, 3), np.float32), stop="all").save(path)
    arrays, metadata = read_arrays(path)
    arrays[f"0.{name}"] = np.asarray(value)
    write_arrays(path, arrays, metadata)
    with pytest.raises(ix.ArgumentError, match=r"`path`: expected a result of interpix, got .*result\.safetensors"):
        ix.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": -1}, "`target`: expected the index of a class"),
        ({"target": np.int64(1)}, "`target`"),
        ({"provenance": {"method": np.float32(1)}}, "`result`: expected numbers, text .* got .*float32"),
        ({"provenance": {"method": {1, 2}}}, "`result`"),
        ({"class_names": ("red",), "target": 1}, "`class_names`: expected a name for each class"),
        ({"image": np.zeros((0, 0, 3), np.uint8), "map": np.zeros((0, 0))}, "`image`"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(change, message, tmp_path):
    """R9: a result that a user made up is lost when it is saved, and told of when it is loaded."""
    path = tmp_path / "result.safetensors"
    found = ix.MoXI(MODEL, regions="1x3").explain(np.zeros((3, 2, 3), np.float32)).attribution()
    with pytest.raises(ix.InterpixError, match=message):
        dataclasses.replace(found, **change).save(path)
    assert not path.exists()


def test_arrays_of_no_result_are_refused(tmp_path):
    """R9: what nobody asks for is no part of a result."""
    path = tmp_path / "result.safetensors"
    ix.MoXI(MODEL, regions="1x3").explain(np.zeros((3, 2, 3), np.float32)).save(path)
    arrays, metadata = read_arrays(path)
    for name in ("1.map", "map", "0.recipe"):
        write_arrays(path, arrays | {name: np.zeros(3)}, metadata)
        with pytest.raises(ix.ArgumentError, match="expected"):
            ix.load(path)


def raw_file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


ABOUT = {"__metadata__": {"interpix": json.dumps({"format": 2, "results": []})}}
ENTRY = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "header",
    [
        ABOUT | {"a": ENTRY, "b": ENTRY},
        ABOUT | {"a": ENTRY | {"data_offsets": [0, 3]}},
        ABOUT | {"a": ENTRY | {"data_offsets": [1, 5]}},
        ABOUT | {"a": ENTRY | {"shape": [-4]}},
        ABOUT | {"a": ENTRY | {"shape": [2**62, 4, 2**62]}},
        ABOUT | {"a": ENTRY | {"shape": [4.0]}},
        ABOUT | {"a": ENTRY | {"shape": [1] * 30 + [4]}},
        ABOUT | {"a": ENTRY | {"dtype": "F7"}},
        ABOUT | {"a": ENTRY | {"data_offsets": "ab"}},
        ABOUT | {"a": None},
        {"__metadata__": {"interpix": json.dumps({"format": [1]})}},
        {"__metadata__": {"interpix": "[]"}},
        {"a": ENTRY},
        b"[" * 100_000,
        b'{"a": 1, "a": 2}',
        b"\xff\xfe",
    ],
)
def test_hostile_headers_are_refused(header, tmp_path):
    """R10: overlaps, gaps, sizes that are none."""
    path = tmp_path / "result.safetensors"
    raw_file(path, header, b"1234")
    with pytest.raises(ix.ArgumentError, match="a result of interpix"):
        load_all(path)


@pytest.mark.parametrize("bomb", [b"[],", b"{},", b'{"":[', b"1,"])
def test_json_costs_no_more_than_results_do(bomb, tmp_path):
    """R10: read, JSON takes some twenty times its bytes."""
    path = tmp_path / "result.safetensors"
    raw_file(path, b'{"a":[' + 5_000_000 * bomb + b"[]]}")
    size = path.stat().st_size
    tracemalloc.start()
    with pytest.raises(ix.ArgumentError, match="a result of interpix"):
        load_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * size


def test_more_results_than_can_be_read_are_not_written(result, tmp_path, monkeypatch):
    """R10: the limits of reading hold for writing."""
    path = tmp_path / "results.safetensors"
    for name, limit in (("_MOST_ARRAYS", 20), ("_MOST_VALUES", 400), ("_MOST_HEADER_BYTES", 4000)):
        save_all(path, 20 * [result])
        with monkeypatch.context() as patch:
            patch.setattr(storage, name, limit)
            with pytest.raises(ix.ArgumentError, match="a result of interpix"):
                load_all(path)
            with pytest.raises(ix.ArgumentError, match="`results`: expected as many as one file may hold"):
                save_all(path, 20 * [result], overwrite=True)
            save_all(path, [result], overwrite=True)
            load_all(path)


def test_of_something_else_only_the_beginning_is_read(tmp_path):
    """R10: a large file of another kind was read whole before it was refused."""
    path = tmp_path / "disk.img"
    for start in (bytes(8), b"\xff" * 8, (16).to_bytes(8, "little")):
        with path.open("wb") as file:
            file.write(start)
            file.truncate(10**12)
        tracemalloc.start()
        with pytest.raises(ix.ArgumentError, match="a result of interpix"):
            ix.load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000


@pytest.mark.parametrize("name", ["loop", "a\0b", "n" * 300, "c" * 300 + "/d"])
def test_paths_that_are_none_are_one_clean_error(result, name, tmp_path):
    """R9, R23: links to themselves, and names that no file system takes."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for verb in (result.save, ix.load):
        with pytest.raises(ix.ArgumentError, match="`path`: expected"):
            verb(f"{tmp_path}/{name}")


def test_a_file_costs_no_more_than_it_holds(tmp_path):
    """R10: many entries over the same bytes made gigabytes of megabytes."""
    path = tmp_path / "result.safetensors"
    data = bytes(1_000_000)
    entry = {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}
    raw_file(path, ABOUT | {f"0.{index}": entry for index in range(1000)}, data)
    tracemalloc.start()
    with pytest.raises(ix.ArgumentError):
        load_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no such device")
def test_devices_are_neither_read_nor_replaced(result):
    """R7, R10: a file without an end."""
    with pytest.raises(ix.ArgumentError, match="a result of interpix"):
        ix.load("/dev/zero")
    with pytest.raises(ix.ArgumentError, match="`path`: expected a regular file, or a new one, got '/dev/null'"):
        result.save("/dev/null")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_links_are_written_through(result, tmp_path):
    """R7: a symbolic link stays one."""
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link.safetensors", tmp_path / "there" / "result.safetensors"
    link.symlink_to(target)
    for _ in range(2):
        result.save(link)
        assert link.is_symlink()
        assert same(ix.load(target), result)
    assert [path.name for path in target.parent.iterdir()] == ["result.safetensors"]


def test_only_what_interpix_wrote_is_replaced(result, tmp_path):
    """R7: a file of the user's own stays, unless it is said."""
    path = tmp_path / "thesis.safetensors"
    path.write_bytes(b"years of work")
    with pytest.raises(ix.ArgumentError, match=r"one that interpix wrote, got '.*thesis.*overwrite=True"):
        result.save(path)
    assert path.read_bytes() == b"years of work"
    result.save(path, overwrite=True)
    result.save(path)
    for version, kind in itertools.product((1, 2), ("explanation", "attribution")):
        path.write_bytes((DATA / f"{kind}-{version}.safetensors").read_bytes())
        result.save(path)
    path.write_bytes(b"")
    result.save(path)


def test_a_file_has_the_rights_of_any_other(result, tmp_path, monkeypatch):
    """F44: the umask of the process is never touched, and an old file's rights are kept."""
    monkeypatch.setattr(os, "umask", None)
    (tmp_path / "plain").write_bytes(b"")
    result.save(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new").chmod(0o640)
    result.save(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_file_is_on_the_disk_before_it_has_its_name(result, tmp_path, monkeypatch):
    """F44: synced, then renamed."""
    done = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append("sync") or sync(file))
    monkeypatch.setattr(Path, "replace", lambda self, to: done.append("rename") or replace(self, to))
    result.save(tmp_path / "result")
    assert done == ["sync", "rename", "sync"]


def test_what_a_killed_process_left_is_removed(tmp_path, monkeypatch):
    """R5: only ours, and only of processes that are gone."""
    code = (
        "import os, sys; from pathlib import Path; from interpix import storage\n"
        "Path.replace = lambda *_: os._exit(9)\n"
        "storage.replace_file(sys.argv[1], b'half')"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "map.safetensors")], check=False)
    assert killed.returncode == 9
    (left,) = tmp_path.iterdir()
    parts = left.name.split(".")
    mine, living = (tmp_path / ".".join([*parts[:-3], str(one), *parts[-2:]]) for one in (os.getpid(), os.getppid()))
    for path in (tmp_path / ".hidden.part", living, mine):
        path.write_bytes(b"")
    monkeypatch.setattr(storage, "_writing", {mine.name})
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".hidden.part", living.name, mine.name}
    # A container that is started again counts its processes from the beginning.
    monkeypatch.setattr(storage, "_writing", set())
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".hidden.part", living.name}


def test_a_name_as_long_as_names_can_be(tmp_path):
    """F44: the name while it was written was longer than the file's own."""
    for letter in ("n", "\N{CJK UNIFIED IDEOGRAPH-6F22}"):
        path = tmp_path / (letter * (255 // len(letter.encode())))
        replace_file(path, b"content")
        assert path.read_bytes() == b"content"


def test_format_is_that_of_the_files_in_the_repository():
    assert {path.name for path in DATA.glob("*.safetensors")} == {
        f"{kind}-{version}.safetensors" for kind in ("explanation", "attribution") for version in range(1, FORMAT + 1)
    }
    assert storage.FORMAT == FORMAT
    assert f"(today 1 to {FORMAT};" in (DATA.parents[1] / "docs" / "how-it-works.md").read_text()
