"""A comparison as a page: the table, and a picture of each image with all maps."""

import html
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from interpix.storage import replace_file

if TYPE_CHECKING:
    from interpix.comparison.result import Comparison

__all__ = ["write_report"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
.wide { overflow-x: auto; }
small { color: #666; }
"""


def write_report(comparison: "Comparison", folder: Path) -> Path:
    """Writes `index.html`, one picture for each image whose maps were kept, and `comparison.json`; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(comparison.summarized(), indent=1, allow_nan=False)
    replace_file(folder / "comparison.json", (numbers + "\n").encode())
    sections = []
    for index, name in enumerate(comparison.images, start=1):
        if any(entry.attribution is None for entry in comparison.entries if entry.image == name):
            continue
        picture = io.BytesIO()
        comparison.plot(name).savefig(picture, format="png", dpi=80)
        file = f"image-{index}.png"
        replace_file(folder / file, picture.getvalue())
        sections.append(f'<h2>{html.escape(name)}</h2><img src="{file}" alt="Maps and scores of {html.escape(name)}">')
    page = folder / "index.html"
    replace_file(page, _page(comparison, sections).encode())
    return page


def _page(comparison: "Comparison", sections: list[str]) -> str:
    origin = comparison.provenance
    model = html.escape(str(origin.get("model")))
    title = f"{len(comparison.methods)} attributions of {model}, {len(comparison.images)} images"
    missing = len(comparison.images) - len(sections)
    note = f"<p><small>{missing} more images are in the table only.</small></p>" if missing else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>↑ higher is better, ↓ lower is better; bold is the best of a column. "
        f'All numbers: <a href="comparison.json">comparison.json</a>.</p>'
        f'<div class="wide">{comparison.to_html()}</div>{"".join(sections)}{note}'
        f"<p><small>interpix {html.escape(str(origin.get('interpix')))}, seed {origin.get('seed')}</small></p></html>\n"
    )
