"""Files: nothing is changed in silence, nothing foreign is lost, and none costs more than it holds."""

import contextlib
import dataclasses
import itertools
import json
import os
import re
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from interpix import cli, storage
from interpix.models.adapters.loading import load_model
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


# The store of a comparison


def photo(seed):
    return np.random.default_rng(seed).integers(0, 256, (24, 30, 3), np.uint8)


def scaled(raw):
    return raw.transpose(2, 0, 1) / 255


def compared(folder, images=None, *, model=lambda batch: batch.mean((2, 3)), method="moxi(regions='2x3')", **options):
    model = ix.CallableClassifier(model, name="means", preprocess=scaled)
    images = {"one": photo(1)} if images is None else images
    return ix.compare(
        model, images, method, "insertion(steps=3)", folder=folder, propagate=False, controls=False, **options
    )


@pytest.mark.parametrize("ending", ["", "-scores", "-answers"])
def test_a_damaged_file_of_a_store_is_made_again(tmp_path, ending):
    """R15: with a warning, and to the same values."""
    first = compared(tmp_path)
    (path,) = [one for one in tmp_path.iterdir() if one.stem[32:] == ending]
    content = path.read_bytes()
    for damaged in (content[:-5], bytes([content[0] ^ 1]) + content[1:], b"", content.replace(b"sums", b"SUMS") + b"x"):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"cannot be used and is made again: `path`: expected a result"):
            again = compared(tmp_path)
        assert again.table == first.table
        assert str(compared(tmp_path)) == str(first)


