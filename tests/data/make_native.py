"""Makes ``native.json``: logits of timm's networks that the native ones have to repeat.

    pip install timm torch
    python tests/data/make_native.py

Weights and pictures are formulas, so that none is stored: the tests write the file of weights themselves, from the
names and shapes of the tensors.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor

FILE = Path(__file__).with_name("native.json")
CLASSES = 6
SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2}
# Pictures are no squares.
TRANSFORMERS = {
    "vit_tiny_patch16_224": SMALL,
    "deit_tiny_distilled_patch16_224": SMALL,
    "vit_base_patch16_reg4_gap_256": SMALL,
}
CONVOLUTIONS = ("resnet18", "resnet50", "mobilenetv2_100", "tf_efficientnet_lite0", "tf_efficientnet_lite2")
TRANSFORMERS_SIZE, CONVOLUTIONS_SIZE = (32, 64), (64, 96)


def wave(count: int, start: int) -> np.ndarray:
    """Element i is ((i i + 31 i + 17 start) mod 65521) / 32760.5 - 1: of no pattern, exact in int64, in [-1, 1]."""
    index = np.arange(count, dtype=np.int64)
    return (index * index + 31 * index + 17 * start) % 65521 / 32760.5 - 1


def weights(name: str, shape: list[int], place: int) -> np.ndarray:
    """A tensor: variances are positive, scales near one, matrices keep what they multiply at its size."""
    values = wave(math.prod(shape), place)
    if name.endswith("running_var"):
        values = 1 + 0.5 * values
    elif len(shape) == 1 and name.endswith("weight"):
        values = 1 + 0.3 * values
    elif len(shape) == 1 or shape[0] == 1:
        values = 0.3 * values
    else:
        values = values * math.sqrt(3 / math.prod(shape[1:]))
    return values.astype(np.float32).reshape(shape)


def described(name: str, size: tuple[int, int], arguments: dict[str, Any]) -> dict[str, Any]:
    """What a folder of the model says, its tensors' shapes, and its logits of eight pictures."""
    transformer = bool(arguments)
    options = {"img_size": size, "patch_size": 8} if transformer else {}
    model = timm.create_model(name, num_classes=CLASSES, **arguments, **options).eval()
    shapes = {key: list(value.shape) for key, value in sorted(model.state_dict().items()) if value.is_floating_point()}
    state = {key: torch.from_numpy(weights(key, shape, place)) for place, (key, shape) in enumerate(shapes.items())}
    model.load_state_dict(model.state_dict() | state)
    pictures = torch.from_numpy(wave(8 * 3 * math.prod(size), 0).astype(np.float32).reshape(8, 3, *size))
    with torch.inference_mode():
        logits: Tensor = model(pictures)
    print(name, logits.abs().max().item(), logits.std(0).min().item())
    colors = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    config = {
        "architecture": name,
        "num_classes": CLASSES,
        "pretrained_cfg": {"input_size": [3, *size], **colors},
    }
    if transformer:
        config["model_args"] = arguments
    rows = [[float(f"{one:.8g}") for one in row] for row in logits.tolist()]
    return {"config": config, "tensors": shapes, "logits": rows}


def main() -> None:
    """Writes the file."""
    made = [described(name, TRANSFORMERS_SIZE, arguments) for name, arguments in TRANSFORMERS.items()]
    made += [described(name, CONVOLUTIONS_SIZE, {}) for name in CONVOLUTIONS]
    FILE.write_text("[\n" + ",\n".join(json.dumps(one) for one in made) + "\n]\n")


if __name__ == "__main__":
    main()
