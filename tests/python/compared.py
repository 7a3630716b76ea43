"""Photos, a model of them, comparisons that are kept in a folder, and searches without whole steps."""

import contextlib
from functools import cached_property

import numpy as np
import pytest

import interpix as ix
from interpix.search.games import Games

SIZE = (24, 30)
PATCHES = "moxi(regions='2x3',stop='all')"


def photo(seed):
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def left_and_right():
    left = np.zeros(SIZE, bool)
    left[3:20, 2:14] = True
    return {"one": left, "two": ~left}


def three_means():
    def logits(batch):
        return np.stack([batch[:, 0].mean((1, 2)), batch[:, 1].mean((1, 2)), 0.1 * batch.sum((1, 2, 3))], axis=1)

    return ix.CallableClassifier(
        logits,
        name="means",
        preprocess=lambda raw: np.ascontiguousarray(raw.transpose(2, 0, 1), np.float32) / 64,
    )


def scaled(raw):
    return raw.transpose(2, 0, 1) / 255


def compared(folder, images=None, *, model=lambda batch: batch.mean((2, 3)), method="moxi(regions='2x3')", **options):
    model = ix.CallableClassifier(model, name="means", preprocess=scaled)
    images = {"one": photo(1)} if images is None else images
    return ix.compare(
        model, images, method, "insertion(steps=3)", folder=folder, propagate=False, controls=False, **options
    )


@contextlib.contextmanager
def candidate_by_candidate():
    """Every reward is read here, as for models that take no steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Games, "steps", cached_property(lambda self: None))
        Games.steps.__set_name__(Games, "steps")
        yield
