import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import evaluation_models
import interpix as ix
from evaluation_models import model, picture, write_marked, write_photos
from interpix import evaluation_page, metrics, progress
from interpix.evaluation import folder, rows, worker
from interpix.evaluation.folder import claim, kept_file
from interpix.evaluation.rows import Journal, read_journal
from interpix.evaluation_page import average_curves

METHODS = ["rise(count=40,grid=(3,4),baseline='zero')", "moxi(regions='2x3',stop='all')"]
METRICS = ["insertion(steps=7)", "sic(min_confidence=0)"]


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", 5)


def evaluate(source, out, **options):
    return ix.evaluate(options.pop("model", model()), source, METHODS, METRICS, out, **options)


def content(found):
    """All rows but for the seconds, which differ from run to run."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found.rows()]


def files(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_every_row_is_what_metric_and_method_say_alone(photos, tmp_path):
    found = evaluate(photos, tmp_path / "out", controls=False)
    assert found.image_ids == tuple(f"p{index:04}.png" for index in range(5))
    assert found.methods == (METHODS[0], f"IProp({METHODS[0]})", METHODS[1], f"IProp({METHODS[1]})")
    table = {(row["image"], row["method"], row["propagated"], row["metric"]): row for row in found.rows()}
    assert len(table) == len(found.rows()) == 5 * 4 * 2
    made = [metrics.Insertion(steps=7), metrics.SoftmaxInformation(min_confidence=0)]
    for name in found.image_ids:
        sample = metrics.Sample.of(model(), photos / name)
        for method, explainer in ix.comparison.specs.read_methods(METHODS).items():
            plain = explainer.explain(model(), photos / name)
            for propagated, attribution in ((False, plain), (True, plain.propagate())):
                for metric, one in zip(METRICS, made, strict=True):
                    row = table[name, method, propagated, metric]
                    score = one.score(sample, attribution.map)
                    np.testing.assert_equal(row["value"], None if score.skipped else score.value)
                    assert (row["status"], row["reason"]) == ("skipped" if score.skipped else "ok", score.skipped)
                    assert (row["target"], row["prediction"]) == (sample.target, sample.prediction)
                    assert row["probability"] == sample.probability
    values = np.array([table[name, METHODS[0], True, METRICS[0]]["value"] for name in found.image_ids])
    summary = found.summary(f"IProp({METHODS[0]})", METRICS[0])
    assert summary.mean == pytest.approx(values.mean())
    assert summary.error == pytest.approx(values.std(ddof=1) / np.sqrt(5))
    assert summary.count == 5
    assert files(tmp_path / "out")[:2] == ["answers.safetensors", "config.toml"]
    assert [path.split("/")[0] for path in files(tmp_path / "out")[2:]] == ["rows"]


def test_a_run_goes_on_where_it_was(photos, tmp_path, monkeypatch):
    whole = evaluate(photos, tmp_path / "whole")
    scored = []
    original = worker.Worker._score

    def stops(self, item, attempt):
        scored.append(item.id)
        if len(scored) == 3:
            raise KeyboardInterrupt
        return original(self, item, attempt)

    monkeypatch.setattr(worker.Worker, "_score", stops)
    with pytest.raises(KeyboardInterrupt):
        evaluate(photos, tmp_path / "out")
    part = ix.load_evaluation(tmp_path / "out")
    assert (part.images, part.total, part.is_finished) == (2, 5, False)
    monkeypatch.setattr(worker.Worker, "_score", original)
    again = evaluate(photos, tmp_path / "out")
    assert content(again) == content(whole)
    monkeypatch.setattr(worker.Worker, "_score", stops)
    assert content(evaluate(photos, tmp_path / "out")) == content(whole)
    assert scored == ["p0000.png", "p0001.png", "p0002.png"]
    assert {path.suffix for path in (tmp_path / "out" / "rows").iterdir()} == {".parquet"}


def test_processes_give_the_same_rows(photos, tmp_path):
    one = evaluate(photos, tmp_path / "one")
    assert content(evaluate(photos, tmp_path / "two", workers=2)) == content(one)
    assert {path.suffix for path in (tmp_path / "two" / "rows").iterdir()} == {".parquet"}


def test_parts_of_the_images_fill_one_folder(photos, tmp_path):
    whole = evaluate(photos, tmp_path / "whole")
    for part in ("1/2", "2/2"):
        assert evaluate(photos, tmp_path / "out", shard=part).images == {"1/2": 3, "2/2": 5}[part]
    assert content(ix.load_evaluation(tmp_path / "out")) == content(whole)


def test_what_goes_wrong_with_one_image_is_a_row(photos, tmp_path):
    (photos / "p0001.png").write_bytes((photos / "p0001.png").read_bytes()[:200])
    picture(7, white_corner=True).save(photos / "p0002.png")
    bad = model(evaluation_models.raises)
    found = evaluate(photos, tmp_path / "out", model=bad)
    reasons = found.failed()
    assert list(reasons) == ["p0001.png", "p0002.png"]
    assert "cannot be read" in reasons["p0001.png"]
    assert "it has met a white corner" in reasons["p0002.png"]
    assert found.images == 5
    assert found.summary(METHODS[0], METRICS[0]).count == 3
    assert any("images: 1 images failed" in line for line in found.left_out())
    picture(1).save(photos / "p0001.png")
    assert content(evaluate(photos, tmp_path / "out", model=bad)) == content(found)  # errors are rows, until --retry
    again = evaluate(photos, tmp_path / "out", model=bad, retry=True)
    assert list(again.failed()) == ["p0002.png"]
    assert {row["attempt"] for row in again.rows() if row["image"] == "p0001.png"} == {1}
    assert again.summary(METHODS[0], METRICS[0]).count == 4


def test_a_method_or_a_metric_that_raises_costs_its_own_rows(photos, tmp_path):
    class Picky:
        name, higher_is_better = "picky", True

        def score(self, sample, attribution):
            if attribution.max() <= 1:
                raise RuntimeError("too dark")
            return metrics.ImageScore(self.name, 1.0, higher_is_better=True)

        def aggregate(self, scores):
            raise AssertionError

    def breaks(module, image, target):
        raise ZeroDivisionError("in vain")

    def zero(module, image, target):
        return np.zeros(image.shape[1:])

    found = ix.evaluate(
        model(),
        photos,
        {"breaks": breaks, "zero": zero, "moxi": ix.methods.MoXIMap(regions="2x3")},
        {"picky": Picky(), "insertion": metrics.Insertion(steps=3)},
        tmp_path / "out",
        controls=False,
    )
    cells = {
        (row["method"], row["propagated"], row["metric"]): (row["status"], row["reason"])
        for row in found.rows()
        if row["image"] == "p0000.png"
    }
    assert cells["breaks", False, None] == ("failed", "ZeroDivisionError: in vain")
    assert cells["breaks", True, None] == ("failed", "breaks failed")
    assert cells["zero", False, "picky"] == ("failed", "RuntimeError: too dark")
    assert cells["zero", False, "insertion"] == ("ok", None)
    assert found.failed() == {}


def test_a_process_that_dies_is_replaced_and_its_image_told(photos, tmp_path):
    picture(7, white_corner=True).save(photos / "p0002.png")
    found = evaluate(photos, tmp_path / "out", model=model(evaluation_models.kills), workers=2)
    assert list(found.failed()) == ["p0002.png"]
    assert "ended 3 times: it may need more memory" in found.failed()["p0002.png"]
    sound = evaluate(photos, tmp_path / "sound", model=model())
    rows = [row for row in content(sound) if row["image"] != "p0002.png"]
    assert [row for row in content(found) if row["image"] != "p0002.png"] == rows


def test_a_model_that_no_process_can_have_is_refused(photos, tmp_path):
    own = ix.CallableClassifier(lambda batch: 2 * batch.mean((2, 3)), preprocess=evaluation_models.preprocess)
    with pytest.raises(ix.ArgumentError, match="`workers`: expected 1, or a model and methods that other processes"):
        evaluate(photos, tmp_path / "out", model=own, workers=2)


def test_a_model_that_fails_always_ends_the_run(tmp_path):
    photos = write_photos(tmp_path / "photos", 25, bad=range(25))
    with pytest.raises(ix.ModelError, match=r"none of the first 20 images could be scored, the last: .*white corner"):
        evaluate(photos, tmp_path / "out", model=model(evaluation_models.raises))
    assert ix.load_evaluation(tmp_path / "out").images == 20


def test_another_configuration_gets_another_folder(photos, tmp_path):
    evaluate(photos, tmp_path / "out")
    with pytest.raises(ix.ArgumentError, match=r"`out`: .* one of another: options.seed was 0 and is 1; choose"):
        evaluate(photos, tmp_path / "out", seed=1)
    with pytest.raises(ix.ArgumentError, match=r"one of another: metrics\.insertion"):
        ix.evaluate(model(), photos, METHODS, "deletion", tmp_path / "out")

    def means(batch):
        return 2 * evaluation_models.means(batch)

    other = ix.CallableClassifier(
        means, name="means", class_names=evaluation_models.CLASSES, preprocess=evaluation_models.preprocess
    )
    with pytest.raises(ix.ArgumentError, match="one of a model of this name that answered otherwise"):
        evaluate(photos, tmp_path / "out", model=other)


def test_a_function_that_was_edited_is_another_method(photos, tmp_path):
    def run(function):
        return ix.evaluate(model(), photos, {"mine": function}, METRICS[0], tmp_path / "out", controls=False)

    def mine(sign):
        return lambda model, image, target: sign * image[0]

    first = run(lambda model, image, target: image[0])
    assert content(run(lambda model, image, target: image[0])) == content(first)
    for other in (lambda model, image, target: image[1], lambda model, image, target: -image[0], mine(1)):
        with pytest.raises(ix.ArgumentError, match=r"one of another: code\.mine was"):
            run(other)


def test_the_second_of_two_runs_is_told(photos, tmp_path):
    with claim(tmp_path / "out", (1, 1)):
        with pytest.raises(ix.ArgumentError, match=rf"to which process {os.getpid()} on .* is writing"):
            evaluate(photos, tmp_path / "out")
        assert evaluate(photos, tmp_path / "out", shard="1/2").images == 3  # another part


def test_an_image_with_another_label_is_scored_again(photos, tmp_path):
    table = photos / "metadata.csv"
    table.write_text("file_name,label\np0000.png,red\np0001.png,green\n")
    first = evaluate(photos, tmp_path / "out")
    assert {row["image"]: row["target"] for row in first.rows()} == {"p0000.png": 0, "p0001.png": 1}
    table.write_text("file_name,label\np0000.png,bright\np0001.png,green\n")
    second = evaluate(photos, tmp_path / "out")
    assert {row["image"]: row["target"] for row in second.rows()} == {"p0000.png": 2, "p0001.png": 1}
    assert [row for row in content(second) if row["image"] == "p0001.png"] == [
        row for row in content(first) if row["image"] == "p0001.png"
    ]


def test_maps_and_curves_are_kept_beside(photos, tmp_path):
    found = evaluate(photos, tmp_path / "out", maps=True, curves=True)
    maps = ix.results.load_all(tmp_path / "out" / "maps" / "p0003.png.safetensors")
    assert tuple(one.method for one in maps) == found.methods
    plain = ix.methods.MoXIMap(regions="2x3", stop="all").explain(model(), photos / "p0003.png")
    np.testing.assert_array_equal(maps[3].map, plain.map)
    page = found.report()
    text = page.read_text()
    assert "Images that stand out" in text
    assert sorted(path.name for path in page.parent.glob("*.png")) == [
        "curves-1.png",
        "curves-2.png",
        *(f"image-{index}.png" for index in range(1, 6)),
    ]
    numbers = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert numbers["table"][METHODS[0]][METRICS[0]]["mean"] == found.summary(METHODS[0], METRICS[0]).mean
    score = metrics.Insertion(steps=7).score(metrics.Sample.of(model(), photos / "p0003.png"), plain.map)
    from interpix.storage import read_arrays

    arrays, about = read_arrays(tmp_path / "out" / "curves" / "p0003.png.safetensors")
    index = about["curves"].index([METHODS[1], METRICS[0]])
    np.testing.assert_array_equal(arrays[str(index)], [score.curve.x, score.curve.y])


def test_seconds_are_those_of_maps(photos, tmp_path):
    found = evaluate(photos, tmp_path / "out", controls=False)
    for method, propagated in ((METHODS[0], False), (METHODS[1], True)):
        rows = [row for row in found.rows() if (row["method"], row["propagated"]) == (method, propagated)]
        taken = {row["image"]: row["seconds"] for row in rows}
        assert len(rows) == 2 * len(taken) == 10
        summary = found.seconds[f"IProp({method})" if propagated else method]
        assert summary.mean == pytest.approx(np.mean(list(taken.values())))
        assert summary.count == 5
    page = found.report()
    written = json.loads((page.parent / "seconds.json").read_text())["seconds"]
    assert written[METHODS[0]]["mean"] == found.seconds[METHODS[0]].mean
    assert f"<td>{found.seconds[METHODS[1]].mean:.3g}</td></tr>" in page.read_text()
    with pytest.raises(ix.ArgumentError, match=r"an image whose maps were kept, got 'p0001\.png'"):
        found.maps("p0001.png")


def test_a_full_disk_is_one_error(photos, tmp_path, monkeypatch):
    def full(self, image, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "finish", full)
    with pytest.raises(
        ix.ArgumentError, match=r"`out`: .*No space left on device.*; make room, and start the run again"
    ):
        evaluate(photos, tmp_path / "out")
    monkeypatch.undo()
    assert evaluate(photos, tmp_path / "out").is_finished


def test_no_room_is_told_first(photos, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(ix.ArgumentError, match=r"`out`: expected . MiB of free space"):
        evaluate(photos, tmp_path / "out")


def test_a_line_that_was_cut_is_not_there(tmp_path):
    journal = Journal(tmp_path, "run")
    journal.start("a")
    row = dict.fromkeys(rows.COLUMNS) | {"image": "a", "status": "ok", "value": 0.1 + 0.2}
    journal.finish("a", [row])
    journal._file.close()
    path = next(tmp_path.iterdir())
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        kept = read_journal(path)
        assert kept.finished == ({"a"} if length == len(whole) - 1 else set())
    path.write_bytes(whole + whole[:30])
    assert read_journal(path).rows == [row]
    rows.into_shard(path)
    assert [one.suffix for one in tmp_path.iterdir()] == [".parquet"]


def test_a_journal_beside_its_shard_counts_once(photos, tmp_path, monkeypatch):
    """Killed after a shard had its name, and before the journal was gone."""
    from pathlib import Path

    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda self, **_: None if self.suffix == ".jsonl" else unlink(self, **_))
    first = evaluate(photos, tmp_path / "out")
    assert {path.suffix for path in (tmp_path / "out" / "rows").iterdir()} == {".jsonl", ".parquet"}
    monkeypatch.undo()
    assert content(ix.load_evaluation(tmp_path / "out")) == content(first)
    assert content(evaluate(photos, tmp_path / "out")) == content(first)
    assert {path.suffix for path in (tmp_path / "out" / "rows").iterdir()} == {".parquet"}


def test_controls_are_rows_and_are_told(photos, tmp_path):
    found = evaluate(photos, tmp_path / "out")
    assert found.controls == (f"blur({METHODS[0]})", f"blur({METHODS[1]})", "random", "IProp(random)", "edges")
    beaten = {(one.method, one.control, one.metric): one for one in found.against_controls()}
    one = beaten[f"IProp({METHODS[0]})", f"blur({METHODS[0]})", METRICS[0]]
    difference = found.values(one.method, METRICS[0]) - found.values(one.control, METRICS[0])
    assert one.by.mean == pytest.approx(difference.mean())
    assert one.by.error == pytest.approx(difference.std(ddof=1) / np.sqrt(5))
    unsure = [line for line in str(found).splitlines() if line.endswith((" from it", " by it"))]
    assert len(unsure) == sum(not two.is_sure for two in beaten.values() if two.by.count > 1)
    assert unsure
    assert {(METHODS[0], "random"), (METHODS[0], "edges"), (f"IProp({METHODS[0]})", "IProp(random)")} <= {
        pair[:2] for pair in beaten
    }


def test_files_of_an_image_stay_in_the_folder(tmp_path):
    """Whatever its id is: a table may name photos anywhere."""
    photos = write_photos(tmp_path / "deep" / "photos", 2)
    picture(5).save(tmp_path / "deep" / "above.png")
    picture(6).save(photos / 'odd % "name".png')
    names = ["../above.png", str(photos / "p0001.png"), 'odd % "name".png', "p0000.png"]
    table = photos / "list.jsonl"
    table.write_text("\n".join(json.dumps({"file_name": name}) for name in names))
    out = tmp_path / "deep" / "out"
    before = set(files(tmp_path))
    found = evaluate(table, out, maps=True, curves=True)
    page = found.report()
    assert {name for name in set(files(tmp_path)) - before if not name.startswith("deep/out/")} == set()
    assert len(list((out / "maps").rglob("*.safetensors"))) == len(list((out / "curves").rglob("*.safetensors"))) == 4
    assert not list(out.glob("*.png.safetensors"))
    assert page.read_text().count('alt="The photo ') == 4
    for name in names:
        assert ix.results.load_all(kept_file(out, "maps", name))[0].image.shape == (24, 30, 3)
    odd = ["a", "./a", "a/../b", "b", "/b", "", "..", "%2E%2E", "a:b", "a%3Ab", "x" * 300, "x" * 301, "\n"]
    kept = [kept_file(out, "maps", one) for one in odd]
    assert len(set(kept)) == len(odd)
    assert all(one.resolve() == one and one.is_relative_to(out / "maps") for one in kept)
    assert max(len(part) for one in kept for part in one.relative_to(out).parts) < 255


def test_a_name_does_not_make_a_method_iprop(photos, tmp_path):
    own = {"m": ix.methods.MoXIMap(regions="2x3"), "IProp(m)": ix.methods.MoXIOneShot(regions="2x3")}
    methods = {**own, "mine": ix.propagated(ix.methods.MoXIMap(regions="2x3"))}
    found = ix.evaluate(model(), photos, methods, METRICS[0], tmp_path / "out", propagate=False)
    assert {row["method"]: row["propagated"] for row in found.rows()} == {
        "m": False,
        "IProp(m)": False,
        "mine": True,
        "random": False,
        "edges": False,
    }
    assert found.methods == ("m", "IProp(m)", "mine", "random", "edges")
    against = [(one.method, one.control) for one in found.against_controls()]
    assert against == [("m", "random"), ("m", "edges"), ("IProp(m)", "random"), ("IProp(m)", "edges")]
    assert found.summary("IProp(m)", METRICS[0]) != found.summary("mine", METRICS[0])
    assert found.origins["mine"] == ("mine", True)


def test_curves_and_maps_may_be_asked_for_later(photos, tmp_path):
    (photos / "p0004.png").write_bytes(b"no photo")
    first = evaluate(photos, tmp_path / "out")
    with pytest.warns(UserWarning, match="4 finished images have no curves and maps and are done again for them"):
        second = evaluate(photos, tmp_path / "out", curves=True, maps=True)
    assert [row["value"] for row in second.rows()] == [row["value"] for row in first.rows()]
    assert {row["attempt"] for row in second.rows() if row["image"] != "p0004.png"} == {1}
    for kind in ("curves", "maps"):
        assert len(list((tmp_path / "out" / kind).iterdir())) == 4
    assert second.config["run"]["maps"]
    # All is there, and nothing is done again, asked for or not.
    assert content(evaluate(photos, tmp_path / "out", curves=True, maps=True)) == content(second)
    assert content(evaluate(photos, tmp_path / "out")) == content(second)


def test_what_was_kept_stays_when_something_else_is_asked_for(photos, tmp_path):
    out = tmp_path / "out"
    evaluate(photos, out, maps=True)
    before = {path.name: path.read_bytes() for path in (out / "maps").iterdir()}
    with pytest.warns(UserWarning, match="5 finished images have no curves and are done again for them"):
        evaluate(photos, out, curves=True)
    assert {path.name: path.read_bytes() for path in (out / "maps").iterdir()} == before
    assert len(list((out / "curves").iterdir())) == 5
    (out / "curves" / "p0002.png.safetensors").unlink()
    with pytest.warns(UserWarning, match="1 finished images have no curves and are done again for them"):
        evaluate(photos, out, curves=True, maps=True)
    assert len(list((out / "maps").iterdir())) == len(list((out / "curves").iterdir())) == 5


def test_a_shard_that_was_damaged_is_told_before_anything_is_done(photos, tmp_path):
    out = tmp_path / "out"
    evaluate(photos, out)
    (shard,) = (out / "rows").glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(ix.ArgumentError, match=r"`out`: expected shards that can be read, got '.*parquet.*remove it"):
        evaluate(photos, out)


def test_maps_that_are_not_there_say_why(photos, tmp_path):
    (photos / "p0004.png").write_bytes(b"no photo")
    found = evaluate(photos, tmp_path / "out", maps=True)
    assert found.maps("p0003.png")
    with pytest.raises(ix.ArgumentError, match=r"'p0004.png', which failed: .*; pass retry=True \(--retry\)"):
        found.maps("p0004.png")
    with pytest.raises(ix.ArgumentError, match=r"`image`: expected an image of this evaluation, got 'p0009.png'"):
        found.maps("p0009.png")
    plain = evaluate(photos, tmp_path / "other")
    with pytest.raises(ix.ArgumentError, match=r"got 'p0003.png'; pass maps=True"):
        plain.maps("p0003.png")


def test_files_of_a_label_that_was_changed_are_gone(photos, tmp_path):
    table = photos / "metadata.csv"
    table.write_text("file_name,label\np0000.png,red\np0001.png,green\n")
    evaluate(photos, tmp_path / "out", maps=True)
    table.write_text("file_name,label\np0000.png,bright\np0001.png,green\n")
    found = evaluate(photos, tmp_path / "out")
    # Maps of it were there: now they are those of the other label.
    assert files(tmp_path / "out" / "maps") == ["p0000.png.safetensors", "p0001.png.safetensors"]
    assert {one.target for one in found.maps("p0000.png").values()} == {model().class_names.index("bright")}


def test_rows_are_kept_by_the_names_of_columns(photos, tmp_path):
    import pyarrow.parquet as pq

    first = evaluate(photos, tmp_path / "out")
    (path,) = (tmp_path / "out" / "rows").iterdir()
    table = pq.read_table(path)
    turned = table.select(table.column_names[::-1]).append_column("more", [[1] * len(table)])
    pq.write_table(turned, path)
    assert ix.load_evaluation(tmp_path / "out").rows() == first.rows()
    assert content(evaluate(photos, tmp_path / "out")) == content(first)
    journal = path.with_suffix(".jsonl")
    names = list(rows.COLUMNS)[::-1]
    record = {"image": "p", "columns": names, "rows": [[row[name] for name in names] for row in first.rows()]}
    journal.write_bytes(rows._line(record))
    assert read_journal(journal).rows == first.rows()
    journal.unlink()
    pq.write_table(table.drop_columns(["control", "key"]), path)
    for call in (ix.load_evaluation, lambda out: evaluate(photos, out)):
        with pytest.raises(
            ix.ArgumentError, match=r"`out`: expected shards with all columns, got .* without control, key"
        ):
            call(tmp_path / "out")
    path.write_bytes(b"PAR1")
    with pytest.raises(ix.ArgumentError, match="`out`: expected shards that can be read, got"):
        ix.load_evaluation(tmp_path / "out")


def test_the_first_of_an_images_last_attempts_counts(photos, tmp_path):
    """A worker was killed after its rows were kept, and another did the image again."""
    evaluate(photos, tmp_path / "out")
    (path,) = (tmp_path / "out" / "rows").iterdir()
    kept = rows.read_shard(path).cast(rows.schema()).to_pylist()
    for name, attempt, value in (("b", 1, 0.25), ("c", 1, 0.5), ("d", 0, 0.75)):
        again = [row | {"attempt": attempt, "value": value} for row in kept if row["image"] == "p0002.png"]
        journal = Journal(path.parent, name)
        journal.finish("p0002.png", again)
        journal.close()
    found = ix.load_evaluation(tmp_path / "out")
    assert {(row["attempt"], row["value"]) for row in found.rows() if row["image"] == "p0002.png"} == {(1, 0.25)}
    assert [row for row in found.rows() if row["image"] != "p0002.png"] == [
        row for row in kept if row["image"] != "p0002.png"
    ]


def test_a_fault_in_another_parts_rows_is_heard(photos, tmp_path, monkeypatch):
    evaluate(photos, tmp_path / "out", shard="1/2")
    journal = Journal(tmp_path / "out" / "rows", "2of2-killed")
    journal.start("p0001.png")
    journal._file.close()

    def broken(path):
        raise ValueError(f"pyarrow cannot write {path.name}")

    monkeypatch.setattr(folder, "into_shard", broken)
    with pytest.raises(ValueError, match="pyarrow cannot write 2of2-killed"):
        evaluate(photos, tmp_path / "out", shard="1/2")
    monkeypatch.undo()
    with claim(tmp_path / "out", (2, 2)):  # whose rows are nobody else's
        evaluate(photos, tmp_path / "out", shard="1/2")
        assert journal._path.exists()
    evaluate(photos, tmp_path / "out", shard="1/2")
    assert not journal._path.exists()


def test_a_damaged_file_of_maps_or_curves_is_told(photos, tmp_path):
    found = evaluate(photos, tmp_path / "out", maps=True, curves=True)
    for kind in ("maps", "curves"):
        path = tmp_path / "out" / kind / "p0003.png.safetensors"
        path.write_bytes(path.read_bytes()[:-4])
    text = found.report().read_text()
    assert "maps of p0003.png: `path`: expected" in text
    assert "curves of p0003.png: `path`: expected" in text
    with pytest.raises(ix.ArgumentError, match="p0003"):
        average_curves(found)


def test_curves_are_of_images_from_all_over(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_page, "_CURVE_IMAGES", 3)
    found = evaluate(photos, tmp_path / "out", curves=True)
    for name in ("p0001.png", "p0003.png"):
        (tmp_path / "out" / "curves" / f"{name}.safetensors").unlink()
    some = average_curves(found)[METRICS[0]][METHODS[1]]
    (tmp_path / "out" / "curves" / "p0004.png.safetensors").unlink()
    assert not np.array_equal(average_curves(found)[METRICS[0]][METHODS[1]], some)


def test_the_time_left_may_be_days(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_tqdm", lambda *_: None)
    clock = iter([0.0, 100.0, 100.0, 100.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    counter = progress.ProgressCounter("evaluate", "images", enabled=True, total=5000)
    counter.add(2)
    assert capsys.readouterr().err == "\revaluate: 2 of 5000 images, 0.02/s, 69:25:00 left"


@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_rows(photos, tmp_path):
    pytest.importorskip("ray")
    picture(7, white_corner=True).save(photos / "p0002.png")
    one = evaluate(photos, tmp_path / "one", model=model(evaluation_models.kills), workers=2)
    found = evaluate(photos, tmp_path / "ray", model=model(evaluation_models.kills), workers=2, engine="ray")
    assert list(found.failed()) == ["p0002.png"]  # whose actor died three times
    assert content(found) == content(one)
    assert {path.suffix for path in (tmp_path / "ray" / "rows").iterdir()} == {".parquet"}


KILLED = """
import sys
import interpix as ix
from evaluation_models import model, stops
if __name__ == "__main__":
    ix.evaluate(model(stops), sys.argv[1], ["moxi(regions='2x3')"], "insertion(steps=7)", sys.argv[2], workers=2)
