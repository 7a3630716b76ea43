"""An evaluation as a page: tables, what controls say, differences, curves, images that stand out, what is missing."""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.arrays import BoolArray, describe
from interpix.comparison.paired import Estimate
from interpix.drawing import draw_annotation, draw_map, draw_name, new_figure, png_bytes, show
from interpix.errors import InterpixError
from interpix.evaluation.folder import kept_file
from interpix.evaluation.presets import paper_numbers
from interpix.report import LEGEND, OUTLINED, page, write_numbers
from interpix.results.scores import arrow, goodness
from interpix.storage import check_output, make_folder, read_arrays, replace_file

if TYPE_CHECKING:
    from interpix.evaluation import Evaluation
    from interpix.results.attribution import Attribution

__all__ = ["average_curves", "beside_paper", "summarized", "write_page"]

_STYLE = ".control td { color: #666; }"
_POINTS = 101
_CURVE_IMAGES = 2000
"""The curves of about so many images are averaged: more change nothing that can be seen."""
_EXTREMES = 3
_ALPHA = 0.05
_PICTURE_INCHES = 2.2


def write_page(found: "Evaluation", folder: Path, *, overwrite: bool = False) -> Path:
    """Writes `index.html` with its pictures, `evaluation.json` and `seconds.json`; the page's path.

    Numbers come first: they are there whatever becomes of the pictures.
    """
    make_folder(folder)
    target = folder / "index.html"
    for path in (target, folder / "evaluation.json", folder / "seconds.json"):
        check_output(path, overwrite=overwrite, name="out")
    write_numbers(folder / "evaluation.json", summarized(found), overwrite=overwrite)
    taken = {name: _estimate(one) for name, one in found.seconds.items()}
    origin = {"provenance": {"interpix": _core.__version__}}
    write_numbers(folder / "seconds.json", origin | {"seconds": taken}, overwrite=overwrite)
    sections = [
        _section("Scores", _scores(found)),
        _section("Against controls", _controls(found)),
        _section("Method against method", _differences(found)),
    ]
    sections.append(_section("Beside the paper", _paper(found)))
    damaged: list[str] = []
    curves = _curves(found, damaged)
    for index, (metric, figure) in enumerate(curves, start=1):
        name = f"curves-{index}.png"
        replace_file(folder / name, png_bytes(figure, dpi=90), overwrite=overwrite)
        sections.append(_section(f"Curves: {metric}", f'<img src="{name}" alt="{_curves_alt(metric, found)}">'))
    sections.append(_section("Images that stand out", _extremes(found, folder, damaged, overwrite=overwrite)))
    sections.append(_section("Left out", _list([*found.left_out(), *damaged]) or "<p>Nothing.</p>"))
    replace_file(target, _page(found, "".join(sections)).encode(errors="replace"), overwrite=overwrite)
    return target


def summarized(found: "Evaluation") -> dict[str, Any]:
    """All summaries as plain JSON values, null for what is not there."""
    return {
        "provenance": {"interpix": _core.__version__, "hash": found.config.get("hash")},
        "images": found.images,
        "total": found.total,
        "table": {name: {key: _estimate(one) for key, one in row.items()} for name, row in found.table.items()},
        "controls": [
            {
                "metric": one.metric,
                "method": one.method,
                "control": one.control,
                **_estimate(one.by),
                "sure": one.is_sure,
            }
            for one in found.against_controls()
        ],
        "differences": [
            {
                "metric": metric,
                "method": one.method,
                "other": one.other,
                **_estimate(one.by),
                "p": _number(one.p),
                "p_holm": _number(one.corrected),
            }
            for metric in found.metrics
            for one in found.differences(metric)
        ],
        "paper": [
            {
                "metric": metric,
                "method": found.origins[name][0],
                "propagated": found.origins[name][1],
                "mean": _number(found.summary(name, metric).mean),
                "paper": float(np.mean(numbers)),
                "paper_least": min(numbers),
                "paper_greatest": max(numbers),
            }
            for metric, name, numbers in beside_paper(found)
        ],
        "left_out": found.left_out(),
    }


def beside_paper(found: "Evaluation") -> list[tuple[str, str, Sequence[float]]]:
    """The cells of an evaluation by IProp's protocol that the paper has, too, with its networks' numbers."""
    by_preset = found.config["run"].get("preset") == "iprop"
    if not by_preset and not any("preset='iprop'" in metric for metric in found.metrics):
        return []
    numbers = paper_numbers()
    return [
        (metric, name, numbers[key])
        for metric in found.metrics
        for name, (method, propagated) in found.origins.items()
        if (key := (_word(metric), _word(method), propagated)) in numbers
    ]


