"""Pictures of results: each function takes a result, draws on `ax`, and returns it; nothing is shown or closed."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpix.drawing import (
    blank,
    dim,
    draw_annotation,
    draw_box,
    draw_curve,
    draw_frame,
    draw_map,
    draw_name,
    draw_numbers,
    draw_outline,
    draw_ring,
    draw_table,
    draw_title,
    finish_curves,
    new_axes,
    new_figure,
    shorten,
    show,
    show_middle,
)
from interpix.errors import bad_type, bad_value
from interpix.outputs.base import describe
from interpix.results.attribution import MapInput, map_values
from interpix.results.catalogue import Catalogue
from interpix.results.explanation import Explanation
from interpix.results.scores import arrow
from interpix.results.stability import Stability
from interpix.results.why import Why
from interpix.words import claim_of, group_title, photo_title, verb_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from interpix.comparison import Entry
    from interpix.results.attribution import Attribution

__all__ = [
    "origin_line",
    "plot_attribution",
    "plot_catalogue",
    "plot_comparison",
    "plot_curves",
    "plot_group",
    "plot_heatmap",
    "plot_map",
    "plot_methods",
    "plot_overview",
    "plot_photo",
    "plot_stability",
    "plot_why",
]

_COLORS = {"insertion": "#1b7837", "deletion": "#b2182b", "both": "#5e3c99"}
_WITHOUT_COLOR = "#e08214"
_FAINT = 0.3
"""Of the light of a patch that is in no group."""
_FILLS = {
    "drop_tokens": "nothing (their tokens are dropped)",
    "mask_attention": "nothing (no token attends to them)",
    "zero": "the model's mean color",
    "black": "black",
    "mean": "the photo's mean color",
    "blur": "the blurred photo",
}
_WIDTH, _HALF = 15.0, 5.1
"""Of the overview, in inches, and the greatest height of its upper half."""
_IN_A_ROW = 4


def plot_photo(result: Explanation, *, ax: "Axes | None" = None) -> "Axes":
    """The image that the model saw, with its answer.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    >>> result = moxi.explain(image, direction="deletion")
    >>> plot_photo(result, ax=Figure().subplots()).get_title().split()
    ['The', 'model', 'sees', 'this', 'and', 'answers', "'class", "0'", '(p', '=', '.98)']
    """
    ax = new_axes(ax)
    show(ax, result.image)
    _draw_place(ax, result)
    draw_title(ax, photo_title(result))
    return ax


def _draw_place(ax: "Axes", result: Explanation) -> None:
    """Where what is explained is, as a detector's box, if it has a place."""
    outline = result.output.get("outline")
    if outline is not None:
        draw_box(ax, outline)


def plot_group(result: Explanation, *, ax: "Axes | None" = None) -> "Axes":
    """The group: in full light with the rest dimmed (insertion), or blanked out (deletion).

    The numbers give the order in which the patches were found.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    >>> result = moxi.explain(image, direction="deletion")
    >>> ax = plot_group(result, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['1']
    """
    ax, inside = new_axes(ax), result.mask()
    if result.direction != "deletion":
        show(ax, dim(result.image, inside))
    else:
        show(ax, blank(result.image, inside, np.isin(result.regions, result.removed_before)))
    if result.group:
        draw_outline(ax, inside, _COLORS[result.direction])
        draw_numbers(ax, result.regions, result.group, _COLORS[result.direction])
    _draw_place(ax, result)
    draw_title(ax, group_title(result))
    return ax


def plot_curves(*results: Explanation, ax: "Axes | None" = None) -> "Axes":
    """The target's probability, or other answer, against the number of patches added or removed; a ring marks the flip.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    >>> result = moxi.explain(image, direction="deletion")
    >>> ax = plot_curves(result, moxi.explain(image, stop="all"), ax=Figure().subplots())
    >>> ax.get_xlabel()
    'number of patches added or removed'
    """
    ax = new_axes(ax)
    for result in results:
        color = _COLORS[result.direction]
        draw_curve(ax, result.answers, color=color, label=f"best patches {_verb(result)} one by one")
        if result.answers_without is not None:
            draw_curve(
                ax, result.answers_without, color=_WITHOUT_COLOR, label="the same patches removed from the photo"
            )
        stop = result.stopped_at
        if stop is not None:
            draw_ring(ax, stop, float(result.answers[stop]), color=color, label=_flip(result, stop))
    first = results[0]
    full, quantity = first.full.answer, first.output["quantity"]
    finish_curves(
        ax,
        level=full,
        level_label=f"whole image ({describe(first.output, full)})",
        least=min(float(curve.min()) for curve in _curves(results)),
        greatest=max(float(curve.max()) for curve in _curves(results)),
        x="number of patches added or removed",
        y=f"{quantity} of {shorten(first.name_of(first.target))!r}",
    )
    ax.set_title(f"How the {quantity} changes, patch by patch")
    return ax


