"""MoXI on ViT-Tiny/16: ours against a plain retelling of the authors' program, same weights, one core.

    pip install interpix torch transformers
    python benches/python/bench_vit.py

The retelling embeds 196 copies of the image, gathers the tokens of all 196 candidates (chosen ones, too) and runs the
module of transformers with eager attention: the version that the authors used has no other. It does not preprocess 196
copies, as theirs does. Ours takes the same module object. Seconds are CPU time of one thread; ways are timed in turn.

The weights are random. Choices are compared before anything is timed: wherever the two best candidates are more than
1e-4 apart, all ways must agree. What takes minutes (deletion, all 196 steps) is timed at some steps; the cost of the
others is interpolated in the number of tokens.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import math
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification

from interpix.models.tokens.model import find_token_model
from interpix.search.recheck import MixedFirst

PATCHES = 196
SIZES = (1, 6, 50, 100, 150, 195)
RECHECKED = 8

# Operations a second of matrix products in float32 and bfloat16, measured between the others.
RATES = ([], [])
# How many candidates each step in mixed precision scored exactly.
COUNTED = []


def build():
    torch.manual_seed(0)
    sizes = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
    return ViTForImageClassification(ViTConfig(**sizes, num_labels=1000, attn_implementation="eager")).eval()


def photo(name):
    pixels = Image.open(Path(__file__).parents[2] / "examples" / name).convert("RGB").resize((224, 224))
    return torch.from_numpy(np.asarray(pixels, np.float32) / 127.5 - 1).permute(2, 0, 1)[None].contiguous()


def log_odds(logits, target):
    others = logits.double()
    wanted = others[:, target].clone()
    others[:, target] = -math.inf
    return (wanted - others.logsumexp(1)).numpy()


def candidates(chosen, direction, *, everything=False):
    """The patches that may come next and the kept patches of each, (c, m)."""
    left = [patch for patch in range(PATCHES) if everything or patch not in chosen]
    if direction == "insertion":
        return left, torch.tensor([sorted([*chosen, patch]) for patch in left])
    alive = [patch for patch in range(PATCHES) if patch not in chosen]
    # A patch that is gone already is "evaluated" too, on as many tokens.
    gone = [patch if patch in alive else alive[0] for patch in left]
    return left, torch.tensor([[other for other in alive if other != patch] for patch in gone])


@torch.no_grad()
def retold_rewards(module, image, kept, target):
    """The rewards of all candidates, as the authors' program finds them."""
    body = module.vit
    tokens = body.embeddings(image.expand(len(kept), -1, -1, -1))
    index = torch.cat([torch.zeros(len(kept), 1, dtype=torch.long), kept + 1], 1)
    x = torch.stack([sample[rows] for sample, rows in zip(tokens, index, strict=True)])
    for layer in body.layers:
        x = layer(x)
    probabilities = module.classifier(body.layernorm(x)[:, 0]).softmax(1)
    return np.array([math.log(p[target]) - math.log(1 - p[target]) for p in probabilities.tolist()])


def retold_step(module, image, target, chosen, direction):
    left, kept = candidates(chosen, direction, everything=True)
    return left, retold_rewards(module, image, kept, target)


def our_rewards(model, state, kept, target, precision):
    owner = torch.zeros(len(kept), dtype=torch.long)
    return log_odds(model.logits(state, owner, kept, precision=precision), target)


def our_steps(model, image, target, bases, direction, precision):
    """Steps of ours, each from its base, with the preparation of the image."""
    state, first = model.state_of(image), MixedFirst()
    found = []
    for base in bases:
        left, kept = candidates(base, direction)

        def ask(rows, *, mixed, kept=kept):
            if not mixed:
                COUNTED[-1] += len(rows)
            rewards = our_rewards(model, state, kept[rows], target, "mixed" if mixed else "exact")
            return rewards, rewards, rewards

        if precision == "exact":
            rewards = our_rewards(model, state, kept, target, "exact")
        else:
            COUNTED.append(0)
            rewards = first.score(np.zeros(len(kept), np.int64), direction, ask)[0]
        found.append((left, rewards))
    return found


def pick(left, rewards, chosen, direction):
    """The best patch that is still there, and how much better it is than the next."""
    signed = {p: r if direction == "insertion" else -r for p, r in zip(left, rewards, strict=True) if p not in chosen}
    first, second = sorted(signed, key=signed.get, reverse=True)[:2]
    return first, signed[first] - signed[second]


def check_step(ways, chosen, direction):
    """The exact choice, once all ways agree on it."""
    choice, gap = pick(*ways["exact"]([chosen], direction)[0], chosen, direction)
    for name, way in ways.items():
        other, _ = pick(*way([chosen], direction)[0], chosen, direction)
        if other != choice and gap > 1e-4:
            raise SystemExit(
                f"{name}: {direction} step {len(chosen) + 1} takes {other}, exact takes {choice}, gap {gap}"
            )
    return choice


