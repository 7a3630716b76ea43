"""Benchmarks take minutes on a quiet machine, so that no test runs them: here only their names are looked up."""

import subprocess
import sys

from docs_blocks import ROOT


def test_benchmarks_find_what_they_measure():
    paths = sorted((ROOT / "benches" / "python").glob("*.py"))
    assert len(paths) > 10
    # In a process of its own: what a benchmark puts in place of the package's functions stays there.
    code = "import runpy, sys\nsys.path.insert(0, sys.argv[1])\nfor path in sys.argv[2:]:\n    runpy.run_path(path)"
    subprocess.run([sys.executable, "-c", code, str(paths[0].parent), *map(str, paths)], check=True, timeout=300)
