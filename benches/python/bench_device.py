"""Images a second of MoXI on a device: many images share every batch, and a step waits for the device once.

    pip install interpix timm torch
    python benches/python/bench_device.py [cuda] [quick]
    python benches/python/bench_device.py measures [cuda] [quick]

Random weights, noise of 224 x 224: the number of steps is fixed, so that the answers do not matter. ViTs drop tokens
(196 players), ResNet-50 gets composed pictures (7 x 7 regions). "share" is what must be computed for these coalitions,
at the device's rate of 4096 x 4096 matrix products of the same type, divided by the time. Rankings of one image alone
and of many together are compared first. Wall-clock seconds, the median of three; `quick` is for a device that is slow.

`measures`: insertion of one image and a tiny network, whose pictures are made by numpy, as they were, or where the
model is, in turn; milliseconds, on a CPU of its time. "MB" is what gets to the device for an image; on a CPU it is
there already. Of RISE, which was made there before, and SIC, whose time is that of its files, the bytes alone.
"""

import statistics
import sys
import time

import numpy as np
import timm
import torch

import interpix as ix
from interpix.methods import RISE
from interpix.metrics import Insertion, Sample, SoftmaxInformation
from interpix.models.adapters import torch as adapter
from interpix.models.torch import workshop

MODELS = ("vit_tiny_patch16_224", "vit_base_patch16_224", "resnet50")
PATCHES = 196


def clock(call, repeats=3):
    """Median seconds of a call that ends with its results on the host."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matrix_rate(device, dtype):
    """Floating-point operations a second of large matrix products."""
    size = 4096 if device == "cuda" else 1024
    a = torch.ones(size, size, device=device, dtype=dtype)
    return 2 * size**3 / clock(lambda: (a @ a).sum().item(), 10)


def token_flop(model, tokens):
    """Operations of a ViT's blocks for one coalition of `tokens` tokens and the class token."""
    width, blocks, n = model.embed_dim, len(model.blocks), tokens + 1
    block = 24 * width**2 * n + 4 * width * n**2
    return block * (blocks - 1) - 6 * width**2 * n + 4 * width**2 * n + 20 * width**2 + 4 * width * n


def needed(model, direction, steps):
    """Operations of an image's search."""
    counts = [PATCHES - done for done in range(steps)]
    sizes = [done + 1 if direction == "insertion" else PATCHES - done - 1 for done in range(steps)]
    return sum(count * token_flop(model, size) for count, size in zip(counts, sizes, strict=True))


def check(moxi, images, direction):
    """Refuses to time what depends on how many images share a batch."""
    together = moxi.explain(images[:3], 1, direction=direction, stop=2)
    for image, result in zip(images, together, strict=False):
        alone = moxi.explain(image, 1, direction=direction, stop=2)
        clear = result.gaps[: len(alone.ranking)] > 1e-3
        if (alone.ranking != result.ranking)[clear].any():
            raise AssertionError("one image alone and with others: other patches")


def row(name, moxi, images, direction, steps, work, rate):
    check(moxi, images, direction)
    seconds = clock(lambda: moxi.explain(images, 1, direction=direction, stop=steps))
    share = f"{work * len(images) / rate / seconds:.0%}" if work else ""
    print(f"| {name} | {len(images)} | {direction} | {steps} | {len(images) / seconds:.2f} | {share} |", flush=True)


class ByNumpy(ix.TorchClassifier):
    """Its own `logits` are asked, so numpy makes the pictures."""

    def logits(self, batch):
        return super().logits(batch)


KINDS = ByNumpy, ix.TorchClassifier


def megabytes(run, sample):
    """What a measure answers, and what it copies to the device."""
    sent, real = [], workshop.on_device

    def counting(array, device):
        sent.append(array.nbytes)
        return real(array, device)

    adapter.on_device = workshop.on_device = counting
    try:
        return run(sample), sum(sent) / 1e6
    finally:
        adapter.on_device = workshop.on_device = real


def measures(device, repeats):
    """Each measure with pictures by numpy and where the model is, in turn."""
    layers = [torch.nn.Conv2d(3, 8, 7, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    module = torch.nn.Sequential(*layers, torch.nn.Linear(8, 10)).eval().to(device)
    photo = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    kinds = [kind(module, preprocess=lambda raw: np.float32(raw).transpose(2, 0, 1) / 255) for kind in KINDS]
    samples = [Sample.of(kind, photo) for kind in kinds]
    insertion, sic, rise = Insertion(steps=100), SoftmaxInformation(min_confidence=0.0), RISE(count=400)
    plans = {
        "insertion, 100 steps": lambda sample: insertion.score(sample, sample.tensor[0]).value,
        "SIC": lambda sample: sic.score(sample, sample.tensor[0]).value,
        "RISE, 400 masks": lambda sample: rise.explain_question(sample).map,
    }
    for name, run in plans.items():
        answers, sent = zip(*(megabytes(run, sample) for sample in samples), strict=True)
        np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-6)
        print(f"{name}: {sent[0]:.1f} MB by numpy, {sent[1]:.1f} MB", flush=True)
    now, run = time.perf_counter if device == "cuda" else time.process_time, plans["insertion, 100 steps"]
    times = np.empty((repeats, 2))
    for row in times:
        for column, sample in enumerate(samples):
            start = now()
            run(sample)
            row[column] = 1e3 * (now() - start)
    (old, new), ratio = np.median(times, axis=0), np.median(times[:, 0] / times[:, 1])
    print(f"insertion, 100 steps: {old:.0f} ms by numpy, {new:.0f} ms, {ratio:.2f} x")


@torch.no_grad()
def main():
    device = "cuda" if "cuda" in sys.argv else "cpu"
    quick = "quick" in sys.argv
    if "measures" in sys.argv:
        torch.manual_seed(0)
        measures(device, 5 if quick else 25)
        return
    counts = (1, 3) if quick else (1, 16, 64, 256)
    plans = [("insertion", 2), ("deletion", 1)] if quick else [("insertion", 6), ("deletion", 10), ("insertion", 195)]
    torch.manual_seed(0)
    images = torch.randn(max(counts), 3, 224, 224)
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    rates = {name: matrix_rate(device, getattr(torch, name)) for name in ("float32", "bfloat16")}
    print(f"{card}: " + ", ".join(f"{rate / 1e12:.3g} TFLOP/s in {name}" for name, rate in rates.items()))
    print("| model | images | direction | steps | images/s | share |\n| --- | --- | --- | --- | --- | --- |")
    for name in MODELS[:1] if quick else MODELS:
        model = timm.create_model(name).eval().to(device)
        for precision, kind in (("exact", "float32"), ("mixed", "bfloat16")):
            moxi = ix.MoXI(model, precision=precision)
            for direction, steps in plans:
                most = 16 if steps > 100 else max(counts)
                is_vit = name.startswith("vit")
                for count in (count for count in counts if count <= most):
                    work = needed(model, direction, steps) if is_vit else 0
                    label, taken = f"{name}, {precision}", steps if is_vit else min(steps, 48)
                    row(label, moxi, images[:count], direction, taken, work, rates[kind])


if __name__ == "__main__":
    main()
