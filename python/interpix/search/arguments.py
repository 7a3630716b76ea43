"""What of an argument belongs to which image of a call."""

from collections.abc import Iterable, Iterator
from typing import Any

from interpix.errors import bad_value
from interpix.images import ImageInput
from interpix.terms import Target, TargetInput

__all__ = ["count_of", "one_for_each", "part_of", "with_targets"]


def one_for_each(target: TargetInput, count: int) -> list[Target]:
    """One target for each of `count` images, from one for all, a sequence, or an array.

    >>> one_for_each("cat", 2), one_for_each([3, None], 2)
    (['cat', 'cat'], [3, None])
    """
    given: Any = getattr(target, "tolist", lambda: target)()
    if not isinstance(given, list | tuple):
        return [given] * count
    if len(given) != count:
        cure = "pass one for all, or one for each image"
        raise bad_value("target", f"{count} targets for {count} images", len(given), cure)
    return list(given)


def count_of(target: TargetInput) -> int:
    """How many targets these are.

    >>> count_of(3), count_of([3, "cat"]), count_of(None)
    (1, 2, 1)
    """
    given: Any = getattr(target, "tolist", lambda: target)()
    return len(given) if isinstance(given, list | tuple) else 1


def part_of(value: Any, index: int, count: int, *, channels: bool = True) -> Any:
    """The part of a Captum argument that belongs to one of `count` images; anything else is for all.

    Args:
        value: (B, C, H, W), or without `channels` also (B, H, W).
        index: Which of the images.
        count: B.
        channels: Three dimensions are channels of one image.
    """
    axes = getattr(value, "ndim", 0)
    return value[index] if axes in ({4} if channels else {3, 4}) and value.shape[0] == count else value


def with_targets(
    images: Iterable[ImageInput], target: Target | Iterable[Target]
) -> Iterator[tuple[ImageInput, Target]]:
    """Each image with its target."""
    # Arrays and tensors, those without an axis, too.
    given: Any = getattr(target, "tolist", lambda: target)()
    if not isinstance(given, Iterable) or isinstance(given, str):
        yield from ((image, given) for image in images)
        return
    targets = iter(given)
    for number, image in enumerate(images):
        try:
            yield image, next(targets)
        except StopIteration:
            cure = "pass one for all, or one for each image"
            raise bad_value("target", "as many targets as images", f"{number} of them", cure) from None
