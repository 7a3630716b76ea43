"""Whether wheels are what a release needs: their tags, what is in them, and that the installed one works.

    python -I check_wheel.py out/wheels/*.whl              # the files, and the one that is installed here
    python -I check_wheel.py --release v0.1.0 dist/*.whl   # the files: all that this release needs, and no others
    qemu-x86_64 -cpu Haswell python -I check_wheel.py --instructions AVX2   # what is installed, on another processor

Python's own library is all that the files take; what is installed is imported, which takes numpy and Pillow.
"""

import argparse
import itertools
import platform
import sys
import zipfile
import zlib
from collections import Counter
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

PYTHONS = {"cp311-abi3", "cp314-cp314t"}
PLATFORMS = {
    "manylinux2014_x86_64.manylinux_2_17_x86_64",
    "manylinux2014_aarch64.manylinux_2_17_aarch64",
    "musllinux_1_2_x86_64",
    "musllinux_1_2_aarch64",
    "macosx_11_0_arm64",
    "win_amd64",
}
MOST_BYTES = 6_000_000
# Of the package itself; what is in `.dist-info` is up to the builder.
SUFFIXES = {".py", ".pyi", ".typed", ".css", ".js", ".csv", ".so", ".pyd"}
ABOUT = ("METADATA", "RECORD", "WHEEL")
LICENSES = ("licenses/LICENSE-APACHE", "licenses/LICENSE-MIT", "licenses/THIRD-PARTY-LICENSES")
LEAST_PARTS = 5
"""Of a wheel's name: what, version, Python, ABI, system."""
# What `zipfile` raises of files that were cut or changed. It has no error of its own for what is packed, for its end,
# for a version of the format that it does not know, and for a name that is no text.
DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)
PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
ENCRYPTED = 1
AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"}
AVX2 = {"avx2", "fma"}


def faults(wheel: Path) -> list[str]:
    """What is wrong with this file."""
    if wheel.suffix != ".whl" or wheel.stem.count("-") < LEAST_PARTS - 1:
        return ["it is not named as wheels are"]
    try:
        files, twice, foreign = _read(wheel)
    except OSError as error:
        return [f"it cannot be read: {error.strerror or error}"]
    except DAMAGES as error:
        return [f"it is not a whole zip file: {error or type(error).__name__}"]
    if foreign:
        return [f"{path} is encrypted, or not packed as pip unpacks" for path in foreign]
    repeated = [f"{path} is there more than once" for path in twice]
    return repeated + _of_name(wheel) + _of_files(wheel, files) + _of_metadata(wheel, files)


def _read(wheel: Path) -> tuple[dict[str, bytes], list[str], list[str]]:
    """What is in each of its files; which are there more than once, and which cannot be read as those of wheels.

    Reading them checks their sums.
    """
    with zipfile.ZipFile(wheel) as files:
        parts = [part for part in files.infolist() if not part.is_dir()]
        twice = [path for path, count in Counter(part.filename for part in parts).items() if count > 1]
        foreign = [part for part in parts if part.flag_bits & ENCRYPTED or part.compress_type not in PACKED]
        read = {part.filename: files.read(part.filename) for part in parts if part not in foreign}
        return read, twice, [part.filename for part in foreign]


def _of_name(wheel: Path) -> list[str]:
    name, _, tags = _parts(wheel)
    python, _, system = tags.rpartition("-")
    found = []
    if name != "interpix" or python not in PYTHONS or system not in PLATFORMS:
        found.append(f"its name says {name} for {python} on {system}, which no release has")
    if wheel.stat().st_size > MOST_BYTES:
        found.append(f"it has {wheel.stat().st_size} bytes, more than {MOST_BYTES}")
    return found


def _of_files(wheel: Path, files: dict[str, bytes]) -> list[str]:
    name, version, tags = _parts(wheel)
    python, _, system = tags.rpartition("-")
    about = f"{name}-{version}.dist-info"
    paths = [PurePosixPath(path) for path in files]
    found = [f"{path} does not belong there" for path in paths if not _belongs(path, about)]
    needed = ["interpix/__init__.py", *(f"{about}/{path}" for path in (*ABOUT, *LICENSES))]
    found += [f"it has no {path}, or it is empty" for path in needed if not files.get(path)]
    compiled, extension = [str(path) for path in paths if path.suffix in {".so", ".pyd"}], _extension(python, system)
    if compiled != [f"interpix/{extension}"]:
        found.append(f"its compiled half is {compiled}, not interpix/{extension}")
    return found


