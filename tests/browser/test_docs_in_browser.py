"""The first page of the documentation in Chromium, where Sphinx is installed (`make docs` does it)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = "data,api/*,developers/*,tutorial.ipynb"
"""What takes long to build, and is not on the first page."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    for name in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("docs")
    options = ["--quiet", "-d", str(folder / "doctrees"), "-D", f"exclude_patterns={LEFT_OUT}"]
    subprocess.run([sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(folder / "site")], check=True)
    return folder / "site" / "index.html"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_screen_and_axe_finds_no_serious_fault(opened, faults, path, width, dark):
    page = opened(path, width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_role("heading", level=1).count() == 1
    assert faults(page) == []
