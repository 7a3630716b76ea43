"""The script that compares searches, on a model that sums."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "examples/groups.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("groups_study", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_rows_tables_and_check(script, photo, capsys, monkeypatch):
    monkeypatch.setattr(script, "SEARCHES", {name: script.SEARCHES[name] for name in ("greedy", "minimal", "beam 4")})
    lines = list(script.rows(photo, Model(), labelled=True, number=10))
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


def test_a_photo_that_the_model_is_not_sure_of_is_left_out(script, tmp_path):
    Image.fromarray(np.full((14, 21, 3), 90, np.uint8)).save(tmp_path / "gray.png")
    gray = type("Gray", (Model,), {"logits": lambda _, pictures: pictures.sum(axis=(2, 3)) / 100})()
    assert list(script.rows(tmp_path / "gray.png", gray, labelled=False, number=50)) == []


def test_areas_are_those_of_the_curves(script):
    class Game:
        n_players = 3

        def __call__(self, masks):
            return masks.sum(axis=1) / 3.0

    found = type("Found", (), {"ranking": np.array([2, 0, 1]), "evaluations": 7})
    assert script.areas(Game(), found) == {"insertion_area": 0.5, "deletion_area": 0.5, "evaluations": 7}
