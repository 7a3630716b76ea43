"""The command and files: what it reads, what it may replace, and what is left when it fails."""

import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from compared import photo, scaled
from interpix import cli
from interpix.models.adapters.loading import load_model
from interpix.results import load_all

DATA = Path(__file__).parents[1] / "data"
MODEL = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), name="sums", class_names=["red", "green", "blue"])


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder with a photo, on a model of sums."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo(0)).save("c.jpg")
    model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), name="sums", preprocess=scaled)
    monkeypatch.setattr(ix, "load_model", lambda _name: model)

    def run(*arguments):
        status = cli.main([*arguments])
        return status, capsys.readouterr()

    return run


def test_explain_replaces_no_file_of_the_users(shell):
    """R7: before any work is done."""
    Path("c.png").write_bytes(b"mine")
    status, out = shell("explain", "c.jpg", "-o", ".", "--quiet")
    assert status == 2
    assert "--overwrite" in out.err
    assert Path("c.png").read_bytes() == b"mine"
    assert not Path("c.json").exists()
    assert shell("explain", "c.jpg", "-o", ".", "--quiet", "--overwrite")[0] == 0
    assert shell("explain", "c.jpg", "-o", ".", "--quiet")[0] == 0, "its own files"
    for path in (Path("c.json"), Path("c.png"), Path("c.safetensors")):
        content = path.read_bytes()
        path.write_bytes(b'{"mine": {"provenance": {}}}')
        assert shell("explain", "c.jpg", "-o", ".", "--quiet")[0] == 2
        path.write_bytes(content)


def test_propagate_destroys_neither_photo_nor_map(shell):
    """R7: an output that is also an input."""
    np.save("m.npy", np.ones((24, 30), np.float32))
    for name in ("c.jpg", "m.npy"):
        before = Path(name).read_bytes()
        status, out = shell("propagate", "c.jpg", "m.npy", "-o", name, "--overwrite")
        assert (status, "would be lost" in out.err) == (2, True)
        assert Path(name).read_bytes() == before
    assert shell("propagate", "c.jpg", "m.npy", "-o", "p.npy")[0] == 0
    assert shell("propagate", "c.jpg", "m.npy", "-o", "p.npy")[0] == 2
    assert shell("propagate", "c.jpg", "m.npy", "-o", "p.npy", "--overwrite")[0] == 0


def test_compare_says_which_photo_it_could_not_read(shell):
    """R15: and exits with 1."""
    Path("d.jpg").write_bytes(Path("c.jpg").read_bytes()[:300])
    options = ["--methods", "moxi(regions='2x3')", "--metrics", "insertion(steps=3)", "-o", "out", "--quiet"]
    status, out = shell("compare", "c.jpg", "d.jpg", *options)
    assert status == 1
    assert "d.jpg: `photo`:" in out.err
    assert Path("out/index.html").exists()
    Path("out/index.html").write_text("my own page")
    assert shell("compare", "c.jpg", *options)[0] == 2
    assert Path("out/index.html").read_text() == "my own page"


