"""Writes the tables of `docs/results.md` from the rows of evaluations, and checks that the page says what they say.

    interpix evaluate photos/ -m torch:efficientnet_lite0 --methods METHODS --metrics METRICS --workers 2 -o out/
    python examples/results.py --gather out/ faithfulness      # out/rows/*.parquet -> docs/data/faithfulness.jsonl
    python examples/results.py                                 # docs/data/ -> the marked parts of docs/results.md
    python examples/results.py --check                         # fails where they differ; needs no model and no pyarrow

A part of the page that is written by this script stands between two comments:

    <!-- begin: faithfulness scores -->
    <!-- end -->

The first word is the name of the data, the second that of the table:

- `about`: what was evaluated: how many photos, the model, the methods and metrics with their options, which the tables
  leave out where names stay distinct;
- `scores`: each method's mean -> that of IProp of it, bold where it is better;
- `changes`: what IProp changes on each photo, mean ± standard error, positive where it is better, and on how many
  photos it is better and worse;
- `controls`: the same of each method against noise and edges, of IProp of it against IProp of noise and against a plain
  blur of the method's map;
- `beaten`: in how many of these comparisons maps are better and worse by two standard errors, and in how many neither;
- `paper`: the scores beside those that IProp's paper prints, the mean of its networks; its photos, networks and
  settings are others, so that directions can be compared, and numbers cannot.

Data are one line of JSON about the run, and one for each photo: the values of each variant by each metric, to four
digits; null where the metric leaves the photo out.
"""

import argparse
import difflib
import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/results.md"
DATA = ROOT / "docs/data"
PART = re.compile(r"<!-- begin: (?P<data>[\w-]+) (?P<table>[\w-]+) -->\n(?P<text>.*?)<!-- end -->", re.DOTALL)
TITLES = {
    "insertion": "insertion",
    "deletion": "deletion",
    "dir": "DIR",
    "aic": "AIC",
    "sic": "SIC",
    "roc_auc": "ROC-AUC",
    "pointing_game": "pointing game",
    "model_randomization": "sanity check",
    "accuracy_insertion": "accuracy, insertion",
    "accuracy_deletion": "accuracy, deletion",
    "corruption": "corrupted first",
    "adversarial": "attacked first",
}
OPTIONS = re.compile(r"\(\w+=(?:[^()]|\([^()]*\))*\)")
ARROWS = {"higher": " ↑", "lower": " ↓", "nearer to 0": " → 0"}
DIGITS = 4


class ResultsError(Exception):
    """What went wrong, in words for people."""


@dataclass(frozen=True)
class Data:
    """An evaluation's values.

    Attributes:
        about: The model, versions, directions of metrics (`better`), why scores are missing (`left_out`), and
            `variants`, each with its `name`, `method`, whether it is `propagated` or a `control`, and what it is
            compared `against`.
        images: Their ids.
        values: Scores (images, variants, metrics), NaN where there is none.
    """

    about: Mapping
    images: tuple[str, ...]
    values: np.ndarray

    @property
    def metrics(self) -> list[str]:
        """Their names, with options."""
        return list(self.about["better"])

    @cached_property
    def names(self) -> list[str]:
        """Of the variants."""
        return [one["name"] for one in self.about["variants"]]

    @cached_property
    def pairs(self) -> dict[str, str]:
        """By the name of each method that is no control: IProp of it."""
        own = {one["method"]: one["name"] for one in self.about["variants"] if not one["propagated"]}
        controls = {one["name"] for one in self.about["variants"] if one["control"]}
        found = [one for one in self.about["variants"] if one["propagated"] and one["name"] not in controls]
        return {own[one["method"]]: one["name"] for one in found if one["method"] in own}

    @cached_property
    def short(self) -> dict[str, str]:
        """By the whole name, a variant's or a metric's: that without its options, if no other is called so."""
        found = {}
        for names in (self.names, self.metrics):
            plain = [OPTIONS.sub("", name) for name in names]
            found |= {name: one if plain.count(one) == 1 else name for name, one in zip(names, plain, strict=True)}
        return found

    def titles(self, *, arrows: bool = False) -> list[str]:
        """The metrics as people write them."""
        better = self.about["better"]
        return [titled(self.short[metric]) + (ARROWS[better[metric]] if arrows else "") for metric in self.metrics]

    def of(self, name: str, metric: str) -> np.ndarray:
        """The scores of a variant by a metric (images,)."""
        return self.values[:, self.names.index(name), self.metrics.index(metric)]

    def gain(self, one: str, other: str, metric: str) -> np.ndarray:
        """By how much one variant is better than another on each photo that has both."""
        better = self.about["better"][metric]
        values = self.of(one, metric), self.of(other, metric)
        if better == "nearer to 0":
            values = tuple(-np.abs(each) for each in values)
        found = (values[0] - values[1]) * (-1 if better == "lower" else 1)
        return found[~np.isnan(found)]


# Rows to data ---------------------------------------------------------------------------------------------------------


