"""The script that looks for a better variant of IProp, on a small model and on rows whose answer is known."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import interpix as ix
from evaluation_models import model, picture
from interpix import methods
from scripts import loaded


@pytest.fixture
def script():
    with loaded("variants") as module:
        yield module


@pytest.fixture
def small(script, monkeypatch):
    """Four variants, one method, a model that answers at once, and no processes."""
    few = [script.Variant(), script.Variant(blur=4), script.Variant(0.25, blur=3), script.Variant(1.0)]
    monkeypatch.setattr(script, "REFERENCES", few[:2])
    monkeypatch.setattr(script, "GRID", few[2:])
    monkeypatch.setattr(script, "VARIANTS", {one.name: one for one in few})
    monkeypatch.setattr(script, "METHODS", {"rise": methods.RISE(count=9), "edges": methods.Edges()})
    monkeypatch.setattr(script, "SURE", 0.0)
    monkeypatch.setattr(script, "network", lambda name: (model(), model()))
    asked = []

    def work(left, kept, options):
        for job in left:
            asked.append((job.network, job.photo, job.variants))
            rows = script.rows_of(job)
            kept += rows
            with options.rows.open("a") as file:
                file.write("".join(json.dumps(row) + "\n" for row in rows))

    monkeypatch.setattr(script, "work", work)
    return asked


def test_maps_are_propagated_then_blurred(script):
    photo = np.asarray(picture(3))
    maps = np.random.default_rng(0).random((2, *photo.shape[:2])).astype(np.float32)
    wanted = [script.Variant(), script.Variant(0.25, 0.9, blur=30), script.Variant(0.25, radius=4)]
    wanted.append(script.Variant(blur=20))
    found = dict(script.changed(maps, photo, wanted))
    # The longer side is 30: a 32nd of it is 1 pixel, and a blur of 224 pixels is one of 30.
    graph = ix.PixelGraph(photo, 1, color_weight=0.25)
    spread = graph.propagate(maps, discount=0.9).values
    np.testing.assert_allclose(found[wanted[1]][1], gaussian_filter(spread[1].astype(float), 30 * 30 / 224), rtol=1e-3)
    further = ix.propagate(maps, photo, radius=4, color_weight=0.25)
    np.testing.assert_allclose(found[wanted[2]], further, rtol=1e-3)
    np.testing.assert_array_equal(found[wanted[0]], maps)
    np.testing.assert_allclose(found[wanted[3]][0], gaussian_filter(maps[0].astype(float), 20 * 30 / 224), rtol=1e-6)


def test_names_tell_variants_apart(script):
    assert len(script.VARIANTS) == len(script.REFERENCES) + 1 + len(script.GRID)
    assert script.PAPERS.name in script.VARIANTS
    assert script.Variant(0.25, 0.9, 2, 3).name == "color 0.25, discount 0.9, radius 2, blur 3"


def rows_where(script, wins, photos=6):
    """Rows in which each variant's insertion, and all else, are what `wins` says, with a little noise on each photo."""
    random = np.random.default_rng(0)
    for number in range(photos):
        noise = random.normal(0, 0.01)
        for variant, gains in wins.items():
            for method in script.METHODS:
                values = {
                    metric: round(0.5 + sign * gain + noise + random.normal(0, 0.001), 5)
                    for (metric, sign), gain in zip(script.METRICS.items(), gains, strict=True)
                }
                half = "ab"[number % 2]
                about = {"network": script.FIRST, "photo": f"{number}.jpg", "half": half, "method": method}
                yield about | {"variant": variant} | values


