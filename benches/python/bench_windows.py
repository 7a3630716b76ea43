"""One greedy step of MoXI on convolutional networks: all candidates in windows, against whole pictures.

    pip install interpix timm torch
    python benches/python/bench_windows.py [rounds]

A step scores every candidate: the base picture with one region flipped. "plain" composes all of them and gives them
to timm's module in one batch; "plain, by 8" is the same in batches that fit the cache. "folded" evaluates the same
pictures with the norms folded in, channels-last. "windows" computes only what differs, and the base picture's maps.
Insertion starts from a fill with two regions of the picture, deletion from the picture without two. All logits are
compared with the module's. Times are medians of the processor time of one thread, ways in turn. "floor" is the time of
the products that windows need at the rate of torch's matrix product, measured in the same run, divided by our time;
Winograd's convolution does with fewer products and may come below it.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = "1"

import statistics
import sys
import time

import numpy as np
import timm
import torch

from interpix.models.windows.model import find_window_model
from interpix.regions import grid_regions

SIZE = (224, 224)
CASES = [("resnet18", 14), ("resnet50", 7), ("tf_efficientnet_lite0", 7)]
TOLERANCE = {"exact": 1e-5, "mixed": 3e-2}


def clock(call):
    """Seconds of the processor, and the answer."""
    start = time.process_time()
    answer = call()
    return time.process_time() - start, answer


def matrix_rate(dtype):
    """Floating-point operations a second of a 1024 x 1024 matrix product, at its best."""
    a = torch.ones(1024, 1024, dtype=dtype)
    return 2 * 1024**3 / min(clock(lambda: a @ a)[0] for _ in range(30))


def candidates(base, other, regions):
    """Pictures (c, 3, H, W): the base with one region of the other each."""
    labels = torch.from_numpy(regions)
    return torch.where(labels == torch.arange(regions.max() + 1)[:, None, None, None], other, base)


def directions(regions):
    """Base and other picture of a step near the start of each direction."""
    picture, fill = torch.randn(3, *SIZE), torch.zeros(3, *SIZE)
    early = torch.from_numpy(np.isin(regions, [regions.max() // 2, regions.max() // 3]))
    starts = torch.where(early, picture, fill), torch.where(early, fill, picture)
    return {"insertion": starts, "deletion": starts[::-1]}


def check(name, got, expected, precision):
    error = float((got - expected).abs().max() / expected.abs().max())
    if not error <= TOLERANCE[precision]:
        raise AssertionError(f"{name}: {error:.1e} from the module, relative to its largest logit")


def ways(module, model, regions, base, other):
    """Every way to the same logits, and the precision of each."""
    flipped = np.arange(regions.max() + 1)

    def windows(precision):
        return model.logits(model.state_of(base, other, regions), flipped, precision=precision)

    def whole(precision):
        return model.whole_logits(candidates(base, other, regions), precision=precision)

    return {
        "plain": (lambda: module(candidates(base, other, regions)), "exact"),
        "plain, by 8": (lambda: torch.cat([*map(module, candidates(base, other, regions).split(8))]), "exact"),
        "folded": (lambda: whole("exact"), "exact"),
        "folded, mixed": (lambda: whole("mixed"), "mixed"),
        "windows": (lambda: windows("exact"), "exact"),
        "windows, mixed": (lambda: windows("mixed"), "mixed"),
    }


def report(name, grid, rounds, rates):
    torch.manual_seed(0)
    module = timm.create_model(name).eval()
    model, regions = find_window_model(module, SIZE), grid_regions(SIZE, grid, grid)
    full, needed = model.count_products(regions)
    print(f"\n{name}, {grid} x {grid} regions: {2e-9 * full:.0f} GFLOP in full, {2e-9 * needed:.0f} in windows")
    for direction, (base, other) in directions(regions).items():
        calls = ways(module, model, regions, base, other)
        # A search's first step makes what all others use: transformed weights, and oneDNN's code for each window size.
        first = clock(calls["windows"][0])[0] + clock(calls["windows, mixed"][0])[0]
        print(f"{direction:10} {'first step':15} {first:7.2f} s in windows, exact and mixed together")
        times, expected = {way: [] for way in calls}, None
        for _ in range(rounds):
            for way, (call, precision) in calls.items():
                seconds, answer = clock(call)
                expected = answer if way == "plain" else expected  # the first of the ways
                check(f"{name}, {way}", answer, expected, precision)
                times[way].append(seconds)
        plain = statistics.median(times["plain"])
        for way, (_, precision) in calls.items():
            seconds = statistics.median(times[way])
            floor = f"{2 * needed / rates[precision] / seconds:6.0%} floor" if "windows" in way else ""
            print(f"{direction:10} {way:15} {seconds:7.2f} s {plain / seconds:6.2f} x {floor}")


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    rates = {"exact": matrix_rate(torch.float32), "mixed": matrix_rate(torch.bfloat16)}
    print(f"matrix products: {rates['exact'] / 1e9:.0f} GFLOP/s, bfloat16 {rates['mixed'] / 1e9:.0f}")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for name, grid in CASES:
        report(name, grid, rounds, rates)


if __name__ == "__main__":
    main()
