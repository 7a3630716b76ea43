import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

import interpix
from interpix.cli import build_parser, main
from interpix.results import load_all

SCHEMA = Path(__file__).parents[2] / "docs" / "explain-1.schema.json"


@pytest.fixture
def photo(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # results go into a folder there, if nothing else is said
    path = tmp_path / "photo.png"
    Image.fromarray((image.transpose(1, 2, 0) * 60).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def model(classifier, monkeypatch):
    monkeypatch.setitem(vars(interpix), "load_model", lambda name: classifier)


def read_numbers(path):
    """What was written, if it is as the documentation says."""
    numbers = json.loads(path.read_text())
    jsonschema.validate(numbers, json.loads(SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    return numbers


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    commands = re.findall(r"^ {4}(\w+)", capsys.readouterr().out, flags=re.MULTILINE)
    assert commands == ["explain", "propagate", "compare", "evaluate", "models", "doctor"]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "explain",
            [
                *("--model", "--direction", "--target", "--regions", "--steps", "--radius", "--discount"),
                *("--out", "--output", "--prompts", "--box"),
            ],
        ),
        ("propagate", ["--out", "--radius", "--discount"]),
        ("compare", ["--model", "--methods", "--metrics", "--masks", "--no-controls", "--out", "--quiet"]),
        ("evaluate", ["--model", "--methods", "--shard", "--retry", "--workers", "--engine", "--config", "--watch"]),
    ],
)
def test_help_names_every_option(capsys, command, options):
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, "--help"])
    text = capsys.readouterr().out
    for option in options:
        assert option in text


