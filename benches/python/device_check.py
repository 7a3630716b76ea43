"""What interpix does on a GPU, in at most 8 minutes: is it right, how fast is it, what limits it.

    PYTHONPATH=python python benches/python/device_check.py [--tiny] [--seconds 450] [--only SECTION ...] [--out FILE]

Needs a built extension, torch and timm, and no Rust. Sections run in the order of their worth: right before fast. One
that fails says so, and the next one runs; none begins that does not fit into what is left. Every line is JSON, written
at once, so that a run that is cut off has told what it saw. `--tiny` runs everything small, and on a CPU, too: the exit
status is 1 where something is wrong.
"""

import argparse
import copy
import json
import math
import os
import statistics
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import timm
import torch

import interpix as ix
from interpix import _core
from interpix.absence import DropTokens, MaskAttention
from interpix.methods import RISE
from interpix.metrics import Insertion, Sample, trace_information
from interpix.models.windows.folded import FoldedModel

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
CLEAR, NEAR = 1e-3, 2e-3
"""A choice by more than this is clear; rewards that are nearer than that are the same."""


class Check:
    """What was asked for, what time is left, and where the lines go."""

    def __init__(self):
        parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
        parser.add_argument("--tiny", action="store_true")
        parser.add_argument("--seconds", type=float, default=450)
        parser.add_argument("--only", nargs="*", choices=[section.__name__ for section, _ in SECTIONS])
        parser.add_argument("--out", default=None)
        self.asked = parser.parse_args()
        self.tiny = self.asked.tiny or not CUDA
        self.side = 64 if self.tiny else 224
        self.start = time.perf_counter()
        self.wrong = 0
        self.rates = {}
        self.lines = []

    def left(self):
        return self.asked.seconds - (time.perf_counter() - self.start)

    def say(self, section, **facts):
        self.wrong += facts.get("ok") is False
        line = json.dumps({"section": section, "at": round(time.perf_counter() - self.start, 1), **facts}, default=str)
        print(line, flush=True)
        self.lines.append(line)
        if self.asked.out is not None:  # each time as a whole: a run may be cut off
            Path(self.asked.out).write_text("\n".join(self.lines) + "\n", encoding="utf-8")

    def pictures(self, count):
        return torch.randn(count, 3, self.side, self.side, generator=torch.Generator().manual_seed(0))

    def vit(self, name="vit_tiny_patch16_224", spread=2.0, **options):
        """Random weights that answer differently to different patches, so that most choices are clear."""
        torch.manual_seed(0)
        if self.tiny:
            small = {"img_size": 64, "patch_size": 16, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 20}
            model = timm.models.vision_transformer.VisionTransformer(**small, **options)
        else:
            model = timm.create_model(name, **options)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(spread)
            model.pos_embed.normal_(std=0.5)
            model.head.weight.normal_(std=0.2)
        return model.eval()

    def cnn(self, name="resnet18"):
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=20 if self.tiny else 1000).eval()
        with torch.no_grad():
            model.get_classifier().weight.normal_(std=0.2)
        return model

    def compare(self, section, what, found, expected, *, must=True):
        """The same patches where the choice was clear, and how far rewards are apart before they part."""
        same, apart, gaps = True, 0.0, []
        for one, other in zip(found, expected, strict=True):
            count = min(len(one.ranking), len(other.ranking))
            differ = np.flatnonzero(one.ranking[:count] != other.ranking[:count])
            parted = int(differ[0]) if len(differ) else count
            apart = max(apart, float(np.abs(one.rewards[: parted + 1] - other.rewards[: parted + 1]).max()))
            gaps += other.gaps[:count].tolist()
            same &= not (len(differ) and other.gaps[parted] > CLEAR)
        facts = {"clear_choices_same": bool(same), "rewards_apart": apart, "least_gap": min(gaps, default=math.inf)}
        verdict = {"ok": bool(same and apart < NEAR)} if must else {"would_be_ok": bool(same and apart < NEAR)}
        self.say(section, what=what, **verdict, **facts)


