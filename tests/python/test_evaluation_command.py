"""The command `evaluate`, its presets, and configurations that repeat a run."""

import html
import json
import tomllib

import numpy as np
import pytest

import interpix as ix
from evaluation_models import model, picture, preprocess, write_photos
from interpix.cli import main
from interpix.evaluation import run
from interpix.evaluation.called import called

MOXI = "moxi(regions='2x3')"


def evaluate(source, out, metrics="insertion(steps=3)", **options):
    return ix.evaluate(
        options.pop("model", model()), source, MOXI, metrics, out, propagate=False, controls=False, **options
    )


def targets(found):
    return {row["image"]: row["target"] for row in found.rows()}


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
    # Repeated by its configuration it is the same protocol, without the same things.
    assert command(photos, "-o", tmp_path / "again", "--config", out, "--quiet") == 0
    again = ix.load_evaluation(tmp_path / "again")
    for key in ("preset", "without", "methods", "metrics"):
        assert again.config["run"][key] == found.config["run"][key]
    assert "paper" in json.loads((tmp_path / "again" / "evaluation.json").read_text())
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
