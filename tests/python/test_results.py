"""The script that writes tables into the page of results, on small evaluations."""

import json
from pathlib import Path

import numpy as np
import pytest

import interpix as ix
from evaluation_models import model, picture
from scripts import loaded

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    with loaded("results") as module:
        yield module


VARIANTS = [
    {"name": "rise", "method": "rise", "propagated": False, "control": False, "against": ["random"]},
    {"name": "IProp(rise)", "method": "rise", "propagated": True, "control": False, "against": ["blur(rise)"]},
    {"name": "blur(rise)", "method": "blur(rise)", "propagated": False, "control": True, "against": []},
    {"name": "random", "method": "random", "propagated": False, "control": True, "against": []},
    {"name": "IProp(random)", "method": "random", "propagated": True, "control": True, "against": []},
]
VALUES = [
    [[0.25, 0.5], [0.5, 0.75], [0.25, 0.25], [0.125, None], [0.25, 0.5]],
    [[0.75, 0.25], [0.5, None], [0.25, 0.25], [0.25, 0.5], [0.25, 0.5]],
    [[0.5, 0.5], [0.875, 0.5], [0.25, 0.75], [0.25, 0.5], [0.25, 0.5]],
]


@pytest.fixture
def folder(tmp_path):
    better = {"insertion": "higher", "dir(steps=25)": "lower"}
    about = {"model": "small", "better": better, "variants": VARIANTS, "left_out": []}
    lines = [about, *({"image": f"{number}.jpg", "values": values} for number, values in enumerate(VALUES))]
    (tmp_path / "small.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def cells(text, name):
    """The cells of the row that begins so."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_scores_of_pairs_on_photos_that_have_both(script, folder):
    found = script.scores_table(script.read_data(folder / "small.jsonl"))
    assert cells(found, "method") == ["insertion ↑", "DIR ↓"]
    assert cells(found, "`rise`") == ["0.500 → **0.625**", "0.500 → 0.625"]
    assert cells(found, "`random`") == ["0.208", "0.500"]
    assert cells(found, "`IProp(random)`") == ["0.250", "0.500"]
    assert "blur" not in found


def test_names_are_short_where_no_other_is_called_so(script):
    long = ["rise(count=8)", "IProp(rise(count=8))", "moxi(direction='insertion')", "moxi(direction='deletion')"]
    deep = ["f(a=(1, 2),b='x')", "blur(f(a=(1, 2),b='x'))"]
    about = {"better": {"aic(preset='iprop')": "higher"}, "variants": [{"name": name} for name in (*long, *deep)]}
    short = script.Data(about, (), np.zeros((0, 6, 1))).short
    assert [short[name] for name in long] == ["rise", "IProp(rise)", *long[2:]]
    assert [short[name] for name in deep] == ["f", "blur(f)"]
    assert short["aic(preset='iprop')"] == "aic"


def test_what_is_sure_is_counted(script, folder):
    """IProp(rise) is better than the blur on one photo and worse on the others; of the noise all photos are alike."""
    data = script.read_data(folder / "small.jsonl")
    found = script.beaten_table(data)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["the method", "`random`"], ["IProp of the method", "a plain blur of its map"]]
    for row, (name, control) in zip(rows, script.against_controls(data), strict=True):
        for cell, metric in zip(row[2:], data.metrics, strict=True):
            sure = script.surely(data.gain(name, control, metric))
            assert cell == {1: "1 / 0 / 0", 0: "0 / 1 / 0", -1: "0 / 0 / 1"}[sure]
    for values, sure in ([1, 1.1, 0.9], 1), ([-1, -1.1, -0.9], -1), ([1, -1, 0.5], 0), ([3], 0), ([], 0):
        assert script.surely(np.array(values)) == sure


def test_changes_are_paired_and_positive_where_better(script, folder):
    """Insertion: .25, -.25 and .375; DIR, lower is better: -.25 and 0."""
    data = script.read_data(folder / "small.jsonl")
    error = np.std([0.25, -0.25, 0.375], ddof=1) / 3**0.5
    wanted = [f"+0.125 ± {error:.3f} (2:1)", "-0.125 ± 0.125 (0:1)"]
    assert cells(script.changes_table(data), "`rise`") == wanted


def test_controls(script, folder):
    found = script.controls_table(script.read_data(folder / "small.jsonl"))
    assert [line.split("|")[1:3] for line in found.splitlines()[2:]] == [
        [" `rise` ", " `random` "],
        [" `IProp(rise)` ", " `blur(rise)` "],
    ]
    assert cells(found, "`rise`")[1].startswith("+0.292 ± ")


def test_paper_beside_ours(script, folder):
    found = script.paper_table(script.read_data(folder / "small.jsonl"))
    ours, paper = cells(found, "`rise`")
    assert ours == "0.500 → 0.625"
    before, after = (np.mean(script_numbers("dir", "rise", propagated)) for propagated in (False, True))
    assert paper == f"{before:.3f} → {after:.3f}"


def script_numbers(metric, method, propagated):
    from interpix.evaluation.presets import paper_numbers

    return paper_numbers()[metric, method, propagated]


def test_written_then_checked(script, folder, capsys):
    page = folder / "page.md"
    parts = "".join(f"\n<!-- begin: small {kind} -->\nold\n<!-- end -->\n\nbetween\n" for kind in script.TABLES)
    page.write_text(f"# Title\n{parts}last\n", encoding="utf-8")
    wanted = ["--page", str(page), "--data", str(folder)]
    assert script.main([*wanted, "--check"]) == 1
    assert "-old" in capsys.readouterr().out
    assert script.main(wanted) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Title\n")
    assert text.endswith("between\nlast\n")
    assert "3 photos, 1 methods, model `small`." in text
    assert script.main([*wanted, "--check"]) == 0
    assert "6 parts" in capsys.readouterr().out
    page.write_text(text.replace("0.625", "0.626"), encoding="utf-8")
    assert script.main([*wanted, "--check"]) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<!-- begin: small scores -->\n", "no <!-- end -->"),
        ("<!-- begin: small -->\n<!-- end -->\n", "its begin is not"),
        ("<!--begin: small scores -->\n<!-- end -->\n", "its begin is not"),
        ("nothing\n", "has no part"),
        ("<!-- begin: small means -->\n<!-- end -->\n", "is no table"),
        ("<!-- begin: other scores -->\n<!-- end -->\n", "make it by --gather OUT other"),
    ],
)
def test_what_is_wrong_is_said(script, folder, capsys, text, why):
    (folder / "page.md").write_text(text)
    assert script.main(["--page", str(folder / "page.md"), "--data", str(folder)]) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda about, _lines: about.pop("better"),
        lambda about, _lines: about.pop("model"),
        lambda about, _lines: about["variants"][0].pop("against"),
        lambda about, _lines: about["better"].update(insertion="upwards"),
        lambda about, _lines: about["better"].update(deletion="lower"),
        lambda _about, lines: lines[1]["values"].pop(),
        lambda _about, lines: lines[0].pop("image"),
        lambda _about, lines: lines.append([]),
    ],
)
def test_data_that_are_damaged_are_told(script, folder, capsys, change):
    about, *lines = map(json.loads, (folder / "small.jsonl").read_text().splitlines())
    change(about, lines)
    (folder / "small.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (about, *lines)))
    (folder / "page.md").write_text("<!-- begin: small scores -->\n<!-- end -->\n")
    assert script.main(["--page", str(folder / "page.md"), "--data", str(folder)]) == 1
    assert "small.jsonl is not what --gather makes" in capsys.readouterr().err


def test_files_that_cannot_be_read_are_told(script, folder, capsys):
    assert script.main(["--page", str(folder / "none.md"), "--data", str(folder)]) == 1
    assert "none.md" in capsys.readouterr().err
    (folder / "page.md").write_bytes(b"\xff")
    assert script.main(["--page", str(folder / "page.md"), "--data", str(folder)]) == 1
    assert "utf-8" in capsys.readouterr().err
    assert script.main(["--gather", str(folder), "few", "--data", str(folder)]) == 1
    assert str(folder) in capsys.readouterr().err


def test_gathered_from_an_evaluation(script, tmp_path):
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    out = tmp_path / "out"
    methods, metrics = ["rise(count=8)"], ["insertion(steps=4)", "deletion(steps=4)"]
    found = ix.evaluate(model(), tmp_path, methods, metrics, out=out)
    assert script.main(["--gather", str(out), "few", "--data", str(tmp_path / "data")]) == 0
    data = script.read_data(tmp_path / "data/few.jsonl")
    assert data.images == found.image_ids
    assert data.names == list(found.methods)
    for name in found.methods:
        for metric in found.metrics:
            np.testing.assert_allclose(data.of(name, metric), found.values(name, metric), rtol=1e-3)
    assert data.pairs == {"rise(count=8)": "IProp(rise(count=8))"}
    beaten = {(one.method, one.control) for one in found.against_controls()}
    assert beaten == {(one["name"], other) for one in data.about["variants"] for other in one["against"]}
    assert script.scores_table(data).count("→") == 2
    assert data.about["model"]


def test_the_page_is_what_the_data_say(script, capsys):
    assert script.main(["--check"]) == 0
