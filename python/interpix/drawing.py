"""Pictures from arrays and words. It knows no result: `interpix.plots` reads those, and draws with this."""

import io
import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.arrays import BoolArray, FloatArray, IntArray
from interpix.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.transforms import Bbox

__all__ = [
    "blank",
    "dim",
    "draw_annotation",
    "draw_box",
    "draw_curve",
    "draw_frame",
    "draw_map",
    "draw_name",
    "draw_numbers",
    "draw_outline",
    "draw_ring",
    "draw_table",
    "draw_title",
    "finish_curves",
    "new_axes",
    "new_figure",
    "png_bytes",
    "require_matplotlib",
    "shorten",
    "show",
    "show_middle",
    "wrap",
    "write_score",
]

_DIM = 0.22
_DARK = 60
"""The mean of a photo in which black would not tell what is dimmed."""
_VEIL = 190
_ABSENT_GRAY = 128
_SEEN_THROUGH = 0.3
"""The share of what was taken away that shines through."""
_REMOVED_GRAY = 225
_ANNOTATION, _AROUND_ANNOTATION = "#00e5ff", "#10242b"
"""Neither is a color of maps, and one of them stands out from any photo."""
_MAX_TITLE = 46
_MAX_NAME, _MAX_LABEL = 34, 30
_TIE = "\N{NO-BREAK SPACE}"
_BAR_PAD, _BAR_WIDTH = 0.03, 0.04
"""How far from a picture its color bar is, in parts of the axes, and how wide, in parts of its longer side."""


def new_axes(ax: "Axes | None" = None) -> "Axes":
    """`ax` itself, or new axes if it is None.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if ax is not None:
        return ax
    require_matplotlib()
    import matplotlib.pyplot as plt  # matplotlib only when asked for

    created: Axes = plt.subplots(layout="constrained")[1]
    return created


def new_figure(size: tuple[float, float]) -> "Figure":
    """An empty figure of this width and height in inches, of which pyplot knows nothing."""
    require_matplotlib()
    from matplotlib.figure import Figure  # matplotlib only when asked for

    return Figure(figsize=size, layout="constrained")


def png_bytes(figure: "Figure", *, dpi: int, **options: Any) -> bytes:
    """A figure as a PNG file that says who made it; `options` are those of `Figure.savefig`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": f"interpix {_core.__version__}"}, **options)
    return buffer.getvalue()


