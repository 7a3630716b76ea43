import html
import io
import json
import tarfile
import tomllib

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from evaluation_models import CLASSES, SIZE, means, model, picture, preprocess, write_photos
from interpix.cli import main
from interpix.evaluation import run
from interpix.evaluation.called import called
from interpix.evaluation.items import Item
from interpix.evaluation.labels import with_targets
from interpix.evaluation.on_ray import _require_gpus
from interpix.evaluation.sources import read_source

MOXI = "moxi(regions='2x3')"


def evaluate(source, out, metrics="insertion(steps=3)", **options):
    return ix.evaluate(
        options.pop("model", model()), source, MOXI, metrics, out, propagate=False, controls=False, **options
    )


def targets(found):
    return {row["image"]: row["target"] for row in found.rows()}


def class_folders(folder):
    for number, (name, label) in enumerate([("a", "red"), ("a", "green"), ("b", "green")]):
        (folder / label).mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / label / f"{name}.png")
    return folder


def mask(left, right):
    inside = np.zeros(SIZE, np.uint8)
    inside[2:20, left:right] = 255
    return Image.fromarray(inside)


def test_class_folders_name_the_classes(tmp_path):
    photos = class_folders(tmp_path / "photos")
    (photos / "red" / "notes.txt").write_text("no photo")
    found = evaluate(photos, tmp_path / "out")
    assert targets(found) == {"green/a.png": 1, "green/b.png": 1, "red/a.png": 0}
    predicted = evaluate(photos, tmp_path / "predicted", labels=False)
    assert targets(predicted) == {row["image"]: row["prediction"] for row in predicted.rows()}


def test_photos_beside_folders_have_no_label(tmp_path):
    photos = class_folders(tmp_path / "photos")
    picture(9).save(photos / "c.png")
    assert [item.target for item in read_source(photos).items] == [None] * 4


def test_folders_of_synsets_are_in_the_order_of_classes(tmp_path):
    for index, name in enumerate(["n00000002", "n00000009", "n00000005"]):
        write_photos(tmp_path / "val" / name, 1 + (index == 0))
    assert targets(evaluate(tmp_path / "val", tmp_path / "out")) == {
        "n00000002/p0000.png": 0,
        "n00000002/p0001.png": 0,
        "n00000005/p0000.png": 1,
        "n00000009/p0000.png": 2,
    }


def voc(name, *boxes):
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    return f"<annotation><size><width>30</width><height>24</height></size>{objects}</annotation>"


def imagenet(folder):
    """The validation set as it is downloaded: one folder of photos, one of XML files."""
    photos = write_photos(folder / "ILSVRC2012_img_val", 2)
    (folder / "val").mkdir()
    (folder / "val" / "p0000.xml").write_text(voc("n00000009", (2, 3, 20, 18), (20, 0, 30, 5)))
    (folder / "val" / "p0001.xml").write_text(voc("n00000002", (0, 0, 10, 24)))
    words = folder / "synset_words.txt"
    words.write_text("n00000002 red thing, thing\nn00000005 green thing\nn00000009 bright thing\n")
    return photos, folder / "val", words


def test_imagenet_as_it_is_downloaded(tmp_path):
    photos, xml, words = imagenet(tmp_path)
    found = evaluate(photos, tmp_path / "out", ["roc_auc", "pointing_game"], annotations=xml, classes=words)
    assert targets(found) == {"p0000.png": 2, "p0001.png": 0}
    boxes = {"p0000.png": [(2, 3, 20, 18), (20, 0, 30, 5)], "p0001.png": [(0, 0, 10, 24)]}
    for row in found.rows():
        sample = ix.metrics.Sample.of(model(), photos / row["image"], row["target"], annotation=boxes[row["image"]])
        explained = ix.methods.MoXIMap(regions="2x3").explain(model(), photos / row["image"], row["target"])
        assert row["value"] == ix.metrics.METRICS[row["metric"]]().score(sample, explained.map).value
    with pytest.raises(ix.ArgumentError, match=r"labels that are classes of the model, got .*n00000002.*pass classes="):
        evaluate(photos, tmp_path / "other", annotations=xml)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_tables_say_labels_masks_and_boxes(tmp_path, kind):
    photos = write_photos(tmp_path / "photos", 3)
    mask(3, 12).save(photos.parent / "m.png")
    rows = [
        {"file_name": "photos/p0002.png", "label": "green", "mask": "m.png", "boxes": None, "other": 1},
        {"file_name": "photos/p0000.png", "label": "2", "mask": None, "boxes": [[1, 2, 9, 12]], "other": 2},
    ]
    table = tmp_path / f"list.{kind}"
    if kind == "csv":
        lines = ["file_name,label,mask,boxes,other", "photos/p0002.png,green,m.png,,1"]
        table.write_text("\n".join([*lines, 'photos/p0000.png,2,,"[1, 2, 9, 12]",2', ""]))
    elif kind == "jsonl":
        table.write_text("\n".join(map(json.dumps, rows)))
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), table)
    assert read_source(table).items == [
        Item("photos/p0002.png", "photos/p0002.png", "green", "m.png"),
        Item("photos/p0000.png", "photos/p0000.png", "2", None, ((1, 2, 9, 12),)),
    ]
    found = evaluate(table, tmp_path / "out", "roc_auc")
    assert targets(found) == {"photos/p0000.png": 2, "photos/p0002.png": 1}
    assert {row["status"] for row in found.rows()} == {"ok"}


