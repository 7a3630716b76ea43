"""Figures 5, 6 and 7 of IProp's paper (CIKM 2024), from the maps that an evaluation has kept.

    interpix evaluate photos/ -m torch:efficientnet_lite0 --preset iprop --maps -o out/
    python examples/iprop_figures.py out/ --images 5          # needs interpix[evaluate] and scikit-image

5: how long value iteration takes until two iterates differ by less than a tolerance, for the maps of each method; with
   how far it then is from the solution, which the paper's rule does not say, and how long `solver="auto"` takes.
6: by how much the probabilities of a step within radius k differ from those within radius 50, as KL(k || 50): the other
   way round it is infinite, since nothing steps further than k. For distances on the grid alone, as the paper has it,
   and with the distances of colors, at pixels of the photos.
7: the median distance of colors between two pixels that lie so many pixels apart.

Writes `iprop_figures.json` and `iprop_figures.png` into the same folder.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from skimage.color import rgb2lab

import interpix as ix

TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""Mean squared differences of two iterates; the paper's is 1e-7."""
FURTHEST = 50
PIXELS = 200
"""Of each photo, for figure 6."""
SHOWN = (1, 2, 3, 5, 7, 9, 15, 25, 50)
"""Radii and distances in what is printed."""
DIRECTIONS = 8
"""At most so many steps of each length, for figure 7."""


def solving_times(maps, tolerances=TOLERANCES):
    """Figure 5: seconds, iterations and guaranteed error of value iteration for maps of one photo, by method.

    Maps are divided by their greatest value: the rule is absolute, and would depend on their scale.
    """
    rows = {}
    graph = None
    for name, found in maps.items():
        greatest = np.abs(found.map).max()
        if greatest == 0:  # of which nothing has to be found out
            continue
        graph = ix.PixelGraph(found.image) if graph is None else graph
        scaled = found.map / greatest
        solved = {f"{one:g}": timed(graph, scaled, solver="value_iteration", tolerance=one) for one in tolerances}
        rows[name] = solved | {"auto": timed(graph, scaled)}
    return rows


def timed(graph, values, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the rule stops early: the error stands in the table
        begun = time.perf_counter()
        solved = graph.propagate(values, **options)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "iterations": solved.iterations, "error": solved.error_bound}


def divergences(furthest=FURTHEST, lab=None, at=(0, 0)):
    """Figure 6: KL(P_k || P_furthest) of one pixel's row for k = 1 ... furthest.

    Within radius k both rows are proportional to exp(-d), so that it is the logarithm of the ratio of their sums.

    Args:
        furthest: The greatest radius.
        lab: The photo's colors (H, W, 3); None: an endless picture of one color.
        at: Row and column of the pixel.
    """
    side = np.arange(-furthest, furthest + 1)
    distance = np.hypot(*np.meshgrid(side, side, indexing="ij"))
    if lab is not None:
        rows, columns = np.meshgrid(at[0] + side, at[1] + side, indexing="ij")
        inside = (rows >= 0) & (rows < lab.shape[0]) & (columns >= 0) & (columns < lab.shape[1])
        colors = lab[rows.clip(0, lab.shape[0] - 1), columns.clip(0, lab.shape[1] - 1)]
        distance = np.where(inside, distance + np.linalg.norm(colors - lab[at], axis=-1), np.inf)
    distance[furthest, furthest] = np.inf  # nobody steps to where they are
    rings = np.maximum(*np.abs(np.meshgrid(side, side, indexing="ij")))
    # Before the exponential: between colors that are far apart it would be 0.
    nearest = distance.min()
    sums = np.cumsum([np.exp(nearest - distance[rings == ring]).sum() for ring in range(1, furthest + 1)])
    with np.errstate(divide="ignore"):
        return np.log(sums[-1]) - np.log(sums)


def color_distances(lab, length, directions=DIRECTIONS):
    """Figure 7: distances of colors of all pixels to those that are so many pixels away, by rounded lengths."""
    steps = [(down, right) for down in range(length + 1) for right in range(-length, length + 1)]
    # Each pair once: a step and its opposite say the same.
    steps = [one for one in steps if (one[0] > 0 or one[1] > 0) and round(float(np.hypot(*one))) == length]
    picked = [steps[index] for index in np.linspace(0, len(steps) - 1, min(directions, len(steps))).astype(int)]
    found = []
    for down, right in picked:
        height, width = lab.shape[0] - down, lab.shape[1] - abs(right)
        if height > 0 and width > 0:
            first = lab[:height, max(0, -right) :][:, :width]
            second = lab[down:, max(0, right) :][:, :width]
            found.append(np.linalg.norm(second - first, axis=-1).ravel())
    return np.concatenate(found) if found else np.empty(0)


