"""A few fixed seeds of what tests/fuzz draws for hours."""

import importlib.util
import os
from pathlib import Path

import pytest

pytest.importorskip("torch")

_spec = importlib.util.spec_from_file_location("checks", Path(__file__).parents[1] / "fuzz" / "checks.py")
checks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checks)

SEEDS = {"propagation": 30, "search": 60, "files": 5, "fields": 10, "pictures": 5, "threads": 1, "forks": 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
@pytest.mark.parametrize("name", checks.CHECKS)
def test_fixed_seeds(name):
    for seed in range(SEEDS[name]):
        checks.CHECKS[name](seed)
