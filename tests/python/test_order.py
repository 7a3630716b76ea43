"""The modules of the package use each other in one direction: the order that CONTRIBUTING.md shows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "interpix"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def read_order():
    """The table's entries, first to last, and the pairs that may reach up where they are called."""
    table = TEXT[TEXT.index("| modules | what they are |") :].split("\n\n")[0]
    order = [entry for row in table.splitlines()[2:] for entry in re.findall(r"`([\w/]+)`", row.split("|")[1])]
    return order, set(re.findall(r"`(\w+)` → `(\w+)`", TEXT))


ORDER, REACHES_UP = read_order()


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "/".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")} | {"_core": PACKAGE / "_core.pyi"}


def place(module):
    """The entry that a module belongs to: the longest that it lies in."""
    inside = [entry for entry in ORDER if module == entry or module.startswith(f"{entry}/")]
    assert inside, f"{module} has no place in CONTRIBUTING.md"
    return max(inside, key=len)


def targets(node):
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        assert node.level == 0, "imports are absolute"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
        first, *rest = name.split(".")
        if first == "interpix":
            module = "/".join(rest)
            module = module if module in MODULES else "/".join(rest[:-1])
            yield module or "__init__"


def imports(path):
    """Each import of the package in a file, types included: the module, and whether it stands inside of a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for target in targets(node):
                yield target, id(node) in called


def test_every_entry_of_the_table_is_a_module_that_is_there():
    assert len(ORDER) == len(set(ORDER)) > 20
    assert [entry for entry in ORDER if entry not in MODULES] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_uses_only_what_stands_before_it(module):
    mine = place(module)
    for target, called in imports(MODULES[module]):
        theirs = place(target)
        reaches_up = called and (mine.split("/")[0], theirs.split("/")[0]) in REACHES_UP
        assert ORDER.index(theirs) <= ORDER.index(mine) or reaches_up, f"{module} imports {target}"


def test_no_imports_form_a_circle():
    used = {
        module: {
            target
            for target, _ in imports(path)
            if target != module and ORDER.index(place(target)) <= ORDER.index(place(module))
        }
        for module, path in MODULES.items()
    }
    left = dict(used)
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    assert left == {}


def test_an_import_that_goes_up_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "from interpix import _core\n"
        "import interpix.results\n"
        "if TYPE_CHECKING:\n"
        "    from interpix.plots import plot_map\n"
        "def f():\n"
        "    from interpix.models.adapters.torch import TorchClassifier\n"
        "    from interpix import MoXI\n"
    )
    found = dict(imports(path))
    expected = {"_core": False, "results": False, "plots": False, "models/adapters/torch": True, "__init__": True}
    assert found == expected