@pytest.mark.filterwarnings("ignore")
def test_data_sets_of_hugging_face(tmp_path):
    datasets = pytest.importorskip("datasets")
    columns = {
        "image": [picture(index) for index in range(3)],
        "label": [2, 0, -1],
        "mask": [mask(1, 9), mask(3, 20), mask(2, 4)],
    }
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES), "mask": datasets.Image()}
    )
    data = datasets.Dataset.from_dict(columns, features=features)
    found = evaluate(data, tmp_path / "out", "roc_auc")
    prediction = found.rows()[2]["prediction"]
    assert targets(found) == {"00000000": 2, "00000001": 0, "00000002": prediction}
    data.save_to_disk(tmp_path / "saved")
    saved = evaluate(tmp_path / "saved", tmp_path / "again", "roc_auc", workers=2)
    assert [row["value"] for row in saved.rows()] == [row["value"] for row in found.rows()]
    other = read_source(data.cast_column("label", datasets.ClassLabel(names=["x", "y", "z"])))
    names = {"label_names": other.label_names}
    assert [one.target for one in with_targets(other.items, None, 3, **names)] == [2, 0, None]
    assert [one.target for one in with_targets(other.items, CLASSES, 3, classes=["z", "y", "x"], **names)] == [
        0,
        2,
        None,
    ]
    with pytest.raises(ix.ArgumentError, match="labels that are among the model's 3 classes, got 3 others, as x, y, z"):
        with_targets(other.items, CLASSES, 3, **names)
    more = data.cast_column("label", datasets.ClassLabel(names=["x", "y", "z", "w"]))
    with pytest.raises(ix.ArgumentError, match="labels that are among the model's 3 classes, got 4 others"):
        evaluate(more, tmp_path / "more")
    with pytest.raises(ix.ArgumentError, match="a column of images"):
        evaluate(data.remove_columns(["image", "mask"]), tmp_path / "none")


