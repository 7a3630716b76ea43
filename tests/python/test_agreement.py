"""The same weights in timm and in the native model give the same group on the demo photo."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import interpix as ix
from interpix import weights

timm = pytest.importorskip("timm")
PHOTO = Path(__file__).parents[2] / "examples" / "coffee.jpg"


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_timm_and_native_agree(direction):
    native = ix.load_model("efficientnet_lite0")
    checkpoint = weights.CHECKPOINTS["efficientnet_lite0"]
    module = pytest.importorskip(checkpoint.module)
    state = torch.load(Path(module.__file__).parent / checkpoint.file, weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    tensor = native.preprocess(np.asarray(Image.open(PHOTO).convert("RGB")))
    results = [ix.MoXI(one).explain(tensor, direction=direction) for one in (native, model)]
    assert results[0].gaps.min() > 1e-4
    assert results[0].group == results[1].group
    assert len(results[0].group) > 1
    np.testing.assert_allclose(results[0].rewards, results[1].rewards, atol=1e-3)
