"""A full table row: all methods, with and without IProp, by all metrics, on one photo; where the time goes.

    pip install "interpix[demo,timm,lime,xrai]" captum grad-cam imagecorruptions-imaug
    OMP_NUM_THREADS=1 python benches/python/bench_comparison.py [--full]

Settings are those of `examples/paper_tables.py`; `--full` takes the papers' (an hour). The profiler's own time is in
all numbers. AIC and SIC encode their pictures in threads, which a profiler of one thread sees as waiting for a lock.
"""

import cProfile
import pstats
import sys
from collections import Counter
from pathlib import Path

import numpy as np

import interpix as ix

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))
import paper_tables  # noqa: E402 - the settings

KINDS = {
    "model (torch)": ("torch",),
    "lossless WebP of AIC and SIC": ("_thread.lock",),
    "IProp, interpolation, search (Rust)": ("interpix._core", "builtins.Search", "builtins.PixelGraph", "_core"),
    "superpixels, XRAI's regions, LIME's regression": ("skimage", "saliency", "sklearn", "scipy"),
    "numpy": ("numpy",),
    "Pillow": ("PIL", "ImagingEncoder", "ImagingDecoder", "ImagingCore"),
}


def kind_of(function):
    text = " ".join(map(str, function))
    if "run_backward" in text or "torch" in text or "timm" in text:
        return "model (torch)"
    return next((kind for kind, words in KINDS.items() if any(word in text for word in words)), "Python")


class Counted:
    """Counts how often a photo is preprocessed, and how often the model is asked about the whole of it alone."""

    def __init__(self, model, photo):
        self.prepared = self.asked = 0
        preprocess, logits, seen = model.preprocess, model.logits, model.preprocess(photo)

        def counting(image):
            self.prepared += image.shape == photo.shape and np.array_equal(image, photo)
            return preprocess(image)

        def asking(batch):
            self.asked += len(batch) == 1 and np.array_equal(batch[0], seen)
            return logits(batch)

        model.preprocess, model.logits = counting, asking


def main():
    methods = list(dict.fromkeys(paper_tables.METHODS + paper_tables.RANKINGS))
    metrics = [metric for part in paper_tables.PARTS.values() for metric in part.metrics]
    if "--full" in sys.argv:
        methods, metrics = ([name.split("(")[0] for name in names] for names in (methods, metrics))
    model = ix.load_model("torch:efficientnet_lite0")
    photo = ix.images.read_image(ROOT / "examples/coffee.jpg").raw
    height, width = photo.shape[:2]
    mask = np.zeros((height, width), bool)
    mask[height // 4 : -height // 4, width // 3 :] = True
    ix.compare(model, [photo], methods[:1], metrics[:5])  # imports
    counted = Counted(model, photo)
    profile = cProfile.Profile()
    result = profile.runcall(ix.compare, model, [photo], methods, metrics, [mask], progress=True)
    print(result)
    spent = Counter()
    for function, (_, _, own, _, _) in pstats.Stats(profile).stats.items():
        spent[kind_of(function)] += own
    total = sum(spent.values())
    print(f"{len(result.entries)} maps by {len(metrics)} metrics: {total:.0f} s")
    for kind, seconds in spent.most_common():
        print(f"{seconds:8.1f} s  {seconds / total:5.1%}  {kind}")
    print(f"the photo was preprocessed {counted.prepared} times, and the model asked about it {counted.asked} times")
    slow = sorted(result.entries, key=lambda entry: -entry.seconds)
    print("maps alone:", ", ".join(f"{entry.method} {entry.seconds:.1f} s" for entry in slow))


if __name__ == "__main__":
    main()