def seconds(repeats, *calls):
    """Median CPU seconds of each call, taken in turn so that all see the same machine."""
    a = torch.ones(1024, 1024)
    b = a.bfloat16()
    products = (lambda: a @ a, lambda: b @ b)
    times = {call: [] for call in (*calls, *products)}
    for turn in range(repeats):
        for call, taken in times.items():
            for _ in range(10 if call in products else 1):
                start = time.process_time()
                call()
                taken.append(time.process_time() - start)
        for call, rates in zip(products, RATES, strict=True):
            rates.append(2 * 1024**3 / statistics.median(times[call][10 * turn :]))
    return [statistics.median(times[call]) for call in calls]


def flop(tokens):
    """Operations of the blocks for one coalition: what must be done, not what is done twice."""
    width, blocks = 192, 12
    block = 24 * width**2 * tokens + 4 * width * tokens**2
    first_qkv = 6 * width**2 * tokens
    last = 4 * width**2 * tokens + 20 * width**2 + 4 * width * tokens
    return block * (blocks - 1) - first_qkv + last


def row(name, times, work):
    """A line of the table; the first time is the retelling's, the others are ours."""
    ours = [f"{took:.2f} ({times[0] / took:.1f} x)" for took in times[1:]]
    shares = [f"{work / statistics.median(rates) / took:.0%}" for took, rates in zip(times[1:], RATES, strict=False)]
    ours += ["not measured"] * (len(RATES) - len(ours))
    print(f"| {name} | {times[0]:.2f} | {' | '.join(ours)} | {' / '.join(shares)} |", flush=True)


def insertion(ways):
    chosen = []
    for _ in range(6):
        chosen.append(check_step(ways, chosen, "insertion"))
    bases = [chosen[:done] for done in range(6)]
    calls = [lambda way=way: way(bases, "insertion") for way in ways.values()]
    work = sum((PATCHES - done) * flop(done + 2) for done in range(6))
    row("6 insertion steps", seconds(5, *calls), work)


def deletion(ways):
    """Steps 1 and 10, the latter after the nine patches that step 1 likes best."""
    left, rewards = ways["exact"]([[]], "deletion")[0]
    times = []
    for base in ([], [left[best] for best in np.argsort(rewards)[:9]]):
        check_step(ways, base, "deletion")
        times.append(seconds(1, *(lambda way=way, base=base: way([base], "deletion") for way in ways.values())))
    work = sum((PATCHES - done) * flop(PATCHES - done) for done in range(10))
    row("10 deletion steps", [10 * statistics.mean(took) for took in zip(*times, strict=True)], work)


def all_steps(module, model, state, image, target):
    """All 196 steps from the costs of one candidate at some numbers of tokens."""
    costs = []
    for size in SIZES:
        kept = torch.stack([torch.randperm(PATCHES)[:size].sort().values for _ in range(PATCHES)])
        some = kept[: PATCHES if size < 25 else 32]
        took = seconds(
            2 if size < 100 else 1,
            lambda kept=kept: retold_rewards(module, image, kept, target),
            lambda some=some: our_rewards(model, state, some, target, "exact"),
            lambda some=some: our_rewards(model, state, some, target, "mixed"),
        )
        costs.append([took[0] / PATCHES, took[1] / len(some), took[2] / len(some)])
    retold, exact, mixed = (np.interp(np.arange(PATCHES), SIZES, column) for column in zip(*costs, strict=True))
    for direction in ("insertion", "deletion"):
        sizes = np.arange(1, PATCHES) if direction == "insertion" else np.arange(PATCHES - 1, 0, -1)
        count = PATCHES - np.arange(PATCHES - 1)
        times = [(PATCHES * retold[sizes]).sum(), (count * exact[sizes]).sum()]
        if direction == "insertion":
            times.append((count * mixed[sizes] + np.minimum(count, RECHECKED) * exact[sizes]).sum())
        work = sum(c * flop(m + 1) for c, m in zip(count, sizes, strict=True))
        row(f"all {direction} steps", times, work)


def main():
    torch.set_num_threads(1)
    module = build()
    model = find_token_model(module)
    image = photo("coffee.jpg")
    state = model.state_of(image)
    with torch.no_grad():
        target = int(module(image).logits.argmax())
    # Each takes the bases of several steps, in order.
    ways = {
        "retold": lambda bases, direction: [retold_step(module, image, target, base, direction) for base in bases],
        "exact": lambda bases, direction: our_steps(model, image, target, bases, direction, "exact"),
        "mixed": lambda bases, direction: our_steps(model, image, target, bases, direction, "mixed"),
    }
    print(
        "| steps | retold, s | exact | mixed, rechecked | share of the matrix rate |\n| --- | --- | --- | --- | --- |"
    )
    insertion(ways)
    deletion(ways)
    all_steps(module, model, state, image, target)
    print(
        "matrix products: {:.0f} GFLOP/s float32, {:.0f} bfloat16".format(*(statistics.median(r) / 1e9 for r in RATES))
    )
    print(f"scored exactly in a step of mixed: {min(COUNTED)} to {max(COUNTED)}")


if __name__ == "__main__":
    main()
