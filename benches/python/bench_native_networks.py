"""Native ViT-Tiny/16 and ResNet-18 against torch: same random weights, same cores, equal answers first.

    pip install interpix torch timm transformers
    python benches/python/bench_native_networks.py

Forward passes are against timm's modules. MoXI on ViT-Tiny is against our own torch path, whose matrices oneDNN lays
out, and against the retelling of the authors' program in `bench_vit.py`; one core, as theirs. Medians of CPU time, so
that a busy machine counts less; ways are timed in turn.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from bench_vit import build, candidates, photo, retold_rewards
from safetensors.torch import save_file

import interpix as ix
from interpix import _core
from interpix.absence import DropTokens
from interpix.models.protocol.classifier import Coalitions

BATCHES = {1: 21, 8: 7, 64: 3}
PATCHES = 196
REGIONS = np.kron(np.arange(PATCHES).reshape(14, 14), np.ones((16, 16), np.int64))[None]


def medians(repeats, *calls):
    """Median CPU seconds of each call, taken in turn so that all see the same machine."""
    times = [[] for _ in calls]
    for _ in range(repeats):
        for call, taken in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            taken.append(time.process_time() - start)
    return [statistics.median(taken) for taken in times]


def forward(name, folder):
    torch.manual_seed(0)
    module = timm.create_model(name).eval()
    file = folder / f"{name}.safetensors"
    save_file(module.state_dict(), file)
    native = ix.load_model(name, weights=file)
    last = timm.create_model(name).eval().to(memory_format=torch.channels_last)
    last.load_state_dict(module.state_dict())
    _core.set_threads(1)
    torch.set_num_threads(1)
    for batch, repeats in BATCHES.items():
        images = np.random.default_rng(0).normal(size=(batch, 3, 224, 224)).astype(np.float32)
        plain = torch.from_numpy(images)
        turned = plain.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            np.testing.assert_allclose(native.logits(images), module(plain).numpy(), atol=1e-4)
            last(turned)
            ours, theirs, theirs_last = medians(
                repeats, partial(native.logits, images), partial(module, plain), partial(last, turned)
            )
        print(
            f"| {name} | {batch} | {1e3 * ours / batch:.1f} ms an image | {ours / theirs:.2f} | "
            f"{ours / theirs_last:.2f} |",
            flush=True,
        )


def steps(classifier, image, target, bases, direction):
    """The rewards of all candidates of some steps, with the preparation of the image."""
    scorer = classifier.scorer(image, REGIONS, DropTokens())
    found = []
    for base in bases:
        left = [patch for patch in range(PATCHES) if patch not in base]
        present = np.full((1, PATCHES), direction == "deletion")
        present[0, base] ^= True
        zeros = np.zeros(len(left), np.int64)
        coalitions = Coalitions(zeros, present, zeros, np.array(left), np.full((len(left), 1), target))
        found.append(scorer.score(coalitions).log_odds[:, 0])
    return found


def moxi(folder):
    _core.set_threads(1)
    torch.set_num_threads(1)
    module = build()
    module.save_pretrained(folder)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    native, ours = ix.load_model(f"native:{folder}"), ix.TorchClassifier(module)
    picture = photo("coffee.jpg")
    image = picture.numpy()
    target = int(native.logits(image).argmax())
    chosen = []
    for _ in range(6):
        (rewards,) = steps(native, image, target, [chosen], "insertion")
        (theirs,) = steps(ours, image, target, [chosen], "insertion")
        np.testing.assert_allclose(rewards, theirs, atol=1e-4)
        left, _ = candidates(chosen, "insertion")
        chosen.append(left[int(rewards.argmax())])
    for name, direction, bases, repeats in (
        ("6 insertion steps", "insertion", [chosen[:done] for done in range(6)], 5),
        ("deletion step 1", "deletion", [[]], 3),
    ):

        def retold(bases=bases, direction=direction):
            for base in bases:
                _, kept = candidates(base, direction, everything=True)
                retold_rewards(module, picture, kept, target)

        took = medians(
            repeats,
            partial(steps, native, image, target, bases, direction),
            partial(steps, ours, image, target, bases, direction),
        )
        (authors,) = medians(1, retold)
        print(f"| {name} | {took[0]:.2f} s | {took[0] / took[1]:.2f} | {authors / took[0]:.1f} |", flush=True)


def memory(folder):
    """The most that a process holds which explains with a ViT-Base and has no torch: weights are 346 MB of it."""
    file = folder / "vit_base.safetensors"
    save_file(timm.create_model("vit_base_patch16_224").state_dict(), file)
    program = (
        "import sys, numpy as np, interpix as ix; model = ix.load_model('vit_base_patch16_224', "
        "weights=sys.argv[1]); image = np.random.default_rng(0).normal(size=(3, 224, 224)).astype(np.float32); "
        "ix.MoXI(model).explain(image, stop=2); ix.MoXI(model, regions='7x7').explain([image] * 8, stop=1); "
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", program, file], check=True, capture_output=True, text=True)
    print(f"ViT-Base/16, one image and eight: {int(done.stdout) // 1024} MB at most")


def main():
    with tempfile.TemporaryDirectory() as name:
        print("| network, one core | batch | native | native / torch | native / torch, channels last |")
        for network in ("vit_tiny_patch16_224", "resnet18"):
            forward(network, Path(name))
        print("| MoXI on ViT-Tiny, one core | native | native / our torch path | authors' way / native |")
        moxi(Path(name))
        memory(Path(name))


if __name__ == "__main__":
    main()
