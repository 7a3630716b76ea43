"""The tables of docs/time-and-memory.md: CPU seconds and peak memory of searches, for patches x model, and of IProp.

`python benches/python/time_and_memory.py` (needs interpix[demo,timm]; ten minutes). Each model runs on one thread in a
process of its own, so that its peak is its own. Weights are random where no package brings any, which changes what is
found, and not how long a step takes.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

PHOTO = Path(__file__).parents[2] / "examples" / "coffee.jpg"
STEPS = {"insertion": 2, "deletion": 1}
MODELS = {
    "EfficientNet-Lite0, native": "efficientnet_lite0",
    "EfficientNet-Lite0": "torch:efficientnet_lite0",
    "ResNet-18": "timm resnet18",
    "ResNet-50": "timm resnet50",
    "Swin-Tiny": "timm swin_tiny_patch4_window7_224",
    "ViT-Tiny/16": "timm vit_tiny_patch16_224",
    "ViT-Small/16": "timm vit_small_patch16_224",
    "ViT-Base/16": "timm vit_base_patch16_224",
}
GRIDS = ("7x7", "14x14")
SIDES = (224, 384, 512)


def gigabytes():
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def search(name):
    """Seconds of a step each way, for each grid, and the peak of memory until then."""
    import interpix as ix

    if name.startswith("timm "):
        import timm
        import torch

        torch.manual_seed(0)
        model = timm.create_model(name.removeprefix("timm "))
    else:
        model = ix.load_model(name)
    found = {}
    for grid in GRIDS:
        moxi = ix.MoXI(model, regions=grid)
        seconds = []
        for direction, steps in STEPS.items():
            start = time.process_time()
            result = moxi.explain(PHOTO, direction=direction, stop=steps)
            seconds.append((time.process_time() - start) / steps)
            assert len(result.ranking) == steps
        found[grid] = {"seconds": seconds, "gigabytes": gigabytes(), "absence": result.provenance["absence"]}
    return found


def spread(side):
    """Seconds and the peak of memory of one map of a picture of so many pixels a side."""
    import numpy as np
    from PIL import Image

    import interpix as ix

    picture = np.asarray(Image.open(PHOTO).convert("RGB").resize((side, side)))
    values = np.random.default_rng(0).random((side, side), np.float32)
    start = time.process_time()
    graph = ix.PixelGraph(picture)
    built = time.process_time()
    graph.propagate(values)
    return {
        "radius": graph.radius,
        "build": built - start,
        "solve": time.process_time() - built,
        "gigabytes": gigabytes(),
    }


def in_words(seconds):
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def alone(kind, what):
    command = [sys.executable, __file__, kind, what]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


def main():
    """Print both tables as they stand in the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=["search", "spread"])
    parser.add_argument("what", nargs="?")
    given = parser.parse_args()
    if given.kind:
        print(json.dumps(search(given.what) if given.kind == "search" else spread(int(given.what))))
        return
    print("| model | absent patches | a step of 49 patches: insertion, deletion | a step of 196 patches | memory |")
    print("| --- | --- | --- | --- | --- |")
    for label, name in MODELS.items():
        found = alone("search", name)
        times = [", ".join(in_words(one) for one in found[grid]["seconds"]) for grid in GRIDS]
        absent = {"drop_tokens": "dropped tokens"}.get(found[GRIDS[0]]["absence"], "filled")
        print(f"| {label} | {absent} | {' | '.join(times)} | {found[GRIDS[-1]]['gigabytes']:.1f} GB |", flush=True)
    print("\n| picture | radius | the graph | a map | memory |\n| --- | --- | --- | --- | --- |")
    for side in SIDES:
        found = alone("spread", str(side))
        times = f"{in_words(found['build'])} | {in_words(found['solve'])}"
        print(f"| {side} x {side} | {found['radius']} | {times} | {found['gigabytes']:.2g} GB |", flush=True)


if __name__ == "__main__":
    main()
