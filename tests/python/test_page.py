"""The page that answers back: what it is told, and that it needs nothing else."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import interpix as ix
from interpix.outputs.base import describe
from interpix.page import page_data, page_source

ROOT = Path(__file__).parents[2]
ANSWERS = json.loads((ROOT / "tests/data/answers.json").read_text(encoding="utf-8"))
MODEL = ix.CallableClassifier(
    lambda batch: 9 * batch.mean(axis=(2, 3)), name="means", class_names=["red</script>", "green", "blue"]
)


@pytest.fixture
def image():
    return np.random.default_rng(3).random((3, 6, 12)).astype(np.float32)


@pytest.fixture
def pair(image):
    moxi = ix.MoXI(MODEL, regions="3x4", keep_coalitions=True)
    return [moxi.explain(image, 0, direction=one, min_patches=5) for one in ("insertion", "deletion")]


@pytest.mark.parametrize("case", ANSWERS)
def test_the_answers_that_the_script_writes_are_those_of_python(case):
    facts = {"quantity": "value", "is_probability": "probability" in case}
    assert describe(facts, case.get("probability", case.get("value"))) == case["said"]


def test_the_script_passes_its_own_tests():
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    done = subprocess.run([node, "--test", "tests/js/"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"# pass (\d+)", done.stdout)[1]) >= 8


def unpacked(data):
    scored = {name: base64.b64decode(text) for name, text in data["scored"].items()}
    count, players = len(scored["holds"]), len(data["patches"])
    bits = np.frombuffer(scored["bits"], np.uint8).reshape(count, -1)
    masks = np.unpackbits(bits, axis=1, count=players).astype(bool)
    return {mask.tobytes(): answer for mask, answer in zip(masks, np.frombuffer(scored["answers"]), strict=True)}


def test_every_coalition_that_was_scored_is_in_it(pair):
    told = unpacked(page_data(pair))
    kept = {}
    for one in pair:
        rows = zip(one.coalitions.masks, one.coalitions.answers, strict=True)
        kept |= {mask.tobytes(): answer for mask, answer in rows}
    assert told == pytest.approx(kept)


def test_of_groups_that_suffice_and_are_needed_both_answers_of_each_step_are_in_it(image):
    moxi = ix.MoXI(MODEL, regions="3x4")
    found = moxi.explain(image, 0, direction="both", min_patches=5)
    told = unpacked(page_data([found]))
    for step in range(len(found.ranking) + 1):
        mask = np.isin(np.arange(12), found.ranking[:step])
        assert told[mask.tobytes()] == found.answers[step]
        assert told[(~mask).tobytes()] == pytest.approx(found.answers_without[step], abs=1e-9)


def test_without_kept_coalitions_it_has_the_steps_the_whole_and_nothing(image):
    found = ix.MoXI(MODEL, regions="3x4").explain(image, 0, min_patches=5)
    told = unpacked(page_data([found]))
    for step in range(len(found.ranking) + 1):
        mask = np.isin(np.arange(12), found.ranking[:step])
        assert told.pop(mask.tobytes()) == found.answers[step]
    assert list(told.values()) == [found.full.answer]
    assert "keep_coalitions=True" in page_data([found])["notes"][0]


def drawn(path, size):
    """The pixels of an outline, painted one rectangle after the other."""
    canvas = np.zeros(size, int)
    for left, top, width, height in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+z", path):
        canvas[int(top) : int(top) + int(height), int(left) : int(left) + int(width)] += 1
    return canvas


def test_outlines_cover_each_patch_once(image):
    regions = np.random.default_rng(0).integers(0, 5, (6, 12))
    data = page_data([ix.MoXI(MODEL, regions=regions).explain(image, 0)])
    for patch, one in enumerate(data["patches"]):
        np.testing.assert_array_equal(drawn(one["path"], (6, 12)), regions == patch)


def test_the_file_stands_alone_and_a_name_cannot_end_its_script(pair, tmp_path):
    path = tmp_path / "answer.html"
    pair[0].to_html(path, pair[1])
    text = path.read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    assert "red</script>" not in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text.replace("href: this.data.picture", ""))
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert json.loads(re.search(r'id="data">(.*?)</script>', text)[1]) == page_data(pair)
    pair[0].to_html(path)  # which may replace its own


def test_a_photo_of_224_pixels_with_all_its_coalitions_takes_less_than_2_mb(tmp_path):
    noise = np.random.default_rng(0).random((3, 224, 208)).astype(np.float32)
    found = ix.MoXI(MODEL, regions="14x13", keep_coalitions=True).explain(noise, 0, stop="all")
    found.to_html(tmp_path / "answer.html")
    assert len(found.coalitions) > 16_000
    assert (tmp_path / "answer.html").stat().st_size < 2_000_000


def test_foreign_files_are_not_replaced(pair, tmp_path):
    path = tmp_path / "answer.html"
    path.write_text("mine")
    with pytest.raises(ix.ArgumentError, match="overwrite=True"):
        pair[0].to_html(path)
    pair[0].to_html(path, overwrite=True)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"image": 1}, "image"),
        ({"regions": "2x4"}, "patches"),
        ({"target": 1}, "target"),
        ({"absence": "mean"}, "absence"),
        ({"model": lambda batch: 8 * batch.mean(axis=(2, 3))}, "model"),
    ],
)
def test_results_that_do_not_belong_together_are_refused(pair, image, change, name):
    model = MODEL
    if "model" in change:
        model = ix.CallableClassifier(change["model"], name="others", class_names=MODEL.class_names)
    moxi = ix.MoXI(model, regions=change.get("regions", "3x4"), absence=change.get("absence", "auto"))
    other = moxi.explain(image[:, ::-1] if "image" in change else image, change.get("target", 0))
    with pytest.raises(ix.ArgumentError, match=f"`results`.*got another {name}; write a page for each"):
        page_data([pair[0], other])


def test_colors_have_enough_contrast():
    """Of text on its ground, in light and in dark, by the formula of WCAG 2."""

    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
        return np.dot([0.2126, 0.7152, 0.0722], linear)

    themes = re.findall(r"--ix-ink:[^}]*", page_source("css"))
    assert len(themes) == 4
    for theme in themes:
        colors = dict(re.findall(r"--ix-(\w+): (#\w{6})", theme))
        paper = luminance(colors["paper"])
        for name in ("ink", "soft", "accent", "insertion", "deletion", "both"):
            light, dark = sorted([luminance(colors[name]), paper], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, theme)