def gather(out: Path, path: Path) -> None:
    """The rows of an evaluation, made small."""
    import interpix as ix

    try:
        found = ix.load_evaluation(out)
    except ix.InterpixError as error:
        raise ResultsError(f"{out}: {error}") from error
    if not found.is_finished:
        raise ResultsError(f"{out} has {found.images} of {found.total} images: finish it first")
    known = {one["name"]: one for one in found.config["run"].get("variants", [])}
    variants = [
        {
            "name": name,
            "method": found.origins[name][0],
            "propagated": found.origins[name][1],
            "control": name in found.controls,
            "against": known.get(name, {}).get("against", []),
        }
        for name in found.methods
    ]
    better = {name: found.config["run"]["better"][name] for name in found.metrics}
    about = {
        "model": found.config["configuration"]["model"]["model"],
        "versions": found.config["configuration"].get("versions"),
        "better": better,
        "variants": variants,
        "left_out": found.left_out(),
    }
    lines = [json.dumps(about, default=str)]
    for place, image in enumerate(found.image_ids):
        values = [[rounded(found.values(name, metric)[place]) for metric in better] for name in found.methods]
        lines.append(json.dumps({"image": image, "values": values}, separators=(",", ":")))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")


def read_data(path: Path) -> Data:
    try:
        first, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        values = np.array([line["values"] for line in lines], np.float64)
        found = Data(first, tuple(line["image"] for line in lines), values)
        check(found)
    except FileNotFoundError:
        raise ResultsError(f"there is no {path}: make it by --gather OUT {path.stem}") from None
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{path} is not what --gather makes: {type(error).__name__}: {error}") from error
    return found


def check(found: Data) -> None:
    """Raises what reading raises where something is missing, or does not fit."""
    shape = len(found.images), len(found.names), len(found.metrics)
    if found.values.shape != shape:
        raise ValueError(f"expected values {shape}, got {found.values.shape}")
    if strange := set(found.about["better"].values()) - ARROWS.keys():
        raise ValueError(f"expected one of {', '.join(ARROWS)}, got {', '.join(map(str, strange))}")
    for one in found.about["variants"]:
        one["method"], one["propagated"], one["control"], list(one["against"])
    str(found.about["model"])


# Data to tables -------------------------------------------------------------------------------------------------------


def titled(metric: str) -> str:
    """A metric as people write it, without its options where they are the usual ones."""
    name, bracket, options = metric.partition("(")
    return TITLES.get(name, name) + (f" ({options.removesuffix(')')})" if bracket else "")


def table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def mean(values: np.ndarray) -> float:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else math.nan


def arrowed(data: Data, one: str, other: str, metric: str) -> str:
    """`before -> after`, bold where it is better, on the photos that have both."""
    both = ~np.isnan(data.of(one, metric)) & ~np.isnan(data.of(other, metric))
    if not both.any():
        return ""
    before, after = (data.of(name, metric)[both].mean() for name in (one, other))
    text = f"{after:.3f}"
    return f"{before:.3f} → {f'**{text}**' if data.gain(other, one, metric).mean() > 0 else text}"


def gained(found: np.ndarray, *, counted: bool = False) -> str:
    """`mean ± standard error`, and on how many photos it is better and worse."""
    if not len(found):
        return ""
    error = f" ± {found.std(ddof=1) / len(found) ** 0.5:.3f}" if len(found) > 1 else ""
    counts = f" ({(found > 0).sum()}:{(found < 0).sum()})" if counted else ""
    return f"{found.mean():+.3f}{error}{counts}"


def about_table(data: Data) -> str:
    own = [one["name"] for one in data.about["variants"] if not one["propagated"] and not one["control"]]
    said = f"{len(data.images)} photos, {len(own)} methods, model `{data.about['model']}`."
    scored = (~np.isnan(data.values)).any(axis=1).sum(axis=0)
    counts = {name: int(count) for name, count in zip(data.titles(), scored, strict=True)}
    fewer = [f"{name} {count}" for name, count in counts.items() if count < len(data.images)]
    said += f" Photos that have a score: {', '.join(fewer)}; all of the others." if fewer else ""
    settings = ", ".join(f"`{name}`" for name in (*own, *data.metrics) if data.short[name] != name)
    return said + (f" With options: {settings}.\n" if settings else "\n")


def scores_table(data: Data) -> str:
    titles = ["method", *data.titles(arrows=True)]
    rows = [
        [f"`{data.short[one]}`", *(arrowed(data, one, other, metric) for metric in data.metrics)]
        for one, other in data.pairs.items()
    ]
    alone = [name for name in data.names if name not in {*data.pairs, *data.pairs.values()}]
    plain = [name for name in alone if not name.startswith("blur(")]
    for name in plain:
        means = [mean(data.of(name, metric)) for metric in data.metrics]
        rows.append([f"`{data.short[name]}`", *("" if math.isnan(one) else f"{one:.3f}" for one in means)])
    return table(titles, rows)