def _curves(results: Sequence[Explanation]) -> list[npt.NDArray[np.float64]]:
    """All answers that are drawn."""
    pairs = [(result.answers, result.answers_without) for result in results]
    return [curve for pair in pairs for curve in pair if curve is not None]


def _flip(result: Explanation, stop: int) -> str:
    """What happens at the flip."""
    patches = "1 patch" if stop == 1 else f"{stop} patches"
    if result.direction == "both":
        return f"{patches} {'is' if stop == 1 else 'are'} enough, and needed"
    becomes, again = ("becomes", "") if result.direction == "insertion" else ("is no longer", "no longer ")
    if not result.output["exclusive"]:
        return f"after {patches} the model {again}{verb_of(result)}s {claim_of(result)}"
    return f"after {patches} the answer {becomes} {result.name_of(result.target)!r}"


def plot_map(attribution: MapInput, *, image: npt.NDArray[np.uint8] | None = None, ax: "Axes | None" = None) -> "Axes":
    """An attribution (H, W) in its raw values with a color bar, over a gray `image` if one is given.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    >>> result = moxi.explain(image, direction="deletion")
    >>> plot_map(result.propagate(), image=result.image, ax=Figure().subplots()).get_title()
    'How much each pixel matters'
    """
    values = map_values(attribution)
    # Beyond the bound of its solver, a difference says nothing; nor does the last place of a number.
    noise = (2 * (getattr(attribution, "error_bound", None) or 0.0) + 1e-6) * float(np.abs(values).max())
    ax = draw_map(values, image=image, noise=noise, ax=ax)
    ax.set_title("How much each pixel matters")
    return ax


def plot_attribution(found: "Attribution", *, ax: "Axes | None" = None) -> "Axes":
    """A map over its gray image, with its method and its class; on a photo, with what the model saw of it.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    >>> plot_attribution(moxi.explain(image).attribution(), ax=Figure().subplots()).get_title()
    'MoXI (insertion): class 0'
    """
    ax = plot_map(found, image=found.image, ax=ax)
    title = f"{found.method}: {found.name_of(found.target)}"
    if (placement := found.provenance.get("placement")) is not None:
        left, top, width, height = (placement[name] for name in ("left", "top", "width", "height"))
        draw_frame(ax, (left, top, left + width, top + height))
        title += f"\nthe model saw {placement['seen']:.0%} of the photo"
    draw_title(ax, title)
    return ax


def plot_heatmap(result: Explanation, *, ax: "Axes | None" = None) -> "Axes":
    """The heat map of the patches over the gray image, as the papers draw it: the first patch found is brightest.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    >>> result = moxi.explain(image, direction="deletion")
    >>> plot_heatmap(result, ax=Figure().subplots()).get_title()
    "MoXI (deletion): 'class 0'"
    """
    found = result.attribution()
    ax = plot_map(found, image=found.image, ax=ax)
    nothing = {0: ", no patch is needed", None: ", no group was found"}.get(result.stopped_at, "")
    draw_title(ax, f"{found.method}: {found.name_of(found.target)!r}{nothing}")
    return ax


def plot_comparison(*results: Explanation, figure: "Figure | None" = None) -> "Figure":
    """Several results of one image side by side, a row for each: the group, the heat map, and the curve.

    The results may come from several methods, models or kinds of absence; each row says which.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    >>> result = moxi.explain(image, direction="deletion")
    >>> len(plot_comparison(result, moxi.one_shot(image)).axes)  # two rows of three, and two color bars
    8
    """
    if not results:
        raise bad_value("results", "at least one result", "none", "pass what explain() returned")
    for result in results:
        if not isinstance(result, Explanation):
            raise bad_type("results", "Explanations", result, "put a star before a list of them: *results")
    figure = new_figure((15.5, 5.0 * len(results))) if figure is None else figure
    axes = figure.subplots(len(results), 3, squeeze=False)
    for row, result in zip(axes, results, strict=True):
        plot_group(result, ax=row[0])
        plot_heatmap(result, ax=row[1])
        plot_curves(result, ax=row[2])
        draw_title(row[2], f"{result.provenance.get('model')}, {result.provenance.get('absence')}")
        for ax in row:
            ax.title.set_fontsize("medium")
    return figure


