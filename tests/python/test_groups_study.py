"""The script that compares searches, on a model that sums."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import loaded

SCRIPT = Path(__file__).parents[2] / "examples/groups.py"


@pytest.fixture(scope="module")
def script():
    with loaded("groups") as module:
        yield module


class Model:
    """Red against green, with photos of 14 x 21 pixels."""

    def preprocess(self, photo):
        return photo.transpose(2, 0, 1).astype(np.float32) / 255

    def logits(self, pictures):
        return (pictures.sum(axis=(2, 3)) + np.array([0, 9, 0])).astype(np.float64)


@pytest.fixture
def photo(tmp_path):
    rng = np.random.default_rng(1)
    pixels = (rng.random((14, 21, 3)) * [255, 120, 60]).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


ABOUT = {"photo": "photo.png", "labelled": True}


def test_rows_tables_and_check(script, photo, capsys, monkeypatch):
    monkeypatch.setattr(script, "SEARCHES", {name: script.SEARCHES[name] for name in ("greedy", "minimal", "beam 4")})
    image = Model().preprocess(script.open_photo(photo))
    lines = list(script.rows(script.Memo(Model()), image, ABOUT, areas_of="3x3"))
    json.dumps(lines)
    kinds = [(line["search"], line.get("direction")) for line in lines]
    assert kinds[:3] == [("greedy", "insertion"), ("minimal", "insertion"), ("beam 4", "insertion")]
    assert ("both", "both") in kinds
    assert ("LiMA's", "both") in kinds
    greedy, minimal, beam = lines[:3]
    assert len(minimal["group"]) == minimal["size"] <= greedy["size"]
    assert beam["size"] <= minimal["size"]
    assert greedy["suffices_at"] == greedy["size"]
    script.tables(lines)
    printed = capsys.readouterr().out
    assert f"| 1 labelled | 49 | insertion | greedy | {greedy['size']:.2f} | 0 of 1 | 1.0 x |" in printed
    script.check(lines, {"photo.png": photo}, Model())
    assert capsys.readouterr().out.startswith("2 groups are minimal; no group of 1 catalogues contains another")
    # What is not minimal is told.
    greedy_as_minimal = [{**greedy, "search": "minimal", "group": list(range(49))}]
    with pytest.raises(SystemExit, match="is not minimal"):
        script.check(greedy_as_minimal, {"photo.png": photo}, Model())


def test_of_others_less_is_asked(script, photo):
    image = Model().preprocess(script.open_photo(photo))
    lines = list(script.rows(script.Memo(Model()), image, ABOUT | {"labelled": False}))
    assert [line["search"] for line in lines] == ["greedy", "minimal", "beam 4", "catalogue"]
    fine = list(script.fine_rows(Model().logits, image, ABOUT | {"labelled": False}))
    assert [(line["search"], line["regions"]) for line in fine] == [("greedy", 196), ("minimal", 196)]


def test_the_photos_that_the_model_is_surest_of_are_taken(script, tmp_path, monkeypatch):
    for red in range(5):
        Image.fromarray(np.full((14, 21, 3), (50, 50 + red, 50), np.uint8)).save(tmp_path / f"{red}.png")
    photos = [tmp_path / f"{red}.png" for red in (3, 1, 4, 2, 0)]
    monkeypatch.setattr(script, "OTHERS", 2)
    assert [photo.name for photo in script.surest(photos, Model())] == ["3.png", "4.png"]


def test_areas_are_those_of_the_curves(script):
    class Game:
        n_players = 3

        def __call__(self, masks):
            return masks.sum(axis=1) / 3.0

    found = type("Found", (), {"ranking": np.array([2, 0, 1]), "evaluations": 7})
    assert script.areas(Game(), found) == {"insertion_area": 0.5, "deletion_area": 0.5, "evaluations": 7}