def test_what_is_needed_is_there_before_the_work(shell, monkeypatch):
    """N5: both searches ran, and nothing was written."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(ix, "load_model", lambda _name: pytest.fail("the model was loaded"))
    for command in (["explain", "c.jpg"], ["compare", "c.jpg"]):
        status, out = shell(*command)
        assert (status, "interpix[plot]" in out.err) == (2, True)


def test_there_is_room_before_the_work(shell, monkeypatch):
    """R8: a full disk is told before hours of work."""
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=3 << 20))
    monkeypatch.setattr(ix, "load_model", lambda _name: pytest.fail("the model was loaded"))
    for command in (["explain", "c.jpg"], ["compare", "c.jpg"]):
        status, out = shell(*command)
        assert (status, "`--out`: expected 20 MiB of free space, got 3 MiB" in out.err) == (2, True)


def test_numbers_are_written_whatever_becomes_of_the_picture(shell, monkeypatch):
    """N5: what was computed is kept."""

    def fail(*_args, **_options):
        raise ix.ModelError("no picture today")

    monkeypatch.setattr("interpix.plots.plot_overview", fail)
    assert shell("explain", "c.jpg", "-o", "out", "--quiet")[0] == 2
    assert len(load_all("out/c.safetensors")) == 2
    assert json.loads(Path("out/c.json").read_text())["results"][0]["group"]


def failing_after(count):
    calls = []

    def logits(batch):
        calls.append(len(batch))
        if len(calls) > count:
            raise ix.ModelError("no more today")
        return batch.sum(axis=(2, 3))

    return ix.CallableClassifier(logits, name="sums", preprocess=scaled), calls


def test_one_search_is_written_whatever_becomes_of_the_other(shell, monkeypatch):
    """N5: the second direction failed, and the first was lost."""
    model, calls = failing_after(10**9)
    monkeypatch.setattr(ix, "load_model", lambda _name: model)
    assert shell("explain", "c.jpg", "-o", "whole", "--quiet", "--direction", "insertion")[0] == 0
    model, _ = failing_after(len(calls) + 2)
    assert shell("explain", "c.jpg", "-o", "out", "--quiet")[0] == 2
    assert [one.direction for one in load_all("out/c.safetensors")] == ["insertion"]
    (one,) = json.loads(Path("out/c.json").read_text())["results"]
    assert one["direction"] == "insertion"


def test_a_comparison_that_fails_leaves_its_report(shell, monkeypatch):
    """N5: the maps of the first photo were there, and no report of them."""
    model, calls = failing_after(10**9)
    monkeypatch.setattr(ix, "load_model", lambda _name: model)
    options = ["--methods", "moxi(regions='2x3')", "--metrics", "insertion(steps=3)", "-o", "out", "--quiet"]
    assert shell("compare", "c.jpg", *options)[0] == 0
    Image.fromarray(photo(5)).save("d.png")
    model, _ = failing_after(len(calls) + 2)
    options[-2] = "part"
    status, out = shell("compare", "c.jpg", "d.png", *options)
    assert status == 2
    assert "what was found until then: part" in out.err
    assert "no more today" in out.err.splitlines()[-1]
    assert json.loads(Path("part/comparison.json").read_text())["images"][0]["image"] == "c.jpg"
    assert Path("part/image-1.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-m", "resnet50"],
            "no package brings weights of `resnet50`: set INTERPIX_WEIGHTS .*torchvision:NAME or hf:ID",
        ),
        (["-m", "torch:resnet50"], "`--model`: expected torch:efficientnet_lite0, got .*as torchvision:resnet50"),
        (["--masks", "nowhere"], "`--masks`: expected a folder of pictures, got 'nowhere'; check the path"),
        (["--metrics", "roc_auc"], "`--masks`: .*; name their folder, or leave it out"),
        (["--methods", "rise", "gradient"], "`--model`: expected a torch module.*; without one, use rise, moxi or"),
        (["c.jpg"], "`--photos`|`photos`: expected each image once.*name each once"),
    ],
)
def test_cures_are_the_commands(shell, monkeypatch, arguments, message):
    """N24: the library's cures, as to pass a dict, are none in a shell."""
    if "-m" in arguments:
        monkeypatch.setattr(ix, "load_model", load_model)
    status, out = shell("compare", "c.jpg", *arguments)
    assert (status, bool(re.match(f"interpix: ({message})", out.err))) == (2, True), out.err


NEEDS_TORCH = {name for name, one in ix.methods.METHODS.items() if one.needs_torch}


@pytest.mark.parametrize("name", ["gradient", "xrai", "grad_cam", "attention_rollout", "blur_ig"])
def test_a_model_that_a_method_cannot_explain_is_told_first(name):
    """N5: the methods before it had done their work."""
    asked = []

    def logits(batch):
        asked.append(len(batch))
        return batch.mean((2, 3))

    model = ix.CallableClassifier(logits, preprocess=scaled)
    for method in (name, ix.propagated(ix.methods.METHODS[name]())):
        with pytest.raises(ix.ArgumentError, match="`model`: expected a torch module"):
            ix.compare(model, photo(1), ["rise(count=9)", method], "insertion(steps=3)")
    for metric in ("adversarial", "model_randomization"):
        with pytest.raises(ix.ArgumentError, match="`model`: expected a torch module"):
            ix.compare(model, photo(1), "rise(count=9)", metric)
    assert not asked


def test_who_needs_torch_says_so():
    """N5: each method alone refuses a function exactly if it says that it needs a torch module."""
    model, calls = failing_after(100)
    question = ix.methods.Question.of(model, np.zeros((3, 14, 14), np.float32))
    calls += [0] * 100
    refused = set()
    asking = {name: one for name, one in ix.methods.METHODS.items() if name not in {"random", "edges"}}
    for name, method in asking.items():
        with pytest.raises((ix.ArgumentError, ix.ModelError), match=r"a torch module|no more today") as caught:
            method().explain_question(question)
        refused |= {name} if isinstance(caught.value, ix.ArgumentError) else set()
    assert refused == NEEDS_TORCH


@pytest.mark.parametrize(
    ("module", "methods", "metrics", "extra"),
    [
        ("sklearn", "lime(regions='2x3')", "insertion", "lime"),
        ("skimage", "lime", "insertion", "segment"),
        ("skimage", "superpixel_rise", "insertion", "segment"),
        ("imagecorruptions", "rise", "corruption", "corruptions"),
    ],
)
def test_what_is_not_installed_is_told_first(monkeypatch, module, methods, metrics, extra):
    """N5: hours of other methods came first."""
    monkeypatch.setitem(sys.modules, module, None)
    model = ix.CallableClassifier(lambda batch: pytest.fail("the model was asked"), preprocess=scaled)
    with pytest.raises(ix.MissingDependencyError, match=rf"interpix\[{extra}\]"):
        ix.compare(model, photo(1), methods, metrics)


