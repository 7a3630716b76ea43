"""Small PyTorch models that several test files share; pictures for them are not square."""

import numpy as np
import pytest
import torch
from torch import nn

timm = pytest.importorskip("timm")

HEIGHT, WIDTH = 32, 48


def convolutions(classes=5, seed=0):
    """A plain stack that can be evaluated in windows, with norms and dropout."""
    torch.manual_seed(seed)
    body = [nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, classes))
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    # Far above rounding, so that no two candidates are nearly equal.
    nn.init.normal_(model[-1].weight, std=30.0)
    return model


def vit(seed=0, **options):
    torch.manual_seed(seed)
    settings = {
        "img_size": (HEIGHT, WIDTH),
        "patch_size": 8,
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "num_classes": 5,
    }
    model = timm.models.vision_transformer.VisionTransformer(**(settings | options))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    nn.init.normal_(model.head.weight, std=3.0)
    return model


def picture(seed=0, count=None):
    shape = (3, HEIGHT, WIDTH) if count is None else (count, 3, HEIGHT, WIDTH)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
