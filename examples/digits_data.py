"""Composites of MNIST digits at random places, and two small models of them: one of labels, one of boxes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["HEIGHT", "WIDTH", "Composite", "Detector", "draw", "make_labeler", "overlap", "train"]

HEIGHT, WIDTH = 56, 84
MOST = 3  # digits in a composite
VALUES = 10
CELL = 4  # pixels of the detector's grid, a side
_GAP = 2  # pixels between two digits' boxes, at least
_REACH = 1  # cells around the one of a digit's middle that learn its box, too
_BOX_UNIT = 10.0  # pixels: about what a digit's sides are away from its middle
_FOCUS = 2  # of the focal loss (Lin et al. 2017)
_RARE = 0.01  # a digit's probability before training, cell by cell
_BATCH, _RATE = 64, 3e-3  # composites a step, and the greatest learning rate
_REPORT = 100  # steps between two lines about the training


class Composite(NamedTuple):
    """A picture and what is on it.

    Attributes:
        image: (1, HEIGHT, WIDTH) in 0 ... 1; black where nothing is.
        values: The digits' values, all distinct.
        boxes: Left, top, right and bottom of each digit's ink, the latter two exclusive: (digits, 4).
    """

    image: Tensor
    values: list[int]
    boxes: Tensor


def draw(digits: Tensor, values: Tensor, count: int, random: np.random.Generator, *, least: int = 1) -> list[Composite]:
    """`count` composites of `least` to three digits of distinct values at random places, whose boxes stay apart.

    Args:
        digits: Pictures of digits (n, 28, 28) in 0 ... 1.
        values: The value of each (n,).
        count: How many composites.
        random: Of the digits, how many, and their places.
        least: How many digits there are at least; 0 makes some composites empty.
    """
    by_value = [np.flatnonzero(values.numpy() == value) for value in range(VALUES)]
    made = []
    for _ in range(count):
        chosen = random.permutation(VALUES)[: random.integers(least, MOST + 1)].tolist()
        inks = [_ink(digits[random.choice(by_value[value])].numpy()) for value in chosen]
        boxes = _places([ink.shape for ink in inks], random)
        image = np.zeros((1, HEIGHT, WIDTH), np.float32)
        for ink, (left, top, right, bottom) in zip(inks, boxes.tolist(), strict=True):
            image[0, top:bottom, left:right] = ink
        made.append(Composite(torch.from_numpy(image), chosen, torch.from_numpy(boxes)))
    return made


def _ink(digit: np.ndarray) -> np.ndarray:
    """A digit without the black around it."""
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _places(sizes: Sequence[tuple[int, int]], random: np.random.Generator) -> np.ndarray:
    """Boxes (n, 4) of the given heights and widths: all places are drawn again until all are apart."""
    size = np.array(sizes, int).reshape(-1, 2)[:, ::-1]
    while True:
        corner = random.integers(0, [WIDTH, HEIGHT] - size + 1)
        low, high = corner, corner + size
        near = (low[:, None] < high + _GAP).all(-1) & (low < high[:, None] + _GAP).all(-1)
        if near.sum() == len(size):  # each box with itself
            return np.concatenate([low, high], axis=1)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """The IoU of two boxes.

    >>> overlap([0, 0, 4, 2], [2, 0, 6, 2])
    0.3333333333333333
    """
    area = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    shared = max(width, 0) * max(height, 0)
    return shared / (sum(area) - shared)


def make_body(width: int) -> list[nn.Module]:
    """Convolutions that make a grid of cells of 4 x 4 pixels, each of which sees 41 x 41 pixels around it."""
    channels = [1, width // 2, width, width, width, width, width]
    sides = [(5, 2), (3, 2), (3, 1), (3, 1), (3, 1), (3, 1)]
    body: list[nn.Module] = []
    for into, out, (side, stride) in zip(channels, channels[1:], sides, strict=False):
        body += [nn.Conv2d(into, out, side, stride, side // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return body


def make_labeler(width: int) -> nn.Module:
    """A convolutional network with a logit for each value, which says whether that digit is there."""
    last = [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU()]
    return nn.Sequential(*make_body(width), *last, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2 * width, VALUES))


class Detector(nn.Module):
    """A single-shot detector without anchors, whose answers are those of torchvision's detectors.

    Each cell of the grid says of each value whether the middle of such a digit is there, and how far its box reaches
    to the left, up, right and down. A detection is a cell that is surer of a value than its eight neighbors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*make_body(width))
        self.head = nn.Conv2d(width, VALUES + 4, 1)
        nn.init.constant_(self.head.bias[:VALUES], float(np.log(_RARE / (1 - _RARE))))

    def cells(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, 10, rows, columns), and boxes (n, 4, rows, columns) in pixels."""
        logits, reach = self.head(self.body(images)).split([VALUES, 4], dim=1)
        down, right = ((torch.arange(size) + 0.5) * CELL for size in logits.shape[2:])
        middle = torch.stack([right.expand(len(down), -1), down[:, None].expand(-1, len(right))]).repeat(2, 1, 1)
        away = _BOX_UNIT * functional.softplus(reach)
        return logits, middle + away * torch.tensor([-1.0, -1, 1, 1])[:, None, None]

    def forward(self, images: Tensor, most: int = 20) -> list[dict[str, Tensor]]:
        """The `most` best detections of each picture: boxes (k, 4), scores (k,) and labels (k,), best score first."""
        logits, boxes = self.cells(images)
        scores = logits.sigmoid()
        peaks = torch.where(functional.max_pool2d(scores, 3, 1, 1) == scores, scores, 0.0).flatten(1)
        best, place = peaks.topk(most, dim=1)
        label, cell = place // logits[0, 0].numel(), place % logits[0, 0].numel()
        corners = boxes.flatten(2).gather(2, cell[:, None].expand(-1, 4, -1)).transpose(1, 2)
        parts = zip(corners, best, label, best > 0, strict=True)
        return [{"boxes": b[real], "scores": s[real], "labels": k[real]} for b, s, k, real in parts]


def label_loss(model: nn.Module, batch: Sequence[Composite]) -> Tensor:
    """Binary cross-entropy of the ten labels."""
    wanted = torch.zeros(len(batch), VALUES)
    for row, one in zip(wanted, batch, strict=True):
        row[one.values] = 1
    return functional.binary_cross_entropy_with_logits(model(torch.stack([one.image for one in batch])), wanted)


def box_loss(model: Detector, batch: Sequence[Composite]) -> Tensor:
    """Focal loss of the cells, and the smooth L1 loss of the boxes, both for each digit.

    The cell of a digit's middle is to find it; those around may, and learn its box, too.
    """
    logits, boxes = model.cells(torch.stack([one.image for one in batch]))
    wanted, counts = torch.zeros_like(logits), torch.ones_like(logits)
    aims, found = [], []
    for index, one in enumerate(batch):
        for value, box in zip(one.values, one.boxes, strict=True):
            column, row = ((box[:2] + box[2:]) // (2 * CELL)).tolist()
            around = index, slice(None), _around(row), _around(column)
            counts[index, value, around[2], around[3]] = 0
            wanted[index, value, row, column] = counts[index, value, row, column] = 1
            found.append(boxes[around].flatten(1))
            aims.append(box.float()[:, None].expand_as(found[-1]))
    likely = logits.sigmoid()
    wrong = torch.where(wanted > 0, 1 - likely, likely)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    classes = (counts * wrong**_FOCUS * entropy).sum() / len(aims)
    where = functional.smooth_l1_loss(torch.cat(found, 1) / _BOX_UNIT, torch.cat(aims, 1) / _BOX_UNIT, beta=0.1)
    return classes + where


def _around(place: int) -> slice:
    return slice(max(place - _REACH, 0), place + _REACH + 1)


def train(
    model: nn.Module, digits: Tensor, values: Tensor, *, composites: int, seed: int, least: int = 1
) -> list[float]:
    """Trains on composites that are each seen once; the loss of each step. AdamW, one cycle of the learning rate.

    With `least` = 0, a quarter of the composites are empty: only the labeler can learn from them.
    """
    random = np.random.default_rng(seed)
    loss_of = box_loss if isinstance(model, Detector) else label_loss
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    steps = max(1, composites // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps + 1, pct_start=0.2)
    model.train()
    losses: list[float] = []
    for _ in range(steps):
        loss = loss_of(model, draw(digits, values, _BATCH, random, least=least))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if len(losses) % _REPORT == 0:
            print(f"{len(losses) * _BATCH} composites: loss {np.mean(losses[-_REPORT:]):.4f}", flush=True)
    model.eval()
    return losses
