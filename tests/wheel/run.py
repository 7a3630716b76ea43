"""Runs the code and commands of README, docs and notebook as their readers do: with the wheel, from another folder.

    out/reader/bin/python -I tests/wheel/run.py

Copies what a reader has, and the tests of it, into a new folder, where pytest runs them in this interpreter's
environment.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
READ = ("README.md", "docs", "examples")
HELPERS = ("docs_blocks.py", "docs_stage.py", "prompt_models.py", "token_models.py")
TESTS = (
    "tests/wheel/test_installed.py",
    "tests/python/test_docs_code.py::test_python_runs",
    "tests/python/test_docs.py::test_readme_code_prints_what_readme_says",
    "tests/python/test_docs.py::test_the_first_evaluation_finds_what_its_page_says",
    "tests/python/test_docs.py::test_the_page_that_answers_back_is_as_small_as_said",
    "tests/python/test_notebook.py",
)
THREADS = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}  # as tests/python/conftest.py has them


def lay_out(folder):
    """The pages and their photos; pytest's settings, and the tests."""
    for name in READ:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    files = {"pyproject.toml", *(test.split("::")[0] for test in TESTS), *(f"tests/python/{name}" for name in HELPERS)}
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def main(arguments):
    with tempfile.TemporaryDirectory(prefix="interpix-reader-") as name:
        folder = Path(name).resolve()
        if folder.is_relative_to(ROOT):
            sys.exit(f"the folder for temporary files, {folder}, is in the repository: set TMPDIR")
        lay_out(folder)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | THREADS
        command = [sys.executable, "-I", "-m", "pytest", "-p", "no:cacheprovider", *TESTS, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
