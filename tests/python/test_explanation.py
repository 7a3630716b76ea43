import dataclasses

import numpy as np
import pytest

import interpix
from interpix import Fill, MoXI, propagate
from interpix.errors import ArgumentError
from interpix.plots import (
    plot_comparison,
    plot_curves,
    plot_group,
    plot_heatmap,
    plot_map,
    plot_overview,
    plot_photo,
)
from interpix.results import load_all, save_all
from interpix.storage import read_arrays, write_arrays
from interpix.words import group_title


@pytest.fixture
def results(image, classifier):
    moxi = MoXI(classifier, regions="2x3", absence=Fill(np.array([0.0, 0.0, 1.0])))
    return [moxi.explain(image, direction=direction, stop="all") for direction in ("insertion", "deletion")]


def test_results_are_frozen(results):
    with pytest.raises(dataclasses.FrozenInstanceError):
        results[0].target = 1
    with pytest.raises(ValueError, match="read-only"):
        results[0].ranking[0] = 1


def test_attribution_by_hand(results):
    values = results[0].attribution().map
    assert values.shape == (4, 6)
    assert values.dtype == np.float32
    # All six patches were ranked: the first has 6, the last 1.
    assert [values[results[0].regions == player][0] for player in results[0].ranking] == [6, 5, 4, 3, 2, 1]


def test_save_and_load_give_the_same(results, tmp_path):
    path = tmp_path / "result.safetensors"
    results[0].save(path)
    loaded = interpix.load(path)
    for field in dataclasses.fields(loaded):
        before, after = getattr(results[0], field.name), getattr(loaded, field.name)
        if isinstance(before, np.ndarray):
            np.testing.assert_array_equal(before, after)
            assert before.dtype == after.dtype
        else:
            assert before == after
    assert [one.name for one in tmp_path.iterdir()] == ["result.safetensors"]


def test_the_file_is_a_safetensors_file(results, tmp_path):
    from safetensors.numpy import load_file

    save_all(tmp_path / "both.safetensors", results)
    arrays = load_file(tmp_path / "both.safetensors")
    np.testing.assert_array_equal(arrays["1.ranking"], results[1].ranking)
    assert [one.direction for one in load_all(tmp_path / "both.safetensors")] == ["insertion", "deletion"]
    with pytest.raises(ArgumentError, match="load_all"):
        interpix.load(tmp_path / "both.safetensors")


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 100, (9).to_bytes(8, "little") + b'{"a":1.0}'])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ArgumentError, match="a result of interpix"):
        interpix.load(tmp_path / "x")


def test_a_file_without_one_of_its_arrays_is_refused(results, tmp_path):
    path = tmp_path / "part.safetensors"
    save_all(path, results)
    arrays, metadata = read_arrays(path)
    write_arrays(path, {name: array for name, array in arrays.items() if name != "1.gaps"}, metadata)
    with pytest.raises(ArgumentError, match=r"the array `1\.gaps`, got '.*part\.safetensors' without it"):
        load_all(path)


def test_a_failed_save_leaves_the_old_file(results, tmp_path, monkeypatch):
    path = tmp_path / "result.safetensors"
    results[1].save(path)
    old = path.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="no space"):
        results[0].save(path)
    assert path.read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 1


def test_propagation_of_a_result_is_that_of_its_map_along_its_image(results):
    refined = results[0].propagate(radius=1, discount=0.5)
    expected = interpix.propagate(results[0].attribution().map, results[0].image, radius=1, discount=0.5)
    np.testing.assert_array_equal(refined.map, expected)
    assert refined.map.dtype == np.float32


def test_titles_are_plain_words(results):
    assert group_title(results[0]) == "These 2 of 6 patches are enough for the answer 'red' (p = .98)"
    assert group_title(results[1]) == "Without these 2 of 6 patches the answer is no longer 'red' but 'green'"
    never = dataclasses.replace(results[0], stopped_at=None)
    assert "No group of up to 6 patches" in group_title(never)
    assert "no patch is needed" in group_title(dataclasses.replace(results[0], stopped_at=0))
    assert "stays 'red'" in group_title(dataclasses.replace(results[1], stopped_at=None))


@pytest.mark.parametrize("stopped_at", [None, 0, 1, 6])
def test_every_plot_draws_on_the_given_axes(results, stopped_at):
    from matplotlib.figure import Figure

    changed = [dataclasses.replace(one, stopped_at=stopped_at) for one in results]
    axes = Figure().subplots(1, 4)
    assert plot_photo(changed[0], ax=axes[0]) is axes[0]
    np.testing.assert_array_equal(axes[0].images[0].get_array(), changed[0].image)
    assert plot_group(changed[1], ax=axes[1]) is axes[1]
    veiled = (0.3 * changed[1].image + 0.7 * 128).astype(np.uint8)
    blanked = np.where(changed[1].mask()[..., None], veiled, changed[1].image)
    np.testing.assert_array_equal(axes[1].images[0].get_array(), blanked)
    assert [text.get_text() for text in axes[1].texts] == ["1", "2", "3", "4", "5", "6"][: stopped_at or 0]
    assert plot_curves(*changed, ax=axes[2]) is axes[2]
    for curve, one in zip((line for line in axes[2].lines if line.get_marker() == "."), changed, strict=True):
        np.testing.assert_array_equal(curve.get_ydata(), one.probabilities)
    rings = [line.get_xydata().tolist() for line in axes[2].lines if line.get_marker() == "o"]
    assert rings == ([] if stopped_at is None else [[[stopped_at, one.probabilities[stopped_at]]] for one in changed])
    assert plot_map(np.zeros((4, 6), np.float32), ax=axes[3]) is axes[3]  # a constant map
    np.testing.assert_array_equal(axes[3].images[0].get_array(), np.zeros((4, 6)))
    assert len(plot_overview(*changed, propagated=changed[0].attribution().map).axes) == 6
    assert len(plot_overview(changed[0]).axes) == 3


