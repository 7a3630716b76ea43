"""Pictures of results: each function takes a result, draws on `ax`, and returns it; nothing is shown or closed."""

import textwrap
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import FloatArray
from interpix.errors import MissingDependencyError, bad_type, bad_value
from interpix.metrics.base import arrow
from interpix.results.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from interpix.comparison import Entry
    from interpix.results.attribution import Attribution

__all__ = [
    "group_title",
    "plot_comparison",
    "plot_curves",
    "plot_group",
    "plot_heatmap",
    "plot_map",
    "plot_methods",
    "plot_overview",
    "plot_photo",
]

_COLORS = {"insertion": "#1b7837", "deletion": "#b2182b"}
_FILLS = {
    "drop_tokens": "nothing (their tokens are dropped)",
    "mask_attention": "nothing (no token attends to them)",
    "zero": "the model's mean color",
    "black": "black",
    "mean": "the photo's mean color",
    "blur": "the blurred photo",
}
_DIM = 0.22
_ABSENT_GRAY = 128
_REMOVED_GRAY = 225
_MAX_TITLE = 46
_SIZE = (15.0, 10.2)
_ROW_TITLE, _ROW_LABEL = 34, 30


def plot_photo(result: Explanation, *, ax: "Axes | None" = None) -> "Axes":
    """The image that the model saw, with its answer."""
    ax = _axes(ax)
    _show(ax, result.image)
    probability = result.full.probability
    answer = f"{result.name_of(result.prediction)!r}"
    if result.prediction == result.target:
        ax.set_title(_wrap(f"The model sees this and answers {answer} (p = {_number(probability)})"))
    else:
        asked = f"asked about {result.name_of(result.target)!r} (p = {_number(probability)})"
        ax.set_title(_wrap(f"The model answers {answer}; {asked}"))
    return ax


def plot_group(result: Explanation, *, ax: "Axes | None" = None) -> "Axes":
    """The group: in full light with the rest dimmed (insertion), or blanked out (deletion).

    The numbers give the order in which the patches were found.
    """
    ax = _axes(ax)
    inside = result.mask()[..., None]
    if result.direction == "insertion":
        dimmed = (_DIM * result.image).astype(np.uint8)
        _show(ax, np.where(inside, result.image, dimmed))
    else:
        gone = np.isin(result.regions, result.removed_before)[..., None]
        left = np.where(gone, np.uint8(_REMOVED_GRAY), result.image)
        _show(ax, np.where(inside, np.uint8(_ABSENT_GRAY), left))
    color = _COLORS[result.direction]
    if result.group:
        # A border of "outside" closes outlines at the edge of the image.
        ring = np.pad(result.mask().astype(float), 1)
        rows, columns = np.arange(-1, ring.shape[0] - 1), np.arange(-1, ring.shape[1] - 1)
        ax.contour(columns, rows, ring, levels=[0.5], colors=[color], linewidths=2)
    for order, player in enumerate(result.group, start=1):
        row, column = (where.mean() for where in np.nonzero(result.regions == player))
        box = {"boxstyle": "round,pad=0.2", "facecolor": color, "edgecolor": "none", "alpha": 0.85}
        ax.text(column, row, str(order), color="white", ha="center", va="center", fontsize=9, bbox=box)
    ax.set_title(_wrap(group_title(result)))
    return ax


def group_title(result: Explanation) -> str:
    """What the group means, in plain words."""
    if result.direction == "insertion":
        return _sufficient(result)
    return _contrasted(result) if result.removed_before else _needed(result)


def _sufficient(result: Explanation) -> str:
    target, count, players = repr(result.name_of(result.target)), result.stopped_at, result.players
    if count is None:
        return f"No group of up to {len(result.ranking)} patches was found that makes it {target}"
    if count == 0:
        return f"An empty image is {target} already: no patch is needed"
    these = "This 1 of" if count == 1 else f"These {count} of"
    verb = "is" if count == 1 else "are"
    probability = _number(float(result.probabilities[count]))
    return f"{these} {players} patches {verb} enough for the answer {target} (p = {probability})"