def _word(name: str) -> str:
    """The name of a method or metric without its options."""
    return name.split("(", 1)[0]


def _paper(found: "Evaluation") -> str:
    rows = []
    for metric, name, numbers in beside_paper(found):
        several = f" ({min(numbers):.3f} to {max(numbers):.3f}, {len(numbers)} networks)" if len(numbers) > 1 else ""
        paper = f"{np.mean(numbers):.3f}{several or ' (one network)'}"
        cells = (html.escape(metric), html.escape(name), str(found.summary(name, metric)), paper)
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("metric", "method", "here", "IProp's paper"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _estimate(one: Estimate) -> dict[str, Any]:
    return {"mean": _number(one.mean), "error": _number(one.error), "count": one.count}


def _section(title: str, content: str) -> str:
    return f'<h2>{html.escape(title)}</h2><div class="wide">{content}</div>' if content else ""


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _scores(found: "Evaluation") -> str:
    head = "".join(f'<th scope="col">{html.escape(name)} {arrow(found.direction(name))}</th>' for name in found.metrics)
    head += '<th scope="col">seconds</th>'
    rows = []
    for name in found.methods:
        kind = ' class="control"' if name in found.controls else ""
        cells = "".join(
            f"<td><b>{cell[:-1]}</b></td>" if cell.endswith("*") else f"<td>{cell}</td>" for cell in found.cells(name)
        )
        cells += f"<td>{found.seconds[name].mean:.3g}</td>"
        rows.append(f'<tr{kind}><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    note = (
        "<p><small>Mean over images ± its standard error; bold is the best of a column, gray a control. Seconds are "
        "those that a map took; of IProp and blurs, what they took beside their method's.</small></p>"
    )
    return (
        f'<table><thead><tr><th scope="col">method</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>{note}'
    )


def _controls(found: "Evaluation") -> str:
    told = [one for one in found.against_controls() if one.by.count]
    lines = [str(one) for one in sorted(told, key=lambda one: one.is_sure)]
    note = "<p>A metric that does not tell a method from its control says nothing about that method.</p>"
    return note + _list(lines) if lines else ""


def _differences(found: "Evaluation") -> str:
    rows = []
    for metric in found.metrics:
        for one in found.differences(metric):
            if one.by.count < 2:
                continue
            sure = one.corrected < _ALPHA
            cells = (
                html.escape(metric),
                html.escape(f"{one.method} − {one.other}"),  # noqa: RUF001 - a minus sign
                f"<b>{one.by}</b>" if sure else str(one.by),
                str(one.by.count),
                f"{one.corrected:.2g}",
            )
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    if not rows:
        return ""
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("metric", "difference", "mean ± error", "images", "p (Holm)")
    )
    note = "<p><small>Paired t-tests, corrected after Holm within each metric; bold below .05.</small></p>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{note}"


def average_curves(
    found: "Evaluation", damaged: list[str] | None = None
) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
    """The mean curves by metric and method, at 101 fractions 0 ... 1.

    Args:
        found: Whose curves were kept. Of more than 2,000 images some are taken at equal distances: the first ones may
            be of few classes.
        damaged: Gets a line for each file that cannot be read; None: the first is an error.
    """
    sums: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    counts: dict[tuple[str, str], int] = {}
    grid = np.linspace(0, 1, _POINTS)
    for image in found.image_ids[:: math.ceil(max(1, found.images) / _CURVE_IMAGES)]:
        path = kept_file(found.folder, "curves", image)
        if not path.exists():
            continue
        try:
            arrays, about = read_arrays(path)
        except InterpixError as error:  # of the numbers, nothing is lost
            if damaged is None:
                raise
            damaged.append(f"curves of {image}: {error}")
            continue
        for index, (name, metric) in enumerate(about["curves"]):
            x, y = arrays[str(index)]
            rows = sums.setdefault(metric, {})
            rows[name] = rows.get(name, np.zeros(_POINTS)) + np.interp(grid, x, y)
            counts[metric, name] = counts.get((metric, name), 0) + 1
    return {
        metric: {name: total / counts[metric, name] for name, total in rows.items()} for metric, rows in sums.items()
    }


def _curves(found: "Evaluation", damaged: list[str]) -> list[tuple[str, Any]]:
    figures = []
    for metric, rows in average_curves(found, damaged).items():
        figure = new_figure((9, 5))
        ax = figure.subplots()
        for name in found.methods:
            if name in rows:
                style = ":" if name in found.controls else "-"
                ax.plot(np.linspace(0, 1, _POINTS), rows[name], style, label=name)
        ax.set(xlabel="fraction", ylabel="mean")
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        for text in ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)).get_texts():
            text.set_parse_math(False)
        figures.append((metric, figure))
    return figures