def wait():
    if CUDA:
        torch.cuda.synchronize()


def clock(call, repeats=3):
    """Median seconds of a call, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def environment(check):
    device = torch.cuda.get_device_name() if CUDA else "CPU"
    versions = {"torch": torch.__version__, "timm": timm.__version__, "interpix": _core.__version__}
    check.say("environment", python=sys.version.split()[0], **versions, device=device, cores=os.cpu_count())
    size = 4096 if CUDA else 512
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        values = torch.randn(size, size, device=DEVICE, dtype=dtype)
        check.rates[name] = 2 * size**3 / clock(lambda values=values: values @ values, 10)
    large = torch.empty((1 << 28) if CUDA else (1 << 22), device=DEVICE)
    one = torch.zeros(1, device=DEVICE)
    check.rates["bytes"] = 2 * large.nbytes / clock(large.clone, 5)
    check.rates["launch_us"] = 1e3 * clock(lambda: [one.add_(1) for _ in range(1000)])
    check.rates["wait_us"] = 1e4 * clock(lambda: [one.cpu() for _ in range(100)])
    check.say("environment", **{name: float(f"{rate:.4g}") for name, rate in check.rates.items()})


def correctness(check):
    """Every kind of absence and of player against the CPU, exact and mixed."""
    images, few = check.pictures(2), "2x2" if check.tiny else "7x7"
    plans = {
        "tokens dropped": (check.vit, {"absence": DropTokens()}),
        "attention masked from 0": (check.vit, {"absence": MaskAttention()}),
        "attention masked from 2": (check.vit, {"absence": MaskAttention(from_layer=2)}),
        "several tokens a player": (check.vit, {"absence": DropTokens(), "regions": few}),
        "mean of patches": (lambda: check.vit(global_pool="avg"), {"absence": DropTokens()}),
        "pictures of a ViT": (check.vit, {"absence": "zero", "regions": few}),
        "pictures of a ResNet-18": (check.cnn, {"regions": few}),
        "blurred pictures of a ResNet-18": (check.cnn, {"absence": "blur", "regions": few}),
    }
    for what, (make, options) in plans.items():
        model = make()
        for direction, stop in (("insertion", 3), ("deletion", 1)):
            if check.left() < 60 and not check.tiny:
                check.say("correctness", skipped=f"{what}, {direction}")
                return
            arguments = {"direction": direction, "stop": stop}
            host = ix.MoXI(model.cpu(), **options).explain(images, **arguments)
            there = model.to(DEVICE)
            check.compare(
                "correctness", f"{what}, {direction}", ix.MoXI(there, **options).explain(images, **arguments), host
            )
            mixed = ix.MoXI(there, precision="mixed", **options).explain(images, **arguments)
            # A CNN's rewards may be nearer to each other than bfloat16's error.
            must = "ResNet" not in what
            check.compare("correctness", f"{what}, {direction}, mixed", mixed, host, must=must)


def folded(check):
    """Convolutional networks by their layers with folded norms: right, used, and how fast beside the module."""
    names = ("resnet18",) if check.tiny else ("resnet18", "resnet50", "tf_efficientnet_lite0", "mobilenetv2_100")
    for name in names:
        model = check.cnn(name).to(DEVICE)
        pictures = check.pictures(2 if check.tiny else 8).to(DEVICE)
        layers, net = FoldedModel(model, (check.side, check.side)), ix.TorchClassifier(model)
        with net.evaluating():
            expected = model(pictures)
            largest = expected.abs().max()
            for precision, bound in (("exact", 1e-4), ("mixed", 0.1)):
                differ = float((layers.whole_logits(pictures, precision=precision) - expected).abs().max() / largest)
                check.say("folded", what=name, precision=precision, ok=differ < bound, differs_by=differ)
        if CUDA:
            found = ix.MoXI(model, regions="5x5", precision="mixed").explain(pictures[0], stop=1)
            used = found.provenance.get("bfloat16_by")
            check.say("folded", what=name, ok=used is not None, bfloat16_by=used)
        if check.left() > 100 or check.tiny:
            folded_speed(check, name, model, layers, net)


def folded_speed(check, name, model, layers, net):
    """Pictures a second of the module as MoXI asks it, of its layers, and of layers that are channels-last in both."""
    count = 4 if check.tiny else 256
    pictures = check.pictures(count).to(DEVICE)
    last = FoldedModel(copy.deepcopy(model).to(memory_format=torch.channels_last), (check.side, check.side))
    for precision in ("exact", "mixed"):
        ways = {
            "module": lambda: model(pictures),
            "folded": lambda p=precision: layers.whole_logits(pictures, precision=p),
            "folded, channels-last": lambda p=precision: last.whole_logits(pictures, precision=p),
        }
        rates = {}
        for way, call in ways.items():
            casts = way == "module" and precision == "mixed"
            with net.evaluating(), torch.autocast(DEVICE, torch.bfloat16, enabled=casts):
                rates[way] = round(count / clock(call), 1)
        ratio = round(rates["folded"] / rates["module"], 2)
        check.say("folded", what=name, precision=precision, pictures_per_s=rates, times_the_module=ratio)


def sharing(check):
    """Batch sizes, many images, streams, half precision, images that are on the device."""
    model, images = check.vit().to(DEVICE), check.pictures(4)
    expected = ix.MoXI(model).explain(images, stop=3)
    for size in (1, 7, 64):
        check.compare(
            "sharing", f"batch_size={size}", ix.MoXI(model, batch_size=size).explain(images, stop=3), expected
        )
    alone = [ix.MoXI(model).explain(image, stop=3) for image in images]
    check.compare("sharing", "one after the other", alone, expected)
    check.compare("sharing", "a stream", list(ix.MoXI(model).stream(images, stop=3)), expected)
    check.compare("sharing", "images on the device", ix.MoXI(model).explain(images.to(DEVICE), stop=3), expected)
    if CUDA:
        with torch.cuda.stream(torch.cuda.Stream()):
            check.compare("sharing", "another CUDA stream", ix.MoXI(model).explain(images, stop=3), expected)
        with torch.autocast("cuda", torch.bfloat16):
            check.compare("sharing", "in the caller's autocast", ix.MoXI(model).explain(images, stop=3), expected)
    for dtype in (torch.bfloat16, torch.float16):
        half = ix.MoXI(check.vit().to(DEVICE, dtype)).explain(images, stop=2)
        check.say("sharing", what=str(dtype), ok=all(np.isfinite(one.rewards).all() for one in half))


def memory(check):
    """Runs out of memory on purpose: fewer go at once, and nothing else changes."""
    if not CUDA:
        check.say("memory", skipped="no CUDA")
        return
    total = torch.cuda.get_device_properties(0).total_memory
    for what, model in (("ResNet-18", check.cnn().to(DEVICE)), ("ViT", check.vit().to(DEVICE))):
        images = check.pictures(8)
        expected = ix.MoXI(model).explain(images, stop=1, direction="deletion")
        for more in (1 << 30, 300 << 20):
            torch.cuda.empty_cache()
            share = (torch.cuda.memory_reserved() + more) / total
            torch.cuda.set_per_process_memory_fraction(min(1.0, share))
            try:
                found = ix.MoXI(model).explain(images, stop=1, direction="deletion")
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0)
            reduced = {name: fact for name, fact in found[0].provenance.items() if name.endswith("_reduced_to")}
            check.compare("memory", f"{what}, {more >> 20} MiB more", found, expected)
            check.say("memory", what=what, **reduced)


def token_operations(model, tokens):
    """Of a ViT's blocks for one coalition of `tokens` patches and the class token."""
    width, blocks, count = model.embed_dim, len(model.blocks), tokens + 1
    block = 24 * width**2 * count + 4 * width * count**2
    return block * (blocks - 1) - 6 * width**2 * count + 4 * width**2 * count + 20 * width**2 + 4 * width * count