def plot_catalogue(found: Catalogue, *, figure: "Figure | None" = None) -> "Figure":
    """The groups of a catalogue side by side, four in a row, each with what it is and what is known of it.

    >>> import numpy as np
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, :2, :2], image[0, 2:, 4:], image[1, :2, 2:4] = 3, 4, 2
    >>> model = lambda batch: np.stack([batch[:, 0].max(axis=(1, 2)), batch[:, 1].max(axis=(1, 2)) + 0.5], axis=1)
    >>> figure = plot_catalogue(ix.MoXI(model, regions="2x3").catalogue(image))
    >>> [len(ax.texts) for ax in figure.axes]  # the number of the only patch of each
    [1, 1]
    """
    if not found.groups:
        raise bad_value("found", "a catalogue with groups", "an empty one", "see its `none_up_to`")
    columns = min(len(found), _IN_A_ROW)
    rows = math.ceil(len(found) / columns)
    figure = new_figure((3.9 * columns, 5.0 * rows + 0.4)) if figure is None else figure
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    first = found[0]
    does = {"insertion": "is enough", "deletion": "is needed", "both": "is enough, and needed,"}[first.direction]
    figure.suptitle(f"Each of these groups {does} for {claim_of(first)}", parse_math=False)
    for ax, one in zip(axes, found, strict=False):
        plot_group(one, ax=ax)
        score, count = one.group_score, "1 patch" if len(one.group) == 1 else f"{len(one.group)} patches"
        said = "" if score is None else f", {describe(one.output, score.answer)}"
        draw_name(ax, f"{count} of {one.players}{said}; {one.proven}")
    for ax in axes[len(found) :]:
        ax.remove()
    return figure


def plot_stability(found: Stability, *, ax: "Axes | None" = None) -> "Axes":
    """Each patch in the light of how often it is in the group, with the core outlined: the patches that always are.

    The numbers say in how many of the groups a patch is.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)) + np.array([0, 1, 0]), regions="2x3")
    >>> plot_stability(moxi.stability(image, absences=[-1]), ax=Figure().subplots()).get_title().split()[:8]
    ['1', 'patch', 'is', 'in', 'all', 'of', '6', 'groups,']
    """
    base, frequency, core = found.explanation, found.frequency(), found.core()
    ax = new_axes(ax)
    # What is in no group is still to be seen.
    light = _FAINT + (1 - _FAINT) * frequency[base.regions]
    show(ax, dim(base.image, light))
    if core:
        draw_outline(ax, np.isin(base.regions, core), _COLORS[base.direction])
    seen = np.flatnonzero(frequency > 0)
    groups = len(found.variants) + 1
    counts = np.rint(frequency * groups).astype(int)
    draw_numbers(ax, base.regions, tuple(seen.tolist()), _COLORS[base.direction], labels=counts[seen].tolist())
    those = "No patch is" if not core else "1 patch is" if len(core) == 1 else f"{len(core)} patches are"
    said = f"{those} in all of {groups} groups, that of the photo and those of its variants"
    draw_title(ax, f"{said}; numbers say in how many")
    return ax


def plot_why(found: Why, *, figure: "Figure | None" = None) -> "Figure":
    """The photo, the patches that make the wrong class win, and those that hide the right one, side by side.

    >>> import numpy as np
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> found = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3").why(image, 0, 1)
    >>> len(plot_why(found).axes)
    3
    """
    figure = new_figure((14.0, 6.0)) if figure is None else figure
    axes = figure.subplots(1, 3)
    plot_photo(found.makes_wrong, ax=axes[0])
    plot_group(found.makes_wrong, ax=axes[1])
    plot_group(found.hides_right, ax=axes[2])
    for ax in axes:
        ax.title.set_fontsize("medium")
    return figure


def plot_methods(entries: "Sequence[Entry]", *, figure: "Figure | None" = None) -> "Figure":
    """A comparison's entries of one image: a row for each method with the photo, its map, IProp's, and the scores.

    Colors span the middle 98 % of each map's values, so that single pixels do not darken all others. A line is drawn
    around the annotated object.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    >>> result = moxi.explain(image, direction="deletion")
    >>> own = {"red": lambda model, image, target: image[0]}
    >>> sums = lambda batch: batch.sum(axis=(2, 3))
    >>> found = ix.compare(sums, image, own, "insertion(steps=2,baseline='zero')", controls=False)
    >>> len(plot_methods(found.entries).axes)  # photo, map, the propagated map, and the scores
    4
    """
    if not entries:
        raise bad_value("entries", "at least one", "none", "pass a comparison's entries")
    propagated = {entry.propagates: entry for entry in entries if entry.propagates is not None}
    rows = [(entry, propagated.get(entry.method)) for entry in entries if entry.propagates is None]
    height, width = _kept(rows[0][0]).map.shape
    # Of wide pictures, rows are as high as they are, with their names.
    figure = new_figure((13.0, min(3.1, 3.1 * height / width + 0.8) * len(rows))) if figure is None else figure
    axes = figure.subplots(len(rows), 4, squeeze=False, width_ratios=[1, 1, 1, 1.2])
    for row, (entry, other) in zip(axes, rows, strict=True):
        _plot_row(row, entry, other)
    inside = rows[0][0].annotation
    if inside is not None:
        draw_annotation([ax for row in axes for ax in row[:3] if ax.images], inside)
    return figure


