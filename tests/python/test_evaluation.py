import numpy as np
import pytest

import interpix as ix
from evaluation_models import model, write_photos
from interpix import metrics
from interpix.evaluation import worker

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
