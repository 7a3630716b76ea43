"""RISE with EfficientNet-Lite0 on one 224 x 224 image: the share of the masks in the whole, and the peak memory.

    pip install "interpix[demo]" timm torch
    python benches/python/bench_rise.py [native|torch] [masks]

"Masks" is all that is not the model: making them, laying them over the image, and the weighted sum. Times are CPU
time; memory is the process' peak resident set, above its peak after one batch of the model.
"""

import resource
import sys
import time

import numpy as np

import interpix as ix
from interpix import methods


class Timed:
    """A model's own function that counts the CPU time it takes."""

    def __init__(self, model, name):
        self.seconds, self.pictures = 0.0, 0
        self._inner = getattr(model, name)
        setattr(model, name, self)

    def __call__(self, batch):
        start = time.process_time()
        answer = self._inner(batch)
        self.seconds += time.process_time() - start
        self.pictures += len(batch)
        return answer


def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    kind = sys.argv[1] if len(sys.argv) > 1 else "native"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 4000
    model = ix.load_model("efficientnet_lite0" if kind == "native" else "torch:efficientnet_lite0")
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    model.logits(np.stack([model.preprocess(image)] * model.batch_size))
    before = peak_megabytes()
    timed = Timed(model, "logits" if kind == "native" else "forward")
    method = methods.RISE(count=count)
    start = time.process_time()
    result = method.explain(model, image)
    seconds = time.process_time() - start
    assert timed.pictures == count + 1  # and the whole image
    assert np.isfinite(result.map).all()
    masks = seconds - timed.seconds
    print(f"{kind}: {count} masks in {seconds:.1f} s of CPU time, {masks:.2f} s ({masks / seconds:.1%}) for the masks")
    print(f"peak memory above the model's: {peak_megabytes() - before:.0f} MB")


if __name__ == "__main__":
    main()
