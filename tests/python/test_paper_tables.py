"""The script that evaluates the papers' methods, on a photo and two cut-outs made here."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from interpix.comparison.specs import read_methods, read_metrics
from scripts import loaded

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    with loaded("paper_tables") as module:
        yield module


@pytest.fixture
def photos(tmp_path):
    """A folder as examples/photos.py makes it; one photo is nothing that the model is sure of."""
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["file_name,label,probability"]
    for number, probability in enumerate((0.9, 0.5, 0.8, 0.95)):
        Image.open(ROOT / "examples/coffee.jpg").resize((90 + number, 60)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{900 + number},{probability}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_settings_are_there(script):
    for part in script.PARTS.values():
        assert len(read_methods(list(part.methods))) == len(part.methods)
        assert len(read_metrics(list(part.metrics))) == len(part.metrics)


def test_photos_are_those_that_the_model_is_sure_of(script, photos):
    three = rows(script.choose_photos(photos, 24))
    assert {row["file_name"]: row["label"] for row in three} == {"0.png": "900", "2.png": "902", "3.png": "903"}
    assert rows(script.choose_photos(photos, 2)) == three[:2]


@pytest.fixture
def small(script, monkeypatch):
    """A model that tells red, green and blue, and parts that take a second."""

    def scale(raw):
        return raw.transpose(2, 0, 1).astype(np.float32) / 255

    def sums(batch):
        return batch.mean(axis=(2, 3)) * 10

    monkeypatch.setattr(script.ix, "load_model", lambda _name: ix.CallableClassifier(sums, preprocess=scale))
    monkeypatch.setattr(script, "MODEL", ix.CallableClassifier(sums, preprocess=scale))
    part = script.Part(("moxi_one_shot(regions='2x3')",), ("insertion(steps=2)",), count=2)
    where = script.Part(part.methods, ("roc_auc",), count=5)
    monkeypatch.setattr(script, "PARTS", {"faithfulness": part, "localization": where})
    return script


def test_cut_outs_have_masks_of_what_the_model_gets_right(small, tmp_path, monkeypatch):
    for name, color in (("red", (255, 0, 0, 255)), ("blue", (0, 0, 255, 255))):
        stamp = Image.new("RGBA", (300, 280))
        stamp.paste(color, (40, 20, 260, 260))
        stamp.save(tmp_path / f"{name}.png")
    (tmp_path / "cutouts.json").write_text(json.dumps({"red.png": [0], "blue.png": [1]}))
    Image.open(ROOT / "examples/coffee.jpg").resize((60, 40)).save(tmp_path / "coffee.jpg")
    monkeypatch.setattr(small, "HERE", tmp_path)
    small.main(["localization", "--stamps", str(tmp_path), "-o", str(tmp_path / "out")])
    folder = tmp_path / "out/cutouts"
    assert rows(folder / "metadata.csv") == [{"file_name": "red.png", "label": "0", "mask": "red_mask.png"}]
    photo, mask = (np.asarray(Image.open(folder / f"red{end}.png")) for end in ("", "_mask"))
    assert set(np.unique(mask)) == {0, 255}
    inside, red = mask == 255, photo[..., 0].astype(int) - photo[..., 1] > 150
    assert red[inside].mean() > 0.95
    assert red[~inside].mean() < 0.05
    assert 0.1 < inside.mean() < 0.3
    found = ix.load_evaluation(tmp_path / "out/localization")
    assert found.images == 1
    assert found.is_finished


def test_a_part_goes_on_where_it_was(small, photos, tmp_path, capsys):
    text = (photos / "metadata.csv").read_text()
    for number in range(4):
        text = text.replace(f",{900 + number},", ",0,")
    (photos / "metadata.csv").write_text(text)
    given = ["faithfulness", "--photos", str(photos), "-o", str(tmp_path / "out")]
    small.main([*given, "--count", "1"])
    small.main(given)
    assert "faithfulness: 2 photos, report" in capsys.readouterr().out
    found = ix.load_evaluation(tmp_path / "out/faithfulness")
    assert found.images == found.total == 2
    assert (tmp_path / "out/faithfulness/index.html").exists()
    with pytest.raises(SystemExit):
        small.main([*given, "--count", "1"])
    assert "has 2 photos already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        small.main([*given, "--count", "0"])


def test_a_part_without_its_pictures_is_refused(small, capsys):
    for part, option in (("faithfulness", "--photos"), ("localization", "--stamps")):
        with pytest.raises(SystemExit):
            small.main([part])
        assert f"{part} needs {option}" in capsys.readouterr().err
