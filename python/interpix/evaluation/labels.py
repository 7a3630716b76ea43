"""Which class of the model each label of a source means: decided before the first image, or refused."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interpix.errors import ArgumentError, bad_type, bad_value
from interpix.evaluation.items import Item
from interpix.targets import resolve_target

__all__ = ["classes_of_file", "with_targets"]

_SYNSET = re.compile(r"n\d{8}")
_NUMBER = re.compile(r"(\d+)(?:\.0+)?", re.ASCII)
"""A whole number, also as pandas writes it beside empty cells."""
_SHOWN = 3


def classes_of_file(path: str | os.PathLike[str]) -> list[str]:
    r"""The labels of a model's classes in their order: each line's first word, as of ImageNet's `synset_words.txt`.

    >>> path = getfixture("tmp_path") / "words.txt"
    >>> _ = path.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    >>> classes_of_file(path)
    ['n01440764', 'n01443537']
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise bad_value("classes", "a text file", f"'{os.fspath(path)}' ({error})", "check the path") from error
    return [line.split()[0].rstrip(",") for line in lines if line.strip()]


def with_targets(
    items: Sequence[Item],
    class_names: list[str] | None,
    count: int,
    *,
    classes: Sequence[str] | None = None,
    label_names: Sequence[str] | None = None,
) -> list[Item]:
    """The items with their labels as indices of the model's classes.

    >>> items = [Item("1.jpg", "1.jpg", "cat"), Item("2.jpg", "2.jpg")]
    >>> [one.target for one in with_targets(items, ["dog", "cat"], 2)]
    [1, None]

    Args:
        items: With labels as they stand in the source.
        class_names: The model's.
        count: Of the model's classes.
        classes: The source's label of each class, in the model's order, if known.
        label_names: What labels that are numbers are called in the source; None: they are the model's classes.

    Raises:
        ArgumentError: Some are no classes of the model.
    """
    if classes is not None:
        classes = _checked(classes, count)
    labels = list(dict.fromkeys(item.target for item in items if item.target is not None))
    if label_names is not None and not _are_known(label_names, class_names if classes is None else list(classes)):
        # Of a model that does not say what its classes are, as many are taken for the same.
        if len(label_names) != count or class_names is not None or classes is not None:
            got = f"{len(label_names)} others, as {', '.join(label_names[:_SHOWN])}"
            raise bad_value("source", f"labels that are among the model's {count} classes", got, _CURE)
        label_names = None
    index = _indices(labels, class_names, count, classes, label_names)
    return [item if item.target is None else replace(item, target=index[item.target]) for item in items]


_CURE = "pass classes=, a file with the label of each class in the model's order, or labels=False for the predictions"


def _checked(classes: Sequence[str], count: int) -> list[str]:
    need, cure = f"a label for each of the model's {count} classes", "name one for each, in the model's order"
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise bad_type("classes", need, classes, cure)
    if len(classes) != count:
        raise bad_value("classes", need, len(classes), cure)
    texts = [str(one).strip() for one in classes]
    doubled = sorted(one for one, times in Counter(texts).items() if times > 1)
    if doubled:
        got = f"{', '.join(doubled[:_SHOWN])} twice"
        raise bad_value("classes", "labels that differ", got, "give each class a label of its own")
    return texts


def _indices(
    labels: list[int | str],
    class_names: list[str] | None,
    count: int,
    classes: Sequence[str] | None,
    label_names: Sequence[str] | None,
) -> dict[int | str, int]:
    synsets = [label for label in labels if isinstance(label, str) and _SYNSET.fullmatch(label)]
    if classes is None and len(synsets) == len(labels) == count:
        classes = sorted(synsets)  # as torchvision's ImageFolder numbers them
    found: dict[int | str, int] = {}
    unknown: list[str] = []
    for label in labels:
        try:
            found[label] = _index(label, class_names, count, classes, label_names)
        except ArgumentError as error:
            got = str(error).split("got ", 1)[-1]
            # Cures of another argument.
            got = got.removesuffix("; name it there")
            unknown.append(got.removesuffix("; pass the index").removesuffix("; or None for the prediction"))
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        got = "; ".join(unknown[:_SHOWN]) + more
        need = "labels that are classes of the model"
        if class_names is None and classes is None:
            need = (
                f"labels that are indices in 0 ... {count - 1}, as this model does not say what its classes are called"
            )
        raise bad_value("source", need, got, _CURE)
    return found


def _index(
    label: int | str,
    class_names: list[str] | None,
    count: int,
    classes: Sequence[str] | None,
    label_names: Sequence[str] | None,
) -> int:
    """One label's class. A number is an index, unless it is what a class is called; it says the same as text.

    Which of both is meant, where both are possible, cannot be known.
    """
    if isinstance(label, int) and label_names is not None:
        label = label_names[label]
    text = str(label).strip()
    if classes is not None and text in classes:
        return classes.index(text)
    number = int(match[1]) if (match := _NUMBER.fullmatch(text)) else None
    if number is not None and classes is not None and any(_NUMBER.fullmatch(one) for one in classes):
        # Among labels that are numbers, it would be one of these, and not an index.
        raise bad_value("source", "one of classes=", f"{label}, which is none of classes=", "name it there")
    if number is None:
        return resolve_target(text if isinstance(label, str) else label, class_names, count)
    names = [name.strip() for name in class_names or ()]
    if text not in names:
        return resolve_target(number, class_names, count)
    named = resolve_target(text, class_names, count)
    if isinstance(label, int) and named != number < count:
        got = f"{label}, which is the number of one class and the name of another"
        raise bad_value("source", "one class", got, "write names as text")
    return named


def _are_known(names: Sequence[str], class_names: list[str] | None) -> bool:
    try:
        for name in names:
            resolve_target(name, class_names, len(class_names or ()))
    except ArgumentError:
        return False
    return True
