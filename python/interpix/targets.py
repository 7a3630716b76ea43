"""Which class is meant: by index, by name, or the one that the model predicts."""

import difflib
from collections.abc import Iterable

import numpy as np

from interpix.arrays import is_array, to_numpy
from interpix.errors import ArgumentError, bad_type, bad_value

__all__ = ["read_class_names", "read_target", "resolve_target"]

_MAX_NEAR_NAMES = 5


def read_class_names(names: object) -> list[str]:
    """`names` as a list, if each is a word."""
    words = None if isinstance(names, str | dict | set | frozenset) or not isinstance(names, Iterable) else list(names)
    if words is None or not all(isinstance(word, str) for word in words):
        raise bad_type("class_names", "a list of names, one for each class", names, "for example ['cat', 'dog']")
    return words


def read_target(target: object, prediction: int, class_names: list[str] | None, count: int) -> int:
    """The class that `target` means to a model of `count` classes; None is its `prediction`.

    Raises:
        ArgumentError: There is no such class, or the names are not those of the model's classes.
    """
    if class_names is not None and len(class_names) != count:
        cure = "give one for each, or leave them out"
        raise bad_value("class_names", f"a name for each of the model's {count} classes", len(class_names), cure)
    return prediction if target is None else resolve_target(target, class_names, count)


def resolve_target(target: object, class_names: list[str] | None, count: int) -> int:
    """A class index in 0 ... `count` - 1 from an index or a class name."""
    if isinstance(target, str):
        return _index_of_name(target, class_names)
    if is_array(target) and to_numpy(target, "target").size == 1:
        target = to_numpy(target, "target").item()
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise bad_type("target", "a class index or a class name", target, "or None for the prediction")
    if not 0 <= target < count:
        raise bad_value("target", f"a class in 0 ... {count - 1}", int(target), "or None for the prediction")
    return int(target)


def _index_of_name(target: str, class_names: list[str] | None) -> int:
    if class_names is None:
        cure = "pass the index"
        raise bad_value("target", "an index, as this model has no class names", repr(target), cure)
    wanted = target.strip().casefold()
    folded = [name.casefold() for name in class_names]
    found = [index for index, name in enumerate(folded) if name == wanted]
    if not found:  # "tabby" of "tabby, tabby cat"
        synonyms = [name.split(",") for name in folded]
        found = [index for index, words in enumerate(synonyms) if wanted in map(str.strip, words)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(map(str, found[:_MAX_NEAR_NAMES]))
        others = len(found) - _MAX_NEAR_NAMES
        more = "" if others <= 0 else " and 1 other" if others == 1 else f" and {others} others"
        raise ArgumentError(f"`target`: {target!r} names the classes {some}{more}; pass the index of one")
    inside = [name for name, low in zip(class_names, folded, strict=True) if wanted and wanted in low]
    similar = [class_names[folded.index(low)] for low in difflib.get_close_matches(wanted, folded)]
    near = list(dict.fromkeys(inside + similar))[:_MAX_NEAR_NAMES]
    shown = ", ".join(repr(name) if "," in name else name for name in near)
    cure = f"near names: {shown}" if near else "no name is near it; pass the class index"
    raise bad_value("target", "the name of a class", repr(target), cure)