def test_the_greatest_least_win_is_chosen(script, small, capsys):
    """The paper's wins by insertion and loses by deletion; the other wins a little by all four."""
    wins = {"raw": (0, 0, 0, 0), "blur 4": (-0.1, 0.1, 0, 0.1), "color 0.25, blur 3": (0.05, 0.15, 0.05, 0.15)}
    rows = list(rows_where(script, wins | {"color 1": (0.4, -0.2, 0.3, 0.3)}))
    table = script.Table(rows, script.FIRST, {row["photo"] for row in rows})
    assert script.ranked(table) == ["color 0.25, blur 3", "color 1"]
    references = table.references()
    assert references[0, 0] == "raw"
    assert references[0, 1] == references[1, 3] == "blur 4"
    found = table.wins("color 0.25, blur 3", references)
    np.testing.assert_allclose(found.mean(axis=1), 0.05, atol=0.003)
    script.tables(rows)
    said = capsys.readouterr().out
    assert "chosen on half a: color 0.25, blur 3" in said
    assert "lite0: color 0.25, blur 3 is confirmed" in said
    assert "lite1" not in said


def test_what_loses_where_it_was_chosen_is_not_confirmed(script, small, tmp_path, monkeypatch, capsys):
    wins = {"raw": (0, 0, 0, 0), "blur 4": (-0.1,) * 4, "color 0.25, blur 3": (0.1, -0.1, 0.1, 0.1)}
    rows = list(rows_where(script, wins | {"color 1": (0.4, -0.2, 0.3, 0.3)}))
    script.tables([row for row in rows if row["half"] == "a"])
    said = capsys.readouterr().out
    assert "chosen on half a: color 0.25, blur 3" in said
    assert "color 0.25, blur 3 loses on the half that has chosen it" in said
    assert "lite0, half a, against blur 4" in said
    monkeypatch.setattr(script, "photos_in", lambda _folder, _count: [(f"{n}.jpg", "ab"[n % 2]) for n in range(6)])
    monkeypatch.setattr(script, "FINALISTS", 2)
    kept, file = [row for row in rows if row["half"] == "a"], tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    script.main([str(file), "--photos", str(tmp_path)])
    assert not small
    with pytest.raises(FileNotFoundError, match=r"1\.jpg"):  # on to half b, whose photos are not there
        script.main([str(file), "--photos", str(tmp_path), "--confirm"])


def test_where_one_metric_leaves_photos_out(script, small):
    rows = list(rows_where(script, {"raw": (0, 0, 0, 0), "blur 4": (-0.1,) * 4, "color 1": (0.1,) * 4}))
    for row in rows:
        if row["photo"] == "0.jpg":
            row["aic"] = None
    table = script.Table(rows, script.FIRST, {row["photo"] for row in rows})
    assert (script.ratios(table.wins("color 1", table.references())) > 2).all()
    assert np.isnan(table.wins("color 1", table.references())).sum() == 1
    del rows[-1]  # of the last photo, one method of the last variant
    assert "color 1" not in script.Table(rows, script.FIRST, {row["photo"] for row in rows}).whole


def test_the_whole_goes_on_where_it_was(script, small, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for half, numbers in {"a": (0, 1, 2), "b": (3, 4)}.items():
        for number in numbers:
            picture(number).save(photos / f"{number}.png")
        lines = ["file_name,label", *(f"{number}.png,0" for number in numbers)]
        (photos / f"{half}.csv").write_text("\n".join(lines) + "\n")
    wanted = [str(tmp_path / "rows.jsonl"), "--photos", str(photos), "--count", "3", "--confirm"]
    script.main(wanted)
    assert "chosen on half a" in capsys.readouterr().out
    assert {network for network, _, _ in small} == {script.FIRST, script.SECOND}
    before = (tmp_path / "rows.jsonl").read_text()
    assert {json.loads(line)["half"] for line in before.splitlines()} == {"a", "b"}
    small.clear()
    script.main(wanted)
    assert not small
    # The last photo's rows are lost, of one the half of a line is left.
    lines = before.splitlines()
    last = json.loads(lines[-1])["photo"]
    kept = [line for line in lines if json.loads(line)["photo"] != last or json.loads(line)["network"] == "lite0"]
    (tmp_path / "rows.jsonl").write_text("\n".join(kept) + "\n" + lines[-1][:40])
    script.main(wanted)
    assert {(network, photo) for network, photo, _ in small} == {(script.SECOND, last)}
    assert "the last line was cut" in capsys.readouterr().err
    small.clear()
    script.main(wanted)
    assert not small
    script.main([wanted[0], "--tables"])
    assert "chosen on half a" in capsys.readouterr().out
