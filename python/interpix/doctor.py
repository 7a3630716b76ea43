"""What a bug report needs to say of a machine."""

import importlib.metadata
import os
import platform

from interpix import _core

__all__ = ["describe_machine"]

_EXTRAS = (
    "matplotlib",
    "tqdm",
    "anywidget",
    "onnxruntime",
    "torch",
    "triton",
    "timm",
    "torchvision",
    "transformers",
    "open_clip_torch",
    "scikit-image",
    "scipy",
    "pyarrow",
    "ray",
)


def describe_machine() -> str:
    """Versions, cores, threads, vector instructions and GPUs, a line each.

    >>> describe_machine().splitlines()[0].split()[0]
    'interpix'
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [
        f"interpix {_core.__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"cores: {cores}",
        f"threads: {_threads()}",
        f"vector instructions: {_core.vector_instructions()}",
        f"CUDA: {_cuda()}",
    ]
    return "\n".join(lines + [f"{package}: {_version(package)}" for package in ("numpy", "pillow", *_EXTRAS)])


def _threads() -> str:
    """What limits them: of torch, of BLAS and of the Rust half."""
    names = "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"
    return ", ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ) or "not limited"


def _cuda() -> str:
    """The GPUs that torch sees, or why it sees none."""
    if _version("torch") == "not installed":
        return "torch is not installed"
    try:
        import torch  # heavy
    except Exception as error:  # noqa: BLE001 - what is broken is what is asked
        return f"torch cannot be imported ({error})"
    if not torch.cuda.is_available():
        return "none" if torch.version.cuda else "none; this torch is built without it"
    cards = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"{torch.version.cuda}, {', '.join(cards)}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