def require_matplotlib() -> None:
    """Refuses where there are no pictures.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: F401 - optional
    except ImportError as error:
        message = 'pictures need matplotlib: pip install "interpix[plot]"'
        raise MissingDependencyError(message) from error


def show(ax: "Axes", pixels: npt.NDArray[Any], **options: Any) -> "AxesImage":
    """An image without a frame; `options` are those of `Axes.imshow`."""
    ax.set_axis_off()
    return ax.imshow(pixels, interpolation="nearest", **options)


def show_middle(ax: "Axes", values: FloatArray) -> None:
    """A map whose colors span the middle 98 % of its values, so that single pixels do not darken all others."""
    low, high = np.percentile(values, [1, 99])
    if low == high:
        low, high = _limits(values)
    show(ax, values, cmap="inferno", vmin=low, vmax=high)


def _limits(values: FloatArray, noise: float = 0.0) -> tuple[float, float]:
    """Where colors begin and end: a map without differences but `noise` is dark, and not of a color between.

    >>> _limits(np.array([0.0, 2.0])), _limits(np.array([3.0, 3.0])), _limits(np.array([0.0, 1e-5]), noise=1e-4)
    ((0.0, 2.0), (3.0, 4.0), (1e-05, 1.00001))
    """
    low, high = float(values.min()), float(values.max())
    return (low, high) if high - low > noise else (high, high + 1)


def draw_map(
    values: FloatArray, *, image: npt.NDArray[np.uint8] | None = None, noise: float = 0.0, ax: "Axes | None" = None
) -> "Axes":
    """A map (H, W) in its raw values with a color bar, over a gray `image` (H, W, 3) if one is given.

    Where all values are equal, but for `noise`, nothing matters more than the rest, and all of it is dark.
    """
    ax = new_axes(ax)
    if image is not None:
        show(ax, np.rint(image.mean(axis=2)).astype(np.uint8), cmap="gray", vmin=0, vmax=255)
    low, high = _limits(values, noise)
    drawn = show(ax, values, cmap="inferno", vmin=low, vmax=high, alpha=1.0 if image is None else 0.65)
    words: dict[str, Any] = {"label": "importance (raw value)", "panchor": False}
    bar = ax.figure.colorbar(drawn, ax=ax, fraction=0.046, pad=_BAR_PAD, **words)
    bar.ax.set_axes_locator(_Beside(ax, bar.ax))
    return ax


@dataclass(frozen=True)
class _Beside:
    """Where a color bar is: beside a picture, and as high, be that wider or higher than its axes.

    Matplotlib places it beside the whole of these axes, of which the picture may fill the middle only.
    """

    picture: "Axes"
    bar: "Axes"

    def __call__(self, _bar: Any, _renderer: Any) -> "Bbox":
        """What matplotlib asks before it draws."""
        from matplotlib.transforms import Bbox  # optional

        self.bar.set_box_aspect(None)  # constrained layout sets it whenever it is run
        self.picture.apply_aspect()
        whole, shown, figure = (
            self.picture.get_position(original=True),
            self.picture.get_position(),
            self.bar.figure.bbox,
        )
        left = shown.x1 + _BAR_PAD * whole.width
        width = _BAR_WIDTH * max(shown.width, shown.height * figure.height / figure.width)
        return Bbox.from_extents(left, shown.y0, left + width, shown.y1)

    def get_subplotspec(self) -> Any:
        """What tight layout asks."""
        return self.bar.get_subplotspec()


def dim(image: npt.NDArray[np.uint8], light: BoolArray | FloatArray) -> npt.NDArray[np.uint8]:
    """The image (H, W, 3) in full light where `light` (H, W) is 1 or True, dimmed where it is 0, and in between.

    What is dimmed is dark, or of a dark image light gray.

    >>> dim(np.full((1, 3, 3), 100, np.uint8), np.array([[1.0, 0.5, 0.0]]))[..., 0]
    array([[100,  61,  22]], dtype=uint8)
    >>> dim(np.full((1, 2, 3), 10, np.uint8), np.array([[True, False]]))[..., 0]
    array([[ 10, 150]], dtype=uint8)
    """
    veil = (1 - _DIM) * _VEIL if image.mean() < _DARK else 0
    share = np.asarray(light, np.float64)[..., None]
    return (share * image + (1 - share) * (_DIM * image + veil)).astype(np.uint8)


def blank(image: npt.NDArray[np.uint8], gone: BoolArray, gone_before: BoolArray) -> npt.NDArray[np.uint8]:
    """The image (H, W, 3) under gray where `gone` (H, W) is True, and in light gray where `gone_before` is.

    >>> masks = np.array([[True, False, False]]), np.array([[False, False, True]])
    >>> blank(np.full((1, 3, 3), 100, np.uint8), *masks)[..., 0]
    array([[119, 100, 225]], dtype=uint8)
    """
    left = np.where(gone_before[..., None], np.uint8(_REMOVED_GRAY), image)
    veiled = (_SEEN_THROUGH * image + (1 - _SEEN_THROUGH) * _ABSENT_GRAY).astype(np.uint8)
    return np.where(gone[..., None], veiled, left)


def draw_outline(ax: "Axes", inside: BoolArray, color: str, *, width: float = 2, **options: Any) -> None:
    """The border of the pixels `inside` (H, W), of which there must be some; `options` are those of a collection."""
    # A border of "outside" closes outlines at the edge of the image.
    ring = np.pad(inside.astype(float), 1)
    rows, columns = np.arange(-1, ring.shape[0] - 1), np.arange(-1, ring.shape[1] - 1)
    ax.contour(columns, rows, ring, levels=[0.5], colors=[color], linewidths=width).set(**options)


def draw_annotation(axes: "Sequence[Axes]", inside: BoolArray) -> None:
    """A line around the object, True in `inside` (H, W), on each of `axes`, and below their figure what it is.

    Nothing is drawn around an object that has no pixels.
    """
    if not inside.any():
        return
    from matplotlib.lines import Line2D  # optional
    from matplotlib.patheffects import Normal, Stroke  # optional

    around = [Stroke(linewidth=3.5, foreground=_AROUND_ANNOTATION), Normal()]
    for ax in axes:
        draw_outline(ax, inside, _ANNOTATION, width=1.5, path_effects=around)
    line = Line2D([], [], color=_ANNOTATION, linewidth=1.5, path_effects=around)
    axes[0].figure.legend([line], ["the annotated object"], loc="outside lower left", frameon=False)


def draw_numbers(
    ax: "Axes", regions: IntArray, order: "Sequence[int]", color: str, *, labels: "Sequence[int] | None" = None
) -> None:
    """1, 2, 3, ..., or the `labels`, on the middles of the regions `order` of a label map (H, W)."""
    numbers = range(1, len(order) + 1) if labels is None else labels
    for number, region in zip(numbers, order, strict=True):
        row, column = (where.mean() for where in np.nonzero(regions == region))
        box = {"boxstyle": "round,pad=0.2", "facecolor": color, "edgecolor": "none", "alpha": 0.85}
        ax.text(column, row, str(number), color="white", ha="center", va="center", fontsize=9, bbox=box)


def draw_curve(ax: "Axes", values: FloatArray, *, color: str, label: str) -> None:
    """A curve over 0, 1, 2, ..."""
    ax.plot(np.arange(len(values)), values, color=color, marker=".", label=wrap(label))


def draw_box(ax: "Axes", box: "Sequence[float]", color: str = "#2b8cff") -> None:
    """A rectangle around left, top, right and bottom, in pixels whose centers are whole numbers."""
    _draw_rectangle(ax, box, edgecolor=color, linewidth=2)


def draw_frame(ax: "Axes", box: "Sequence[float]") -> None:
    """A rectangle that is seen on any picture, black and white in turn; `box` as in `draw_box`."""
    for color, style in (("black", "-"), ("white", "--")):
        _draw_rectangle(ax, box, edgecolor=color, linestyle=style, linewidth=1.5)


def _draw_rectangle(ax: "Axes", box: "Sequence[float]", **options: Any) -> None:
    from matplotlib.patches import Rectangle  # optional

    left, top, right, bottom = box
    ax.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, **options))


def draw_ring(ax: "Axes", x: float, y: float, *, color: str, label: str) -> None:
    """A ring around a point of a curve."""
    ax.plot(x, y, "o", label=wrap(label), ms=12, mfc="none", mec=color, mew=2, ls="none")


def finish_curves(
    ax: "Axes", *, level: float, level_label: str, greatest: float, x: str, y: str, least: float = 0.0
) -> None:
    """What is around curves: a dashed line at a `level`, the axes' names `x` and `y`, grid and legend."""
    ax.axhline(level, color="0.6", lw=1, ls="--", label=level_label)
    ax.set(xlabel=x, ylabel=y)
    top = max(level, greatest, 0.0)
    if least >= 0:
        ax.set_ylim(-0.02 * max(top, 1.0), 1.08 * top + 0.02)
    ax.margins(x=0.03)
    ax.locator_params(axis="x", integer=True)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    # Below the axes, where no curve can run through it.
    legend = ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    for text in (*legend.get_texts(), ax.xaxis.label, ax.yaxis.label):
        text.set_parse_math(False)