def test_the_photos_folder_gets_no_report(shell):
    """R7: its pictures were photos of the next run."""
    Path("photos").mkdir()
    Image.fromarray(photo(5)).save("photos/d.png")
    status, out = shell("compare", "photos", "-o", "photos")
    assert (status, "`--out`: expected another folder than that of the photos" in out.err) == (2, True)
    assert [path.name for path in Path("photos").iterdir()] == ["d.png"]


def test_masks_are_inputs_too(shell):
    """R7: a report's picture had the name of a mask."""
    Path("masks").mkdir()
    Image.fromarray(photo(6)).save("image-1.jpg")
    Image.fromarray(np.full((24, 30), 255, np.uint8)).save("masks/image-1.png")
    before = Path("masks/image-1.png").read_bytes()
    status, out = shell("compare", "image-1.jpg", "--masks", "masks", "-o", "masks", "--overwrite")
    assert (status, "would be lost" in out.err) == (2, True)
    assert Path("masks/image-1.png").read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_no_two_names_become_one(shell):
    """R18: of photos whose names differ in what is no text, all but one were left out in silence."""
    for index, name in enumerate((b"caf\xe9", b"caf\xe8")):
        Path("masks").mkdir(exist_ok=True)
        Image.fromarray(photo(index)).save(os.fsdecode(name + b".png"))
        Image.fromarray(np.eye(24, 30, dtype=bool)).save(os.fsdecode(b"masks/" + name + b".png"))
    names = [os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"caf\xe8.png")]
    options = ["--methods", "moxi(regions='2x3')", "--metrics", "insertion(steps=3)", "--masks", "masks", "--quiet"]
    assert shell("compare", *names, *options, "-o", "out")[0] == 0
    rows = json.loads(Path("out/comparison.json").read_text())["images"]
    assert {row["image"] for row in rows} == {"caf\\udce9.png", "caf\\udce8.png"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_name_that_is_no_text(shell):
    """R18: all was computed, then the picture failed."""
    name = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(photo(3)).save(name)
    assert shell("explain", name, "-o", "out", "--quiet")[0] == 0
    options = ["--methods", "moxi(regions='2x3')", "--metrics", "insertion(steps=3)", "-o", "out", "--quiet"]
    assert shell("compare", name, "c.jpg", *options)[0] == 0
    assert "caf" in Path("out/index.html").read_text()


def test_dollars_in_names_are_dollars(image):
    """R30: matplotlib would read them as formulas."""
    from matplotlib.figure import Figure

    from interpix import plots

    names = ["$x^{", "a $5 bill_", "\\frac$"]
    model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), class_names=names, name="$m$_{")
    results = [ix.MoXI(model, regions="2x3").explain(image, direction=one) for one in ("insertion", "deletion")]
    figures = [Figure() for _ in range(4)]
    plots.plot_overview(*results, propagated=results[0].propagate(), figure=figures[0])
    plots.plot_comparison(*results, figure=figures[1])
    results[0].attribution().plot(ax=figures[2].subplots())
    results[0].plot("heatmap", ax=figures[3].subplots())
    for figure in figures:
        figure.canvas.draw()


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--steps", "0"], "--steps"),
        (["--steps", "-1"], "--steps"),
        (["--regions", "0x3"], "--regions"),
        (["--target", "9" * 30], "--target"),
        (["--radius", "0"], "--radius"),
        (["--discount", "2"], "--discount"),
        (["--discount", "nan"], "--discount"),
        (["--regions", "9" * 5000], "--regions"),
        (["--regions", "x"], "--regions"),
        (["--target", "9" * 5000], "--target"),
    ],
)
def test_errors_name_flags(shell, monkeypatch, arguments, flag):
    """N24, R23: what was typed, and no argument of the library's; N5: before the model is loaded, but for classes."""
    if flag != "--target":
        monkeypatch.setattr(ix, "load_model", lambda _name: pytest.fail("the model was loaded"))
    status, out = shell("explain", "c.jpg", "-o", "out", "--quiet", *arguments)
    assert status == 2
    assert out.err.startswith(f"interpix: `{flag}`: expected"), out.err


def test_maps_with_hostile_headers_are_refused(shell):
    """R23: numpy reads headers with Python's parser, and allocates what they say."""
    np.save("m.npy", np.ones((24, 30)))
    head = Path("m.npy").read_bytes()
    for shape in (b"(10**9,10**9)", b"(((((((((((1", b"(2**62, 9999)", b"(-1, 30)    "):
        Path("m.npy").write_bytes(head.replace(b"(24, 30)", shape))
        status, out = shell("propagate", "c.jpg", "m.npy", "-o", "p.npy")
        assert (status, out.err.startswith("interpix: `map`: expected an .npy file of numbers")) == (2, True), out.err
    Path("m.npy").write_bytes(head.replace(b"(24, 30)", b"(99999999, 9999999)"))
    assert shell("propagate", "c.jpg", "m.npy", "-o", "p.npy")[0] == 2