def _needed(result: Explanation) -> str:
    target, count, players = repr(result.name_of(result.target)), result.stopped_at, result.players
    if count is None:
        return f"The answer stays {target} without the {len(result.ranking)} patches that were tried"
    instead = repr(result.name_of(int(result.predicted[count])))
    if count == 0:
        return f"The answer is {instead}, not {target}, with all patches already"
    these = "this 1 of" if count == 1 else f"these {count} of"
    return f"Without {these} {players} patches the answer is no longer {target} but {instead}"


def _contrasted(result: Explanation) -> str:
    target, gone = repr(result.name_of(result.target)), len(result.removed_before)
    if not result.group:
        return f"The answer never becomes {target}, whatever is taken away"
    light = "1 patch (light) is" if gone == 1 else f"{gone} patches (light) are"
    numbered = "the numbered one" if len(result.group) == 1 else f"the {len(result.group)} numbered ones"
    return f"Once {light} taken away the answer is {target}; it needs {numbered}"


def plot_curves(*results: Explanation, ax: "Axes | None" = None) -> "Axes":
    """The target's probability against the number of patches added or removed; a ring marks the flip."""
    ax = _axes(ax)
    for result in results:
        color, verb = _COLORS[result.direction], _verb(result)
        steps = np.arange(len(result.probabilities))
        ax.plot(steps, result.probabilities, color=color, marker=".", label=f"best patches {verb} one by one")
        stop = result.stopped_at
        if stop is None:
            continue
        probability = float(result.probabilities[stop])
        becomes = "becomes" if result.direction == "insertion" else "is no longer"
        patches = "1 patch" if stop == 1 else f"{stop} patches"
        label = f"after {patches} the answer {becomes} {result.name_of(result.target)!r}"
        ax.plot(stop, probability, "o", label=label, ms=12, mfc="none", mec=color, mew=2, ls="none")
    first = results[0]
    full = first.full.probability
    ax.axhline(full, color="0.6", lw=1, ls="--", label=f"whole image (p = {_number(full)})")
    ax.set(xlabel="number of patches added or removed", ylabel=f"probability of {first.name_of(first.target)!r}")
    ax.set_ylim(-0.02, 1.08 * max(full, *(float(result.probabilities.max()) for result in results)) + 0.02)
    ax.margins(x=0.03)
    ax.locator_params(axis="x", integer=True)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    # Below the axes, where no curve can run through it.
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    ax.set_title("How the probability changes, patch by patch")
    return ax


def plot_map(
    attribution: FloatArray, *, image: npt.NDArray[np.uint8] | None = None, ax: "Axes | None" = None
) -> "Axes":
    """An attribution (H, W) in its raw values with a color bar, over a gray `image` if one is given."""
    ax = _axes(ax)
    if image is not None:
        _show(ax, np.rint(image.mean(axis=2)).astype(np.uint8), cmap="gray", vmin=0, vmax=255)
    drawn = _show(ax, attribution, cmap="inferno", alpha=1.0 if image is None else 0.65)
    ax.figure.colorbar(drawn, ax=ax, fraction=0.046, pad=0.03, label="importance (raw value)")
    ax.set_title("How much each pixel matters")
    return ax


def plot_heatmap(result: Explanation, *, ax: "Axes | None" = None) -> "Axes":
    """The heat map of the patches over the gray image, as the papers draw it: the first patch found is brightest."""
    ax = plot_map(result.attribution(), image=result.image, ax=ax)
    ax.set_title(_wrap(f"{_method(result)}: {result.name_of(result.target)!r}"))
    return ax


