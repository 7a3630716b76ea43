"""Images a second of MoXI on a device: many images share every batch, and a step waits for the device once.

    pip install interpix timm torch
    python benches/python/bench_device.py [cuda] [quick]

Random weights, noise of 224 x 224: the number of steps is fixed, so that the answers do not matter. ViTs drop tokens
(196 players), ResNet-50 gets composed pictures (7 x 7 regions). "share" is what must be computed for these coalitions,
at the device's rate of 4096 x 4096 matrix products of the same type, divided by the time. Rankings of one image alone
and of many together are compared first. Wall-clock seconds, the median of three; `quick` is for a device that is slow.
"""

import statistics
import sys
import time

import timm
import torch

import interpix as ix

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


@torch.no_grad()
def main():
    device = "cuda" if "cuda" in sys.argv else "cpu"
    quick = "quick" in sys.argv
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
