import ast
import importlib
import inspect
import pathlib
import pkgutil
import re

import pytest

import interpix
from interpix import plots

MODULES = [
    module.name for module in pkgutil.walk_packages(interpix.__path__, "interpix.") if module.name != "interpix._core"
]


def names_for_type_checkers():
    """Each public name and its module, by the imports of `interpix/__init__.py`, some of which never run."""
    tree = ast.parse(pathlib.Path(interpix.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "interpix" in node.module]
    return {alias.name: node.module for node in imports for alias in node.names if alias.name != "_core"}


def test_public_names_are_those_that_type_checkers_see():
    names = names_for_type_checkers()
    assert len(names) > 20
    assert dir(interpix) == sorted(names)
    for name, home in names.items():
        if home == "interpix":
            assert getattr(interpix, name) is importlib.import_module(f"interpix.{name}")
        else:
            assert getattr(interpix, name) is getattr(importlib.import_module(home), name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'moxy'"):
        _ = interpix.moxy


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_is_public_and_documents_it(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for public in module.__all__:
        assert not public.startswith("_")
        member = getattr(module, public)
        if callable(member) and getattr(member, "__module__", "").startswith("interpix"):
            assert member.__doc__, public
            # What `dataclass` and `NamedTuple` write where nobody wrote anything.
            assert not member.__doc__.startswith(f"{public}("), public


@pytest.mark.parametrize("name", MODULES)
def test_every_type_alias_without_an_underscore_is_public(name):
    source = pathlib.Path(importlib.import_module(name).__file__).read_text(encoding="utf-8")
    aliases = re.findall(r"^([A-Z]\w*): TypeAlias", source, flags=re.MULTILINE)
    assert set(aliases) <= set(importlib.import_module(name).__all__)


def test_every_own_exception_has_one_base():
    from interpix import errors

    for name in errors.__all__:
        member = getattr(errors, name)
        if isinstance(member, type):
            base = interpix.InterpixWarning if issubclass(member, Warning) else interpix.InterpixError
            assert issubclass(member, base)


def public_names():
    for home in (interpix, interpix.methods, interpix.metrics, plots):
        for name in home.__all__:
            member = getattr(home, name)
            if inspect.isfunction(member) or (inspect.isclass(member) and not issubclass(member, Exception)):
                yield pytest.param(member, id=f"{home.__name__}.{name}")


@pytest.mark.parametrize("member", list(public_names()))
def test_every_public_class_and_function_shows_an_example(member):
    # That it says what it shows is checked with the doctests.
    if member is not interpix.load_attribution:  # deprecated
        assert ">>> " in member.__doc__
