"""AIC and SIC of one photo against PAIR's `saliency`, without the model's time, with the floor beside it.

    pip install saliency==0.2.1 scikit-image
    python benches/python/bench_information.py

CPU seconds of one thread, medians. The floor is the 15 lossless WebP files whose sizes both programs measure: the same
encoder with the same settings, or it would not be the same measure. What is left is the interpolation.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import statistics
import time

import numpy as np
from saliency.metrics import pic
from skimage import data, transform

import interpix as ix
from interpix.metrics import AccuracyInformation, Sample, SoftmaxInformation, seed_mask, trace_information
from interpix.metrics.information import THRESHOLDS, blur_between, webp_bytes

SIZE = (224, 224)
REPEATS = 5

# numpy 2.4 has it under another name.
np.trapz = np.trapezoid  # noqa: NPY201


def no_time(batch):
    """A model that takes no time."""
    return np.tile(np.float32([5, 0]), (len(batch), 1))


def maps():
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    smooth = np.exp(-((rows - SIZE[0] / 2) ** 2 + (columns - SIZE[1] / 2.5) ** 2) / 4000)
    return {"smooth map": smooth, "noisy map": smooth + 0.3 * np.random.default_rng(0).random(SIZE)}


def medians(*calls):
    """Median CPU and wall seconds of each call, taken in turn so that all see the same machine."""
    times = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, found in zip(calls, times, strict=True):
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return [tuple(statistics.median(column) for column in zip(*found, strict=True)) for found in times]


def pair_metric(photo, attribution, seeds):
    """PAIR's code, as it is called for AIC and again for SIC; the prediction takes no time and skips nothing."""
    calls = iter([1.0, 0.0, *np.linspace(0.1, 0.9, len(THRESHOLDS))])
    pic.compute_pic_metric(photo, attribution, seeds, lambda _: [next(calls)], THRESHOLDS)


def row(photo, name, attribution):
    model = ix.CallableClassifier(no_time, preprocess=lambda raw: raw.transpose(2, 0, 1) / 255)
    sample = Sample.of(model, photo)
    seeds = seed_mask(SIZE)
    shown = [seeds, *(seeds | (attribution >= np.quantile(attribution, 1 - step)) for step in THRESHOLDS)]
    ours, theirs = ([blur(photo, mask) for mask in shown] for blur in (blur_between, pic.create_blurred_image))
    for mask, own, other in zip(shown, ours, theirs, strict=True):
        assert (own[mask] == photo[mask]).all()
        # Pixels differ only where there is more than one Delaunay triangulation.
        assert (own != other).any(axis=2).mean() < 0.05
        assert abs(webp_bytes(own) - webp_bytes(other)) < 0.01 * webp_bytes(photo)

    def both():
        trace = trace_information(sample, attribution)
        SoftmaxInformation().from_trace(trace)
        AccuracyInformation().from_trace(trace)

    def pair_both():
        pair_metric(photo, attribution, seeds)
        pair_metric(photo, attribution, seeds)

    own, pair, own_blur, pair_blur, floor = medians(
        both,
        pair_both,
        lambda: [blur_between(photo, mask) for mask in shown],
        lambda: [pic.create_blurred_image(photo, mask) for mask in shown],
        lambda: [webp_bytes(picture) for picture in [*ours, photo]],
    )
    print(
        f"{name}: interpolation {own_blur[0]:.3f} s, saliency {pair_blur[0]:.2f} s "
        f"({pair_blur[0] / own_blur[0]:.0f} x)\n"
        f"    AIC and SIC {own[0]:.2f} s, saliency {pair[0]:.2f} s ({pair[0] / own[0]:.1f} x); floor {floor[0]:.2f} s "
        f"({own[0] / floor[0]:.2f} x); by the clock on the wall {pair[1] / own[1]:.1f} x"
    )


def main():
    for photo_name in ("coffee", "chelsea"):
        small = transform.resize(getattr(data, photo_name)(), SIZE, anti_aliasing=True)
        photo = np.rint(255 * small).astype(np.uint8)
        for name, attribution in maps().items():
            row(photo, f"{photo_name}, {name}", attribution)


if __name__ == "__main__":
    main()
