import importlib
import pathlib
import pkgutil
import re

import pytest

import interpix

MODULES = [
    module.name for module in pkgutil.walk_packages(interpix.__path__, "interpix.") if module.name != "interpix._core"
]


def test_public_names_exist():
    assert len(set(interpix.__all__)) == len(interpix.__all__)
    for name in interpix.__all__:
        assert getattr(interpix, name) is not None
    assert dir(interpix) == sorted(interpix.__all__)


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
            assert issubclass(member, interpix.InterpixError)
