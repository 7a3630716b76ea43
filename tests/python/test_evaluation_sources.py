import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from evaluation_models import CLASSES, SIZE, means, model, picture, preprocess, write_photos
from interpix.evaluation import run
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
        # Among labels that are numbers a number is one of them, and no index.
        ([1], None, ["10", "20", "30"], "got 1, which is none of classes=; pass classes="),
        (["2", "30"], None, ["10", "20", "30"], "got 2, which is none of classes=; pass classes="),
        ([1], None, ["a", "b", "c"], [1]),
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
    # Parts of one GPU are parts of the same one.
    two = type("Two", (), {"cluster_resources": lambda _: {"GPU": 2.0}})()
    _require_gpus(two, 2, 0.6)
    _require_gpus(two, 2, 1)
    _require_gpus(two, 9, 0)
    for workers, gpus in ((3, 0.6), (2, 2), (3, 1)):
        with pytest.raises(ix.ArgumentError, match="no more than the 2 of this machine"):
            _require_gpus(two, workers, gpus)


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
