"""THIRD-PARTY-LICENSES is of what is compiled into the wheel: `make licenses` writes it."""

import re
import runpy
import shutil
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "THIRD-PARTY-LICENSES").read_text(encoding="utf-8")


def test_it_is_of_the_crates_that_are_compiled_now():
    if shutil.which("cargo") is None:
        pytest.skip("needs cargo")
    script = runpy.run_path(str(ROOT / ".ci" / "licenses.py"))
    assert script["document"]() == TEXT, "run: make licenses"


def test_each_crate_is_of_cargo_lock_and_has_a_text():
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))["package"]
    named = set(re.findall(r"^([\w-]+ \d\S*): .*$", TEXT, flags=re.MULTILINE))
    assert {"candle-core", "numpy", "pyo3", "rayon"} <= {name.split()[0] for name in named}
    assert named <= {f"{package['name']} {package['version']}" for package in locked}
    headings = re.findall(r"^={80}\n(.+)\n={80}$", TEXT, flags=re.MULTILINE)
    assert {crate for heading in headings for crate in heading.split(", ")} == named
    for words in (
        "TERMS AND CONDITIONS FOR USE",
        "Permission is hereby granted",
        "Redistributions",
        "UNICODE LICENSE V3",
    ):
        assert words in TEXT


def test_packages_bring_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license-files"] == ["LICENSE-APACHE", "LICENSE-MIT", "THIRD-PARTY-LICENSES"]
