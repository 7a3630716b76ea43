"""A full table row: all methods, with and without IProp, by all measures, on one photo; where the time goes.

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


def main():
    methods = paper_tables.GRADIENT_METHODS + paper_tables.FORWARD_METHODS
    measures = paper_tables.PARTS["faithfulness"][1] + ["roc_auc", "pointing_game"]
    for part in ("patches", "attacks", "sanity"):
        measures += paper_tables.PARTS[part][1]
    if "--full" in sys.argv:
        methods, measures = ([name.split("(")[0] for name in names] for names in (methods, measures))
    model = ix.load_model("torch:efficientnet_lite0")
    photos, targets = paper_tables.read_photos()
    name = next(iter(photos))
    size = ix.images.read_image(photos[name]).raw.shape[:2]
    mask = np.zeros(size, bool)
    mask[size[0] // 4 : -size[0] // 4, size[1] // 3 :] = True
    target = {name: targets[name]}
    ix.compare(model, {name: photos[name]}, methods[:1], measures[:5], targets=target)  # imports
    profile = cProfile.Profile()
    result = profile.runcall(
        ix.compare, model, {name: photos[name]}, methods, measures, [mask], targets=target, progress=True
    )
    print(result)
    spent = Counter()
    for function, (_, _, own, _, _) in pstats.Stats(profile).stats.items():
        spent[kind_of(function)] += own
    total = sum(spent.values())
    print(f"{len(result.entries)} maps by {len(measures)} measures: {total:.0f} s")
    for kind, seconds in spent.most_common():
        print(f"{seconds:8.1f} s  {seconds / total:5.1%}  {kind}")
    slow = sorted(result.entries, key=lambda entry: -entry.seconds)
    print("maps alone:", ", ".join(f"{entry.method} {entry.seconds:.1f} s" for entry in slow))


if __name__ == "__main__":
    main()
