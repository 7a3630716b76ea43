"""Photos, comparisons of them that are kept in a folder, and searches without whole steps."""

import contextlib
from functools import cached_property

import numpy as np
import pytest

import interpix as ix
from interpix.search.games import Games


def photo(seed):
    return np.random.default_rng(seed).integers(0, 256, (24, 30, 3), np.uint8)


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
