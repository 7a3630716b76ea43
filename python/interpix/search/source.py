"""The images of a call, prepared and asked about a few at a time; files are decoded beside what else goes on."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from interpix.images import ImageInput, LoadedImage, read_image
from interpix.models.protocol.classifier import Classifier
from interpix.question import Asker, Question
from interpix.terms import Target

__all__ = ["Source"]

# As many at once, at least: to ask a model about one image alone is dear.
_ASKED_AT_ONCE = 32
# Photos that are decoded ahead, of some megabytes each.
_AHEAD = 16
_THREADS = 4

_Item: TypeAlias = tuple[ImageInput | LoadedImage, Target]
_Loaded: TypeAlias = LoadedImage | Future[LoadedImage]


class Source:
    """Images and their targets, taken one after the other."""

    def __init__(
        self, classifier: Classifier, items: Iterable[_Item], targets: Iterable[Target] = (), *, copies: bool = False
    ) -> None:
        """Takes the model and what is asked about, of which nothing is read yet.

        Args:
            classifier: The model.
            items: Images and targets.
            targets: All of these, if they are known.
            copies: Whoever gives the images may write the next one into the same array.
        """
        self._asker, self._copies = Asker(classifier), copies
        self._items = self._decoded(iter(items))
        self._targets = targets
        self._ready: deque[tuple[int, Question]] = deque()
        self._count = 0

    @classmethod
    def of(cls, questions: Sequence[Question]) -> "Source":
        """Questions that were asked already."""
        source = cls(questions[0].classifier, ())
        source._ready.extend(enumerate(questions))
        return source

    def take(self, count: int | None, size: tuple[int, int] | None = None) -> list[tuple[int, Question]]:
        """The next images, up to `count` (None: all), with their numbers; of one `size`, or of that of the first."""
        taken: list[tuple[int, Question]] = []
        others: deque[tuple[int, Question]] = deque()
        while True:
            while self._ready and (count is None or len(taken) < count):
                size = size or self._ready[0][1].size
                (taken if self._ready[0][1].size == size else others).append(self._ready.popleft())
            # Images of another size wait; so that they do not wait for many, no more are asked about then.
            if (count is not None and len(taken) == count) or others or not self._ask(count):
                break
        self._ready.extendleft(reversed(others))
        return taken

    def _ask(self, count: int | None) -> bool:
        """Prepares the next images, at least so many if there are; whether there are any."""
        some: list[tuple[LoadedImage, Target]] = []
        for item in self._items:
            some.append(item)
            if count is not None and len(some) >= max(count, _ASKED_AT_ONCE):
                break
        if not some:
            return False
        images, targets = zip(*some, strict=True)
        questions = self._asker.ask(images, targets)
        if self._count == 0:
            self._check_targets(questions[0])
        self._ready.extend(enumerate(questions, start=self._count))
        self._count += len(some)
        return True

    def _check_targets(self, question: Question) -> None:
        """Refuses targets of images that come later, now that the model's classes are known."""
        output = question.output
        if output.among_classes:
            names = output.names(question.classifier.class_names, question.logits)
            for target in self._targets:
                output.read_target(target, question.logits, names)

    def _decoded(self, items: Iterator[_Item]) -> Iterator[tuple[LoadedImage, Target]]:
        """The images, of which those that come next are read meanwhile."""
        ahead: deque[tuple[_Loaded, Target]] = deque()
        pool: ThreadPoolExecutor | None = None
        try:
            for image, target in items:
                loaded: _Loaded
                # What is open already may be the same object twice, which two threads must not read at once.
                if isinstance(image, str | os.PathLike):
                    pool = pool or ThreadPoolExecutor(_THREADS, thread_name_prefix="interpix-decode")
                    loaded = pool.submit(read_image, image)
                else:
                    loaded = image if isinstance(image, LoadedImage) else read_image(image)
                    loaded = loaded.copy() if self._copies else loaded
                ahead.append((loaded, target))
                if len(ahead) > (_AHEAD if pool is not None else 0):
                    yield _done(*ahead.popleft())
            while ahead:
                yield _done(*ahead.popleft())
        finally:
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)


def _done(image: _Loaded, target: Target) -> tuple[LoadedImage, Target]:
    return (image.result() if isinstance(image, Future) else image), target