def _kept(entry: "Entry") -> "Attribution":
    if entry.attribution is None:
        cure = "raise keep_maps of interpix.compare"
        raise bad_value("entries", "entries with their maps", f"only scores of {entry.image}", cure)
    return entry.attribution


def _plot_row(row: Any, entry: "Entry", propagated: "Entry | None") -> None:
    found = _kept(entry)
    show(row[0], found.image)
    draw_name(row[0], f"{entry.image}: {found.name_of(found.target)}")
    show_middle(row[1], found.map)
    draw_name(row[1], entry.method)
    row[2].set_axis_off()
    if propagated is not None:
        show_middle(row[2], _kept(propagated).map)
        draw_name(row[2], propagated.method)
    pair = [entry] if propagated is None else [entry, propagated]
    lines = [
        (f"{shorten(name)} {arrow(score)}", [one.scores[name].value for one in pair])
        for name, score in entry.scores.items()
    ]
    draw_table(row[3], ["map", "IProp"][: len(pair)], lines)


def plot_overview(
    *results: Explanation, propagated: MapInput | None = None, figure: "Figure | None" = None
) -> "Figure":
    """Everything on one page: photo, groups, curves, and the map `propagated` (H, W) to pixels.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    >>> result = moxi.explain(image, direction="deletion")
    >>> figure = plot_overview(result, propagated=result.propagate())
    >>> len(figure.axes)  # photo, group, curve, the map and its color bar
    5
    """
    height, width = results[0].image.shape[:2]
    # Wide pictures leave no gap below them.
    top = min(_HALF, _WIDTH / (1 + len(results)) * height / width + 1.2)
    figure = new_figure((_WIDTH, top + _HALF)) if figure is None else figure
    grid = figure.add_gridspec(2, 6, height_ratios=[top, _HALF])
    width = 6 // (1 + len(results))
    plot_photo(results[0], ax=figure.add_subplot(grid[0, :width]))
    for index, result in enumerate(results, start=1):
        plot_group(result, ax=figure.add_subplot(grid[0, index * width : (index + 1) * width]))
    plot_curves(*results, ax=figure.add_subplot(grid[1, :4] if propagated is not None else grid[1, :]))
    if propagated is not None:
        ax = plot_map(propagated, image=results[0].image, ax=figure.add_subplot(grid[1, 4:]))
        ax.set_title(_map_title(results[0]))
    figure.suptitle(
        f"numbers: the order in which patches were found · {origin_line(results)}",
        fontsize=10,
        color="0.35",
        y=-0.02,
        va="top",
        parse_math=False,
    )
    return figure


def origin_line(results: Sequence[Explanation]) -> str:
    """The model, the options and the cost of results, in one line.

    >>> import numpy as np
    >>> import interpix as ix
    >>> result = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2").explain(np.ones((3, 2, 4), np.float32))
    >>> origin_line([result]).split(" · ")[:2]
    ['model <lambda>', 'regions 1x2']
    """
    provenance = results[0].provenance
    evaluations = sum(result.evaluations for result in results)
    seconds = sum(result.seconds for result in results)
    fill = _FILLS.get(str(provenance.get("absence")).split("(")[0], "the user's own fill")
    return (
        f"model {provenance.get('model')} · regions {provenance.get('regions')} · absent patches show {fill} · "
        f"{evaluations} model evaluations in {seconds:.1f} s · interpix {provenance.get('interpix')}"
    )


def _map_title(result: Explanation) -> str:
    curve = {"insertion": "green", "deletion": "red", "both": "violet"}[result.direction]
    count = len(result.ranking)
    if count == 0:
        return "No patch was found, so no pixel matters\nmore than another (dark)"
    patches = "patch" if count == 1 else f"{count} patches"
    return f"The {curve} curve's {patches}, spread\nto pixels of similar color (bright: matters most)"


def _verb(result: Explanation) -> str:
    return "removed from the photo" if result.direction == "deletion" else "added to an empty image"