def test_no_flip_changes_a_score_in_silence(tmp_path):
    """R15: a checksum over each file of the store."""
    first = compared(tmp_path)
    (path,) = tmp_path.glob("*-scores*")
    content = path.read_bytes()
    for position in range(8, len(content), len(content) // 60):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            again = compared(tmp_path)
        except UserWarning:  # which pytest raises
            continue
        assert again.table == first.table


def test_a_bad_photo_costs_its_own_row(tmp_path):
    """R15: the report of the others is there, and says so."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        Image.fromarray(photo(index)).save(photos / f"{index}.png")
    content = (photos / "1.png").read_bytes()
    (photos / "1.png").write_bytes(content[: len(content) // 2])
    found = compared(None, photos)
    assert found.images == ("0.png", "2.png")
    assert list(found.failed) == ["1.png"]
    assert "cannot be read" in found.failed["1.png"]
    assert any(line.startswith("1.png could not be read") for line in found.left_out())
    page = found.report(tmp_path / "out")
    assert "1.png could not be read" in page.read_text()
    assert "cannot be read" in json.loads((tmp_path / "out" / "comparison.json").read_text())["failed"]["1.png"]
    for index in (0, 2):
        (photos / f"{index}.png").write_bytes(b"no photo")
    with pytest.raises(ix.ArgumentError, match="`image`"):
        compared(None, photos)


def test_an_upgraded_library_makes_other_maps(tmp_path, monkeypatch):
    """F45: keys hold the versions of all that makes maps."""
    compared(tmp_path)
    before = len(list(tmp_path.iterdir()))
    compared(tmp_path)
    assert len(list(tmp_path.iterdir())) == before
    monkeypatch.setattr(ix.comparison.run, "library_versions", lambda: {"scikit-image": "99"})
    compared(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * before


def test_answers_that_differ_by_rounding_are_of_one_model(tmp_path):
    """R5: a device whose last bits change from run to run finds its maps again; another model does not."""
    shift = iter([0.0, 1e-6, -2e-6, 0.3])

    def run():
        more = next(shift)
        compared(tmp_path, model=lambda batch: batch.mean((2, 3)) * (1 + more))
        return len(list(tmp_path.iterdir()))

    counts = [run() for _ in range(4)]
    assert counts == [3, 3, 3, 5]


def test_another_model_never_gets_maps_of_one_whose_answers_were_lost(tmp_path):
    """R5: the file of answers is deleted, or made by two at once."""
    seen = {"first": lambda batch: batch.mean((2, 3)), "second": lambda batch: -1e-6 * batch.mean((2, 3))}
    expected = {name: str(compared(None, model=model)) for name, model in seen.items()}
    assert len(set(expected.values())) == 2
    for name in ("first", "second", "first"):
        assert str(compared(tmp_path, model=seen[name])) == expected[name]
        for path in tmp_path.glob("*-answers*"):
            path.unlink()


def test_a_slightly_other_function_is_another(tmp_path):
    """R5, F45: what differs by more than rounding was trained a little longer, say, and has other maps."""
    maps = [
        compared(tmp_path, model=lambda batch, more=more: batch.mean((2, 3)) * (1 + more)).entries[0].attribution
        for more in (0.0, 5e-4)
    ]
    assert maps[0].provenance["seconds"] != maps[1].provenance["seconds"]
    assert len(list(tmp_path.iterdir())) == 5


def test_who_gave_which_answers_may_be_lost(tmp_path):
    """R15: the first function to ask again was then given the maps of another one."""

    def looks_at(rows):
        def model(batch):
            return np.stack([batch[:, 0, rows].mean((1, 2)), 1e-3 * batch[:, 1].mean((1, 2))], axis=1)

        return model

    def run(half):
        return compared(tmp_path, model=half, method="moxi(regions='2x3',stop='all')").entries[0].attribution.map

    halves = looks_at(slice(12)), looks_at(slice(12, None))
    first = [run(half) for half in halves]
    assert not np.array_equal(*first)
    (path,) = tmp_path.glob("*-answers*")
    path.unlink()
    again = [run(half) for half in reversed(halves)]
    np.testing.assert_array_equal(again[::-1], first)


def test_a_model_that_cannot_be_told_has_no_maps_kept(tmp_path):
    """R5: all images and models of this kind shared one key."""

    class Own(ix.CallableClassifier):
        def provenance(self):
            return super().provenance() | {"seen": object()}

    def run(seed):
        model = Own(lambda batch: batch.mean((2, 3)), name="own", preprocess=scaled)
        method, metric = "moxi(regions='2x3')", "insertion(steps=3)"
        return (
            ix.compare(model, photo(seed), method, metric, folder=tmp_path, propagate=False, controls=False)
            .entries[0]
            .attribution
        )

    assert not np.array_equal(run(1).image, run(2).image)
    assert not list(tmp_path.iterdir())


BAD_SCORES = {
    "metric": [None, 3],
    "value": ["0.5", True, []],
    "higher_is_better": ["yes", 1],
    "skipped": [0, ["dark"]],
    "parts": [{"a": "b"}, 3, None],
    "options": [None, []],
    "recipe": [1],
}


@pytest.mark.parametrize(("name", "value"), [(name, one) for name, values in BAD_SCORES.items() for one in values])
def test_every_field_of_scores_is_checked(name, value, tmp_path):
    """R9, R15: a file that something else wrote, with a checksum of its own."""
    first = compared(tmp_path)
    (path,) = tmp_path.glob("*-scores*")
    arrays, metadata = read_arrays(path)
    metadata["scores"]["insertion(steps=3)"][name] = value
    write_arrays(path, arrays, metadata)
    with pytest.warns(UserWarning, match="is made again"):
        assert compared(tmp_path).table == first.table
    metadata["scores"] = {}
    write_arrays(path, {}, metadata)
    assert compared(tmp_path).table == first.table


def test_a_folder_that_is_none_is_told_before_the_work(tmp_path):
    """R23: raw errors of the file system."""
    (tmp_path / "file").write_bytes(b"mine")
    found = compared(None)
    for folder in (tmp_path / "file", tmp_path / "file" / "deep"):
        for verb in (compared, found.report):
            with pytest.raises(ix.ArgumentError, match="`folder`: expected a folder, or the name of a new one"):
                verb(folder)
    with pytest.raises(ix.ArgumentTypeError, match="`folder`"):
        compared(3)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_room_for_all_maps_is_there_before_the_work(tmp_path, monkeypatch):
    """R8: the disk was full after hours; what is there already takes no more."""
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=50_000))
    with pytest.raises(ix.ArgumentError, match=r"`folder`: expected .* of free space"):
        compared(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    compared(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=70_000))
    compared(tmp_path)


def test_the_page_is_written_whatever_becomes_of_the_pictures(tmp_path, monkeypatch):
    """N5: numbers, then the table, then pictures."""

    def fail(*_args, **_options):
        raise ix.ModelError("no picture today")

    found = compared(None)
    monkeypatch.setattr("interpix.plots.plot_methods", fail)
    with pytest.raises(ix.ModelError):
        found.report(tmp_path / "out")
    assert "insertion(steps=3)" in (tmp_path / "out" / "index.html").read_text()
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["table"]


def test_a_name_of_a_model_need_be_no_text(tmp_path):
    """R18: the page could not be encoded."""
    model = ix.CallableClassifier(lambda batch: batch.mean((2, 3)), name="m\udce9", preprocess=scaled)
    found = ix.compare(model, photo(1), "moxi(regions='2x3')", "insertion(steps=3)", keep_maps=0)
    assert "attributions of m?" in found.report(tmp_path).read_text()


def test_a_repeated_run_is_the_same_to_the_bit(tmp_path):
    """R5: all but the seconds, with the store and without."""
    pages = []
    for folder in ("a", "a", "b"):
        compared(tmp_path / folder / "maps").report(tmp_path / folder)
        pages.append({path.name: path.read_bytes() for path in (tmp_path / folder).glob("*.*")})
    for page in pages:
        page.pop("seconds.json")
    assert pages[0] == pages[1] == pages[2]


# The command


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder with a photo, on a model of sums."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo(0)).save("c.jpg")
    model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), name="sums", preprocess=scaled)
    monkeypatch.setattr(ix, "load_model", lambda _name: model)

    def run(*arguments):
        status = cli.main([*arguments])
        return status, capsys.readouterr()

    return run


def test_explain_replaces_no_file_of_the_users(shell):
    """R7: before any work is done."""
    Path("c.png").write_bytes(b"mine")
    status, out = shell("explain", "c.jpg", "-o", ".", "--quiet")
    assert status == 2
    assert "--overwrite" in out.err
    assert Path("c.png").read_bytes() == b"mine"
    assert not Path("c.json").exists()
    assert shell("explain", "c.jpg", "-o", ".", "--quiet", "--overwrite")[0] == 0
    assert shell("explain", "c.jpg", "-o", ".", "--quiet")[0] == 0, "its own files"
    for path in (Path("c.json"), Path("c.png"), Path("c.safetensors")):
        content = path.read_bytes()
        path.write_bytes(b'{"mine": {"provenance": {}}}')
        assert shell("explain", "c.jpg", "-o", ".", "--quiet")[0] == 2
        path.write_bytes(content)


def test_propagate_destroys_neither_photo_nor_map(shell):
    """R7: an output that is also an input."""
    np.save("m.npy", np.ones((24, 30), np.float32))
    for name in ("c.jpg", "m.npy"):
        before = Path(name).read_bytes()
        status, out = shell("propagate", "c.jpg", "m.npy", "-o", name, "--overwrite")
        assert (status, "would be lost" in out.err) == (2, True)
        assert Path(name).read_bytes() == before
    assert shell("propagate", "c.jpg", "m.npy", "-o", "p.npy")[0] == 0
    assert shell("propagate", "c.jpg", "m.npy", "-o", "p.npy")[0] == 2
    assert shell("propagate", "c.jpg", "m.npy", "-o", "p.npy", "--overwrite")[0] == 0


def test_compare_says_which_photo_it_could_not_read(shell):
    """R15: and exits with 1."""
    Path("d.jpg").write_bytes(Path("c.jpg").read_bytes()[:300])
    options = ["--methods", "moxi(regions='2x3')", "--metrics", "insertion(steps=3)", "-o", "out", "--quiet"]
    status, out = shell("compare", "c.jpg", "d.jpg", *options)
    assert status == 1
    assert "d.jpg: `photo`:" in out.err
    assert Path("out/index.html").exists()
    Path("out/index.html").write_text("my own page")
    assert shell("compare", "c.jpg", *options)[0] == 2
    assert Path("out/index.html").read_text() == "my own page"


def test_what_is_needed_is_there_before_the_work(shell, monkeypatch):
    """N5: both searches ran, and nothing was written."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(ix, "load_model", lambda _name: pytest.fail("the model was loaded"))
    for command in (["explain", "c.jpg"], ["compare", "c.jpg"]):
        status, out = shell(*command)
        assert (status, "interpix[plot]" in out.err) == (2, True)


def test_there_is_room_before_the_work(shell, monkeypatch):
    """R8: a full disk is told before hours of work."""
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=3 << 20))
    monkeypatch.setattr(ix, "load_model", lambda _name: pytest.fail("the model was loaded"))
    for command in (["explain", "c.jpg"], ["compare", "c.jpg"]):
        status, out = shell(*command)
        assert (status, "`--out`: expected 20 MiB of free space, got 3 MiB" in out.err) == (2, True)