"""


def test_a_killed_run_goes_on(tmp_path):
    """The parent, with its workers: nothing is lost but the images in flight, and nothing is left over."""
    photos, out = write_photos(tmp_path / "photos", 16), tmp_path / "out"
    for number in (3, 9):
        write_marked(photos / f"p{number:04}.png", number)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    path = os.pathsep.join([str(p) for p in sys.path if p])
    command = [sys.executable, str(script), str(photos), str(out)]
    environment = os.environ | {"PYTHONPATH": path}
    for number in (3, 9):
        sign = tmp_path / f"stopped-{number}"
        stop = {"STOP_AT": str(number), "STOPPED": str(sign)}
        with subprocess.Popen(command, env=environment | stop) as process:
            # In the middle of this image, wherever the other worker is.
            while process.poll() is None and not sign.exists():
                time.sleep(0.02)
            assert process.poll() is None
            process.kill()
        part = ix.load_evaluation(out)
        assert f"p{number:04}.png" not in part.image_ids
        assert part.images >= number - 1  # all before it, but for one of the other worker's
    subprocess.run(command, env=environment | {"STOP_AT": "-1"}, check=True)
    whole = ix.evaluate(model(), photos, ["moxi(regions='2x3')"], "insertion(steps=7)", tmp_path / "whole")
    assert content(ix.load_evaluation(out)) == content(whole)
    assert [name.split("/")[0] for name in files(out)] == ["answers.safetensors", "config.toml"] + ["rows"] * (
        len(files(out)) - 2
    )
    assert {path.suffix for path in (out / "rows").iterdir()} == {".parquet"}
