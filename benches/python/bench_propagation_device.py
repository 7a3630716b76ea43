"""IProp on a device: torch's operations and Triton's kernel against Rust, and what they launch.

    python benches/python/bench_propagation_device.py            # the CPU's part, and a GPU's if there is one
    python benches/python/bench_propagation_device.py --quick    # smaller pictures

Without a GPU: torch's operations on the CPU against Rust, one thread each, CPU time, as a ratio; and how many
operations of torch's, that is launches on a GPU, a graph, a product, and a whole solve take. Every answer is checked
first.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from bench_propagation import photo, smooth_map
from torch.utils._python_dispatch import TorchDispatchMode

import interpix as ix
from interpix import _core
from interpix.propagation import places
from interpix.propagation.device.choice import why_not_triton
from interpix.propagation.device.colors import lab_colors
from interpix.propagation.device.products import Products, TorchProducts
from interpix.propagation.device.series import solve
from interpix.propagation.options import MEMORY_BUDGET, solve_options

#: Operations that only look at memory another way, or give it: nothing is launched for them.
VIEWS = {
    "_local_scalar_dense", "_to_copy", "alias", "detach", "empty", "empty_like", "expand", "new_empty", "permute",
    "select", "slice", "squeeze", "t", "transpose", "unsqueeze", "view", "_unsafe_view", "unbind", "as_strided",
}  # fmt: skip


class Launches(TorchDispatchMode):
    """Counts operations that are kernels on a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        name = operation.overloadpacket.__name__
        self.count += 2 if name == "constant_pad_nd" else name not in VIEWS  # padding fills, then copies
        return operation(*arguments, **(options or {}))


class OneLaunch(Products):
    """Another's products, each counted as the one launch that Triton's kernel is."""

    solved_by = "triton"

    def __init__(self, products, launches):
        super().__init__(products.colors, max(products.down, products.across))
        self.products, self.launches, self.steps = products, launches, 0

    def one(self, step, values):
        before = self.launches.count
        values = step(values)
        self.launches.count = before + 1
        self.steps += 1
        return values

    def step(self, values):
        return self.one(self.products.step, values)

    def step_exactly(self, values):
        return self.one(self.products.step_exactly, values)


def seconds(work, repeats, clock=time.process_time):
    times = []
    for _ in range(repeats):
        start = clock()
        result = work()
        times.append(clock() - start)
    return statistics.median(times), result


def count_launches(height, width, radius):
    """Of torch's operations and of Triton's kernel, for one map of one picture."""
    picture, rewards = torch.from_numpy(photo(height, width)), torch.from_numpy(smooth_map(height, width)).double()
    rewards, peaks = rewards[None, None], np.ones((1, 1))
    options = solve_options(discount=0.99, tolerance=None, solver="auto")
    with Launches() as colors_count:
        colors = lab_colors([picture], 1.0)
    with Launches() as graph_count:
        products = TorchProducts(colors, radius, MEMORY_BUDGET)
    with Launches() as product_count:
        products.step(rewards.float())
    with Launches() as certificate_count:
        products.step_exactly(rewards)
    with Launches() as torch_count:
        found = solve(products, rewards, peaks, options)
    with Launches() as triton_count:
        solve(OneLaunch(products, triton_count), rewards, peaks, options)
    print(
        f"{height} x {width}, radius {radius}: colors {colors_count.count} launches, graph {graph_count.count}, "
        f"a product {product_count.count}, a certificate's {certificate_count.count}; "
        f"{found.iterations} products and what else a solve does: torch {torch_count.count}, "
        f"Triton {triton_count.count}, bound {found.bounds.max():.1e}"
    )


def on_the_cpu(height, width, radius):
    image, attribution = photo(height, width), smooth_map(height, width)
    maps = torch.from_numpy(attribution)

    def rust():
        return ix.PixelGraph(image, radius).propagate(maps)

    def operations():
        return ix.PixelGraph(torch.from_numpy(image), radius).propagate(maps)

    _core.set_threads(1)
    torch.set_num_threads(1)
    rust()
    time_rust, known = seconds(rust, 7)
    kept, places._STAY = places._STAY, frozenset({"cpu"})
    operations()
    time_torch, found = seconds(operations, 3)
    places._STAY = kept
    _core.set_threads(0)
    assert (known.solved_by, found.solved_by) == ("rust", "torch")
    off = float((found.values - known.values).abs().max() / known.values.abs().max())
    assert off <= known.error_bound + found.error_bound
    print(
        f"{height} x {width}, radius {radius}, CPU, one thread, graph included: torch {time_torch:.2f} s "
        f"({found.iterations} products), Rust {time_rust:.3f} s ({known.iterations}): "
        f"{time_torch / time_rust:.1f} x; they differ by {off:.1e}, bounds {found.error_bound:.1e} and "
        f"{known.error_bound:.1e}"
    )


def on_the_gpu(height, width, radius):
    """Milliseconds a map, graphs and certificates included, tensors on the GPU before and after."""
    gpu = torch.device("cuda", torch.cuda.current_device())
    print(f"{torch.cuda.get_device_name(gpu)}: {why_not_triton(gpu) or 'Triton'}")
    image, attribution = (
        torch.from_numpy(photo(height, width)).to(gpu),
        torch.from_numpy(smooth_map(height, width)).to(gpu),
    )
    known = ix.propagate(attribution.cpu(), image.cpu(), radius=radius)
    for images in (1, 8, 64):
        pictures, maps = [image] * images, attribution.expand(images, 1, height, width)

        def batch(pictures=pictures, maps=maps):
            answer = ix.propagate(maps, pictures, radius=radius)
            torch.cuda.synchronize()
            return answer

        batch()
        duration, answer = seconds(batch, 5, time.perf_counter)
        assert (answer.cpu() - known).abs().max() <= 2.1e-4 * known.abs().max()
        print(f"{height} x {width}, radius {radius}: {images} images {1e3 * duration / images:.2f} ms each")
    graph = ix.PixelGraph(image, radius)
    for count in (1, 4, 16):
        maps = attribution.expand(count, height, width)

        def stack(maps=maps):
            found = graph.propagate(maps)
            torch.cuda.synchronize()
            return found

        stack()
        duration, found = seconds(stack, 5, time.perf_counter)
        print(
            f"one graph, {count} maps: {1e3 * duration / count:.2f} ms each by {found.solved_by}, "
            f"{found.iterations} products"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    sizes = [(64, 56, 3)] if parser.parse_args().quick else [(224, 224, 7), (299, 299, 9)]
    for size in sizes:
        count_launches(*size)
        on_the_cpu(*size)
        if torch.cuda.is_available():
            on_the_gpu(*size)


if __name__ == "__main__":
    main()