def test_numbers_are_written_whatever_becomes_of_the_picture(shell, monkeypatch):
    """N5: what was computed is kept."""

    def fail(*_args, **_options):
        raise ix.ModelError("no picture today")

    monkeypatch.setattr("interpix.plots.plot_overview", fail)
    assert shell("explain", "c.jpg", "-o", "out", "--quiet")[0] == 2
    assert len(load_all("out/c.safetensors")) == 2
    assert json.loads(Path("out/c.json").read_text())["results"][0]["group"]


def failing_after(count):
    calls = []

    def logits(batch):
        calls.append(len(batch))
        if len(calls) > count:
            raise ix.ModelError("no more today")
        return batch.sum(axis=(2, 3))

    return ix.CallableClassifier(logits, name="sums", preprocess=scaled), calls


def test_one_search_is_written_whatever_becomes_of_the_other(shell, monkeypatch):
    """N5: the second direction failed, and the first was lost."""
    model, calls = failing_after(10**9)
    monkeypatch.setattr(ix, "load_model", lambda _name: model)
    assert shell("explain", "c.jpg", "-o", "whole", "--quiet", "--direction", "insertion")[0] == 0
    model, _ = failing_after(len(calls) + 2)
    assert shell("explain", "c.jpg", "-o", "out", "--quiet")[0] == 2
    assert [one.direction for one in load_all("out/c.safetensors")] == ["insertion"]
    (one,) = json.loads(Path("out/c.json").read_text())["results"]
    assert one["direction"] == "insertion"


