"""Results as a page that answers back: one HTML file with its photo, its script and every coalition that was scored.

`page.js` draws it, here and in the widget of notebooks; what it is told is `page_data`.
"""

import base64
import html
import io
import json
import os
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from interpix.arrays import BoolArray, IntArray
from interpix.errors import bad_type, bad_value
from interpix.outputs.readout import Score, Scores
from interpix.plots import origin_line
from interpix.results.coalitions import ScoredCoalitions
from interpix.results.explanation import Explanation
from interpix.storage import check_output, replace_file
from interpix.words import claim_of, group_title, photo_title, verb_of

__all__ = ["check_together", "page_data", "page_source", "write_page"]

_MOST_PNG_BYTES = 400_000
"""A larger picture becomes a JPEG."""
_JPEG_QUALITY = 90
# Nothing is loaded from anywhere.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; }
body { background: #fff; margin: 0; padding: 1rem; }
@media (prefers-color-scheme: dark) { body { background: #0d1117; } }
main { margin: 0 auto; max-width: 74rem; }
h1 { font-size: 1.35rem; line-height: 1.3; margin: .3rem 0 1rem; overflow-wrap: anywhere; }
"""


def write_page(path: str | os.PathLike[str], results: Sequence[Explanation], *, overwrite: bool = False) -> None:
    """Writes a file that any browser opens, without network, in which a slider and each patch can be tried.

    Args:
        path: Of a new file, or of one that interpix wrote.
        results: Of one image and one target: an insertion and a deletion, say; they stand side by side.
        overwrite: Replace what interpix did not write, too.
    """
    check_output(path, overwrite=overwrite)
    data = page_data(results)
    # Of what a browser would take for the end of the script, nothing is left.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    title = html.escape(data["title"])
    content = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="generator" content="interpix">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{title}</title><style>{_STYLE}{page_source('css')}</style></head><body>"
        f'<main class="interpix"><h1>{title}</h1><div id="answer"><noscript>This page needs JavaScript.</noscript>'
        f'</div></main><script type="application/json" id="data">{text}</script>'
        f'<script type="module">{page_source("js")}\n'
        f'mount(document.getElementById("answer"), JSON.parse(document.getElementById("data").textContent));'
        f"</script></body></html>\n"
    )
    replace_file(path, content.encode(errors="replace"), overwrite=overwrite)


def page_source(ending: str) -> str:
    """The text of `page.js` or `page.css`.

    >>> page_source("js").startswith("// A result that answers back")
    True
    """
    return resources.files("interpix").joinpath(f"page.{ending}").read_text(encoding="utf-8")


def page_data(results: Sequence[Explanation]) -> dict[str, Any]:
    """What `page.js` draws, as plain JSON values.

    >>> from interpix import MoXI
    >>> image = np.ones((3, 2, 4), np.float32)
    >>> found = MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2").explain(image, stop="all")
    >>> data = page_data([found])
    >>> data["patches"][1]["path"], data["patches"][1]["name"]
    ('M2 0h2v2h-2z', 'patch 1, row 1, column 2')

    Raises:
        ArgumentError: The results are not of one image, its patches and one target.
    """
    check_together(results)
    first = results[0]
    known = _known(results)
    classes = sorted({*known.predicted.tolist(), first.target, first.prediction} - {-1})
    height, width = first.regions.shape
    return {
        "title": photo_title(first),
        "alt": f"{photo_title(first)}.",
        "size": [width, height],
        "picture": _picture(first.image),
        "patches": _patches(first.regions, first.summary()["patches"]["grid"]),
        "target": {"index": first.target, "name": first.name_of(first.target)},
        "names": {str(index): first.name_of(index) for index in classes},
        "output": {
            "quantity": first.output["quantity"],
            "is_probability": first.output["is_probability"],
            "exclusive": first.output["exclusive"],
            "verb": verb_of(first),
            "claim": claim_of(first),
        },
        "full": first.full._asdict(),
        "results": [_described(one) for one in results],
        "scored": _packed(known),
        "notes": _notes(results, len(known)),
    }


def check_together(results: Sequence[Explanation]) -> None:
    """Refuses results that no page shows side by side."""
    if not results:
        raise bad_value("results", "at least one result", "none", "pass what explain() returned")
    for one in results:
        if not isinstance(one, Explanation):
            raise bad_type("results", "Explanations", one, "pass what explain() returned")
        for name, same in (
            ("image", np.array_equal(one.image, results[0].image)),
            ("patches", np.array_equal(one.regions, results[0].regions)),
            ("target", one.target == results[0].target and one.output == results[0].output),
            # What one of them knows is shown of all.
            ("model", _origin(one, "model", "weights_sha256") == _origin(results[0], "model", "weights_sha256")),
            ("absence", _origin(one, "absence") == _origin(results[0], "absence")),
        ):
            if not same:
                need = "results of one image, model and absence, its patches and one target"
                raise bad_value("results", need, f"another {name}", "write a page for each")


def _origin(result: Explanation, *names: str) -> list[Any]:
    return [result.provenance.get(name) for name in names]


def _described(result: Explanation) -> dict[str, Any]:
    return {
        "direction": result.direction,
        "title": group_title(result),
        "ranking": result.ranking.tolist(),
        "answers": result.answers.tolist(),
        "removedBefore": list(result.removed_before),
        "stoppedAt": result.stopped_at,
        "start": len(result.ranking) if result.stopped_at is None else result.stopped_at,
    }


def _known(results: Sequence[Explanation]) -> ScoredCoalitions:
    """All that is known of coalitions: the steps of each result, and what it keeps."""
    masks, scores = [], []
    for one in results:
        masks.append(_steps(one))
        scores.append(Scores(one.rewards, one.answers, one.predicted, one.holds))
        if (without := _without(one)) is not None:
            masks.append(~_steps(one))
            scores.append(without)
        ends = np.stack([np.ones(one.players, bool), np.zeros(one.players, bool)])
        ends[1, list(one.removed_before)] = False
        masks.append(ends)
        scores.append(_columns([one.full, one.empty]))
        if one.minimal_group is not None and one.minimal_score is not None:
            group = np.isin(np.arange(one.players), one.minimal_group)
            masks.append((~group if one.direction == "deletion" else group)[None])
            scores.append(_columns([one.minimal_score]))
        if one.coalitions is not None:
            kept = one.coalitions
            masks.append(kept.masks)
            scores.append(Scores(kept.rewards, kept.answers, kept.predicted, kept.holds))
    return ScoredCoalitions.of(np.concatenate(masks), Scores.joined(scores))


def _steps(result: Explanation) -> BoolArray:
    """The coalition after 0 ... k steps (k + 1, n)."""
    insertion = result.direction != "deletion"
    masks = np.full((len(result.ranking) + 1, result.players), not insertion)
    masks[:, list(result.removed_before)] = False
    for step, patch in enumerate(result.ranking, start=1):
        masks[step:, patch] = insertion
    return masks


def _without(result: Explanation) -> Scores | None:
    """What is said to the image without the patches of each step, where the search asked that, too."""
    columns = result.rewards_without, result.answers_without, result.predicted_without, result.holds_without
    if columns[0] is None or columns[1] is None or columns[2] is None or columns[3] is None:
        return None
    return Scores(columns[0], columns[1], columns[2], columns[3])


def _columns(scores: Sequence[Score]) -> Scores:
    return Scores(*(np.array(column) for column in zip(*scores, strict=True)))


def _packed(known: ScoredCoalitions) -> dict[str, str]:
    columns = {
        "bits": known.packed,
        "answers": known.answers.astype("<f8"),
        "predicted": known.predicted.astype("<i4"),
        "holds": known.holds.astype(np.uint8),
    }
    return {name: base64.b64encode(np.ascontiguousarray(one).tobytes()).decode() for name, one in columns.items()}


def _picture(image: npt.NDArray[np.uint8]) -> str:
    """The image as a data URL: exact, or if it is large as a JPEG."""
    buffer, kind = io.BytesIO(), "png"
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    if buffer.tell() > _MOST_PNG_BYTES:
        buffer, kind = io.BytesIO(), "jpeg"
        Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _patches(regions: IntArray, grid: list[int] | None) -> list[dict[str, Any]]:
    """The outline, the middle and the name of each patch."""
    found = []
    for patch in range(int(regions.max()) + 1):
        rows, columns = np.nonzero(regions == patch)
        name = f"patch {patch}"
        if grid is not None:
            name += f", row {patch // grid[1] + 1}, column {patch % grid[1] + 1}"
        center = [round(float(columns.mean()) + 0.5, 1), round(float(rows.mean()) + 0.5, 1)]
        found.append({"path": _outline(rows, columns), "center": center, "name": name})
    return found


def _outline(rows: IntArray, columns: IntArray) -> str:
    """Pixels as rectangles: the runs of each row, those that are alike in rows that follow each other as one.

    >>> _outline(np.array([0, 0, 1, 1, 2]), np.array([3, 4, 3, 4, 4]))
    'M3 0h2v2h-2zM4 2h1v1h-1z'
    """
    starts = np.flatnonzero(np.diff(rows, prepend=-1).astype(bool) | (np.diff(columns, prepend=-2) != 1))
    ends = np.append(starts[1:], len(rows)) - 1
    open_: dict[tuple[int, int], list[int]] = {}
    boxes = []
    for row, left, right in zip(
        rows[starts].tolist(), columns[starts].tolist(), (columns[ends] + 1).tolist(), strict=True
    ):
        box = open_.get((left, right))
        if box is not None and box[1] == row:
            box[1] = row + 1
        else:
            box = open_[left, right] = [row, row + 1]
            boxes.append((left, right, box))
    return "".join(
        f"M{left} {top}h{right - left}v{bottom - top}h{left - right}z" for left, right, (top, bottom) in boxes
    )


def _notes(results: Sequence[Explanation], count: int) -> list[str]:
    first = results[0]
    quantity = first.output["quantity"]
    order = (
        f"The numbers give the order in which patches were found. The curve shows the {quantity} of "
        f"'{first.name_of(first.target)}' after each step; a ring marks where the answer changes, the dashed line "
        "is the whole image."
    )
    kept = f"{count} sets of patches were scored and are in this page."
    if any(one.coalitions is None for one in results):
        kept = f"{count} sets of patches are in this page: the steps. MoXI(..., keep_coalitions=True) keeps all others."
    return [f"{order} {kept}", origin_line(results)]
