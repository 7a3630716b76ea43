"""Composites of digits at random places, the models that learn them, and the script that asks where groups lie."""

import sys
from pathlib import Path

import numpy as np
import pytest

import interpix as ix

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("timm")
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
    try:
        import digits

        yield digits
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def pictures():
    """Two of each value: a frame of a width of its own, brighter for greater values, with one bright corner."""
    digits = torch.zeros(20, 28, 28)
    for index, digit in enumerate(digits):
        value = index % 10
        digit[4:24, 6 : 14 + value] = 0.1 + 0.08 * value
    return digits, torch.arange(20) % 10


def draw(script, pictures, count, seed=0):
    return script.data.draw(*pictures, count, np.random.default_rng(seed))


def test_boxes_hold_exactly_the_ink_of_their_digits(script, pictures):
    counts = set()
    for image, values, boxes in draw(script, pictures, 40):
        assert image.shape == (1, 56, 84)
        assert len(set(values)) == len(values) == len(boxes)
        counts.add(len(values))
        rest = image[0].clone()
        for value, (left, top, right, bottom) in zip(values, boxes.tolist(), strict=True):
            ink = rest[top:bottom, left:right]
            assert ink.shape == (20, 8 + value)
            torch.testing.assert_close(ink, torch.full_like(ink, 0.1 + 0.08 * value))
            rest[top:bottom, left:right] = 0
        assert not rest.any()
    assert counts == {1, 2, 3}


def test_boxes_stay_apart(script, pictures):
    for _, _, boxes in draw(script, pictures, 40):
        for index, one in enumerate(boxes.tolist()):
            for other in boxes[index + 1 :].tolist():
                grown = [one[0] - 1, one[1] - 1, one[2] + 1, one[3] + 1]
                assert script.data.overlap(grown, other) == 0


def test_composites_depend_on_the_seed_alone(script, pictures):
    first, again, other = (draw(script, pictures, 5, seed) for seed in (1, 1, 2))
    assert all((one.image == two.image).all() for one, two in zip(first, again, strict=True))
    assert any(one.values != two.values for one, two in zip(first, other, strict=True))


@pytest.fixture(scope="module")
def models(script, pictures):
    """Both models after a few steps, with the losses of these."""
    made = {}
    with torch.random.fork_rng():
        for kind, make in (("labels", script.data.make_labeler), ("boxes", script.data.Detector)):
            torch.manual_seed(0)
            model = make(8)
            made[kind] = model, script.data.train(model, *pictures, composites=64 * 20, seed=0)
    return made


@pytest.mark.parametrize("kind", ["labels", "boxes"])
def test_training_lowers_the_loss(models, kind):
    _, losses = models[kind]
    assert len(losses) == 20
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def test_detections_are_those_of_torchvision(script, pictures, models):
    model, _ = models["boxes"]
    images = torch.stack([one.image for one in draw(script, pictures, 3)])
    with torch.no_grad():
        answer = model(images, most=7)
        logits, _ = model.cells(images)
    assert len(answer) == 3
    for one, cells in zip(answer, logits.sigmoid(), strict=True):
        assert set(one) == {"boxes", "scores", "labels"}
        count = len(one["scores"])
        assert one["boxes"].shape == (count, 4)
        assert one["labels"].shape == (count,)
        assert one["labels"].dtype == torch.int64
        assert (one["boxes"][:, :2] <= one["boxes"][:, 2:]).all()
        assert one["scores"].tolist() == sorted(one["scores"].tolist(), reverse=True)
        assert one["scores"][0] == cells.max()
        assert one["labels"][0] == cells.flatten(1).amax(1).argmax()


def test_the_detector_says_where_a_cell_is(script):
    """Without weights, each cell's box is square and around its own middle."""
    model = script.data.Detector(4).eval()
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    with torch.no_grad():
        _, boxes = model.cells(torch.zeros(1, 1, 56, 84))
    assert boxes.shape == (1, 4, 14, 21)
    middle = (boxes[0, :2] + boxes[0, 2:]) / 2
    torch.testing.assert_close(middle[:, 3, 5], torch.tensor([5.5 * 4, 3.5 * 4]))


