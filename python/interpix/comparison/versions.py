"""The versions of all that makes maps and scores: after an upgrade they may be others."""

import functools
import importlib.metadata

from PIL import features

from interpix import _core

__all__ = ["library_versions"]

_LIBRARIES = (
    "numpy",
    "pillow",
    "scipy",
    "scikit-image",
    "scikit-learn",
    "saliency",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "onnxruntime",
    "imagecorruptions-imaug",
)
_CODECS = ("webp", "jpg", "libjpeg_turbo")


@functools.cache
def library_versions() -> dict[str, str | None]:
    """By name; None: not there.

    >>> import numpy as np
    >>> library_versions()["numpy"] == np.__version__
    True
    """
    codecs = {name: features.version(name) for name in _CODECS}
    return {"interpix": _core.__version__, **{name: _version(name) for name in _LIBRARIES}, **codecs}


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
