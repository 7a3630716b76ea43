"""What a MoXI run costs beside the model: the share of CPU time that is not spent inside the scorer.

    python benches/python/bench_search.py

The floor is zero: everything but the model's own work is overhead. One thread; CPU time, so that other processes on a
shared machine do not count. The last part tells what a fast device would wait for: 64 images in flight and a Vision
Transformer that costs nothing, with and without preparing the images and keeping the results.
"""

import time

import numpy as np
import timm
import torch

import interpix as ix
from interpix.models.tokens.model import TokenModel


class Stopwatch:
    """A scorer that measures the one it wraps."""

    def __init__(self, scorer):
        self.scorer, self.seconds, self.batch_size = scorer, 0.0, scorer.batch_size

    @property
    def reduced_to(self):
        return self.scorer.reduced_to

    def score(self, *arguments):
        start = time.process_time()
        readout = self.scorer.score(*arguments)
        self.seconds += time.process_time() - start
        return readout


def measure(label, model, image, **options):
    """Prints the share of a run's time after preparation that the search and its bookkeeping take."""
    moxi = ix.MoXI(model)
    watches = []
    original = type(moxi._classifier).scorer

    def scorer(classifier, *arguments):
        watches.append(Stopwatch(original(classifier, *arguments)))
        return watches[-1]

    moxi.explain(image, **options)
    type(moxi._classifier).scorer = scorer
    try:
        shares = []
        for _ in range(3):
            start = time.process_time()
            (call,), _ = moxi._begin(image, None, "insertion", {})
            preparation = time.process_time() - start
            start = time.process_time()
            result = moxi.explain(image, **options)
            run = time.process_time() - start - preparation
            shares.append(1 - watches[-1].seconds / run)
            assert len(result.ranking) > 0
            assert call.games.targets == [result.target]
    finally:
        type(moxi._classifier).scorer = original
    evaluations = result.evaluations
    print(f"{label:42s} {evaluations:5d} evaluations {run:6.2f} s, not the model: {100 * np.median(shares):5.2f} %")


def measure_host(label, images, **options):
    """Prints the time of 64 images in flight whose model costs nothing."""
    # Batches as on a GPU.
    moxi = ix.MoXI(timm.create_model("vit_tiny_patch16_224", num_classes=2), batch_size=64 * 256)
    original = TokenModel.logits, type(moxi._classifier).logits
    # The answer is always the same, and never what is asked about, so that no search stops early.
    TokenModel.logits = lambda _, state, owner, kept, **__: torch.tensor([[1.0, 0.0]]).expand(len(owner), 2)
    type(moxi._classifier).logits = lambda _, batch: np.tile(np.float32([1, 0]), (len(batch), 1))
    try:
        whole, prepared = [], []
        for _ in range(5):
            start = time.process_time()
            moxi._begin(images, 1, "insertion", {})
            prepared.append(time.process_time() - start)
            start = time.process_time()
            results = moxi.explain(images, 1, **options)
            whole.append(time.process_time() - start)
    finally:
        TokenModel.logits, type(moxi._classifier).logits = original
    evaluations = sum(result.evaluations for result in results)
    whole, prepared = np.median(whole), np.median(prepared)
    each, preparing = 1e6 * (whole - prepared) / evaluations, 1e3 * prepared / len(images)
    print(f"{label:42s} {each:5.2f} us an evaluation, {preparing:.2f} ms to prepare an image,", end=" ")
    print(f"{len(images) / whole:.0f} images/s")


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    photo = np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    native = ix.load_model("efficientnet_lite0")
    measure("native EfficientNet-Lite0, insertion, 4 steps", native, photo, stop=4)
    vit = timm.create_model("vit_tiny_patch16_224")
    image = torch.randn(3, 224, 224)
    measure("ViT-Tiny, tokens dropped, insertion, 6 steps", vit, image, stop=6)
    measure("ViT-Tiny, tokens dropped, deletion, 1 step", vit, image, stop=1, direction="deletion")
    measure(
        "ResNet-18 in windows, deletion, 2 steps", timm.create_model("resnet18"), image, stop=2, direction="deletion"
    )
    images = torch.randn(64, 3, 224, 224)
    measure_host("64 images, model free, insertion, 6 steps", images, stop=6)
    measure_host("64 images, model free, deletion, 10 steps", images, stop=10, direction="deletion")


if __name__ == "__main__":
    main()