def _of_metadata(wheel: Path, files: dict[str, bytes]) -> list[str]:
    """What its metadata tell otherwise than its name; that they are there is `_of_files`'s to say."""
    name, version, tags = _parts(wheel)
    there = {path: files.get(f"{name}-{version}.dist-info/{path}") for path in ABOUT}
    read = {path: BytesParser().parsebytes(text) for path, text in there.items() if text is not None}
    found = []
    said = [str(tag) for tag in read["WHEEL"].get_all("Tag", [])] if "WHEEL" in read else []
    if "WHEEL" in read and sorted(said) != sorted(_expanded(tags)):
        found.append(f"its file WHEEL says {said}, its name {tags}")
    if "METADATA" in read and read["METADATA"]["Version"] != version:
        found.append("its metadata tell another version than its name")
    return found


def missing_and_more(wheels: list[Path], release: str) -> list[str]:
    """What the wheels of a release lack, and what is not of it."""
    needed = {
        f"interpix-{release.removeprefix('v')}-{python}-{system}.whl"
        for python, system in itertools.product(PYTHONS, PLATFORMS)
    }
    there = {wheel.name for wheel in wheels}
    return [f"{name} is missing" for name in sorted(needed - there)] + [
        f"{name} is not of {release}" for name in sorted(there - needed)
    ]


def try_installed(instructions: str | None = None) -> str:
    """Uses what is installed, and says which vector instructions it takes; AssertionError where it does wrong.

    It must take `instructions`, or those of this processor.
    """
    import numpy as np  # not needed for the files

    from interpix import __file__, __version__, _core, propagate

    image = np.zeros((8, 10, 3), np.uint8)
    image[:, 5:] = 200
    rewards = np.zeros((8, 10), np.float32)
    rewards[4, 2] = 1
    spread = propagate(rewards, image)
    _hold(spread.shape == rewards.shape and bool(np.isfinite(spread).all()), "a map is finite")
    _hold(spread[:, :5].min() > 1 > spread[:, 5:].max(), "a reward stays on its side of an edge")
    _hold("vit_tiny_patch16_224" in _core.architectures(), "native networks are built in")
    runs, needs = _core.vector_instructions(), {instructions} if instructions else _instructions()
    _hold(runs in needs, f"the vector instructions here are {' or '.join(sorted(needs))}, not {runs}")
    return f"interpix {__version__} of {Path(__file__).parent} works, with vector instructions: {runs}"


def _parts(wheel: Path) -> tuple[str, str, str]:
    name, version, tags = wheel.stem.split("-", 2)
    return name, version, tags


def _expanded(tags: str) -> list[str]:
    """Each tag of a compressed set of them."""
    return ["-".join(each) for each in itertools.product(*(part.split(".") for part in tags.split("-")))]


def _belongs(path: PurePosixPath, about: str) -> bool:
    first, *rest = path.parts
    if ".." in rest:
        return False
    if first == about:
        return True
    tests = any(part.startswith("test") for part in rest)
    return first == "interpix" and path.suffix in SUFFIXES and not tests


def _extension(python: str, system: str) -> str:
    """The name by which the interpreters of these tags find the compiled half."""
    if system.startswith("win"):
        return "_core.pyd" if python.endswith("abi3") else "_core.cp314t-win_amd64.pyd"
    if python.endswith("abi3"):
        return "_core.abi3.so"
    if system.startswith("macosx"):
        return "_core.cpython-314t-darwin.so"
    machine = "aarch64" if "aarch64" in system else "x86_64"
    return f"_core.cpython-314t-{machine}-linux-{'musl' if 'musl' in system else 'gnu'}.so"


def _instructions() -> set[str]:
    """What the wheel must choose on this processor, as far as the system tells."""
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return {"NEON"}
    told = Path("/proc/cpuinfo")
    if not told.exists():
        return {"AVX-512", "AVX2"}
    lines = told.read_text(encoding="utf-8").splitlines()
    flags = next(set(line.split(":")[1].split()) for line in lines if line.startswith("flags"))
    return {"AVX-512" if flags >= AVX512 else "AVX2" if flags >= AVX2 else "none"}


def _hold(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", metavar="TAG", help="these are all wheels of this release; nothing is imported")
    parser.add_argument(
        "--instructions", choices=["AVX-512", "AVX2", "NEON", "none"], help="what must run, if not this processor's"
    )
    parser.add_argument("wheels", nargs="*", type=Path)
    asked = parser.parse_args(arguments)
    found = [f"{wheel.name}: {fault}" for wheel in asked.wheels for fault in faults(wheel)]
    if asked.release is not None:
        found += missing_and_more(asked.wheels, asked.release)
    for line in found:
        print(line, file=sys.stderr)
    if found:
        return 1
    for wheel in asked.wheels:
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")
    if asked.release is None:
        print(try_installed(asked.instructions))
    return 0


if __name__ == "__main__":
    sys.exit(main())
