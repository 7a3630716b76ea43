"""Native EfficientNet-Lite0 against timm's on torch: same weights, same cores, equal logits first.

    pip install "interpix[demo]" timm torch
    python benches/python/bench_native.py

Prints medians. "floor" is the time of the network's 0.77 GFLOP an image at the rate of numpy's matrix product, measured
in the same run, divided by our time: 100 % would be a network that does nothing but multiply at full speed. It is
measured on one thread only, as a BLAS library cannot be told otherwise later.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import statistics
import time
from functools import partial

import numpy as np
import torch

import interpix as ix
from interpix import _core

FLOP = 0.77e9
BATCHES = {1: 21, 8: 9, 64: 3}


def reference():
    return ix.load_model("torch:efficientnet_lite0").module


def medians(repeats, *calls):
    """Median seconds of each call, taken in turn so that all see the same machine."""
    times = [[] for _ in calls]
    for _ in range(repeats):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def matrix_rate():
    """Floating-point operations a second of a 1024 x 1024 matrix product on one thread."""
    a = np.ones((1024, 1024), np.float32)
    (seconds,) = medians(15, lambda: a @ a)
    return 2 * 1024**3 / seconds


def main():
    model, network = ix.load_model("efficientnet_lite0"), reference()
    channels_last = reference().to(memory_format=torch.channels_last)
    rate = matrix_rate()
    print(f"matrix products: {rate / 1e9:.0f} GFLOP/s on one thread")
    print("threads  batch   native img/s   torch img/s (channels last)   native/torch time (channels last)   floor")
    for threads in (1, 2):
        _core.set_threads(threads)
        torch.set_num_threads(threads)
        for batch, repeats in BATCHES.items():
            images = np.random.default_rng(0).normal(size=(batch, 3, 224, 224)).astype(np.float32)
            plain = torch.from_numpy(images)
            last = plain.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                np.testing.assert_allclose(model.logits(images), network(plain).numpy(), atol=1e-3)
                channels_last(last)
                native, theirs, theirs_last = medians(
                    repeats, partial(model.logits, images), partial(network, plain), partial(channels_last, last)
                )
            floor = f"{FLOP * batch / rate / native:6.0%}" if threads == 1 else ""
            print(
                f"{threads:7} {batch:6} {batch / native:14.1f} {batch / theirs:13.1f} ({batch / theirs_last:13.1f})"
                f" {native / theirs:21.2f} ({native / theirs_last:13.2f}) {floor:>7}"
            )


if __name__ == "__main__":
    main()
