"""A comparison as a page: the table, and a picture of each image with all maps; and the frame of any such page."""

import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpix.drawing import png_bytes, write_score
from interpix.results.scores import arrow
from interpix.storage import check_output, make_folder, replace_file

if TYPE_CHECKING:
    from interpix.comparison.result import Comparison, Entry

__all__ = ["LEGEND", "OUTLINED", "page", "report_files", "write_numbers", "write_report"]

OUTLINED = ", with a line around the annotated object"
"""What the alternative text of a picture says if it has one."""
LEGEND = '<p class="legend">The light blue line is the edge of the annotated object: of its mask or boxes.</p>'
"""What a page says if a picture of it has one."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tbody th { font-weight: normal; }
th button { background: none; border: 0; color: inherit; cursor: pointer; font: inherit; padding: 0; }
th button:focus-visible { outline: 3px solid #0b5cad; }
th[aria-sort="ascending"] button::after { content: " \\25B2"; }
th[aria-sort="descending"] button::after { content: " \\25BC"; }
h1, h2, p, li { overflow-wrap: anywhere; }
img { height: auto; max-width: 100%; }
.wide img { max-width: none; width: 100%; min-width: 46rem; }
thead th { overflow-wrap: break-word; white-space: normal; min-width: 7rem; max-width: 16rem; }
.wide { overflow-x: auto; }
small { color: #595959; }
.legend::before { background: #00e5ff; border: 2px solid #10242b; content: ""; display: inline-block; height: 4px;
  margin-right: .6em; vertical-align: middle; width: 2em; }
@media (max-width: 40rem) { body { margin: 1rem auto; } h1 { font-size: 1.35rem; } th, td { padding: .25rem .5rem; } }
"""
_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], first = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const order = { none: "descending", descending: "ascending", ascending: "none" }[cell.ariaSort ?? "none"];
      for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
      cell.ariaSort = order === "none" ? null : order;
      const text = (row) => row.cells[column].textContent;
      const compare = (one, other) => {
        const [a, b] = [parseFloat(text(one)), parseFloat(text(other))];
        if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) ? 1 : -1;
        const ascending = Number.isNaN(a) ? text(one).localeCompare(text(other)) : a - b;
        return order === "ascending" ? ascending : -ascending;
      };
      body.append(...(order === "none" ? first : first.toSorted(compare)));
    });
  });
}
for (const wide of document.querySelectorAll(".wide")) if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
"""


def report_files(folder: Path, images: int) -> list[Path]:
    """The files that a report on so many images may write."""
    names = ["index.html", "comparison.json", "seconds.json", *(_picture_name(index + 1) for index in range(images))]
    return [folder / name for name in names]


def write_report(comparison: "Comparison", folder: Path, *, overwrite: bool = False) -> Path:
    """Writes the page, one picture for each image whose maps were kept, and all numbers; the page's path.

    Numbers come first, and a page of them: they are there whatever becomes of the pictures.
    """
    make_folder(folder)
    for path in report_files(folder, len(comparison.images)):
        check_output(path, overwrite=overwrite, name="folder")
    origin = {"provenance": {"interpix": comparison.provenance.get("interpix")}}
    for name, numbers in (
        ("comparison", comparison.summarized()),
        ("seconds", origin | {"seconds": comparison.timed()}),
    ):
        write_numbers(folder / f"{name}.json", numbers, overwrite=overwrite)
    target = folder / "index.html"

    def write_page(sections: list[str]) -> None:
        # The name of a model may hold what is no text.
        replace_file(target, _page(comparison, sections).encode(errors="replace"), overwrite=overwrite)

    sections: list[str] = []
    write_page(sections)
    for index, name in enumerate(comparison.images, start=1):
        if any(entry.attribution is None for entry in comparison.entries if entry.image == name):
            continue
        file = _picture_name(index)
        replace_file(folder / file, png_bytes(comparison.plot(name), dpi=80), overwrite=overwrite)
        shown = f'<div class="wide"><img src="{file}" alt="{html.escape(_alt(comparison, name))}"></div>'
        sections.append(f"<h2>{html.escape(name)}</h2>{shown}{_scores(comparison, name)}")
    write_page(sections)
    return target


def _alt(comparison: "Comparison", image: str) -> str:
    entries = [entry for entry in comparison.entries if entry.image == image]
    outlined = OUTLINED if _has_outline(entries) else ""
    methods = ", ".join(entry.method for entry in entries)
    return f"The photo {image} and the map of each of {methods}{outlined}; their scores are in the table below"


def _has_outline(entries: Iterable["Entry"]) -> bool:
    return any(entry.annotation is not None and entry.annotation.any() for entry in entries)


def _scores(comparison: "Comparison", image: str) -> str:
    """The scores of one image, which its picture has too, as a table."""
    head = "".join(f'<th scope="col">{html.escape(name)} {arrow(one)}</th>' for name, one in comparison.metrics.items())
    rows = []
    for entry in comparison.entries:
        if entry.image == image:
            cells = "".join(f"<td>{write_score(entry.scores[name].value)}</td>" for name in comparison.metrics)
            rows.append(f'<tr><th scope="row">{html.escape(entry.method)}</th>{cells}</tr>')
    table = f'<table><thead><tr><th scope="col">method</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _picture_name(index: int) -> str:
    return f"image-{index}.png"


def _page(comparison: "Comparison", sections: list[str]) -> str:
    origin = comparison.provenance
    model = html.escape(str(origin.get("model")))
    title = f"{len(comparison.methods)} attributions of {model}, {len(comparison.images)} images"
    missing = len(comparison.images) - len(sections)
    images = "1 more image is" if missing == 1 else f"{missing} more images are"
    note = f"<p><small>{images} in the table only.</small></p>" if missing else ""
    legend = LEGEND if sections and _has_outline(comparison.entries) else ""
    return page(
        title,
        f"<p>↑ higher is better, ↓ lower is better; bold is the best of a column, ± the standard error over images. "
        f"Click a column's name to sort by it. "
        f'All numbers: <a href="comparison.json">comparison.json</a>.</p>'
        f'<div class="wide">{comparison.to_html()}</div>{legend}{"".join(sections)}{note}'
        f"<p><small>interpix {html.escape(str(origin.get('interpix')))}, seed {origin.get('seed')}</small></p>",
    )


def page(title: str, content: str, *, style: str = "") -> str:
    """An HTML page with its heading, from HTML; `style` is added to that of tables and pictures."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="generator" content="interpix">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}{style}</style></head>"
        f"<body><main><h1>{title}</h1>{content}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def write_numbers(path: Path, numbers: Mapping[str, Any], *, overwrite: bool) -> None:
    """Writes plain JSON values, one a line."""
    text = json.dumps(numbers, indent=1, allow_nan=False) + "\n"
    replace_file(path, text.encode(), overwrite=overwrite)
