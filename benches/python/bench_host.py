"""Milliseconds of the host an image of MoXI, with all that a device would compute replaced by a ready answer.

    pip install interpix timm torch
    python benches/python/bench_host.py [quick]

ViT-Tiny at 224 x 224, random weights, 196 players, one thread, the median of several. What is left is what a GPU would
wait for: reading and preparing images, asking and telling the search, listing candidates by few small operations (which
a GPU runs itself, while here only their start should count: they are a few microseconds each, and counted below), and
making results. "by candidate" is the same search with every reward read on the host, as for models without steps. The
floor of preparation is reading each image twice (is it finite, what does it show) and writing its picture. The clock is
the wall's, as asking for CPU time is dear on some systems: let nothing else run.
"""

import io
import statistics
import sys
import time
from functools import cached_property

import numpy as np
import psutil
import timm
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import interpix as ix
from interpix.models.adapters.torch import TorchClassifier
from interpix.models.tokens.model import TokenModel, TokenState
from interpix.models.torch import steps
from interpix.models.torch.memory import Chunks
from interpix.question import Asker
from interpix.search import maker, source
from interpix.search.call import Call
from interpix.search.games import Games

CLASSES, TARGET = 1000, 1
PLANS = (("insertion", 6), ("deletion", 10))
ROWS = torch.zeros(1 << 17, 4, dtype=torch.float64)
ROWS[:, 3] = 1
ROWS[:, 0] = torch.rand(len(ROWS), generator=torch.Generator().manual_seed(0))


class Clocked:
    """Adds up the seconds of some functions of a class or module, each without those inside of it."""

    def __init__(self, *functions):
        self.seconds = 0.0
        self.depth = 0
        for owner, name in functions:
            setattr(owner, name, self.timed(getattr(owner, name)))

    def timed(self, function):
        def call(*arguments, **options):
            start, self.depth = time.perf_counter(), self.depth + 1
            try:
                return function(*arguments, **options)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - start

        return call


PREPARE = Clocked(
    (Asker, "ask"), (Games, "replace"), (ix.MoXI, "_call"), (source, "read_image"), (maker, "checked_image")
)
RESULTS = Clocked((Call, "results"))


def without_a_device():
    """Everything that a device would be asked for is there already."""
    Chunks.run = lambda _self, rows, _work, length=1: [ROWS[:rows]]
    steps.read_rows = lambda rows, _targets, **_: rows.clone()
    ready = np.tile(np.eye(1, CLASSES, TARGET, dtype=np.float32), (1024, 1))
    TorchClassifier.logits = lambda _self, batch: ready[: len(batch)]
    TorchClassifier._weights_hash = lambda _self: ""
    TokenState._embedded = lambda *_: ROWS
    TokenModel.logits = TokenModel.reference_logits = lambda *_, **__: torch.from_numpy(ready[:1])
    from interpix.models.tokens import scorer

    # As on a GPU: whole rounds, where a CPU takes a few images' candidates at once.
    scorer._TOKEN_BATCH = scorer._TOKEN_BATCH_ON_GPU
    scorer.TokenScorer.candidates_at_once = property(lambda _: None, lambda _self, _most: None)
    scorer.TokenScorer._check = lambda _self: None
    scorer.read_rows = lambda rows, _targets, **_: rows
    steps.check_width = lambda *_: None


def clock(call, repeats):
    """Median seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def nobody_steps():
    games = cached_property(lambda _: None)
    games.__set_name__(Games, "steps")
    return games


def photos(count):
    """JPEG files of 500 x 375, in memory, as smooth as photos are."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8))
        with io.BytesIO() as file:
            coarse.resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
            files.append(file.getvalue())
    return files


def read(file):
    """The pixels of a JPEG file in memory."""
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


class Kernels(TorchDispatchMode):
    """Counts torch's operations that are more than another view of the same numbers: each starts a kernel on a GPU."""

    count = 0

    def __torch_dispatch__(self, function, _types, arguments=(), options=None):
        views = [one.alias_info is not None and not one.alias_info.is_write for one in function._schema.returns]
        self.count += not any(views)
        return function(*arguments, **(options or {}))