def test_what_is_found_is_matched_with_the_digits(script, pictures):
    composite = next(one for one in draw(script, pictures, 20) if len(one.values) == 2)
    one, other = composite.boxes.float()
    absent = next(value for value in range(10) if value not in composite.values)

    def detector(_):
        boxes = torch.stack([one, one, other + 40, one])
        labels = torch.tensor([composite.values[0], composite.values[0], composite.values[1], absent])
        return [{"boxes": boxes, "scores": torch.tensor([0.9, 0.8, 0.7, 0.6]), "labels": labels}]

    found = script.find("boxes", detector, composite)
    assert found == [(0, 0), (1, None), (2, None), (3, None)]
    logits = torch.full((1, 10), -1.0)
    logits[0, [composite.values[1], absent]] = 1
    assert set(script.find("labels", lambda _: logits, composite)) == {(composite.values[1], 1), (absent, None)}


def test_shares_of_a_group_by_hand(script):
    """A digit of one patch and a half, another of one patch: a group of its whole patch, its half, the other's."""
    digit, other = torch.tensor([0, 0, 10, 7]), torch.tensor([14, 0, 21, 7])
    composite = script.data.Composite(torch.zeros(1, 56, 84), [1, 2], torch.stack([digit, other]))

    class Model:
        def __call__(self, batch):
            return batch[:, 0, 0, [0, 7, 14]].sum(1)[:, None] - 2.5

    image = np.zeros((1, 56, 84), np.float32)
    image[0, :7, :21] = 1
    moxi = ix.MoXI(Model(), regions=script.GRID, absence="zero", output=ix.outputs.Sigmoid())
    found = moxi.explain(image, minimal=True)
    assert set(found.group) == {0, 1, 2}
    results = {"MoXI, insertion": found, "MoXI, deletion": moxi.explain(image, direction="deletion")}
    results |= {"Shapley": moxi.shapley(image, rounds=2), "RISE": found.attribution()}
    rows = script.measure(script.Case(composite, 0, results))
    for name in ("MoXI, insertion", "the same, minimal", "Shapley", "RISE"):
        assert rows[name]["patches"] == 3
        assert rows[name]["on its digit"] == pytest.approx(70 / 147)
        assert rows[name]["on another"] == pytest.approx(1 / 3)
        assert rows[name]["touching its digit"] == pytest.approx(2 / 3)
    assert rows["MoXI, deletion"]["patches"] == 1
    assert rows["RISE"]["mass inside"] == pytest.approx(70 / 147, abs=0.2)
    assert rows["chance"]["on its digit"] == rows["chance"]["mass inside"] == pytest.approx(70 / (56 * 84))
    assert rows["chance"]["touching its digit"] == pytest.approx(2 / 96)


def test_errors_count_composites(script):
    assert script.mean([1, 1, 3, 3], [0, 0, 1, 1]) == "2.00 ± 0.71"
    assert script.mean([1, np.nan, 3], [0, 1, 2]) == "2.00 ± 0.71"
    assert script.mean([np.nan], [0]) == ""


def test_script_trains_asks_and_draws(script, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "read_mnist", lambda folder, split: pictures)
    monkeypatch.setattr(script, "LEAST", 0.0)  # hardly trained models are sure of nothing
    outputs = {"labels": ix.outputs.Sigmoid(1e-4), "boxes": ix.outputs.Boxes(min_iou=0, min_score=0)}
    monkeypatch.setattr(script, "OUTPUTS", outputs)
    find = script.find
    monkeypatch.setattr(script, "find", lambda *asked: [one for one in find(*asked) if one.digit is not None][:1])
    monkeypatch.setattr(script, "GRID", (2, 3))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    few = ["--images", "2", "--width", "4", "--composites", "64", "--masks", "5", "--rounds", "1"]
    try:
        script.main(["--cache", str(tmp_path), "--plot", str(tmp_path / "plot.png"), *few])
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    printed = capsys.readouterr().out
    assert printed.count("| MoXI, deletion |") == printed.count("| chance |") == 2
    assert len(list(tmp_path.glob("*.pt"))) == 2
    assert (tmp_path / "plot.png").stat().st_size > 1000