def test_a_comparison_that_fails_leaves_its_report(shell, monkeypatch):
    """N5: the maps of the first photo were there, and no report of them."""
    model, calls = failing_after(10**9)
    monkeypatch.setattr(ix, "load_model", lambda _name: model)
    options = ["--methods", "moxi(regions='2x3')", "--metrics", "insertion(steps=3)", "-o", "out", "--quiet"]
    assert shell("compare", "c.jpg", *options)[0] == 0
    Image.fromarray(photo(5)).save("d.png")
    model, _ = failing_after(len(calls) + 2)
    options[-2] = "part"
    status, out = shell("compare", "c.jpg", "d.png", *options)
    assert status == 2
    assert "what was found until then: part" in out.err
    assert "no more today" in out.err.splitlines()[-1]
    assert json.loads(Path("part/comparison.json").read_text())["images"][0]["image"] == "c.jpg"
    assert Path("part/image-1.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-m", "resnet50"],
            "no package brings weights of `resnet50`: set INTERPIX_WEIGHTS .*torchvision:NAME or hf:ID",
        ),
        (["-m", "torch:resnet50"], "`--model`: expected torch:efficientnet_lite0, got .*as torchvision:resnet50"),
        (["--masks", "nowhere"], "`--masks`: expected a folder of pictures, got 'nowhere'; check the path"),
        (["--metrics", "roc_auc"], "`--masks`: .*; name their folder, or leave it out"),
        (["--methods", "rise", "gradient"], "`--model`: expected a torch module.*; without one, use rise, moxi or"),
        (["c.jpg"], "`--photos`|`photos`: expected each image once.*name each once"),
    ],
)
def test_cures_are_the_commands(shell, monkeypatch, arguments, message):
    """N24: the library's cures, as to pass a dict, are none in a shell."""
    if "-m" in arguments:
        monkeypatch.setattr(ix, "load_model", load_model)
    status, out = shell("compare", "c.jpg", *arguments)
    assert (status, bool(re.match(f"interpix: ({message})", out.err))) == (2, True), out.err


