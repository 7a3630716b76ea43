"""Which search finds the smallest groups, what does it cost, and how many reasons does an image have?

pip install "interpix[demo]"
pip install --no-deps foolbox==3.3.4                       # 20 photos of ImageNet classes
python examples/groups.py groups.jsonl --photos FOLDER      # an hour on two cores; goes on where it was
python examples/groups.py groups.jsonl --tables             # the tables in docs/results.md
python examples/groups.py groups.jsonl --check              # whether minimal groups are minimal, picture by picture

FOLDER holds photos of other sources, of which those are taken that the model is sure of.
"""

import argparse
import hashlib
import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import interpix as ix

SURE = 0.8
BOTH_OF_LIMA = {"direction": "both", "weight": 0.8, "search": "bidirectional"}
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "minimal": {"minimal": True},
    "swap": {"search": "swap", "minimal": True},
    "beam 4": {"search": "beam", "width": 4, "minimal": True},
    "beam 8": {"search": "beam", "width": 8, "minimal": True},
}
FEW = ("greedy", "minimal", "beam 4")


class Memo:
    """A model that answers each picture once, so that searches which ask the same cost that once here."""

    def __init__(self, model: Any) -> None:
        self.model, self.answers, self.asked = model, {}, 0

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        keys = [hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in pictures]
        new = [place for place, key in enumerate(keys) if key not in self.answers]
        if new:
            rows = self.model.logits(pictures[new])
            self.answers |= {keys[place]: row for place, row in zip(new, rows, strict=True)}
        return np.stack([self.answers[key] for key in keys])


def rows(photo: Path, model: Any, *, labelled: bool, number: int) -> Iterator[dict[str, Any]]:
    """What is found on one photo, a row for each search."""
    memo = Memo(model)
    memo.answers.clear()
    image = model.preprocess(np.asarray(open_photo(photo)))
    probability = softmax(model.logits(image[None])[0]).max()
    if not labelled and probability < SURE:
        return
    about = {"photo": photo.name, "labelled": labelled}
    moxi = ix.MoXI(memo, regions="7x7")
    for direction in ("insertion", "deletion"):
        if direction == "deletion" and not labelled:
            continue
        for name, options in SEARCHES.items():
            if labelled or name in FEW:
                yield about | {"regions": 49, "search": name} | one(moxi, image, direction=direction, **options)
    found = moxi.catalogue(image, count=5)
    yield about | {"regions": 49, "search": "catalogue", "direction": "insertion"} | listed(found)
    if not labelled:
        return
    yield about | {"regions": 49, "search": "both"} | one(moxi, image, direction="both", minimal=True)
    lima = ix.MoXI(memo, regions="7x7", reward="probability")
    yield about | {"regions": 49, "search": "LiMA's"} | one(lima, image, minimal=True, **BOTH_OF_LIMA)
    if min((len(group.group) for group in found), default=3) > 2:
        tried = moxi.catalogue(image, count=1, exhaust=2, tries=1)
        yield about | {"regions": 49, "search": "all pairs", "none_up_to": tried.none_up_to}
    if number < 5:
        coarse = ix.MoXI(memo, regions="5x5"), ix.MoXI(memo, regions="5x5", reward="probability")
        orders = {
            "greedy insertion": coarse[0].explain(image, stop="all"),
            "greedy deletion": coarse[0].explain(image, stop="all", direction="deletion"),
            "both": coarse[0].explain(image, stop="all", direction="both"),
            "bidirectional": coarse[0].explain(image, stop="all", search="bidirectional"),
            "LiMA's": coarse[1].explain(image, stop="all", **BOTH_OF_LIMA),
        }
        game = ix.MoXI(memo, regions="5x5", reward="probability").game(image)
        for name, found_ in orders.items():
            yield about | {"regions": 25, "search": name} | areas(game, found_)
    if number < 2:
        fine = ix.MoXI(memo, regions="14x14")
        for name in FEW:
            yield about | {"regions": 196, "search": name} | one(fine, image, direction="insertion", **SEARCHES[name])


def one(moxi: ix.MoXI, image: np.ndarray, **options: Any) -> dict[str, Any]:
    """A search, in numbers."""
    started = time.perf_counter()
    found = moxi.explain(image, **options)
    suffices = np.flatnonzero(found.holds)
    return {
        "direction": found.direction,
        "size": None if found.stopped_at is None else len(found.group),
        "suffices_at": int(suffices[0]) if found.direction != "deletion" and suffices.size else None,
        "evaluations": found.evaluations,
        "seconds": time.perf_counter() - started,
        "group": list(found.group),
    }


def listed(found: ix.Catalogue) -> dict[str, Any]:
    """A catalogue, in numbers."""
    sets = [set(one.group) for one in found]
    shared = [len(a & b) / min(len(a), len(b)) for place, a in enumerate(sets) for b in sets[:place]]
    return {
        "groups": [list(one.group) for one in found],
        "shared": float(np.mean(shared)) if shared else None,
        "evaluations": found[0].evaluations if len(found) else None,
    }


def areas(game: Any, found: ix.Explanation) -> dict[str, Any]:
    """The mean probability along a ranking, of its first patches alone and of all others."""
    steps = np.tri(game.n_players + 1, game.n_players, -1, dtype=bool)
    masks = np.zeros_like(steps)
    masks[:, found.ranking] = steps
    return {
        "insertion_area": float(trapezoid(game(masks))),
        "deletion_area": float(trapezoid(game(~masks))),
        "evaluations": found.evaluations,
    }


