"""What an editor offers after a dot: the types that pyright sees in a user's script."""

import json
import re
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("pyright")

SCRIPT = """
import numpy as np
import torch
from pathlib import Path
from PIL import Image

import interpix as ix

pixels = np.zeros((3, 4, 6), np.float32)
photo = Image.new("RGB", (6, 4))
moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)))

reveal_type(moxi.explain(pixels))  # Explanation
reveal_type(moxi.explain("photo.jpg"))  # Explanation
reveal_type(moxi.explain(Path("photo.jpg"), "cat", direction="deletion"))  # Explanation
reveal_type(moxi.explain(torch.zeros(3, 4, 6)))  # Explanation
reveal_type(moxi.explain([pixels]))  # list[Explanation]
reveal_type(moxi.explain(["one.jpg", "two.jpg"], [3, "dog"]))  # list[Explanation]
reveal_type(moxi.explain((photo, photo)))  # list[Explanation]
reveal_type(moxi.one_shot(photo))  # Explanation
reveal_type(moxi.one_shot([photo]))  # list[Explanation]
reveal_type(moxi.shapley(photo, sampler="exact"))  # Explanation
reveal_type(moxi.shapley([photo]))  # list[Explanation]
reveal_type(moxi.contrast(photo, "cat"))  # Explanation
reveal_type(moxi.explain(photo).attribution())  # Attribution
reveal_type(moxi.explain(photo).propagate())  # Attribution
reveal_type(moxi.attribute(torch.zeros(1, 3, 4, 6)))  # Tensor
reveal_type(moxi.attribute(pixels))  # ndarray[tuple[Any, ...], dtype[Any]]

reveal_type(ix.propagate(np.ones((4, 6)), photo))  # ndarray[tuple[Any, ...], dtype[Any]]
reveal_type(ix.propagate(torch.ones(4, 6), photo))  # Tensor
reveal_type(ix.propagate(moxi.explain(photo).attribution()))  # Attribution
reveal_type(ix.PixelGraph(photo).propagate(torch.ones(4, 6)).values)  # Tensor

reveal_type(ix.methods.RISE(count=10).explain(lambda batch: batch.sum(axis=(2, 3)), photo).map.shape)  # tuple[Any, ...]
reveal_type(ix.propagated(ix.methods.Gradient()).explain(torch.nn.Identity(), photo))  # Attribution
reveal_type(ix.load("result.safetensors"))  # Explanation | Attribution
comparison = ix.compare(torch.nn.Identity(), "photos", ["rise", ix.methods.Gradient()], "insertion")
reveal_type(comparison)  # Comparison
own = {"mine": lambda model, image, target: image[target]}
several = {"a": ix.metrics.Insertion(steps=50), "b": "aic", "c": ix.metrics.ModelRandomization()}
reveal_type(ix.compare(lambda batch: batch, {"cat": photo}, own, several, masks=[None], targets=["cat"]))  # Comparison
sample = ix.metrics.Sample.of(torch.nn.Identity(), photo, annotation=[(0, 0, 1, 1)])
reveal_type(ix.metrics.Insertion().score(sample, moxi.explain(photo).attribution()))  # ImageScore
reveal_type(comparison.entry("cat.jpg", "rise").attribution)  # Attribution | None
reveal_type(comparison.report("out"))  # Path

moxi.explain(photo, direction="sideways")  # error: No overloads
moxi.explain(7)  # error: No overloads
ix.MoXI(torch.nn.Identity(), regions=7.5)  # error: cannot be assigned
ix.methods.RISE(count="many")  # error: cannot be assigned
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="pyright runs on node")
def test_an_editor_sees_the_types_of_a_users_script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, path]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    seen = {}
    for one in json.loads(found.stdout)["generalDiagnostics"]:
        revealed = re.search(r'is "(.*)"$', one["message"])
        text = revealed[1] if one["severity"] == "information" and revealed else f"error: {one['message']}"
        seen.setdefault(one["range"]["start"]["line"], text)
    wrong = []
    for number, line in enumerate(SCRIPT.splitlines()):
        code, _, expected = line.partition("  # ")
        got = seen.get(number, "")
        right = expected.removeprefix("error: ") in got if expected.startswith("error") else got == expected
        if not right:
            wrong.append(f"{code}: expected {expected or 'nothing'}, got {got or 'nothing'}")
    assert wrong == []
