import subprocess
import sys

import pytest


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_loads_the_compiled_core_and_the_errors_only():
    code = (
        "import sys; before = set(sys.modules); import interpix\n"
        "new = {name for name in set(sys.modules) - before if name.split('.')[0] not in sys.stdlib_module_names}\n"
        "print(sorted(new))"
    )
    assert run(code).strip() == "['interpix', 'interpix._core', 'interpix.errors']"


def test_explaining_pulls_in_neither_torch_nor_matplotlib():
    code = (
        "import sys, numpy as np, interpix\n"
        "r = interpix.MoXI(lambda b: b.sum(axis=(2, 3)), regions=2).explain(np.ones((3, 4, 6), np.float32))\n"
        "print(sorted({'torch', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    assert run(code).strip() == "[]"


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_forked_child_can_propagate():
    # A child that waited for threads that do not exist there would hang: the time limit of the run says so.
    code = (
        "import os, numpy as np, interpix\n"
        "image = np.zeros((8, 10, 3), np.uint8); image[:4] = 200\n"
        "work = lambda: interpix.propagate(np.ones((8, 10), np.float32), image)\n"
        "work()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    work(); os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert run(code).strip() == "7"