def trapezoid(values: np.ndarray) -> float:
    """The area under a curve over 0 ... 1."""
    return float((values[1:] + values[:-1]).mean() / 2)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities."""
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def open_photo(path: Path) -> Any:
    """A photo in colors."""
    from PIL import Image

    return Image.open(path).convert("RGB")


def tables(lines: list[dict[str, Any]]) -> None:
    """The tables of docs/results.md."""
    kinds = dict.fromkeys((line["labelled"], line["regions"], line.get("direction"), line["search"]) for line in lines)
    print("| photos | regions | direction | search | patches | smaller than greedy | evaluations |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind in kinds:
        some = [line for line in lines if matches(line, kind) and line.get("size") is not None]
        if not some:
            continue
        greedy = {line["photo"]: line for line in lines if matches(line, (*kind[:3], "greedy"))}
        pairs = [(line, greedy[line["photo"]]) for line in some if greedy.get(line["photo"], {}).get("size")]
        smaller = sum(a["size"] < b["size"] for a, b in pairs)
        cost = sum(a["evaluations"] for a, _ in pairs) / max(1, sum(b["evaluations"] for _, b in pairs))
        labels = "labelled" if kind[0] else "others"
        print(
            f"| {len(some)} {labels} | {kind[1]} | {kind[2]} | {kind[3]} | "
            f"{np.mean([line['size'] for line in some]):.2f} | "
            + (f"{smaller} of {len(pairs)} | {cost:.1f} x |" if pairs else "| |")
        )
    for name in dict.fromkeys(line["search"] for line in lines if "insertion_area" in line):
        some = [line for line in lines if line["search"] == name and "insertion_area" in line]
        mean = {
            key: np.mean([line[key] for line in some]) for key in ("insertion_area", "deletion_area", "evaluations")
        }
        print(f"| {name} | {mean['insertion_area']:.3f} | {mean['deletion_area']:.3f} | {mean['evaluations']:.0f} |")
    found = [line for line in lines if line["search"] == "catalogue"]
    several = [line for line in found if len(line["groups"]) > 1]
    shared = np.mean([line["shared"] for line in several])
    disjoint = sum(any(not set(a) & set(b) for a in line["groups"] for b in line["groups"]) for line in several)
    sizes = [len(line["groups"]) for line in found]
    print(
        f"catalogues: {len(found)} photos, {len(several)} with several groups, {np.mean(sizes):.2f} groups, share "
        f"{shared:.2f} of the smaller one's patches, {disjoint} photos with two that share none"
    )


def check(lines: list[dict[str, Any]], photos: dict[str, Path], model: Any) -> None:
    """Composes the pictures of minimal groups of 49 patches by hand, and of them without each patch."""
    count = 0
    for line in lines:
        if line["search"] != "minimal" or line["regions"] != 49 or line["photo"] not in photos or not line["group"]:
            continue
        image = model.preprocess(np.asarray(open_photo(photos[line["photo"]])))
        down, across = (np.arange(side) * 7 // side for side in image.shape[1:])
        cell = 7 * down[:, None] + across
        target = int(model.logits(image[None])[0].argmax())
        insertion = line["direction"] == "insertion"
        groups = [line["group"], *([one for one in line["group"] if one != left] for left in line["group"])]
        shown = [np.isin(cell, group) == insertion for group in groups]
        does = (model.logits(np.stack([image * mask for mask in shown])).argmax(axis=1) == target) == insertion
        if not does[0] or does[1:].any():
            raise SystemExit(f"{line['photo']}: the {line['direction']}'s group {line['group']} is not minimal")
        count += 1
    several = [[set(one) for one in line["groups"]] for line in lines if line["search"] == "catalogue"]
    if any(one < other for groups in several for one in groups for other in groups):
        raise SystemExit("a group of a catalogue contains another")
    print(f"{count} groups are minimal; no group of {len(several)} catalogues contains another")


def matches(line: dict[str, Any], kind: tuple[Any, ...]) -> bool:
    """Whether a row is of a kind."""
    return (line["labelled"], line["regions"], line.get("direction"), line["search"]) == kind


def main() -> None:
    """Searches on photo after photo, or prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path, help="a file of rows, which is added to")
    parser.add_argument("--photos", type=Path, help="a folder of photos of other sources")
    parser.add_argument("--tables", action="store_true", help="print the tables")
    parser.add_argument("--check", action="store_true", help="see whether minimal groups are minimal")
    options = parser.parse_args()
    kept = options.lines.read_text().splitlines() if options.lines.exists() else []
    lines = [json.loads(line) for line in kept]
    if options.tables:
        tables(lines)
        return
    package = importlib.util.find_spec("foolbox")
    if package is None or package.submodule_search_locations is None:
        raise SystemExit("pip install --no-deps foolbox==3.3.4")
    labelled = sorted((Path(package.submodule_search_locations[0]) / "data").glob("imagenet_*.jpg"))
    others = sorted(options.photos.iterdir()) if options.photos else []
    model, done = ix.load_model("efficientnet_lite0"), {line["photo"] for line in lines}
    if options.check:
        check(lines, {photo.name: photo for photo in [*labelled, *others]}, model)
        return
    for number, photo in enumerate([*labelled, *others]):
        if photo.name in done:
            continue
        found = list(rows(photo, model, labelled=number < len(labelled), number=number))
        with options.lines.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)
        print(photo.name, len(found), flush=True)


if __name__ == "__main__":
    main()