@pytest.mark.usefixtures("model")
def test_explain_writes_picture_numbers_and_arrays(photo, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert main(["explain", str(photo), "--regions", "2x3", "-o", str(out)]) == 0
    assert sorted(one.name for one in out.iterdir()) == ["photo.json", "photo.png", "photo.safetensors"]
    with Image.open(out / "photo.png") as picture:
        assert picture.width > 1000
        # The reddest patch of the photo, and the greenest one, in full light.
        for color in ([180, 0, 0], [0, 150, 0]):
            assert (np.asarray(picture)[..., :3] == color).all(axis=2).sum() > 1000
    numbers = read_numbers(out / "photo.json")
    assert numbers["photo"] == "photo"
    insertion, deletion = numbers["results"]
    assert (insertion["direction"], deletion["direction"]) == ("insertion", "deletion")
    assert deletion["group"] == [3, 2]
    assert deletion["target"] == {"index": 0, "name": "red"}
    assert [step["patch"] for step in deletion["steps"]][:3] == [None, 3, 2]
    assert deletion["steps"][2]["predicted"]["name"] == "green"
    assert deletion["patches"]["grid"] == [2, 3]
    assert deletion["patches"]["boxes"][3:] == [[0, 2, 2, 4], [2, 2, 4, 4], [4, 2, 6, 4]]
    assert [one.direction for one in load_all(out / "photo.safetensors")] == ["insertion", "deletion"]
    output, progress = capsys.readouterr()
    assert "Without these 2 of 6 patches the answer is no longer 'red' but 'green'" in output
    assert str(out / "photo.png") in output
    assert "evaluations" in progress


@pytest.mark.usefixtures("model")
def test_explain_one_direction_and_target(photo, tmp_path, capsys):
    arguments = ["explain", str(photo), "--regions", "2x3", "-o", str(tmp_path / "out"), "--quiet", "--steps", "1"]
    assert main([*arguments, "--direction", "deletion"]) == 0
    (deletion,) = read_numbers(tmp_path / "out" / "photo.json")["results"]
    assert deletion["direction"] == "deletion"
    # The answer has not flipped after one patch: the search goes on until it has.
    assert deletion["stopped_at"] == 2
    assert main([*arguments, "--direction", "insertion", "--target", "green"]) == 0
    assert read_numbers(tmp_path / "out" / "photo.json")["results"][0]["group"] == [1]
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("model")
def test_explain_looks_for_other_groups(photo, tmp_path, capsys):
    arguments = ["explain", str(photo), "--regions", "2x3", "-o", str(tmp_path / "out"), "--quiet", "--steps", "1"]
    assert main([*arguments, "--direction", "both", "--minimal"]) == 0
    (both,) = read_numbers(tmp_path / "out" / "photo.json")["results"]
    assert (both["direction"], both["minimal"]) == ("both", True)
    assert both["group_score"]["holds"]
    assert not both["group_score_without"]["holds"]
    assert "; without" in capsys.readouterr().out
    assert main([*arguments, "--search", "beam", "--width", "2"]) == 0
    found = read_numbers(tmp_path / "out" / "photo.json")["results"]
    assert [one["provenance"]["search"] for one in found] == ["beam", "beam"]
    assert [one["provenance"]["width"] for one in found] == [2, 2]
    for wrong, need in ((["--width", "3"], "`--width`"), (["--search", "beam", "--width", "0"], "`--width`")):
        assert main([*arguments, *wrong]) == 2
        assert need in capsys.readouterr().err


@pytest.mark.usefixtures("model")
def test_explain_never_overwrites_the_photo(photo, capsys):
    before = photo.read_bytes()
    assert main(["explain", str(photo), "--regions", "2x3", "-o", str(photo.parent)]) == 2
    assert "the photo would be lost" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_propagate_writes_the_map_of_the_library(photo, tmp_path):
    values = np.random.default_rng(0).random((4, 6), dtype=np.float32)
    np.save(tmp_path / "map.npy", values)
    out = tmp_path / "better.npy"
    arguments = ["--radius", "2", "--discount", "0.9", "--color-weight", "0.25", "-o", str(out)]
    assert main(["propagate", str(photo), str(tmp_path / "map.npy"), *arguments]) == 0
    options = {"radius": 2, "discount": 0.9, "color_weight": 0.25}
    np.testing.assert_array_equal(np.load(out), interpix.propagate(values, photo, **options))


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "no.jpg"], "a file that exists, got 'no.jpg'"),
        (["explain", "PHOTO", "--regions", "9"], "coarser grid"),
        (["explain", "PHOTO", "--regions", "2x3", "--target", "rde"], "near names: red"),
        (["explain", "PHOTO", "--regions", "2x3", "--steps", "0"], "positive integer"),
        (["propagate", "PHOTO", "no.npy", "-o", "x.npy"], "no.npy"),
        (["explain", "PHOTO", "--regions", "2x3", "--color-weight", "2"], "`--color-weight`: expected a number in 0"),
        (["propagate", "PHOTO", "PHOTO", "-o", "x.npy"], "write it with numpy.save"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(photo, capsys, arguments, message):
    assert main([str(photo) if one == "PHOTO" else one for one in arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("interpix: ")
    assert message in error


def test_ctrl_c_has_no_traceback(photo, monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(vars(interpix), "load_model", interrupted)
    assert main(["explain", str(photo)]) == 130
    assert capsys.readouterr().err == "interpix: interrupted\n"


def test_doctor_tells_versions(monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert f"interpix {interpix.__version__}, Python 3" in told
    assert "threads: OMP_NUM_THREADS=3" in told
    assert re.search(r"^vector instructions: (AVX-512|AVX2|NEON|none)$", told, re.MULTILINE)
    assert re.search(r"^CUDA: \S", told, re.MULTILINE)
    assert re.search(r"^anywidget: \S", told, re.MULTILINE)


def test_models_says_where_weights_are_looked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("INTERPIX_WEIGHTS", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "mine" / "efficientnet_lite0.pth"
    file.parent.mkdir()
    file.touch()
    assert main(["models"]) == 0
    first, *places = capsys.readouterr().out.splitlines()
    assert first.startswith("efficientnet_lite0 ")
    # Of the package's checkpoint, and of its architecture.
    assert [line.split()[0] for line in places if str(file) in line] == ["found", "found"]
    assert [line.split()[0] for line in places if str(tmp_path / "cache" / "interpix") in line] == ["absent"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_terminal_cannot_write_becomes_a_question_mark(encoding, tmp_path):
    """R17: the arrow of a table ended the command before its report was written."""
    code = (
        "import numpy as np, interpix\n"
        "from PIL import Image\n"
        "from interpix.cli import main\n"
        f"Image.fromarray(np.arange(288, dtype=np.uint8).reshape(8, 12, 3)).save(r'{tmp_path / 'photo.png'}')\n"
        "sums = lambda batch: batch.sum(axis=(2, 3))\n"
        "model = interpix.CallableClassifier(sums, preprocess=lambda raw: raw.transpose(2, 0, 1) / 255)\n"
        "interpix.load_model = lambda name: model\n"
        f"main(['compare', r'{tmp_path / 'photo.png'}', '--methods', 'moxi(regions=2)', '--metrics', "
        f"'insertion(steps=2)', '-o', r'{tmp_path}', '--quiet'])"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert b"insertion(steps=2) ?" in done.stdout
    assert (tmp_path / "index.html").exists()


def test_a_reader_that_has_read_enough_is_no_error():
    """R29: `interpix models | head -1` said "Broken pipe" and ended with 2."""
    code = (
        "from interpix import cli\n"
        "cli.print = lambda *_: [print('x' * 999) for _ in range(999)]\n"
        "exit(cli.main(['models']))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(closed):
    """As a service or `>&-` closes it; `python -m interpix` is the command, too."""
    inherited = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {closed: None}
    number = 1 if closed == "stdout" else 2
    command = [sys.executable, "-m", "interpix", "explain", "nothing.jpg"]
    done = subprocess.run(command, preexec_fn=lambda: os.close(number), check=False, **inherited)
    assert done.returncode == 2
    if closed == "stdout":
        assert done.stderr.startswith(b"interpix: `photo`: expected a file that exists")


@pytest.mark.usefixtures("model")
def test_a_target_that_is_not_the_answer_is_said_with_its_probability(photo, tmp_path, capsys):
    arguments = ["explain", str(photo), "--regions", "2x3", "--target", "green", "-o", str(tmp_path / "out"), "--quiet"]
    assert main(arguments) == 0
    assert re.match(r"The model answers 'red'; asked about 'green' \(p = \.\d\d\)\n", capsys.readouterr().out)


@pytest.fixture
def photos(image, tmp_path, monkeypatch):
    """Three photos in a folder, and beside it another one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = (image.transpose(1, 2, 0) * 60).astype(np.uint8)
    for name, one in (("a.png", pixels), ("b.png", pixels[::-1]), ("c.bmp", pixels[:, ::-1])):
        Image.fromarray(one).save(folder / name)
    Image.fromarray(pixels // 2).save(tmp_path / "d.png")
    return folder


@pytest.mark.usefixtures("model")
def test_explain_takes_photos_folders_and_stdin(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "d.png").read_bytes())))
    assert main(["explain", str(tmp_path / "d.png"), str(photos), "-", "--regions", "2x3", "--quiet"]) == 0
    out = tmp_path / "out"
    names = ["a", "b", "c", "d", "stdin"]
    assert sorted(one.name for one in out.iterdir()) == sorted(
        f"{name}.{ending}" for name in names for ending in ("json", "png", "safetensors")
    )
    said = capsys.readouterr().out
    heads = [line[:-1] for line in said.splitlines() if line in [f"{name}:" for name in names]]
    assert heads == ["d", "a", "b", "c", "stdin"]
    first, second = (read_numbers(out / f"{name}.json")["results"][0]["group"] for name in ("stdin", "d"))
    assert first == second


@pytest.mark.usefixtures("model")
def test_a_photo_that_cannot_be_read_costs_its_own(photos, tmp_path, capsys):
    (photos / "b.png").write_bytes(b"no picture")
    assert main(["explain", str(photos), "--regions", "2x3", "--quiet"]) == 1
    assert sorted(one.stem for one in (tmp_path / "out").glob("*.json")) == ["a", "c"]
    error = capsys.readouterr().err
    assert error.startswith("interpix: b: `photo`: expected an image file that Pillow reads")
    assert error.count("\n") == 1


@pytest.mark.usefixtures("model")
def test_photos_of_the_same_name_are_refused_before_any_work(photos, tmp_path, capsys):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg")
    assert main(["explain", str(photos), str(tmp_path / "a.jpg"), "--quiet"]) == 2
    assert "names differ before the dot, got " in (error := capsys.readouterr().err)
    assert "a.jpg, which would both be a.png" in error
    assert not (tmp_path / "out").exists()


def test_explain_says_what_the_answers_mean(photo, tmp_path, monkeypatch, capsys):
    def numbers(batch):
        return batch.sum(axis=(2, 3))[:, :1] - 3

    model = interpix.CallableClassifier(numbers, preprocess=lambda raw: raw.transpose(2, 0, 1) / 60)
    monkeypatch.setitem(vars(interpix), "load_model", lambda name: model)
    arguments = ["explain", str(photo), "--regions", "2x3", "--quiet", "--direction", "insertion"]
    assert main(arguments) == 0
    assert read_numbers(tmp_path / "out" / "photo.json")["results"][0]["output"]["name"] == "sigmoid"
    assert main([*arguments, "--output", "value(tolerance=2.5)"]) == 0
    (found,) = read_numbers(tmp_path / "out" / "photo.json")["results"]
    assert found["output"] | {"name": "value", "tolerance": 2.5} == found["output"]
    assert found["steps"][0]["predicted"] is None
    assert "± 2.5" in capsys.readouterr().out
    for wrong, message in (("values", "expected the name of one"), ("value", "tolerance"), ("out/", "the name of one")):
        assert main([*arguments, "--output", wrong]) == 2
        assert "`--output`" in capsys.readouterr().err
        assert message


def test_explain_takes_a_box(photo, tmp_path, monkeypatch, capsys):
    def finder(batch):
        def find(image):
            on = np.argwhere(image[0] > 0.5)
            if not len(on):
                return {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0)}
            (top, left), (bottom, right) = on.min(axis=0), on.max(axis=0) + 1
            return {"boxes": np.array([[left, top, right, bottom]]), "scores": np.array([0.9]), "labels": np.array([0])}

        return [find(one) for one in batch]

    model = interpix.CallableClassifier(
        finder, class_names=["red"], preprocess=lambda raw: np.float32(raw.transpose(2, 0, 1) / 255)
    )
    monkeypatch.setitem(vars(interpix), "load_model", lambda name: model)
    with Image.open(photo) as opened:
        on = np.argwhere(np.asarray(opened)[..., 0] > 127)
    (top, left), (bottom, right) = on.min(axis=0), on.max(axis=0) + 1
    box = f"{left},{top},{right},{bottom}"
    arguments = ["explain", str(photo), "--regions", "2x3", "--quiet", "--direction", "insertion"]
    assert main([*arguments, "--box", box]) == 0
    assert main([*arguments, "--box", box, "--target", "red"]) == 0
    (found,) = read_numbers(tmp_path / "out" / "photo.json")["results"]
    assert found["output"]["name"] == "boxes"
    assert found["target"]["name"] == f"red at ({left}, {top}) - ({right}, {bottom})"
    assert main([*arguments, "--box", "0,0,1,1"]) == 2
    assert "`--target`: expected a box that overlaps a detection" in capsys.readouterr().err
    for wrong in ("1,2,3", "4,4,1,1", "a,b,c,d"):
        with pytest.raises(SystemExit) as stop:
            main([*arguments, "--box", wrong])
        assert stop.value.code == 2
        assert "expected left,top,right,bottom in pixels" in capsys.readouterr().err


def test_the_schema_refuses_what_is_something_else(photo, tmp_path, classifier, monkeypatch):
    monkeypatch.setitem(vars(interpix), "load_model", lambda name: classifier)
    assert main(["explain", str(photo), "--regions", "2x3", "--quiet"]) == 0
    path = tmp_path / "out" / "photo.json"
    numbers = read_numbers(path)
    for change in ({"format": 2}, {"results": [{}]}, {"photo": 3}, {"more": 1}):
        path.write_text(json.dumps(numbers | change))
        with pytest.raises(jsonschema.ValidationError):
            read_numbers(path)


@pytest.mark.usefixtures("model")
def test_compare_says_what_the_answers_mean(photo, tmp_path, capsys):
    arguments = [
        "compare",
        str(photo),
        "--methods",
        "moxi(regions='2x3')",
        "--metrics",
        "insertion(steps=2)",
        "--quiet",
    ]
    tables = []
    for output in ("softmax", "sigmoid(threshold=0.9)"):
        assert main([*arguments, "--no-controls", "--output", output, "-o", str(tmp_path / output[:7])]) == 0
        tables.append(capsys.readouterr().out.splitlines()[:3])
    assert tables[0] != tables[1]
    assert main([*arguments, "--output", "soft"]) == 2
    assert "`--output`: expected the name of one, got 'soft'" in capsys.readouterr().err


@pytest.mark.usefixtures("model")
def test_a_photo_that_is_named_twice_is_explained_once(photos, tmp_path, capsys):
    assert main(["explain", str(photos / "a.png"), str(photos), "--regions", "2x3", "--quiet"]) == 0
    assert sorted(one.stem for one in (tmp_path / "out").glob("*.json")) == ["a", "b", "c"]
    assert capsys.readouterr().out.count("picture: ") == 3
    assert main(["explain", "-", "-"]) == 2
    assert "expected one photo on stdin, got - twice" in capsys.readouterr().err


@pytest.mark.usefixtures("model")
def test_a_photo_that_cannot_be_explained_costs_its_own(photos, tmp_path, monkeypatch, capsys):
    def finder(batch):
        found = {"boxes": np.array([[0, 0, 6.0, 4]]), "labels": np.zeros(1)}
        return [found | {"scores": np.array([0.9 if one[0, 0].any() else 0.1])} for one in batch]

    model = interpix.CallableClassifier(finder, preprocess=lambda raw: np.float32(raw.transpose(2, 0, 1) / 255))
    monkeypatch.setitem(vars(interpix), "load_model", lambda name: model)
    Image.new("RGB", (6, 4)).save(photos / "b.png")
    assert main(["explain", str(photos), "--regions", "2x3", "--output", "boxes", "--quiet"]) == 1
    assert sorted(one.stem for one in (tmp_path / "out").glob("*.json")) == ["a", "c"]
    assert "interpix: b: `photo`: expected an image in which the model finds something" in capsys.readouterr().err


@pytest.mark.usefixtures("model")
def test_a_page_comes_on_demand_and_has_all_that_was_scored(photo, tmp_path, capsys):
    command = ["explain", str(photo), "--regions", "2x3", "--steps", "2", "--quiet", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    assert not list((tmp_path / "out").glob("*.html"))
    assert main([*command, "--html"]) == 0
    page = tmp_path / "out" / f"{photo.stem}.html"
    assert f"page: {page}" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    assert [one["direction"] for one in data["results"]] == ["insertion", "deletion"]
    for one in load_all(tmp_path / "out" / f"{photo.stem}.safetensors"):
        assert len(one.coalitions) >= 1 + 6 + 5