def changes_table(data: Data) -> str:
    titles = ["method", *data.titles()]
    rows = [
        [f"`{data.short[one]}`", *(gained(data.gain(other, one, metric), counted=True) for metric in data.metrics)]
        for one, other in data.pairs.items()
    ]
    return table(titles, rows)


def controls_table(data: Data) -> str:
    titles = ["map", "against", *data.titles()]
    rows = [
        [f"`{data.short[name]}`", f"`{data.short[control]}`"]
        + [gained(data.gain(name, control, metric)) for metric in data.metrics]
        for name, control in against_controls(data)
    ]
    return table(titles, rows)


def against_controls(data: Data) -> list[tuple[str, str]]:
    """Each map with each control that it must beat."""
    return [
        (one["name"], control)
        for one in data.about["variants"]
        for control in ([] if one["control"] else one["against"])
        if control in data.names
    ]


def beaten_table(data: Data) -> str:
    """For each kind of control, how many maps are surely better than it, how many are not told from it, or worse."""
    titles = ["maps", "against", *data.titles()]
    kinds: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, control in against_controls(data):
        what = "IProp of the method" if name in data.pairs.values() else "the method"
        kind = "a plain blur of its map" if control.startswith("blur(") else f"`{data.short[control]}`"
        kinds.setdefault((what, kind), []).append((name, control))
    rows = []
    for (what, kind), pairs in kinds.items():
        cells = []
        for metric in data.metrics:
            sure = [surely(data.gain(name, control, metric)) for name, control in pairs]
            cells.append(f"{sure.count(1)} / {sure.count(0)} / {sure.count(-1)}")
        rows.append([what, kind, *cells])
    return table(titles, rows)


def surely(found: np.ndarray) -> int:
    """1 where a mean is above 0 by two standard errors, -1 where it is below, else 0."""
    if len(found) < 2:
        return 0
    error = found.std(ddof=1) / len(found) ** 0.5
    return int(np.sign(found.mean()) * (abs(found.mean()) >= 2 * error))


def paper_table(data: Data) -> str:
    """The metrics and methods that the paper has, too."""
    from interpix.evaluation.presets import paper_numbers

    theirs = paper_numbers()
    metrics = [metric for metric in data.metrics if any(key[0] == plain(metric) for key in theirs)]
    titles = ["method"]
    for metric in metrics:
        shown = titled(data.short[metric]) + ARROWS[data.about["better"][metric]]
        titles += [f"{shown}, ours", f"{shown}, paper"]
    rows = []
    for one, other in data.pairs.items():
        cells = []
        for metric in metrics:
            before, after = (theirs.get((plain(metric), plain(one), propagated)) for propagated in (False, True))
            paper = "" if before is None or after is None else f"{np.mean(before):.3f} → {np.mean(after):.3f}"
            cells += [arrowed(data, one, other, metric), paper]
        if any(cells[1::2]):
            rows.append([f"`{data.short[one]}`", *cells])
    return table(titles, rows)


def plain(name: str) -> str:
    """Without options."""
    return name.partition("(")[0]


TABLES = {
    "about": about_table,
    "scores": scores_table,
    "changes": changes_table,
    "controls": controls_table,
    "beaten": beaten_table,
    "paper": paper_table,
}


def rewritten(page: str, folder: Path) -> str:
    """The page with its marked parts made anew."""
    known: dict[str, Data] = {}

    def made(part: re.Match) -> str:
        name, kind = part["data"], part["table"]
        if kind not in TABLES:
            raise ResultsError(f"`{kind}` is no table; expected one of {', '.join(TABLES)}")
        if name not in known:
            known[name] = read_data(folder / f"{name}.jsonl")
        return f"<!-- begin: {name} {kind} -->\n\n{TABLES[kind](known[name])}\n<!-- end -->"

    if len(re.findall(r"<!--\s*begin\b", page)) != len(PART.findall(page)):
        raise ResultsError("a part of the page has no <!-- end -->, or its begin is not `<!-- begin: DATA TABLE -->`")
    if not PART.search(page):
        raise ResultsError("the page has no part that is written by this script")
    return PART.sub(made, page)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gather", nargs=2, metavar=("OUT", "NAME"), help="keep an evaluation's values as data NAME")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is not what data say")
    parser.add_argument("--page", type=Path, default=PAGE, help="default: docs/results.md")
    parser.add_argument("--data", type=Path, default=DATA, help="default: docs/data")
    options = parser.parse_args(arguments)
    try:
        if options.gather:
            gather(Path(options.gather[0]), options.data / f"{options.gather[1]}.jsonl")
            return 0
        page = options.page.read_text(encoding="utf-8")
        wanted = rewritten(page, options.data)
    except (OSError, UnicodeError, ResultsError) as error:
        print(f"results.py: {error}", file=sys.stderr)
        return 1
    if options.check:
        both = page.splitlines(), wanted.splitlines()
        lines = list(difflib.unified_diff(*both, "the page", "the data", n=0, lineterm=""))
        print("\n".join(lines) or f"{len(PART.findall(page))} parts of {options.page.name} are what the data say")
        return 1 if lines else 0
    if wanted != page:
        options.page.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