def test_tar_files(tmp_path):
    pytest.importorskip("webdataset")
    with tarfile.open(tmp_path / "a-0.tar", "w") as tar:
        for name, content in {
            "x/1.png": png(picture(1)),
            "x/1.cls": b"2\n",
            "x/1.mask.png": png(mask(2, 9)),
            "x/2.png": png(picture(2)),
            "x/2.json": json.dumps({"label": "red", "boxes": [[0, 0, 5, 5]]}).encode(),
            "x/3.txt": b"no photo",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    found = evaluate(tmp_path / "a-0.tar", tmp_path / "out", "roc_auc")
    assert targets(found) == {"x/1": 2, "x/2": 0}
    assert {row["status"] for row in found.rows()} == {"ok"}
    alone = ix.metrics.Sample.of(model(), picture(1), 2, annotation=mask(2, 9))
    explained = ix.methods.MoXIMap(regions="2x3").explain(model(), picture(1), 2)
    assert found.rows()[0]["value"] == ix.metrics.RocAuc().score(alone, explained.map).value
    (tmp_path / "a-1.tar").write_bytes((tmp_path / "a-0.tar").read_bytes())
    both = read_source(str(tmp_path / "a-{0..1}.tar")).items
    assert [one.id for one in both] == ["a-0.tar/x/1", "a-0.tar/x/2", "a-1.tar/x/1", "a-1.tar/x/2"]
    assert [one.id for one in read_source(tmp_path).items] == [one.id for one in both]
    (tmp_path / "a-1.tar").write_bytes(b"nothing")
    with pytest.raises(ix.ArgumentError, match="tar files that can be read"):
        read_source(tmp_path)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def photos_with(text):
    def make(folder):
        write_photos(folder / "photos", 2)
        (folder / "photos" / "metadata.csv").write_text(text)
        return folder / "photos"

    return make


def empty(folder):
    (folder / "photos").mkdir()
    return folder / "photos"


def two_of_one_name(folder):
    photos = write_photos(folder / "photos", 1)
    (photos / "metadata.csv").write_text("file_name\np0000.png\np0000.png\n")
    return photos


def photos_with_odd_name(folder):
    write_photos(folder / "photos", 1)
    (folder / "list.jsonl").write_text(json.dumps({"file_name": "photos/p0000.png"}))
    picture(1).save(folder / "\udcff.png")
    (folder / "list.jsonl").write_text(json.dumps({"file_name": "\udcff.png"}))
    return folder / "list.jsonl"


BAD = {
    "empty": (empty, {}, "`source`: expected images, got none in"),
    "missing": (lambda folder: folder / "no", {}, "a folder or file that exists"),
    "no source": (lambda folder: 3, {}, "`source`: expected a folder, a manifest, tar files or a data set, got int"),
    "a photo": (lambda folder: write_photos(folder, 1) / "p0000.png", {}, "put photos into a folder"),
    "no column": (
        photos_with("name\np0000.png\n"),
        {},
        "a table with the column file_name, got 'metadata.csv' with name",
    ),
    "no such file": (photos_with("file_name\nq.png\n"), {}, "files that exist, got 'metadata.csv' with 'q.png'"),
    "an empty name": (photos_with("file_name,label\n,red\n"), {}, "a file_name in every row, got none in row 1"),
    "twice": (two_of_one_name, {}, "each image once, got p0000.png twice"),
    "strange label": (
        photos_with("file_name,label\np0000.png,blue\n"),
        {},
        r"labels that are classes of the model, got 'blue'.*; pass classes=",
    ),
    "no such class": (photos_with("file_name,label\np0000.png,7\n"), {}, "classes of the model, got 7"),
    "box turned": (photos_with('file_name,boxes\np0000.png,"[9, 2, 3, 4]"\n'), {}, "beyond left and top, got"),
    "box too far": (
        photos_with('file_name,boxes\np0000.png,"[1, 2, 31, 4]"\n'),
        {},
        r"inside of 24 x 30 pixels, got \(1, 2, 31, 4\).*'p0000.png'",
    ),
    "no box": (photos_with("file_name,boxes\np0000.png,[1]\n"), {}, "boxes .left, top, right, bottom."),
    "no annotations": (lambda folder: write_photos(folder, 1), {"metrics": "roc_auc"}, "masks or boxes for roc_auc"),
    "shard 0": (lambda folder: write_photos(folder, 1), {"shard": "0/2"}, "`shard`: expected i/n with i in 1 ... n"),
    "shard": (lambda folder: write_photos(folder, 1), {"shard": "a"}, "`shard`: expected i/n"),
    "workers": (lambda folder: write_photos(folder, 1), {"workers": 0}, "`workers`: expected a positive integer"),
    "engine": (lambda folder: write_photos(folder, 1), {"engine": "dask"}, '`engine`: expected "local" or "ray"'),
    "gpus": (lambda folder: write_photos(folder, 1), {"gpus": 1}, '`gpus`: expected 0 with engine="local", got 1'),
    "gpus below": (lambda folder: write_photos(folder, 1), {"gpus": -1, "engine": "ray"}, "`gpus`: .* got -1"),
    "gpus in part": (lambda folder: write_photos(folder, 1), {"gpus": 1.5, "engine": "ray"}, "a whole one, got 1.5"),
    "gpus as text": (lambda folder: write_photos(folder, 1), {"gpus": "1", "engine": "ray"}, "`gpus`: .* got str"),
    "address": (
        lambda folder: write_photos(folder, 1),
        {"address": "auto"},
        '`address`: expected none with engine="local", got \'auto\'; pass engine="ray"',
    ),
    "no address": (lambda folder: write_photos(folder, 1), {"address": "", "engine": "ray"}, "that of a Ray cluster"),
    "a flag": (lambda folder: write_photos(folder, 1), {"progress": "no"}, "`progress`: expected True or False"),
    "preset": (lambda folder: write_photos(folder, 1), {"preset": "rise"}, '`preset`: expected "iprop" or "moxi"'),
    "no metrics": (lambda folder: write_photos(folder, 1), {"metrics": None}, "`metrics`: expected some, got none"),
    "not text": (photos_with_odd_name, {}, "`source`: expected names that are text"),
    "classes of one name": (
        lambda folder: write_photos(folder, 1),
        {"classes": ["a", "b", "a"]},
        "`classes`: expected labels that differ, got a twice",
    ),
    "classes as text": (lambda folder: write_photos(folder, 1), {"classes": 3}, "`classes`: .* got int"),
    "classes": (
        lambda folder: write_photos(folder, 1),
        {"classes": ["a"]},
        "a label for each of the model's 3 classes",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_before_the_first_image(name, tmp_path):
    make, options, message = BAD[name]
    source = make(tmp_path)
    with pytest.raises(ix.InterpixError, match=message):
        evaluate(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def nameless():
    return ix.CallableClassifier(means, name="means", preprocess=preprocess)


def test_labels_of_a_model_without_names_are_indices(tmp_path):
    photos = class_folders(tmp_path / "photos")
    with pytest.raises(
        ix.ArgumentError, match=r"indices in 0 ... 2, as this model does not say .* got 'green'; 'red'; p"
    ):
        evaluate(photos, tmp_path / "out", model=nameless())
    assert not (tmp_path / "out").exists()
    classes = ["bright", "green", "red"]
    found = evaluate(photos, tmp_path / "out", model=nameless(), classes=classes)
    assert targets(found) == {"green/a.png": 1, "green/b.png": 1, "red/a.png": 2}
    assert found.config["run"]["classes"] == classes
    write_photos(tmp_path / "numbers" / "0", 1)
    write_photos(tmp_path / "numbers" / "2", 1)
    assert targets(evaluate(tmp_path / "numbers", tmp_path / "other", model=nameless())) == {
        "0/p0000.png": 0,
        "2/p0000.png": 2,
    }


def test_three_folders_are_not_guessed_to_be_the_three_classes(tmp_path):
    for name in ("x", "y", "z"):
        write_photos(tmp_path / "photos" / name, 1)
    with pytest.raises(
        ix.ArgumentError, match="this model does not say what its classes are called, got 'x'; 'y'; 'z'"
    ):
        evaluate(tmp_path / "photos", tmp_path / "out", model=nameless())


@pytest.mark.parametrize(
    ("labels", "names", "classes", "meant"),
    [
        (["1", "2.0", 0], None, None, [1, 2, 0]),
        ([2, "2", "1"], None, ["2", "1", "0"], [0, 0, 1]),  # what the source calls a class counts, of whatever type
        (["1"], ["1", "0", "2"], None, [0]),
        ([7], ["3", "7"], None, [1]),
        ([2], ["1", "0", "2"], None, [2]),
        ([1], ["1", "0", "2"], None, "1, which is the number of one class and the name of another"),
        (["-1"], None, None, "'-1'"),
        ([3], None, None, "got 3; pass classes="),
        (["²"], None, None, "'²'"),
    ],
)
def test_numbers_as_labels(labels, names, classes, meant):
    items = [Item(str(index), "", label) for index, label in enumerate(labels)]
    count = 3 if names is None else len(names)
    if isinstance(meant, str):
        with pytest.raises(ix.ArgumentError, match=meant):
            with_targets(items, names, count, classes=classes)
    else:
        assert [one.target for one in with_targets(items, names, count, classes=classes)] == meant


def test_more_gpus_than_there_are_are_refused():
    class Ray:
        def cluster_resources(self):
            return {"CPU": 3.0, "GPU": 1.0}

    _require_gpus(Ray(), 2, 0.5)
    with pytest.raises(ix.ArgumentError, match=r"no more than the 1 of this machine, got 3 workers with 0\.5 each"):
        _require_gpus(Ray(), 3, 0.5)


def test_masks_are_opened_once_for_all_parts(tmp_path, monkeypatch):
    photos = write_photos(tmp_path / "photos", 4)
    for index in range(4):
        mask(index, 12).save(tmp_path / f"p{index:04}.png")
    (tmp_path / "masks").mkdir()
    for path in tmp_path.glob("*.png"):
        path.rename(tmp_path / "masks" / path.name)
    opened = []
    original = run.read_mask
    monkeypatch.setattr(run, "read_mask", lambda one, *about: opened.append(one.name) or original(one, *about))
    for part in ("1/2", "2/2"):
        evaluate(photos, tmp_path / "out", "roc_auc", annotations=tmp_path / "masks", shard=part)
    assert sorted(opened) == [f"p{index:04}.png" for index in range(4)]


def test_methods_that_the_model_cannot_do_are_told_first(tmp_path):
    photos = write_photos(tmp_path / "photos", 1)
    with pytest.raises(ix.ArgumentError, match="a torch module, as gradient needs"):
        ix.evaluate(model(), photos, "gradient", "insertion", tmp_path / "out")
    with pytest.raises(ix.ArgumentError, match="`model`: expected a torch module, which can be re-initialized"):
        ix.evaluate(model(), photos, MOXI, "model_randomization", tmp_path / "out")


@pytest.fixture
def command(monkeypatch):
    monkeypatch.setattr(run, "load_classifier", lambda name: model())

    def call(*arguments):
        return main(["evaluate", *map(str, arguments)])

    return call


def test_the_command(tmp_path, command, capsys):
    photos, out = write_photos(tmp_path / "photos", 3), tmp_path / "out"
    work = ["--methods", MOXI, "--metrics", "insertion(steps=3)", "--no-controls", "--quiet", "-m", "mine"]
    assert command(photos, "-o", out, *work) == 0
    output = capsys.readouterr().out
    assert "3 of 3 images" in output
    assert f"report: {out / 'index.html'}" in output
    assert "2 attributions of means, 3 of 3 images" in (out / "index.html").read_text()
    config = tomllib.loads((out / "config.toml").read_text())
    assert config["run"]["source"] == str(photos)
    assert config["run"]["methods"] == [MOXI]
    first = ix.load_evaluation(out)
    assert command("--config", out / "config.toml", "-o", tmp_path / "again", "--quiet") == 0
    again = ix.load_evaluation(tmp_path / "again")
    assert again.config["configuration"] == first.config["configuration"]
    assert [row["value"] for row in again.rows()] == [row["value"] for row in first.rows()]
    assert command("--config", out / "config.toml", "--seed", "1", "-o", tmp_path / "seed", "--quiet") == 0
    assert ix.load_evaluation(tmp_path / "seed").config["configuration"]["options"]["seed"] == 1
    capsys.readouterr()
    assert command("--watch", out) == 0
    assert capsys.readouterr().out.strip() == str(first)
    (photos / "p0001.png").write_bytes(b"no photo")
    assert command(photos, "-o", tmp_path / "partly", *work) == 1
    assert "images: 1 images failed: `image`: expected an image file that Pillow reads" in capsys.readouterr().err


def test_a_preset_is_what_the_model_can_do(tmp_path, command, capsys, monkeypatch):
    from interpix.evaluation import presets
    from interpix.evaluation.presets import Preset, paper_numbers

    few = Preset(("gradient(magnitude='channels')", "rise(count=40)"), presets.PRESETS["iprop"].metrics, propagate=True)
    monkeypatch.setitem(presets.PRESETS, "iprop", few)
    photos, out = write_photos(tmp_path / "photos", 3), tmp_path / "out"
    assert command(photos, "-o", out, "--preset", "iprop", "--no-controls", "--quiet", "-m", "mine") == 0
    told = capsys.readouterr().err
    assert "without gradient(magnitude='channels'): `model`: expected a torch module" in told
    assert "without roc_auc: it needs masks or boxes" in told
    found = ix.load_evaluation(out)
    assert found.methods == ("rise(count=40)", "IProp(rise(count=40))")
    assert found.metrics == ("aic(preset='iprop')", "sic(preset='iprop')", "dir")
    numbers = json.loads((out / "evaluation.json").read_text())["paper"]
    assert [(one["metric"], one["propagated"]) for one in numbers][:2] == [
        (found.metrics[0], False),
        (found.metrics[0], True),
    ]
    paper = paper_numbers()["aic", "rise", True]
    assert len(paper) == 9
    assert numbers[1]["paper"] == pytest.approx(np.mean(paper))
    told = f"{np.mean(paper):.3f} ({min(paper):.3f} to {max(paper):.3f}, 9 networks)"
    assert told in (out / "index.html").read_text()
    assert (
        command(photos, "-o", tmp_path / "one", "--preset", "iprop", "--metrics", "dir", "--quiet", "-m", "mine") == 0
    )
    assert ix.load_evaluation(tmp_path / "one").metrics == ("dir",)


def test_a_preset_of_the_library_reads_all_once(tmp_path, monkeypatch):
    photos = write_photos(tmp_path / "photos", 2)
    done = []
    for name in ("read_source", "load_classifier"):
        original = getattr(run, name)
        monkeypatch.setattr(run, name, lambda *a, name=name, original=original: done.append(name) or original(*a))
    with pytest.warns(UserWarning, match="without") as told:
        found = ix.evaluate(model(), photos, "rise(count=8)", None, tmp_path / "out", preset="iprop", controls=False)
    assert done == ["read_source", "load_classifier"]
    assert [str(one.message) for one in told] == [
        f'preset="iprop" without {name}: it needs masks or boxes, and the source has none'
        for name in ("roc_auc", "pointing_game(preset='iprop')")
    ]
    assert found.methods == ("rise(count=8)", "IProp(rise(count=8))")
    assert found.config["run"]["without"].keys() == {"roc_auc", "pointing_game(preset='iprop')"}
    assert found.config["run"]["preset"] == "iprop"


def test_the_sanity_check_stands_beside_the_papers_one_network(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    module = torch.nn.Sequential(*layers, torch.nn.Linear(2, 3)).eval()
    net = ix.TorchClassifier(module, preprocess=lambda raw: preprocess(np.asarray(raw)))
    name = "gradient(magnitude='channels')"
    photos, metric = write_photos(tmp_path / "photos", 2), "model_randomization"
    found = ix.evaluate(net, photos, name, metric, tmp_path / "out", preset="iprop", controls=False)
    text = found.report().read_text()
    for kept, paper in ((name, "0.215"), (f"IProp({name})", "0.342")):
        here = html.escape(str(found.summary(kept, metric)))
        assert f"<td>{html.escape(kept)}</td><td>{here}</td><td>{paper} (one network)</td>" in text


def test_every_preset_names_what_there_is():
    from interpix.comparison.specs import read_methods, read_metrics
    from interpix.evaluation.presets import PRESETS

    for preset in PRESETS.values():
        assert len(read_methods(list(preset.methods))) == len(preset.methods)
        assert len(read_metrics(list(preset.metrics))) == len(preset.metrics)
    for name in PRESETS["iprop"].methods:
        made = read_methods([name])[name]
        assert made == type(made).preset("iprop")


def test_errors_of_the_command_name_its_options(tmp_path, command, capsys):
    photos = write_photos(tmp_path / "photos", 1)
    assert command(photos, "-o", tmp_path / "out", "--shard", "3/2") == 2
    assert "interpix: `--shard`: expected i/n" in capsys.readouterr().err
    assert command("-o", tmp_path / "out") == 2
    assert "got none; name it, or a run's --config" in capsys.readouterr().err
    assert command("--watch", tmp_path) == 2
    assert "`--out`: expected the folder of this evaluation, or a new one, got" in capsys.readouterr().err
    (photos / "metadata.csv").write_text("file_name,label\np0000.png,blue\n")
    assert command(photos, "-o", tmp_path / "out", "--methods", MOXI, "--metrics", "insertion") == 2
    assert "name --classes, a file" in capsys.readouterr().err


def test_a_run_of_objects_is_not_repeated_by_its_configuration(tmp_path, command, capsys):
    photos = write_photos(tmp_path / "photos", 1)
    evaluate(photos, tmp_path / "out", model=model())
    text = (tmp_path / "out" / "config.toml").read_text()
    assert text.splitlines()[0].endswith("it CANNOT be repeated from this file: model came as Python objects.")
    assert command("--config", tmp_path / "out" / "config.toml", "-o", tmp_path / "again") == 2
    told = capsys.readouterr().err
    assert "where model came as Python objects; call interpix.evaluate with the same objects" in told
    assert not (tmp_path / "again").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_data_set_in_memory_is_not_repeated_by_its_configuration(tmp_path, command, capsys):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image()})
    data = datasets.Dataset.from_dict({"image": [picture(0)]}, features=features)
    evaluate(data, tmp_path / "out", model="mine")
    first = (tmp_path / "out" / "config.toml").read_text().splitlines()[0]
    assert first.endswith("it CANNOT be repeated from this file: source came as Python objects.")
    assert command("--config", tmp_path / "out", "-o", tmp_path / "again") == 2
    assert "or name them (source: the path of a folder: of a data set, that which its save_to_disk" in (
        capsys.readouterr().err
    )


def test_what_a_run_was_called_with_is_repeated(tmp_path, command, monkeypatch):
    """Also from another folder: paths are whole."""
    write_photos(tmp_path / "photos", 2)
    monkeypatch.chdir(tmp_path)
    work = ["--methods", MOXI, "--metrics", "insertion(steps=3)", "-m", "mine", "--quiet"]
    assert command("photos", "-o", "out", *work, "--no-propagate", "--curves", "--seed", 3) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command("--config", tmp_path / "out" / "config.toml", "-o", tmp_path / "again", "--quiet") == 0
    first, again = ix.load_evaluation(tmp_path / "out"), ix.load_evaluation(tmp_path / "again")
    assert again.config == first.config
    assert again.methods == (MOXI, "random", "edges")
    assert first.config["configuration"]["controls"] == {
        "random": {"name": "random", "seed": 0},
        "edges": {"name": "edges"},
    }
    assert len(list((tmp_path / "again" / "curves").iterdir())) == 2


def test_a_model_of_a_file_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "net.onnx").touch()
    names = ["net.onnx", "native:net", "timm:net", "efficientnet_lite0", "hf:a/net"]
    kept = [called(name, "hf:cats:test", "rise", "dir", None, None)["model"] for name in names]
    assert kept == [str(tmp_path / "net.onnx"), f"native:{tmp_path / 'net'}", *names[2:]]


CONFIGURATIONS = {
    "no TOML": (lambda text: text.replace("[run]", "[run"), "which is no TOML"),
    "not text": (lambda text: text + "\udcff", "which is no TOML"),
    "a slip": (lambda text: text.replace("batch_size", "bach_size", 1), "got run.bach_size; did you mean batch_size?"),
    "a new key": (
        lambda text: text.replace("[run]", "[run]\nbeauty = 1"),
        "got run.beauty; remove it, or read it with a",
    ),
    "a table": (lambda text: text + "\n[other]\n", "keys among hash, run, configuration, got other"),
    "a type": (lambda text: text.replace("seed = 0", 'seed = "0"', 1), "expected a whole number as run.seed, got '0'"),
    "names": (lambda text: text.replace(f'"{MOXI}",', "1,", 1), r"expected a list of names as run.methods, got \[1\]"),
    "a word": (lambda text: text.replace('"higher"', '"more"', 1), "nearer to 0 by metric as run.better, got"),
    "a variant": (lambda text: text.replace("control = false", "control = 0", 1), "tables of name, method, propagated"),
    "no images": (lambda text: text.replace("images = 1\n", "", 1), "expected run.images, got none"),
    "no hash": (lambda text: "[run]" + text.split("[run]", 1)[1], "a configuration with `hash`, got none"),
    "edited": (lambda text: "threads = 2".join(text.rsplit("threads = 1", 1)), "as it was written, got one that was"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_that_is_not_one_is_refused(name, tmp_path, command, capsys):
    edit, message = CONFIGURATIONS[name]
    evaluate(write_photos(tmp_path / "photos", 1), tmp_path / "out", model="mine")
    path = tmp_path / "out" / "config.toml"
    edited = edit(path.read_text())
    assert edited != path.read_text()
    path.write_bytes(edited.encode(errors="surrogateescape"))
    for call in (ix.load_evaluation, lambda out: evaluate(tmp_path / "photos", out, model="mine")):
        with pytest.raises(ix.ArgumentError, match=f"`out`: .*{message}"):
            call(tmp_path / "out")
    assert command("--config", path, "-o", tmp_path / "again") == 2
    told = capsys.readouterr().err
    assert "`--config`: expected" in told
    assert str(path) in told


def test_a_configuration_that_is_not_there_is_refused(tmp_path, command, capsys):
    assert command("--config", tmp_path / "no.toml", "-o", tmp_path / "again") == 2
    assert f"`--config`: expected an evaluation's folder, or the config.toml in it, got '{tmp_path}" in (
        capsys.readouterr().err
    )
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(ix.ArgumentError, match=r"Is a directory\); check the path and its rights"):
        ix.load_evaluation(tmp_path)
