"""IProp's time and memory against scipy, in one run, with the floor beside it.

    python benches/python/bench_propagation.py            # everything but the slow peers' repeats, minutes
    python benches/python/bench_propagation.py --quick    # the table against scipy only

Every way solves the same system on the same photo; each result is checked before its time counts.
"""

import argparse
import resource
import statistics
import time

import numpy as np
import scipy.sparse as sp
from skimage import color, data, transform

import interpix as ix
from interpix import _core

DISCOUNT = 0.99
RADIUS = 9


def photo(height, width):
    small = transform.resize(data.coffee(), (height, width), anti_aliasing=True)
    return np.rint(255 * small).astype(np.uint8)


def smooth_map(height, width):
    """Like a class activation map."""
    rows, columns = np.mgrid[:height, :width]
    spread = 2 * (height / 7) ** 2
    return np.exp(-((rows - height / 2) ** 2 + (columns - width / 2.5) ** 2) / spread).astype(np.float32)


def seconds(work, repeats):
    """The median time, and the last result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def scipy_matrix(image):
    """S in CSR, built with one vectorized pass for each offset."""
    lab = color.rgb2lab(image)
    height, width = lab.shape[:2]
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    rows, columns, weights = [], [], []
    for down in range(-RADIUS, RADIUS + 1):
        for right in range(-RADIUS, RADIUS + 1):
            if down == right == 0:
                continue
            here = (slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right)))
            there = (slice(max(0, down), height - max(0, -down)), slice(max(0, right), width - max(0, -right)))
            distance = np.hypot(down, right) + np.linalg.norm(lab[here] - lab[there], axis=-1)
            rows.append(index[here].ravel())
            columns.append(index[there].ravel())
            weights.append(np.exp(-distance).ravel())
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return sp.csr_array(sp.coo_array(entries, shape=(height * width, height * width)))


def scipy_value_iteration(image, attribution):
    """Algorithm 1: sweeps until the mean squared difference of two iterates is below 1e-7."""
    matrix = scipy_matrix(image)
    matrix = sp.csr_array(sp.diags_array(1 / matrix.sum(axis=1)) @ matrix)
    rewards = attribution.ravel().astype(float)
    old, change = np.zeros_like(rewards), np.inf
    while change >= 1e-7:
        new = rewards + DISCOUNT * (matrix @ old)
        change, old = np.mean((new - old) ** 2), new
    return old.reshape(attribution.shape)


def scipy_conjugate_gradients(image, attribution):
    """scipy's own, on D - discount S with D as the preconditioner, until the certificate holds 1e-4."""
    matrix = scipy_matrix(image)
    degree = matrix.sum(axis=1)
    system = sp.csr_array(sp.diags_array(degree) - DISCOUNT * matrix)
    rewards = attribution.ravel().astype(float)
    values, tolerance = np.zeros_like(rewards), 1e-4
    while True:
        values, _ = sp.linalg.cg(system, degree * rewards, x0=values, rtol=tolerance, M=sp.diags_array(1 / degree))
        residual = np.abs(rewards - (system @ values) / degree).max()
        if residual / (1 - DISCOUNT) <= 1e-4 * np.abs(values).max():
            return values.reshape(attribution.shape)
        tolerance /= 2


def read_bandwidth():
    """Bytes a second that all threads together read from memory, by numpy's sum of 512 MB in each of two threads."""
    from concurrent.futures import ThreadPoolExecutor

    parts = [np.ones(64_000_000) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        duration, _ = seconds(lambda: list(pool.map(np.sum, parts)), 5)
    return sum(part.nbytes for part in parts) / duration


def peak_of(work):
    """Megabytes that the process' peak grows by in a fresh child."""
    import os

    read, write = os.pipe()
    if os.fork() == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        os.write(write, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return int(pipe.read()) / 1024


def against_scipy(bandwidth):
    image, attribution = photo(299, 299), smooth_map(299, 299)

    def ours():
        return ix.PixelGraph(image, RADIUS).propagate(attribution, discount=DISCOUNT)

    exact = ix.PixelGraph(image, RADIUS).propagate(attribution, discount=DISCOUNT, tolerance=1e-6)
    ours()
    time_ours, solved = seconds(ours, 9)
    assert solved.error_bound <= 1e-4
    assert np.abs(solved.values - exact.values).max() <= 1.1e-4 * np.abs(exact.values).max()
    weights = ix.PixelGraph(image, RADIUS).weight_bytes
    floor = solved.iterations * weights / bandwidth
    memory_ours = peak_of(ours)
    print(f"299 x 299, radius {RADIUS}, discount {DISCOUNT}, graph included; memory reads {bandwidth / 1e9:.0f} GB/s")
    print(
        f"interpix            {time_ours:8.3f} s  {memory_ours:6.0f} MB  {solved.iterations} products, "
        f"error bound {solved.error_bound:.1e}; floor {floor:.3f} s ({time_ours / floor:.1f} x)"
    )
    for peer in (scipy_conjugate_gradients, scipy_value_iteration):
        duration, values = seconds(lambda peer=peer: peer(image, attribution), 1)
        error = np.abs(values - exact.values).max() / np.abs(exact.values).max()
        memory = peak_of(lambda peer=peer: peer(image, attribution))
        print(
            f"{peer.__name__:26s}{duration:6.2f} s  {memory:6.0f} MB  error {error:.1e}: "
            f"{duration / time_ours:.0f} x the time, {memory / memory_ours:.0f} x the memory"
        )


def several():
    image, attribution = photo(299, 299), smooth_map(299, 299)
    graph = ix.PixelGraph(image, RADIUS)
    rng = np.random.default_rng(0)
    maps = np.stack([np.roll(attribution, rng.integers(-80, 80, 2), (0, 1)) for _ in range(8)])
    one, _ = seconds(lambda: graph.propagate(maps[0], discount=DISCOUNT), 9)
    eight, _ = seconds(lambda: graph.propagate(maps, discount=DISCOUNT), 5)
    three, _ = seconds(lambda: graph.propagate(maps[0], discount=[0.9, 0.95, DISCOUNT]), 5)
    print(f"eight maps of one image {eight / one:.2f} x one map; three discounts {three / one:.2f} x one")
    _core.set_threads(1)
    single, _ = seconds(lambda: graph.propagate(maps[0], discount=DISCOUNT), 5)
    _core.set_threads(0)
    print(f"one thread {single / one:.2f} x all threads")


def scale(bandwidth):
    """Time and memory against the number of pixels, with weights that are stored, and computed at the largest size."""
    print("size        seconds   us/pixel   peak MB   weights MB   x the floor")
    for size, budget in ((224, 1 << 32), (512, 1 << 32), (1024, 1 << 32), (2048, 1 << 32), (2048, 0)):
        image, attribution = photo(size, size), smooth_map(size, size)

        def solve(image=image, attribution=attribution, budget=budget):
            graph = ix.PixelGraph(image, RADIUS, memory_budget=budget)
            return graph.weight_bytes, graph.propagate(attribution, discount=DISCOUNT)

        duration, (weights, solved) = seconds(solve, 5 if size <= 512 else 1)
        floor = solved.iterations * weights / bandwidth
        print(
            f"{size:5d}     {duration:8.3f}   {1e6 * duration / size**2:8.2f}   {peak_of(solve):7.0f}"
            f"   {weights / 1e6:10.0f}   " + (f"{duration / floor:.1f}" if weights else "computed")
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    bandwidth = read_bandwidth()
    against_scipy(bandwidth)
    if not options.quick:
        several()
        scale(bandwidth)


if __name__ == "__main__":
    main()