def draw_table(ax: "Axes", header: "Sequence[str]", rows: "Sequence[tuple[str, Sequence[float]]]") -> None:
    """Numbers in columns under a header, each row with its label; NaN is a dash."""
    ax.set_axis_off()
    width = max(len(label) for label, _ in rows) + 1
    lines = [f"{'':{width}}" + "".join(f"{name:>7}" for name in header)]
    lines += [f"{label:{width}}" + "".join(f"{write_score(one):>7}" for one in numbers) for label, numbers in rows]
    style: dict[str, Any] = {"family": "monospace", "fontsize": "small", "va": "center", "parse_math": False}
    ax.text(0, 0.5, "\n".join(lines), transform=ax.transAxes, **style)


def draw_title(ax: "Axes", text: str) -> None:
    """A sentence over a picture, on lines of about equal length; names in it may hold dollars."""
    ax.set_title("\n".join(wrap(line) for line in text.splitlines() if line.strip()), parse_math=False)


def draw_name(ax: "Axes", name: str) -> None:
    """A title from a name of the user's, in which dollars are dollars; on several lines if it is long."""
    lines = [name]
    if len(name) > _MAX_NAME:
        # What has no spaces may be broken where options begin.
        spaced = re.sub(r"(?<=\S)(?=\()|(?<=,)(?=[^\s\d])", " ", name)
        lines = textwrap.wrap(_tied(spaced), _MAX_NAME, break_on_hyphens=False)
    ax.set_title("\n".join(lines).replace(_TIE, " "), fontsize="medium", parse_math=False)


def shorten(label: str) -> str:
    """A label of at most 30 characters.

    >>> shorten("accuracy_insertion(regions='14x14')")
    'accuracy_insertion(regions=...'
    """
    return label if len(label) <= _MAX_LABEL else f"{label[: _MAX_LABEL - 3]}..."


def wrap(text: str) -> str:
    r"""`text` on lines of about equal length.

    >>> print(wrap("These 4 of 49 patches are enough for the answer 'espresso' (p = .41)"))
    These 4 of 49 patches are enough for
    the answer 'espresso' (p = .41)
    >>> [len(line) for line in wrap("x" * 100).split("\n")]
    [46, 46, 8]
    >>> print(wrap("The model sees this and answers 'a red wolf, of the woods' (p = .93)"))
    The model sees this and answers 'a red
    wolf, of the woods' (p = .93)
    """
    text = _tied(text)
    # A name without spaces is broken where it must be.
    words = [word[at : at + _MAX_TITLE] for word in text.split(" ") for at in range(0, max(1, len(word)), _MAX_TITLE)]
    lines = [""]
    limit = max(_MAX_TITLE * 2 // 3, len(text) // -(-len(text) // _MAX_TITLE) + 6)
    for word in words:
        if len(lines[-1]) + len(word) > limit:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(line.strip() for line in lines if line).replace(_TIE, " ")


def _tied(text: str) -> str:
    r"""`text` in which no line ends between a quantity, its sign and its number.

    >>> _tied("so it is (p = .41), or p > .99").split(" ")
    ['so', 'it', 'is', '(p\xa0=\xa0.41),', 'or', 'p\xa0>\xa0.99']
    """
    return re.sub(r"(\S) ([=<>]) (?=[-.\d])", rf"\1{_TIE}\2{_TIE}", text)


def write_score(value: float) -> str:
    """A score to three decimals, a dash for one that is not there.

    >>> write_score(0.12345), write_score(float("nan"))
    ('0.123', '-')
    """
    return "-" if np.isnan(value) else f"{value:.3f}"