def speed(check):
    """Images a second, and the share of what the device's matrix products alone would allow."""
    plans = [
        ("vit_tiny_patch16_224", "insertion", 6, (1, 64, 256)),
        ("vit_tiny_patch16_224", "deletion", 10, (1, 64)),
        ("resnet50", "insertion", 6, (8,)),
        ("vit_base_patch16_224", "insertion", 6, (64,)),
        ("vit_base_patch16_224", "deletion", 2, (2,)),
    ]
    if check.tiny:
        plans = [("vit_tiny_patch16_224", "insertion", 3, (1, 4))]
    for name, direction, stop, counts in plans:
        model = (check.cnn(name) if name == "resnet50" else check.vit(name, 1.0)).to(DEVICE)
        tokens = 0 if name == "resnet50" else math.prod(model.patch_embed.grid_size)
        sizes = [done + 1 if direction == "insertion" else tokens - done - 1 for done in range(stop)]
        work = sum((tokens - done) * token_operations(model, sizes[done]) for done in range(stop)) if tokens else 0
        for count in counts:
            images = check.pictures(count).to(DEVICE)
            for precision in ("exact", "mixed"):
                if check.left() < 100 and not check.tiny:
                    check.say("speed", skipped=f"{name}, {direction}, {count} images, {precision}")
                    return
                moxi = ix.MoXI(model, precision=precision)
                seconds = clock(lambda m=moxi, i=images, d=direction, s=stop: m.explain(i, 1, direction=d, stop=s), 2)
                rate = check.rates.get("float32" if precision == "exact" else "bfloat16", math.nan)
                share = {"share_of_matrix_rate": round(work * count / rate / seconds, 3)} if tokens else {}
                peak = {"peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2)} if CUDA else {}
                plan = {"model": name, "precision": precision, "direction": direction, "steps": stop, "images": count}
                check.say("speed", **plan, images_per_s=round(count / seconds, 2), **share, **peak)


def profile(check):
    """Where the device's time goes, how much of the wall it is busy, and how often the host waits."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    model, images = (
        check.vit("vit_tiny_patch16_224", 1.0).to(DEVICE),
        check.pictures(2 if check.tiny else 64).to(DEVICE),
    )
    stop = 3 if check.tiny else 6
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if CUDA else [])]
    for precision in ("exact", "mixed"):
        moxi = ix.MoXI(model, precision=precision)
        wall = clock(lambda m=moxi: m.explain(images, 1, stop=stop), 1)
        with record(activities=kinds) as found:
            moxi.explain(images, 1, stop=stop)
            wait()
        events = found.key_averages()
        kernels = sorted(
            ((getattr(e, "self_device_time_total", 0.0), e.count, e.key[:60]) for e in events), reverse=True
        )
        check.say(
            "profile",
            precision=precision,
            wall_ms=round(1e3 * wall, 1),
            device_ms=round(sum(kernel[0] for kernel in kernels) / 1e3, 1),
            launches=sum(e.count for e in events if e.key.startswith("cudaLaunch")),
            waits=sum(
                e.count for e in events if e.key.startswith(("cudaStreamSync", "cudaEventSync", "cudaDeviceSync"))
            ),
            top=[(round(spent / 1e3, 2), count, key) for spent, count, key in kernels[:12] if spent],
        )


class ByNumpy(ix.TorchClassifier):
    """Its own `logits` are asked, so numpy makes the pictures that measures ask about."""

    def logits(self, batch):
        return super().logits(batch)


def measures(check):
    """Pictures that are made on the device against numpy's, for metrics and RISE."""
    photo = np.random.default_rng(0).integers(0, 256, (check.side, check.side, 3), np.uint8)
    rise = RISE(count=10 if check.tiny else 40)
    plans = {
        "insertion": lambda sample: Insertion(steps=10).score(sample, sample.tensor[0]).curve.y,
        "aic, interpolated": lambda sample: trace_information(sample, sample.tensor[0]).answers,
        "aic, blurred": lambda sample: trace_information(sample, sample.tensor[0], start="blur").answers,
        "rise": lambda sample: rise.explain_question(sample).map,
    }
    for dtype in (torch.float32,) if check.tiny else (torch.float32, torch.float64, torch.bfloat16):
        module = check.cnn().to(DEVICE, dtype)
        kinds = [kind(module, preprocess=from_levels) for kind in (ByNumpy, ix.TorchClassifier)]
        samples = [Sample.of(model, photo, 1, batch_size=8) for model in kinds]
        for what, plan in plans.items():
            here, there = map(plan, samples)
            apart = float(np.abs(here - there).max() / max(np.abs(here).max(), 1e-30))
            # RISE's masks are products of matrices, which a device rounds otherwise; all else is chosen, not computed.
            rounded = 0.05 if dtype == torch.bfloat16 else NEAR
            check.say(
                "measures", what=f"{what}, {dtype}", ok=apart <= (rounded if what == "rise" else 1e-6), apart=apart
            )


def from_levels(photo):
    """What the network takes for a photo."""
    return (np.asarray(photo, np.float32).transpose(2, 0, 1) - 120) / 58


def propagation(check):
    """IProp on the device against the compiled half, and milliseconds a map."""
    plans = ((1, 40, 3),) if check.tiny else ((1, 224, 7), (64, 224, 7), (16, 299, 9))
    for count, side, radius in plans:
        rng = np.random.default_rng(0)
        coarse = np.kron(rng.integers(0, 255, (count, side // 20 + 1, side // 20 + 1, 3)), np.ones((1, 20, 20, 1)))
        noise = rng.integers(-12, 13, (count, side, side, 3))
        photos = np.clip(coarse[:, :side, :side] + noise, 0, 255).astype(np.uint8)
        rows, columns = np.mgrid[:side, :side]
        spot = np.exp(-((rows - side / 2) ** 2 + (columns - side / 3) ** 2) / 400).astype(np.float32)
        expected = ix.PixelGraph(photos[0], radius).propagate(spot)
        maps = torch.from_numpy(spot).repeat(count, 1, 1, 1).to(DEVICE)

        def call(photos=photos, maps=maps, radius=radius):
            return ix.propagate(maps, list(photos), radius=radius)

        found = call()[0, 0].cpu().numpy()
        differ = float(np.abs(found - expected.values).max() / np.abs(expected.values).max())
        solved = ix.PixelGraph(photos[0], radius, **({"device": DEVICE} if CUDA else {})).propagate(maps[0, 0])
        facts = {"images": count, "side": side, "radius": radius, "solved_by": solved.solved_by, "note": solved.note}
        milliseconds = round(1e3 * clock(call, 1) / count, 3)
        check.say("propagation", **facts, ok=differ < 2e-4, differs_by=differ, ms_a_map=milliseconds)


SECTIONS = (
    (environment, 0),
    (correctness, 60),
    (folded, 60),
    (sharing, 40),
    (memory, 30),
    (measures, 30),
    (propagation, 60),
    (speed, 100),
    (profile, 30),
)


def main():
    check = Check()
    for section, least in SECTIONS:
        name = section.__name__
        if check.asked.only and name not in (*check.asked.only, "environment"):
            continue
        if check.left() < least and not check.tiny:
            check.say(name, skipped=f"{check.left():.0f} s left")
            continue
        start = time.perf_counter()
        try:
            section(check)
        except Exception:  # noqa: BLE001 - the next section still has something to tell
            check.say(name, ok=False, error=traceback.format_exc()[-1500:])
        check.say(name, took=round(time.perf_counter() - start, 1))
    check.say("end", wrong=check.wrong, gpu_checked=CUDA, left=round(check.left(), 1))
    return int(check.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
