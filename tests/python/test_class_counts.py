"""The script that compares models of few classes and of many."""

from pathlib import Path

import numpy as np
import pytest
import torch

import interpix as ix
from scripts import loaded

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def script():
    with loaded("class_counts") as module:
        yield module


DIGITS = (torch.arange(20) // 2 + 1.0)[:, None, None].expand(20, 28, 28)
VALUES = torch.arange(20) // 2


def test_tasks_are_of_distinct_classes(script):
    tasks = {task.name: task.classes for task in script.make_tasks(3)}
    assert [len(set(classes)) for classes in tasks.values()] == [2, 5, 10, 10, 20, 45]
    assert list(tasks) == ["2 digits", "5 digits", "10 digits", "10 pairs", "20 pairs", "45 pairs"]
    assert all(one < other for one, other in tasks["45 pairs"])


@pytest.mark.parametrize("place", range(6))
def test_pictures_show_the_digits_of_their_class(script, place):
    task = script.make_tasks(0)[place]
    images, labels = script.draw(task, DIGITS, VALUES, 200, torch.Generator().manual_seed(1))
    assert images.shape == (200, 1, 28, 56)
    halves = [(tuple(np.unique(half[0]).astype(int)) for half in image.split(28, dim=2)) for image in images]
    shown = [sorted(value - 1 for half in both for value in half if value) for both in halves]
    assert shown == [list(task.classes[label]) for label in labels]
    assert {float(image[0, 0, 0]) > float(image[0, 0, 55]) for image in images} == {True, False}  # in either order


def test_curves_are_the_models_answers_to_composed_pictures(script):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv2d(1, 2, 7, stride=7)

        def forward(self, images):
            return self.convolution(images).relu().mean((2, 3))

    torch.manual_seed(0)
    model, image = Model().eval(), torch.rand(1, 28, 56)
    with torch.no_grad():
        target = int(model(image[None])[0].argmax())
    random = np.random.default_rng(0)
    rankings = [random.permutation(32) for _ in range(2)]
    moxi = ix.MoXI(model, regions=script.GRID, absence="zero")
    cell = torch.arange(28)[:, None] // 7 * 8 + torch.arange(56) // 7
    expected = np.zeros((2, 2, 33), bool)
    for which, ranking in enumerate(rankings):
        for count in range(33):
            first = torch.isin(cell, torch.tensor(ranking[:count]))
            with torch.no_grad():
                answers = model(torch.stack([image * first, image * ~first])).argmax(1)
            expected[which, :, count] = (answers == target).numpy()
    assert 0 < expected.mean() < 1
    assert (script.ask(moxi, image, target, rankings) == expected).all()


def test_rows_and_tables(script, capsys):
    torch.manual_seed(0)
    model = script.make_model("resnet", 5).eval()
    images, _ = script.draw(script.make_tasks(0)[1], DIGITS / 10, VALUES, 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
    found = script.rows("resnet", model, images, labels, seed=0)
    assert [(row["method"], row["direction"]) for row in found] == [
        (name, direction)
        for name in ("MoXI", "Shapley", "grad_cam", "random")
        for direction in ("insertion", "deletion")
    ]
    for row in found:
        ends = row["right"][0], row["right"][-1]
        assert (ends[1] if row["direction"] == "insertion" else ends[0]) == 1  # the whole pictures
        assert len(row["right"]) == 33
    script.tables([{"task": "5 digits", "model": "resnet", "accuracy": 0.994} | row for row in found])
    said = capsys.readouterr().out
    right = found[0]["right"]
    cells = " / ".join(f"{100 * right[count]:.0f}" for count in (1, 2, 4))
    assert f"| MoXI |  | {cells} |  |" in said
    assert "resnet, deletion, 2, 4, 8 patches" in said
    assert "resnet 5 digits 99" in said


def test_lines_that_are_damaged_are_told(script, tmp_path, capsys):
    file = tmp_path / "lines.jsonl"
    for text in ('{"task": "2 digits"}\n', "[]\n", "no JSON\n"):
        file.write_text(text)
        with pytest.raises(SystemExit, match=r"lines\.jsonl: line 1 is not what this script writes"):
            script.main([str(file), "--tables"])
    # A last line that was cut is no damage.
    file.write_text('{"task": "2 dig')
    script.main([str(file), "--tables"])
    assert "the last line was cut" in capsys.readouterr().err
    assert file.read_text() == ""