NEEDS_TORCH = {name for name, one in ix.methods.METHODS.items() if one.needs_torch}


@pytest.mark.parametrize("name", ["gradient", "xrai", "grad_cam", "attention_rollout", "blur_ig"])
def test_a_model_that_a_method_cannot_explain_is_told_first(name):
    """N5: the methods before it had done their work."""
    asked = []

    def logits(batch):
        asked.append(len(batch))
        return batch.mean((2, 3))

    model = ix.CallableClassifier(logits, preprocess=scaled)
    for method in (name, ix.propagated(ix.methods.METHODS[name]())):
        with pytest.raises(ix.ArgumentError, match="`model`: expected a torch module"):
            ix.compare(model, photo(1), ["rise(count=9)", method], "insertion(steps=3)")
    for metric in ("adversarial", "model_randomization"):
        with pytest.raises(ix.ArgumentError, match="`model`: expected a torch module"):
            ix.compare(model, photo(1), "rise(count=9)", metric)
    assert not asked


def test_who_needs_torch_says_so():
    """N5: each method alone refuses a function exactly if it says that it needs a torch module."""
    model, calls = failing_after(100)
    question = ix.methods.Question.of(model, np.zeros((3, 14, 14), np.float32))
    calls += [0] * 100
    refused = set()
    asking = {name: one for name, one in ix.methods.METHODS.items() if name not in {"random", "edges"}}
    for name, method in asking.items():
        with pytest.raises((ix.ArgumentError, ix.ModelError), match=r"a torch module|no more today") as caught:
            method().explain_question(question)
        refused |= {name} if isinstance(caught.value, ix.ArgumentError) else set()
    assert refused == NEEDS_TORCH


@pytest.mark.parametrize(
    ("module", "methods", "metrics", "extra"),
    [
        ("sklearn", "lime(regions='2x3')", "insertion", "lime"),
        ("skimage", "lime", "insertion", "segment"),
        ("skimage", "superpixel_rise", "insertion", "segment"),
        ("imagecorruptions", "rise", "corruption", "corruptions"),
    ],
)
def test_what_is_not_installed_is_told_first(monkeypatch, module, methods, metrics, extra):
    """N5: hours of other methods came first."""
    monkeypatch.setitem(sys.modules, module, None)
    model = ix.CallableClassifier(lambda batch: pytest.fail("the model was asked"), preprocess=scaled)
    with pytest.raises(ix.MissingDependencyError, match=rf"interpix\[{extra}\]"):
        ix.compare(model, photo(1), methods, metrics)


def test_the_photos_folder_gets_no_report(shell):
    """R7: its pictures were photos of the next run."""
    Path("photos").mkdir()
    Image.fromarray(photo(5)).save("photos/d.png")
    status, out = shell("compare", "photos", "-o", "photos")
    assert (status, "`--out`: expected another folder than that of the photos" in out.err) == (2, True)
    assert [path.name for path in Path("photos").iterdir()] == ["d.png"]


