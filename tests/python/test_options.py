import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpix import Fill, methods, metrics
from interpix.metrics import Sample
from interpix.options import as_json, fields_as_json, python_number

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@dataclass(frozen=True)
class Options:
    grid: Any = (7, 5)
    baseline: Any = "black"


@given(VALUES)
def test_what_is_json_already_stays_as_it_is(value):
    assert as_json(value) == value
    assert json.loads(json.dumps(as_json(value))) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.bool_(1), True),
        ((1, (2, "a")), [1, [2, "a"]]),
        ({3: np.int64(4)}, {"3": 4}),
        (np.zeros((2, 3), np.float32), "float32 (2, 3)"),
        (Fill("mean"), "Fill(value='mean')"),
    ],
)
def test_options_by_hand(value, expected):
    assert as_json(value) == expected
    assert type(as_json(value)) is type(expected)


def test_tensors_are_told_by_dtype_and_shape():
    import torch

    assert as_json([torch.zeros(2, 3)]) == ["float32 (2, 3)"]


def test_fields_keep_their_order():
    assert list(fields_as_json(Options(np.int64(3))).items()) == [("grid", 3), ("baseline", "black")]


def test_numbers_of_numpy_become_pythons():
    assert type(python_number(np.int64(3))) is int
    assert python_number("all") == "all"


def test_methods_and_metrics_say_their_options_alike(classifier, image):
    assert methods.RISE(grid=(2, 3)).options()["grid"] == [2, 3]
    sample = Sample.of(classifier, image, annotation=[(0, 0, 3, 4)])
    score = metrics.PointingGame(tolerance=2).score(sample, image[0])
    assert score.options == {"tolerance": 2, "preset": "zhang", "clip": None, "ties": "expected"}