def test_a_map_is_drawn_in_raw_values(results):
    from matplotlib.figure import Figure

    ax = plot_map(results[0].attribution().map * 100, image=results[0].image, ax=Figure().subplots())
    np.testing.assert_array_equal(ax.images[1].get_array(), results[0].attribution().map * 100)


def test_notebooks_show_the_picture(results, monkeypatch):
    assert results[0]._repr_html_().startswith('<img alt="&lt;Explanation insertion of &#x27;red&#x27;: 2 of 6')
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert results[0]._repr_html_().startswith("&lt;Explanation")


def test_a_missing_matplotlib_is_named(results, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(interpix.MissingDependencyError, match=r'pip install "interpix\[plot\]"'):
        plot_overview(results[0])


def test_every_kind_of_plot_is_drawn(image, classifier):
    moxi = MoXI(classifier, regions="2x3")
    result = moxi.explain(image, direction="deletion")
    titles = [result.plot(kind).get_title() for kind in ("group", "heatmap", "curve")]
    assert [title.replace("\n", " ") for title in titles] == [
        group_title(result),
        "MoXI (deletion): 'red'",
        "How the probability changes, patch by patch",
    ]
    with pytest.raises(ArgumentError, match='"group", "heatmap" or "curve", got \'pie\''):
        result.plot("pie")


def test_results_are_compared_side_by_side(image, classifier):
    moxi = MoXI(classifier, regions="2x3")
    results = moxi.explain(image, direction="deletion"), moxi.one_shot(image), moxi.shapley(image)
    figure = plot_comparison(*results)
    # Three rows of three, and a color bar for each heat map.
    assert len(figure.axes) == 12
    for row, result in enumerate(results):
        group, heatmap, curve = figure.axes[3 * row : 3 * row + 3]
        assert group.get_title().replace("\n", " ") == group_title(result)
        np.testing.assert_array_equal(heatmap.images[1].get_array(), result.attribution())
        np.testing.assert_array_equal(curve.lines[0].get_ydata(), result.probabilities)
    with pytest.raises(ArgumentError, match="at least one result"):
        plot_comparison()
    with pytest.raises(TypeError, match=r"expected Explanations, got list; .*\*results"):
        plot_comparison([moxi.one_shot(image)])


def test_a_picture_shows_no_importance_where_nothing_was_found():
    """N3: one gray, and a class that needs no patch."""
    from matplotlib.figure import Figure

    image = np.full((3, 4, 6), 0.5, np.float32)
    result = MoXI(lambda batch: batch[:, :2].sum(axis=(2, 3)) + np.array([5, 0]), regions="2x3").explain(image, 0)
    assert result.stopped_at == 0
    for attribution in (result.attribution(), result.propagate(), propagate(np.ones((4, 6), np.float32), image)):
        drawn = plot_map(attribution, ax=Figure().subplots()).images[-1]
        assert drawn.norm(drawn.get_array()).max() < 1e-3
    ax = plot_heatmap(result, ax=Figure().subplots())
    assert ax.images[-1].norm(ax.images[-1].get_array()).max() == 0
    assert ax.get_title().replace("\n", " ") == "MoXI (insertion): 'class 0', no patch is needed"
    never = MoXI(lambda batch: batch[:, :2].sum(axis=(2, 3)), regions="2x3").explain(image, 0, direction="deletion")
    assert never.stopped_at is None
    assert plot_heatmap(never, ax=Figure().subplots()).get_title().replace("\n", " ").endswith("no group was found")
    titles = [ax.get_title() for ax in plot_overview(result, propagated=result.propagate()).axes]
    assert any(title.startswith("No patch was found") for title in titles)


LONG = "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"


@pytest.mark.parametrize("name", [LONG, "x" * 90])
def test_no_long_name_leaves_the_figure(name):
    pytest.importorskip("matplotlib")
    from interpix.plots import plot_overview

    model = interpix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), class_names=[name, "green", "blue"])
    image = np.zeros((3, 4, 6), np.float32)
    image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    results = [interpix.MoXI(model, regions="2x3").explain(image, direction=one) for one in ("insertion", "deletion")]
    figure = plot_overview(*results, propagated=results[0].propagate())
    figure.draw_without_rendering()
    box = figure.bbox
    for ax in figure.axes:
        for text in (ax.title, ax.yaxis.label, *(ax.get_legend().get_texts() if ax.get_legend() else ())):
            extent = text.get_window_extent()
            sides = extent.x0 - box.x0, box.x1 - extent.x1, extent.y0 - box.y0, box.y1 - extent.y1
            # What the command writes has a quarter inch more on each side.
            assert min(sides) >= -0.25 * figure.dpi, (text.get_text(), sides)


def test_of_a_dark_photo_what_is_enough_stands_out_and_of_any_what_is_taken_away_shines_through():
    from interpix.drawing import blank, dim

    dark = np.random.default_rng(0).integers(0, 20, (4, 6, 3), np.uint8)
    lit = np.zeros((4, 6), bool)
    lit[:2] = True
    shown = dim(dark, lit)
    assert (shown[:2] == dark[:2]).all()
    assert shown[2:].mean() > shown[:2].mean() + 100
    photo = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    gone = blank(photo, lit, ~lit)[:2]
    assert np.corrcoef(gone.ravel(), photo[:2].ravel())[0, 1] > 0.99