def plot_comparison(*results: Explanation, figure: "Figure | None" = None) -> "Figure":
    """Several results of one image side by side, a row for each: the group, the heat map, and the curve.

    The results may come from several methods, models or kinds of absence; each row says which.
    """
    if not results:
        raise bad_value("results", "at least one result", "none", "pass what explain() returned")
    for result in results:
        if not isinstance(result, Explanation):
            raise bad_type("results", "Explanations", result, "put a star before a list of them: *results")
    figure = _new_figure((15.5, 5.0 * len(results))) if figure is None else figure
    axes = figure.subplots(len(results), 3, squeeze=False)
    for row, result in zip(axes, results, strict=True):
        plot_group(result, ax=row[0])
        plot_heatmap(result, ax=row[1])
        plot_curves(result, ax=row[2])
        row[2].set_title(f"{result.provenance.get('model')}, {result.provenance.get('absence')}")
        for ax in row:
            ax.title.set_fontsize("medium")
    return figure


def plot_methods(entries: "Sequence[Entry]", *, figure: "Figure | None" = None) -> "Figure":
    """A comparison's entries of one image: a row for each method with the photo, its map, IProp's, and the scores.

    Colors span the middle 98 % of each map's values, so that single pixels do not darken all others.
    """
    if not entries:
        raise bad_value("entries", "at least one", "none", "pass a comparison's entries")
    plain = {entry.method: entry for entry in entries}
    rows = [(entry, plain.get(f"IProp({name})")) for name, entry in plain.items() if not _is_spread(name, plain)]
    figure = _new_figure((13.0, 3.1 * len(rows))) if figure is None else figure
    axes = figure.subplots(len(rows), 4, squeeze=False, width_ratios=[1, 1, 1, 1.2])
    for row, (entry, spread) in zip(axes, rows, strict=True):
        _plot_row(row, entry, spread)
    return figure


def _is_spread(name: str, names: Container[str]) -> bool:
    return name.startswith("IProp(") and name.removeprefix("IProp(").removesuffix(")") in names


def _kept(entry: "Entry") -> "Attribution":
    if entry.attribution is None:
        cure = "raise keep_maps of interpix.compare"
        raise bad_value("entries", "entries with their maps", f"only scores of {entry.image}", cure)
    return entry.attribution


def _plot_row(row: Any, entry: "Entry", spread: "Entry | None") -> None:
    found = _kept(entry)
    _show(row[0], found.image)
    _plain_title(row[0], f"{entry.image}: {found.name_of(found.target)}")
    _show_map(row[1], found.map)
    _plain_title(row[1], entry.method)
    row[2].set_axis_off()
    if spread is not None:
        _show_map(row[2], _kept(spread).map)
        _plain_title(row[2], spread.method)
    row[3].set_axis_off()
    labels = [f"{_shortened(name)} {arrow(score)}" for name, score in entry.scores.items()]
    width = max(map(len, labels)) + 1
    lines = [f"{'':{width}}{'map':>7}{'' if spread is None else 'IProp':>7}"]
    for label, (name, score) in zip(labels, entry.scores.items(), strict=True):
        after = "" if spread is None else _score(spread.scores[name].value)
        lines.append(f"{label:{width}}{_score(score.value):>7}{after:>7}")
    text = "\n".join(lines)
    style = {"family": "monospace", "fontsize": "small", "va": "center", "parse_math": False}
    row[3].text(0, 0.5, text, transform=row[3].transAxes, **style)


def _plain_title(ax: "Axes", name: str) -> None:
    """A title from a name of the user's, in which dollars are dollars; on several lines if it is long."""
    lines = [name]
    if len(name) > _ROW_TITLE:
        lines = textwrap.wrap(name.replace(",", ", ").replace("(", " ("), _ROW_TITLE, break_on_hyphens=False)
    ax.set_title("\n".join(lines), fontsize="medium", parse_math=False)


def _shortened(name: str) -> str:
    return name if len(name) <= _ROW_LABEL else f"{name[: _ROW_LABEL - 3]}..."


