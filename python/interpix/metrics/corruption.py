"""Corruption curves: the patches that matter most are replaced by corrupted ones first.

The 19 corruptions are those of Hendrycks and Dietterich, *Benchmarking neural network robustness to common
corruptions and perturbations*, ICLR 2019, by the package `imagecorruptions-imaug`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from interpix.arrays import describe
from interpix.checks import check_integer, require_module
from interpix.errors import bad_value
from interpix.metrics.accuracy import PatchTrace, RankingInput, trace_patches
from interpix.metrics.sample import Sample
from interpix.regions import RegionsInput

__all__ = ["CORRUPTIONS", "check_corruption", "corrupt", "require_corruptions", "trace_corruptions"]

CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
    "speckle_noise",
    "gaussian_blur",
    "spatter",
    "saturate",
)
"""Names of the corruptions; the last four are the original benchmark's extra ones."""

# They draw from generators of their own, and take a seed.
_SEEDED = ("impulse_noise", "glass_blur")
_LEAST_SIDE = 32
_GREATEST_SEVERITY = 5


def check_corruption(corruption: str, severity: int) -> None:
    """Refuses another name or severity than there is."""
    if not isinstance(corruption, str) or corruption not in CORRUPTIONS:
        raise bad_value("corruption", f"one of {', '.join(CORRUPTIONS)}", repr(corruption), "pick one")
    check_integer("severity", severity, 1, _GREATEST_SEVERITY, "1 ... 5", "the papers use 5")


def corrupt(
    pixels: npt.NDArray[np.uint8], corruption: str, *, severity: int = 5, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """A corrupted copy of a picture uint8 (H, W, 3); needs `pip install "interpix[corruptions]"`.

    numpy's global generator, from which the corruptions draw, is left as it was.

    >>> import numpy as np
    >>> corrupt(np.zeros((32, 48, 3), np.uint8), "brightness").max()
    np.uint8(127)
    """
    check_corruption(corruption, severity)
    if min(pixels.shape[:2]) < _LEAST_SIDE:
        cure = "take a model with a larger input"
        raise bad_value("pixels", f"at least {_LEAST_SIDE} rows and columns", describe(pixels), cure)
    imagecorruptions = require_corruptions()
    own_seed = {"seed": seed} if corruption in _SEEDED else {}
    state = np.random.get_state()  # noqa: NPY002 - what the package draws from
    try:
        np.random.seed(seed)  # noqa: NPY002
        answer = imagecorruptions.corrupt(pixels, severity=severity, corruption_name=corruption, **own_seed)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return np.asarray(answer, np.uint8)


def require_corruptions() -> Any:
    """The package that makes corruptions, which is slow to import.

    Raises:
        MissingDependencyError: It is not installed.
    """
    return require_module("imagecorruptions", 'corruptions need imagecorruptions: pip install "interpix[corruptions]"')


def trace_corruptions(
    sample: Sample,
    ranking: RankingInput,
    *,
    regions: RegionsInput = "auto",
    corruptions: Sequence[str] = CORRUPTIONS,
    severity: int = 5,
) -> list[PatchTrace]:
    """One trace for each corruption: patches of the clean picture are replaced by corrupted ones in ranked order.

    The corruptions draw from the sample's seed. `accuracy_curve` averages the traces of all images and corruptions.

    >>> import numpy as np
    >>> from interpix import CallableClassifier
    >>> logits = lambda batch: np.stack([0.2 - batch.mean((1, 2, 3)), 0 * batch.mean((1, 2, 3))], axis=1)
    >>> model = CallableClassifier(logits, preprocess=lambda raw: raw.transpose(2, 0, 1) / 255)
    >>> sample = Sample.of(model, np.zeros((32, 48, 3), np.uint8))
    >>> trace_corruptions(sample, [0, 1], regions="1x2", corruptions=["brightness"])[0].predicted
    array([0, 1, 1])
    """
    traces = []
    for corruption in corruptions:
        spoiled = corrupt(sample.pixels, corruption, severity=severity, seed=sample.seed)
        replacement = sample.normalization.apply(spoiled)
        trace = trace_patches(sample, ranking, regions=regions, replacement=replacement)
        options = {**trace.options, "replacement": corruption, "severity": severity, "seed": sample.seed}
        traces.append(dataclasses.replace(trace, options=options))
    return traces
