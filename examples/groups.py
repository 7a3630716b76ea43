"""Which search finds the smallest groups, what does it cost, and how many reasons does an image have?

pip install "interpix[demo]"
pip install --no-deps foolbox==3.3.4                       # 20 photos of ImageNet classes
python examples/groups.py groups.jsonl --photos FOLDER      # an hour on two cores; goes on where it was
python examples/groups.py groups.jsonl --tables             # the tables in docs/results.md
python examples/groups.py groups.jsonl --check              # whether minimal groups are minimal, picture by picture

FOLDER holds photos of other sources, of which the 60 are taken that the model is surest of.
"""

import argparse
import hashlib
import importlib.util
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from kept_lines import read_lines
from PIL import Image

import interpix as ix
from interpix.comparison.specs import PHOTO_SUFFIXES

OTHERS = 60
LISTED = 6  # patches of a group, at most, for which a catalogue is made
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


def rows(
    model: Any, image: np.ndarray, about: dict[str, Any], *, areas_of: str | None = None, exhaust: int = 2
) -> Iterator[dict[str, Any]]:
    """What is found on one photo with 49 regions, a row for each search.

    Args:
        model: Answers pictures.
        image: What it answers.
        about: What each row says: the photo's name, and whether it is `labelled`: of others, less is asked.
        areas_of: The regions of whole rankings.
        exhaust: The greatest size of which all groups are tried where the smallest known is larger.
    """
    labelled = about["labelled"]
    moxi = ix.MoXI(model, regions="7x7")
    for direction in ("insertion", "deletion"):
        if direction == "deletion" and not labelled:
            continue
        for name, options in SEARCHES.items():
            if labelled or name in FEW:
                yield about | {"regions": 49, "search": name} | one(moxi, image, direction=direction, **options)
    # Of photos with large groups there are so many that listing some takes an hour.
    small = len(moxi.explain(image, minimal=True).group) <= LISTED
    found = moxi.catalogue(image, count=5) if small else ()
    if small:
        yield about | {"regions": 49, "search": "catalogue", "direction": "insertion"} | listed(found)
    if not labelled:
        return
    yield about | {"regions": 49, "search": "both"} | one(moxi, image, direction="both", minimal=True)
    lima = ix.MoXI(model, regions="7x7", reward="probability")
    yield about | {"regions": 49, "search": "LiMA's"} | one(lima, image, minimal=True, **BOTH_OF_LIMA)
    if small and min((len(group.group) for group in found), default=exhaust + 1) > exhaust:
        tried = moxi.catalogue(image, count=1, exhaust=exhaust, tries=1)
        yield about | {"regions": 49, "search": "all small", "none_up_to": tried.none_up_to}
    if areas_of:
        coarse = ix.MoXI(model, regions=areas_of), ix.MoXI(model, regions=areas_of, reward="probability")
        orders = {
            "greedy insertion": coarse[0].explain(image, stop="all"),
            "greedy deletion": coarse[0].explain(image, stop="all", direction="deletion"),
            "both": coarse[0].explain(image, stop="all", direction="both"),
            "bidirectional": coarse[0].explain(image, stop="all", search="bidirectional"),
            "LiMA's": coarse[1].explain(image, stop="all", **BOTH_OF_LIMA),
        }
        game = coarse[1].game(image)
        for name, found_ in orders.items():
            yield about | {"regions": game.n_players, "search": name} | areas(game, found_)


def fine_rows(model: Any, image: np.ndarray, about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is found with 196 regions."""
    moxi = ix.MoXI(model, regions="14x14")
    for name in FEW if about["labelled"] else FEW[:2]:
        yield about | {"regions": 196, "search": name} | one(moxi, image, direction="insertion", **SEARCHES[name])


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


def open_photo(path: Path) -> np.ndarray:
    """A photo in colors."""
    return np.asarray(Image.open(path).convert("RGB"))


def surest(photos: list[Path], model: Any) -> list[Path]:
    """The photos that a model is surest of, in their order."""
    sure = {photo: softmax(model.logits(model.preprocess(open_photo(photo))[None])[0]).max() for photo in photos}
    kept = set(sorted(photos, key=lambda photo: -sure[photo])[:OTHERS])
    return [photo for photo in photos if photo in kept]


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
        pairs = [
            (line, greedy[line["photo"]]) for line in some if greedy.get(line["photo"], {}).get("size") is not None
        ]
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
    if not several:
        return
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
        image = model.preprocess(open_photo(photos[line["photo"]]))
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
    lines = read_lines(options.lines, lambda line: (line["photo"], line["labelled"], line["regions"], line["search"]))
    if options.tables:
        tables(lines)
        return
    package = importlib.util.find_spec("foolbox")
    if package is None or package.submodule_search_locations is None:
        raise SystemExit("pip install --no-deps foolbox==3.3.4")
    labelled = sorted((Path(package.submodule_search_locations[0]) / "data").glob("imagenet_*.jpg"))
    others = (
        []
        if options.photos is None
        else sorted(one for one in options.photos.iterdir() if one.suffix.lower() in PHOTO_SUFFIXES)
    )
    model = ix.load_model("efficientnet_lite0")
    if options.check:
        check(lines, {photo.name: photo for photo in [*labelled, *others]}, model)
        return
    done = {(line["photo"], line["regions"]) for line in lines}
    photos = [*labelled, *surest(others, model)]
    for regions, photo in itertools.product((49, 196), photos):
        if (photo.name, regions) in done:
            continue
        memo, image = Memo(model), model.preprocess(open_photo(photo))
        about = {"photo": photo.name, "labelled": photo in labelled}
        if regions == 49:
            found = list(rows(memo, image, about, areas_of="5x5" if photo in labelled[:5] else None))
        else:
            found = list(fine_rows(memo, image, about))
        with options.lines.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)
        print(photo.name, regions, len(found), flush=True)


if __name__ == "__main__":
    main()
