"""One greedy step of MoXI on convolutional networks: all candidates in windows, against whole pictures.

    pip install interpix timm torch
    python benches/python/bench_windows.py [rounds] [--whole]

A step scores every candidate: the base picture with one region flipped. "plain" composes all of them and gives them
to timm's module in one batch; "plain, by 8" is the same in batches that fit the cache. "folded" evaluates the same
pictures with the norms folded in, channels-last. "windows" computes only what differs, and the base picture's maps.
Insertion starts from a fill with two regions of the picture, deletion from the picture without two. All logits are
compared with the module's. Times are medians of the processor time of one thread, ways in turn. "floor" is the time of
the products that windows need at the rate of torch's matrix product, measured in the same run, divided by our time;
Winograd's convolution does with fewer products and may come below it.

"whole" is what a GPU does, on this CPU: a batch of whole pictures by the module (mixed: in torch's autocast), and by
its layers with folded norms. Beside the times, which are the CPU's, it counts what a GPU would pay for: kernels of a
batch, of which cuDNN's convolutions with a bias are two, and bytes of maps that operations other than convolutions read
and write, in shares of what the convolutions write. `--whole` does that alone. A mixed step may be scored exactly,
where that pays; the device check has pictures a second.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = "1"

import statistics
import sys
import time

import numpy as np
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from interpix.models.windows.folded import FoldedModel
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


class Kernels(TorchDispatchMode):
    """Counts operations that a GPU would have to start, and the bytes that pass through those of maps."""

    starts_nothing = (
        "view",
        "detach",
        "aten.t.",
        "as_strided",
        "expand",
        "select.int",
        "slice",
        "permute",
        "empty",
        "split",
    )

    def __init__(self):
        super().__init__()
        self.kernels = self.written = self.passed = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        answer = function(*arguments, **(options or {}))
        name = str(function)
        if isinstance(answer, list) or any(one in name for one in self.starts_nothing):
            return answer
        inputs = [one for one in arguments if isinstance(one, torch.Tensor) and one.ndim == 4]
        first = answer[0] if isinstance(answer, tuple) else answer
        if "convolution" in name:
            self.kernels += 1 + (arguments[2] is not None)
            self.written += first.nbytes
            self.passed += 2 * first.nbytes * (arguments[2] is not None)
        else:
            self.kernels += 1
            if first.ndim == 4:
                self.passed += sum(one.nbytes for one in inputs) + first.nbytes
        return answer


def whole(name, rounds):
    """Whole pictures, as on a GPU, by the module and by its layers with folded norms."""
    torch.manual_seed(0)
    module = timm.create_model(name).eval()
    layers, pictures = FoldedModel(module, SIZE), torch.randn(8, 3, *SIZE)
    for layer in layers._network.layers:  # Winograd's algorithm is for a CPU
        if layer.products:
            layer.apply.suits_winograd = False

    def by_module(precision, batch):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed"):
            return module(batch).float()

    ways = {"module": by_module, "layers": lambda precision, batch: layers.whole_logits(batch, precision=precision)}
    for precision, tolerance in TOLERANCE.items():
        times = {way: [] for way in ways}
        for _ in range(rounds):
            found = {}
            for way, call in ways.items():
                seconds, found[way] = clock(lambda call=call, precision=precision: call(precision, pictures))
                times[way].append(seconds)
            if (found["module"] - found["layers"]).abs().max() > 2 * tolerance * found["module"].abs().max():
                raise AssertionError(f"{name}, {precision}: the layers answer otherwise")
        for way, call in ways.items():
            with Kernels() as seen:
                call(precision, pictures[:1])
            seconds, plain = statistics.median(times[way]), statistics.median(times["module"])
            print(
                f"{name:22} whole, {way}, {precision:6} {seconds:7.2f} s {plain / seconds:5.2f} x "
                f"{seen.kernels:4} kernels, {seen.passed / seen.written:4.1f} times what convolutions write"
            )


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    numbers = [one for one in sys.argv[1:] if one.isdigit()]
    rounds = int(numbers[0]) if numbers else 3
    if "--whole" not in sys.argv:
        rates = {"exact": matrix_rate(torch.float32), "mixed": matrix_rate(torch.bfloat16)}
        print(f"matrix products: {rates['exact'] / 1e9:.0f} GFLOP/s, bfloat16 {rates['mixed'] / 1e9:.0f}")
        for name, grid in CASES:
            report(name, grid, rounds, rates)
    for name in dict(CASES):
        whole(name, rounds)


if __name__ == "__main__":
    main()