def kernels_of_a_step(moxi, images, direction, stop):
    """Operations for each step of a group of images, the starts and ends of their searches among them."""
    steps = 0
    begin = Games.begin_step

    def counted(*arguments):
        nonlocal steps
        steps += 1
        return begin(*arguments)

    Games.begin_step = counted
    with Kernels() as kernels:
        moxi.explain(images, TARGET, direction=direction, stop=stop)
    Games.begin_step = begin
    return kernels.count / steps


def floor(images):
    """Reads images twice, and writes as many bytes as their pictures have."""
    flat = [image.reshape(-1) for image in images.numpy()]
    read = [one @ one for one in flat]
    pictures = [np.ones(len(one), np.uint8) for one in flat]
    return read, pictures, [one @ one for one in flat]


def held(moxi, image, count):
    """Bytes of a result that is kept, of images that are streamed."""
    kept, sizes = [], []
    for result in moxi.stream((image.clone() for _ in range(2 * count)), TARGET, stop=2):
        kept.append(result)
        sizes.append(psutil.Process().memory_info().rss)
    return (sizes[-1] - sizes[count]) / count


def parts_of(moxi, images, direction, stop, repeats):
    """Median seconds of preparing, of the search and of making results."""
    times = []
    for _ in range(repeats):
        PREPARE.seconds = RESULTS.seconds = 0.0
        start = time.perf_counter()
        moxi.explain(images, TARGET, direction=direction, stop=stop)
        whole = time.perf_counter() - start
        times.append((PREPARE.seconds, whole - PREPARE.seconds - RESULTS.seconds, RESULTS.seconds))
    return np.median(times, axis=0)


def row(name, images, parts):
    prepare, search, results = 1e3 * parts / images
    whole = prepare + search + results
    print(f"| {name} | {images} | {prepare:.3f} | {search:.3f} | {results:.3f} | {1e3 / whole:.0f} |", flush=True)


def main():
    quick = "quick" in sys.argv
    repeats = 3 if quick else 9
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ix.TorchClassifier(timm.create_model("vit_tiny_patch16_224").eval())
    size = 64
    files = photos(size)
    tensors = torch.stack([torch.from_numpy(model.preprocess(read(file))) for file in files])
    without_a_device()
    own = Games.__dict__["steps"]
    print(
        "| what | images | prepare, ms an image | search | results | images/s |\n| --- | --- | --- | --- | --- | --- |"
    )
    exact, mixed = ix.MoXI(model), ix.MoXI(model, precision="mixed")
    for direction, stop in PLANS:
        for name, moxi in (("exact", exact), ("mixed", mixed)):
            for way, stepping in (("in steps", own), ("by candidate", nobody_steps())):
                Games.steps = stepping
                row(f"{direction} {stop}, {name}, {way}", size, parts_of(moxi, tensors, direction, stop, repeats))
    Games.steps = own
    for direction, stop in PLANS:
        row(f"{direction} {stop}, exact, alone", 1, parts_of(exact, tensors[:1], direction, stop, 5 * repeats))
    opened = [Image.open(io.BytesIO(file)) for file in files]
    row("insertion 6, exact, raw photos", size, parts_of(exact, opened, "insertion", 6, 1))
    decode = clock(lambda: [read(file) for file in files], repeats)
    arrays = [read(file) for file in files]
    prepare = clock(lambda: [model.preprocess(array) for array in arrays], repeats)
    for direction, stop in PLANS:
        counts = [kernels_of_a_step(one, tensors, direction, stop) for one in (exact, mixed)]
        print(f"{direction}: {counts[0]:.0f} kernels a step of a group of images, mixed {counts[1]:.0f}")
    print(f"Floor of preparation: {1e3 * clock(lambda: floor(tensors), repeats) / size:.3f} ms an image")
    print(f"Memory of a result: {held(exact, tensors[0], 200 if quick else 2000) / 1e3:.0f} kB")
    print(f"Raw photos: decoding {1e3 * decode / size:.2f} ms, preprocessing {1e3 * prepare / size:.2f} ms an image")


if __name__ == "__main__":
    main()
