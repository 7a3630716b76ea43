"""Writes the licenses of the crates that are compiled into wheels, as those crates bring them: `make licenses`.

    python .ci/licenses.py THIRD-PARTY-LICENSES

The crates are those that Cargo.lock holds for any system that a release has wheels for (deny.toml names them). What
runs only while others are compiled, as procedural macros do, is not in the binary. The same Cargo.lock gives the same
file.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Package = dict[str, Any]
"""As `cargo metadata` describes it."""
ROOT = Path(__file__).parents[1]
FEATURES = "--features=python,models"
TEXTS = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
RULE = 80 * "="
HEAD = """\
The compiled half of the Python package interpix is built of the Rust crates below, and of Rust's standard library,
which is licensed as MIT OR Apache-2.0. Behind each crate stands its license; the texts follow, as crates bring them.
"""


def main(arguments: list[str]) -> int:
    """The command: writes to the file that is named."""
    (file,) = arguments
    Path(file).write_bytes(document().encode())
    return 0


def document() -> str:
    """Crates with their licenses, and each text once, with the crates that bring it."""
    packages = compiled()
    users: dict[str, list[str]] = defaultdict(list)
    words: dict[str, str] = {}
    for name, package in packages.items():
        for text in texts(package, packages.values()):
            key = " ".join(text.split())  # texts that differ in their line breaks are one
            words.setdefault(key, text)
            users[key].append(name)
    listed = "".join(f"{name}: {package['license']}\n" for name, package in packages.items())
    parts = [f"{RULE}\n{', '.join(users[key])}\n{RULE}\n\n{text}\n" for key, text in words.items()]
    return "\n".join([HEAD, listed, *parts])


def compiled() -> dict[str, Package]:
    """What cargo tells of each crate, by its name and version."""
    targets = tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))["graph"]["targets"]
    options = [option for target in targets for option in ("--target", target)]
    tree = _cargo("tree", FEATURES, "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}", *options)
    packages = {
        f"{package['name']} {package['version']}": package
        for package in json.loads(_cargo("metadata", FEATURES, "--format-version=1"))["packages"]
        if package["source"]  # interpix itself has none
    }
    linked = {" ".join(line.split()[:2]).replace(" v", " ") for line in tree.splitlines() if line}
    return {name: packages[name] for name in sorted(linked & packages.keys())}


def texts(package: Package, others: Iterable[Package]) -> list[str]:
    """The license files of a crate, or, where it has none, those of another from its repository."""
    if found := _own_texts(package):
        return found
    for other in others:
        if other["repository"] == package["repository"] and (found := _own_texts(other)):
            return found
    sys.exit(f"{package['name']} {package['version']} brings no license's text, nor does a crate of its repository")


def _own_texts(package: Package) -> list[str]:
    folder = Path(package["manifest_path"]).parent
    named = sorted(path for path in folder.iterdir() if TEXTS.match(path.name) and path.suffix != ".rs")
    files = [
        file for path in named for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()
    ]
    return ["\n".join(map(str.rstrip, file.read_text(encoding="utf-8").strip("\n").splitlines())) for file in files]


def _cargo(*arguments: str) -> str:
    command = ["cargo", *arguments, "--locked"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8")  # noqa: S603 - ours
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
