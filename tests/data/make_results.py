"""Writes results in the format of today, to test that they stay readable: one file of each kind and format is kept.

python tests/data/make_results.py
"""

from pathlib import Path

import numpy as np

import interpix as ix
from interpix.storage import FORMAT

HERE = Path(__file__).parent

image = np.zeros((3, 4, 6), np.float32)
image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), name="sums", class_names=["red", "green", "blue"])
moxi = ix.MoXI(model, regions="2x3")
moxi.shapley(image, sampler="exact").save(HERE / f"explanation-{FORMAT}.safetensors")
ix.methods.RISE(count=20, grid=(2, 3), baseline="zero").explain(model, image).save(
    HERE / f"attribution-{FORMAT}.safetensors"
)
