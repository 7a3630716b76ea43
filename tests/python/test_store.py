"""The store of a comparison: what is damaged is made again, and no other model's maps are taken."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from compared import compared, photo, scaled
from interpix.storage import read_arrays, write_arrays

DATA = Path(__file__).parents[1] / "data"
MODEL = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), name="sums", class_names=["red", "green", "blue"])


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
