"""The script of IProp's figures 5 to 7, on pictures whose numbers are known."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from evaluation_models import model, picture

pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
    try:
        import iprop_figures

        yield iprop_figures
    finally:
        sys.path.pop(0)


def row(image, radius, at):
    """The probabilities of one pixel's steps."""
    matrix = ix.PixelGraph(image, radius).transition_matrix()
    return matrix.toarray()[at[0] * image.shape[1] + at[1]].astype(np.float64)


def divergence(one, other):
    there = one > 0
    return (one[there] * np.log(one[there] / other[there])).sum()


def test_divergences_are_those_of_rows_of_the_matrix(script):
    flat, middle = np.full((13, 13, 3), 90, np.uint8), (6, 6)
    wanted = [divergence(row(flat, k, middle), row(flat, 6, middle)) for k in range(1, 7)]
    np.testing.assert_allclose(script.divergences(6), wanted, atol=1e-5)
    assert wanted[0] > wanted[1] > wanted[2] > wanted[5] == 0
    photo = np.asarray(picture(3))[:11, :14]
    lab = script.rgb2lab(photo)
    for at in ((0, 0), (4, 13), (5, 5)):
        wanted = [divergence(row(photo, k, at), row(photo, 5, at)) for k in range(1, 6)]
        np.testing.assert_allclose(script.divergences(5, lab, at), wanted, atol=2e-4)


def test_color_distances_of_two_halves(script):
    """6 x 10 pixels, the left half black: no pixel differs from the next one below, 6 differ from that at the right."""
    halves = np.zeros((6, 10, 3), np.uint8)
    halves[:, 5:] = 255
    lab = script.rgb2lab(halves)
    found = np.sort(script.color_distances(lab, 1, directions=100))
    # Pairs down, right, and along both diagonals.
    assert len(found) == 50 + 54 + 45 + 45
    assert found[-16:] == pytest.approx(100, abs=0.01)
    assert found[:-16] == pytest.approx(0, abs=0.01)
    assert len(script.color_distances(lab, 30)) == 0


def with_map(image, values):
    explained = ix.methods.MoXIMap(regions="2x3").explain(model(), Image.fromarray(image))
    return dataclasses.replace(explained, map=values.astype(np.float32))


@pytest.mark.filterwarnings("ignore:value iteration stopped by its own rule")
def test_times_are_of_the_papers_rule(script):
    image = np.asarray(picture(1))
    values = np.random.default_rng(0).random(image.shape[:2])
    found = with_map(image, values)
    solved = script.solving_times({"m": found, "nothing": with_map(image, 0 * values)}, (1e-3, 1e-6))
    assert list(solved) == ["m"]
    graph, scaled = ix.PixelGraph(image), found.map / found.map.max()
    for rule, tolerance in (("0.001", 1e-3), ("1e-06", 1e-6)):
        alone = graph.propagate(scaled, solver="value_iteration", tolerance=tolerance)
        assert solved["m"][rule]["iterations"] == alone.iterations
        assert solved["m"][rule]["error"] == alone.error_bound
    assert solved["m"]["1e-06"]["iterations"] > solved["m"]["0.001"]["iterations"]
    assert solved["m"]["auto"]["error"] <= 1e-4
    assert solved["m"]["1e-06"]["seconds"] > 0


def test_the_command_reads_the_maps_of_an_evaluation(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "PIXELS", 3)
    (tmp_path / "photos").mkdir()
    for index in range(4):
        picture(index).save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "photos" / "3.png").write_bytes(b"no photo")
    out = tmp_path / "out"

    def evaluate(**options):
        return ix.evaluate(model(), tmp_path / "photos", "moxi(regions='2x3')", "insertion(steps=2)", out, **options)

    evaluate()
    with pytest.raises(ix.ArgumentError, match=r"an image whose maps were kept, got '0.png'; pass maps=True"):
        script.main([str(out)])
    with pytest.warns(UserWarning, match="3 finished images have no maps"):
        found = evaluate(maps=True)
    assert list(found.maps("2.png")) == list(found.methods)
    script.main([str(out), "--images", "4"])
    assert "'3.png', which failed" in capsys.readouterr().err
    assert json.loads((out / "iprop_figures.json").read_text())["images"] == ["0.png", "1.png", "2.png"]
    script.main([str(out), "--images", "2"])
    numbers = json.loads((out / "iprop_figures.json").read_text())
    assert numbers["images"] == ["0.png", "2.png"]
    assert list(numbers["figure_5"]) == ["moxi(regions='2x3')"]
    assert len(numbers["figure_6"]["with_colors_mean"]) == len(numbers["figure_7"]["median"]) == 50
    assert numbers["figure_7"]["median"][45] is None  # the photos are 24 x 30
    assert "6: KL by radius" in capsys.readouterr().out
    with Image.open(out / "iprop_figures.png") as drawn:
        assert drawn.size[0] > 1000