def test_masks_are_inputs_too(shell):
    """R7: a report's picture had the name of a mask."""
    Path("masks").mkdir()
    Image.fromarray(photo(6)).save("image-1.jpg")
    Image.fromarray(np.full((24, 30), 255, np.uint8)).save("masks/image-1.png")
    before = Path("masks/image-1.png").read_bytes()
    status, out = shell("compare", "image-1.jpg", "--masks", "masks", "-o", "masks", "--overwrite")
    assert (status, "would be lost" in out.err) == (2, True)
    assert Path("masks/image-1.png").read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_no_two_names_become_one(shell):
    """R18: of photos whose names differ in what is no text, all but one were left out in silence."""
    for index, name in enumerate((b"caf\xe9", b"caf\xe8")):
        Path("masks").mkdir(exist_ok=True)
        Image.fromarray(photo(index)).save(os.fsdecode(name + b".png"))
        Image.fromarray(np.eye(24, 30, dtype=bool)).save(os.fsdecode(b"masks/" + name + b".png"))
    names = [os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"caf\xe8.png")]
    options = ["--methods", "moxi(regions='2x3')", "--metrics", "insertion(steps=3)", "--masks", "masks", "--quiet"]
    assert shell("compare", *names, *options, "-o", "out")[0] == 0
    rows = json.loads(Path("out/comparison.json").read_text())["images"]
    assert {row["image"] for row in rows} == {"caf\\udce9.png", "caf\\udce8.png"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_name_that_is_no_text(shell):
    """R18: all was computed, then the picture failed."""
    name = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(photo(3)).save(name)
    assert shell("explain", name, "-o", "out", "--quiet")[0] == 0
    options = ["--methods", "moxi(regions='2x3')", "--metrics", "insertion(steps=3)", "-o", "out", "--quiet"]
    assert shell("compare", name, "c.jpg", *options)[0] == 0
    assert "caf" in Path("out/index.html").read_text()


def test_dollars_in_names_are_dollars(image):
    """R30: matplotlib would read them as formulas."""
    from matplotlib.figure import Figure

    from interpix import plots

    names = ["$x^{", "a $5 bill_", "\\frac$"]
    model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), class_names=names, name="$m$_{")
    results = [ix.MoXI(model, regions="2x3").explain(image, direction=one) for one in ("insertion", "deletion")]
    figures = [Figure() for _ in range(4)]
    plots.plot_overview(*results, propagated=results[0].propagate(), figure=figures[0])
    plots.plot_comparison(*results, figure=figures[1])
    results[0].attribution().plot(ax=figures[2].subplots())
    results[0].plot("heatmap", ax=figures[3].subplots())
    for figure in figures:
        figure.canvas.draw()


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--steps", "0"], "--steps"),
        (["--steps", "-1"], "--steps"),
        (["--regions", "0x3"], "--regions"),
        (["--target", "9" * 30], "--target"),
        (["--radius", "0"], "--radius"),
        (["--discount", "2"], "--discount"),
        (["--discount", "nan"], "--discount"),
        (["--regions", "9" * 5000], "--regions"),
        (["--regions", "x"], "--regions"),
        (["--target", "9" * 5000], "--target"),
    ],
)
def test_errors_name_flags(shell, monkeypatch, arguments, flag):
    """N24, R23: what was typed, and no argument of the library's; N5: before the model is loaded, but for classes."""
    if flag != "--target":
        monkeypatch.setattr(ix, "load_model", lambda _name: pytest.fail("the model was loaded"))
    status, out = shell("explain", "c.jpg", "-o", "out", "--quiet", *arguments)
    assert status == 2
    assert out.err.startswith(f"interpix: `{flag}`: expected"), out.err


def test_maps_with_hostile_headers_are_refused(shell):
    """R23: numpy reads headers with Python's parser, and allocates what they say."""
    np.save("m.npy", np.ones((24, 30)))
    head = Path("m.npy").read_bytes()
    for shape in (b"(10**9,10**9)", b"(((((((((((1", b"(2**62, 9999)", b"(-1, 30)    "):
        Path("m.npy").write_bytes(head.replace(b"(24, 30)", shape))
        status, out = shell("propagate", "c.jpg", "m.npy", "-o", "p.npy")
        assert (status, out.err.startswith("interpix: `map`: expected an .npy file of numbers")) == (2, True), out.err
    Path("m.npy").write_bytes(head.replace(b"(24, 30)", b"(99999999, 9999999)"))
    assert shell("propagate", "c.jpg", "m.npy", "-o", "p.npy")[0] == 2


def test_format_is_that_of_the_files_in_the_repository():
    assert {path.name for path in DATA.glob("*.safetensors")} == {
        f"{kind}-{version}.safetensors" for kind in ("explanation", "attribution") for version in range(1, FORMAT + 1)
    }
    assert storage.FORMAT == FORMAT
    assert f"(today 1 to {FORMAT};" in (DATA.parents[1] / "docs" / "how-it-works.md").read_text()