def _show_map(ax: "Axes", values: FloatArray) -> None:
    low, high = np.percentile(values, [1, 99])
    if low == high:
        low, high = values.min(), values.max()
    _show(ax, values, cmap="inferno", vmin=low, vmax=high)


def _score(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def plot_overview(
    *results: Explanation, propagated: FloatArray | None = None, figure: "Figure | None" = None
) -> "Figure":
    """Everything on one page: photo, groups, curves, and the map `propagated` (H, W) to pixels."""
    figure = _new_figure(_SIZE) if figure is None else figure
    grid = figure.add_gridspec(2, 6)
    width = 6 // (1 + len(results))
    plot_photo(results[0], ax=figure.add_subplot(grid[0, :width]))
    for index, result in enumerate(results, start=1):
        plot_group(result, ax=figure.add_subplot(grid[0, index * width : (index + 1) * width]))
    plot_curves(*results, ax=figure.add_subplot(grid[1, :4] if propagated is not None else grid[1, :]))
    if propagated is not None:
        ax = plot_map(propagated, image=results[0].image, ax=figure.add_subplot(grid[1, 4:]))
        ax.set_title(_map_title(results[0]))
    figure.suptitle(_footer(results), fontsize=10, color="0.35", y=-0.02, va="top")
    return figure


def _footer(results: tuple[Explanation, ...]) -> str:
    provenance = results[0].provenance
    evaluations = sum(result.evaluations for result in results)
    seconds = sum(result.seconds for result in results)
    fill = _FILLS.get(str(provenance.get("absence")).split("(")[0], "the user's own fill")
    return (
        f"model {provenance.get('model')} · regions {provenance.get('regions')} · absent patches show {fill} · "
        f"{evaluations} model evaluations in {seconds:.1f} s · interpix {provenance.get('interpix')}"
    )


def _map_title(result: Explanation) -> str:
    curve = "green" if result.direction == "insertion" else "red"
    count = len(result.ranking)
    patches = "patch" if count == 1 else f"{count} patches"
    return f"The {curve} curve's {patches}, spread\nto pixels of similar color (bright: matters most)"


def _method(result: Explanation) -> str:
    return f"{result.provenance.get('method', 'MoXI')} ({result.direction})"


def _verb(result: Explanation) -> str:
    return "added to an empty image" if result.direction == "insertion" else "removed from the photo"


def _number(probability: float) -> str:
    """.41 as statisticians write it, but never 1.00 or .00 for what is only near."""
    if probability > 0.995:  # what would round to 1.00
        return "> .99" if probability < 1 else "1"
    return f"{probability:.2f}".removeprefix("0") if probability >= 0.005 else "< .01"


def _wrap(text: str) -> str:
    """`text` on lines of about equal length."""
    words, lines = text.split(" "), [""]
    limit = max(_MAX_TITLE * 2 // 3, len(text) // -(-len(text) // _MAX_TITLE) + 6)
    for word in words:
        if len(lines[-1]) + len(word) > limit:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(line.strip() for line in lines)


def _show(ax: "Axes", pixels: npt.NDArray[Any], **options: Any) -> Any:
    ax.set_axis_off()
    return ax.imshow(pixels, interpolation="nearest", **options)


def _axes(ax: "Axes | None") -> "Axes":
    if ax is not None:
        return ax
    _require_matplotlib()
    import matplotlib.pyplot as plt  # noqa: PLC0415 - matplotlib only when asked for

    created: Axes = plt.subplots(layout="constrained")[1]
    return created


def _new_figure(size: tuple[float, float]) -> "Figure":
    _require_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 - matplotlib only when asked for

    return Figure(figsize=size, layout="constrained")


def _require_matplotlib() -> None:
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        message = 'pictures need matplotlib: pip install "interpix[plot]"'
        raise MissingDependencyError(message) from error