def _extremes(found: "Evaluation", folder: Path, damaged: list[str], *, overwrite: bool) -> str:
    """The images where the methods are worst and best by the first metric, with their maps if they were kept."""
    own = [name for name in found.methods if name not in found.controls]
    if not own or not found.metrics:
        return ""
    metric = found.metrics[0]
    scores = np.stack([goodness(found.values(name, metric), found.direction(metric)) for name in own])
    whole = np.asarray(~np.isnan(scores).any(axis=0))
    order = [int(index) for index in np.argsort(scores.sum(axis=0), kind="stable") if whole[index]]
    parts = []
    picked = order[:_EXTREMES] + order[max(_EXTREMES, len(order) - _EXTREMES) :]
    for number, index in enumerate(picked, start=1):
        image = found.image_ids[index]
        word = "worst" if number <= min(_EXTREMES, len(order)) else "best"
        values = ", ".join(f"{name} {found.values(name, metric)[index]:.3g}" for name in own)
        parts.append(f"<p>{word}: {html.escape(image)}<br><small>{html.escape(f'{metric}: {values}')}</small></p>")
        maps = _maps(found, image, damaged)
        if maps:
            inside = _mask(found, image, next(iter(maps.values())).map.shape, damaged)
            file = f"image-{number}.png"
            replace_file(folder / file, _drawn(maps, inside), overwrite=overwrite)
            shown = "" if inside is None else OUTLINED
            parts.append(f'<img src="{file}" alt="{_maps_alt(image, shown, values, metric)}">')
    legend = LEGEND if any(OUTLINED in part for part in parts) else ""
    return legend + "".join(parts)


def _curves_alt(metric: str, found: "Evaluation") -> str:
    return html.escape(f"Curves of {metric}, the mean over images, a line for each of {', '.join(found.methods)}")


def _maps_alt(image: str, outlined: str, values: str, metric: str) -> str:
    return html.escape(f"The photo {image} and the map of each method{outlined}; {metric}: {values}")


def _maps(found: "Evaluation", image: str, damaged: list[str]) -> "dict[str, Attribution]":
    """Those that were kept of an image; none where they cannot be read, which is told with what else is damaged."""
    if not kept_file(found.folder, "maps", image).exists():
        return {}
    try:
        return found.maps(image)
    except InterpixError as error:  # of the numbers, nothing is lost
        damaged.append(f"maps of {image}: {error}")
        return {}


def _mask(found: "Evaluation", image: str, size: tuple[int, ...], damaged: list[str]) -> BoolArray | None:
    """Where the object is, in the picture as the model sees it; None where no pixel is known to be it."""
    path = kept_file(found.folder, "masks", image)
    if not path.exists():
        return None
    try:
        inside = read_arrays(path)[0].get("inside")
    except InterpixError as error:  # of the numbers, nothing is lost
        damaged.append(f"mask of {image}: {error}")
        return None
    if inside is None or inside.dtype != np.bool_ or inside.shape != size:
        got = "another array" if inside is None else describe(inside)
        damaged.append(f"mask of {image}: expected bool {size}, as its maps, got {got} in `{path}`")
        return None
    return inside if inside.any() else None


def _drawn(maps: "dict[str, Attribution]", inside: BoolArray | None) -> bytes:
    """The photo and its maps beside each other, as PNG."""
    figure = new_figure((_PICTURE_INCHES * (len(maps) + 1), _PICTURE_INCHES * 1.3))
    axes: Any = figure.subplots(1, len(maps) + 1)
    show(axes[0], next(iter(maps.values())).image)
    draw_name(axes[0], "photo")
    for ax, (name, one) in zip(axes[1:], maps.items(), strict=True):
        draw_map(one.map, image=one.image, ax=ax)
        draw_name(ax, name)
    if inside is not None:
        draw_annotation(axes, inside)
    return png_bytes(figure, dpi=70)


def _page(found: "Evaluation", sections: str) -> str:
    configuration: Mapping[str, Any] = found.config["configuration"]
    model = html.escape(str(configuration.get("model", {}).get("model")))
    title = f"{len(found.methods)} attributions of {model}, {found.images} of {found.total} images"
    return page(
        title,
        f"<p>↑ higher is better, ↓ lower is better. All summaries: "
        f'<a href="evaluation.json">evaluation.json</a>; rows: rows/*.parquet; how it was made: config.toml.</p>'
        f"{sections}<p><small>interpix {_core.__version__}, configuration {found.config.get('hash')}</small></p>",
        style=_STYLE,
    )
