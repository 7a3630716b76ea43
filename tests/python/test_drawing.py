"""Pictures of wide and high photos, with long names."""

import numpy as np
import pytest

import interpix as ix
from interpix.drawing import draw_map, draw_name, draw_title, new_figure, wrap

LONG = "a red thing with a very long name indeed, of the kind that data sets have"


@pytest.mark.parametrize("size", [(20, 60), (60, 20), (30, 40)])
@pytest.mark.parametrize("layout", ["constrained", "tight", None])
@pytest.mark.parametrize("columns", [1, 2])
def test_a_color_bar_is_beside_its_picture_and_as_high(size, layout, columns):
    figure_module = pytest.importorskip("matplotlib.figure")
    figure = figure_module.Figure(figsize=(9, 4), layout=layout)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        draw_map(np.random.default_rng(0).random(size), ax=ax)
    figure.draw_without_rendering()
    assert len(figure.axes) == 2 * columns
    for picture, bar in zip(axes, figure.axes[columns:], strict=True):
        shown, beside = picture.get_window_extent(), bar.get_window_extent()
        assert shown.height / shown.width == pytest.approx(size[0] / size[1], rel=0.02)
        assert (beside.y0, beside.y1) == pytest.approx((shown.y0, shown.y1), abs=0.5)
        longer = max(shown.width, shown.height)
        assert 0 < beside.x0 - shown.x1 < 0.15 * longer
        assert beside.width == pytest.approx(0.04 * longer, rel=0.05)
        assert beside.x1 < figure.bbox.x1


def test_no_line_ends_between_a_sign_and_its_number():
    for length in range(20, 90):
        said = f"The model sees this and answers {'x' * length!r} (p = .09), and it was asked, value > -3.25"
        lines = wrap(said).split("\n")
        assert any("(p = .09)" in line for line in lines)
        assert any("value > -3.25" in line for line in lines)
        assert "".join(lines).replace(" ", "") == said.replace(" ", ""), "nothing else is put in"
        ax = new_figure((4, 3)).subplots()
        draw_name(ax, f"{'x' * length} p = .09")
        assert any(line.endswith("p = .09") for line in ax.get_title().split("\n"))


def test_names_get_no_spaces_twice():
    ax = new_figure((4, 3)).subplots()
    draw_name(ax, "moxi(regions='14x14',stop='all'), of a long name, of the kind")
    assert ax.get_title().replace("\n", " ") == "moxi (regions='14x14', stop='all'), of a long name, of the kind"


def test_numbers_get_no_spaces():
    ax = new_figure((4, 3)).subplots()
    draw_name(ax, "a kind of method with steps=1,000,of no other kind")
    assert ax.get_title().replace("\n", " ") == "a kind of method with steps=1,000, of no other kind"


@pytest.mark.parametrize("name", ["a\n\nb", "\na\n", "a\r\nb", "\n", ""])
def test_titles_of_names_with_line_ends(name):
    ax = new_figure((4, 3)).subplots()
    draw_title(ax, name)
    assert ax.get_title().split() == name.split()


def test_lines_of_a_title_are_wrapped_one_by_one():
    ax = new_figure((4, 3)).subplots()
    draw_title(ax, f"{LONG}\nthe model saw 67% of the photo")
    lines = ax.get_title().split("\n")
    assert lines[-1] == "the model saw 67% of the photo"
    assert max(map(len, lines)) < 55
    assert " ".join(lines[:-1]) == LONG


def test_the_title_of_a_map_is_wrapped():
    names = [LONG, "green", "blue"]
    model = ix.CallableClassifier(lambda batch: 9 * batch.mean(axis=(2, 3)), class_names=names)
    found = ix.MoXI(model, regions="2x3").explain(np.ones((3, 20, 60), np.float32), 0, stop=2).attribution()
    title = found.plot().get_title()
    assert title.replace("\n", " ") == f"MoXI (insertion): {LONG}"
    assert max(map(len, title.split("\n"))) < 55


@pytest.mark.parametrize(("size", "height"), [((20, 60), 7.97), ((60, 20), 10.2), ((224, 224 + 1), 10.2)])
def test_wide_photos_leave_no_gap_in_the_overview(size, height):
    model = ix.CallableClassifier(lambda batch: 9 * batch.mean(axis=(2, 3)))
    moxi = ix.MoXI(model, regions="2x3")
    found = [
        moxi.explain(np.ones((3, *size), np.float32), 0, stop=2, direction=one) for one in ("insertion", "deletion")
    ]
    figure = ix.plots.plot_overview(*found)
    assert figure.get_size_inches() == pytest.approx((15, height), abs=0.01)