def measure(found, images, *, furthest=FURTHEST, pixels=PIXELS):
    """All three figures' numbers, as plain JSON values."""
    wanted = [name for name in found.methods if name not in found.controls and not found.origins[name][1]]
    random = np.random.default_rng(0)
    times, rows, colors = {}, [], {length: [] for length in range(1, furthest + 1)}
    measured, lacking = [], None
    for image in images:
        try:
            maps = found.maps(image)
        except ix.ArgumentError as error:  # it failed, or no maps of it were kept
            lacking = lacking or error
            print(error, file=sys.stderr)
            continue
        measured.append(image)
        for name, solved in solving_times({name: maps[name] for name in wanted if name in maps}).items():
            times.setdefault(name, []).append(solved)
        lab = rgb2lab(next(iter(maps.values())).image)
        height, width = lab.shape[:2]
        for _ in range(pixels):
            at = int(random.integers(height)), int(random.integers(width))
            rows.append(divergences(furthest, lab, at))
        for length, distances in colors.items():
            distances.append(color_distances(lab, length))
    if lacking is not None and not measured:
        raise lacking
    return {
        "provenance": {"interpix": ix.__version__},
        "images": measured,
        "figure_5": {
            name: {
                rule: {key: float(np.mean([one[rule][key] for one in several])) for key in several[0][rule]}
                for rule in several[0]
            }
            for name, several in times.items()
        },
        "figure_6": {
            "radius": list(range(1, furthest + 1)),
            "grid": divergences(furthest).tolist(),
            "with_colors_mean": np.mean(rows, axis=0).tolist(),
            "with_colors_median": np.median(rows, axis=0).tolist(),
        },
        "figure_7": {
            "distance": list(colors),
            "median": [median(np.concatenate(one)) for one in colors.values()],
        },
    }


def median(values):
    return float(np.median(values)) if values.size else None  # no photo is so large


def draw(numbers, path):
    from matplotlib.figure import Figure

    figure = Figure((15, 4), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    for name, solved in numbers["figure_5"].items():
        rules = [rule for rule in solved if rule != "auto"]
        first.loglog(list(map(float, rules)), [solved[rule]["seconds"] for rule in rules], "o-", label=name)
    first.set(title="5: value iteration", xlabel="tolerance", ylabel="seconds")
    first.invert_xaxis()
    first.legend(fontsize=7)
    radii = numbers["figure_6"]["radius"][:-1]  # the last one's is 0
    labels = {"grid": "grid alone", "with_colors_mean": "with colors, mean", "with_colors_median": "median"}
    for key, label in labels.items():
        second.semilogy(radii, numbers["figure_6"][key][:-1], label=label)
    # Below it is rounding.
    second.set(title="6: KL of a step within the radius from 50", xlabel="radius", ylabel="KL", ylim=(1e-14, None))
    second.legend()
    third.plot(numbers["figure_7"]["distance"], numbers["figure_7"]["median"])
    third.set(title="7: colors", xlabel="pixels apart", ylabel="median distance of colors", ylim=(0, None))
    figure.savefig(path, dpi=110)


def show(numbers):
    print(f"5: {len(numbers['images'])} photos; seconds (iterations, guaranteed error) by tolerance")
    for name, solved in numbers["figure_5"].items():
        cells = [f"{one['seconds']:.2g} ({one['iterations']:.0f}, {one['error']:.1g})" for one in solved.values()]
        print(f"  {name}: " + "; ".join(f"{rule} {cell}" for rule, cell in zip(solved, cells, strict=True)))
    kept = numbers["figure_6"]
    print("6: KL by radius: grid alone, with colors (mean, median)")
    for radius in SHOWN:
        if radius < len(kept["radius"]):
            print(f"  {radius}: " + ", ".join(f"{kept[key][radius - 1]:.2g}" for key in list(kept)[1:]))
    print("7: median distance of colors by pixels apart")
    apart = dict(zip(numbers["figure_7"]["distance"], numbers["figure_7"]["median"], strict=True))
    shown = [one for one in SHOWN if apart.get(one) is not None]
    print("  " + ", ".join(f"{one}: {apart[one]:.3g}" for one in shown))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder of an evaluation with --maps")
    parser.add_argument("--images", type=int, default=5, help="so many of its images (default: %(default)s)")
    options = parser.parse_args(arguments)
    found = ix.load_evaluation(options.out)
    # From all over: the first ones may be of few classes.
    step = max(1, found.images // max(1, options.images))
    numbers = measure(found, found.image_ids[::step][: options.images])
    (options.out / "iprop_figures.json").write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n")
    draw(numbers, options.out / "iprop_figures.png")
    show(numbers)


if __name__ == "__main__":
    main()
