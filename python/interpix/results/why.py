"""Why one answer and not another: two results, in words."""

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from interpix.errors import bad_value
from interpix.outputs.base import describe
from interpix.outputs.readout import Score
from interpix.results.base import save_all
from interpix.results.explanation import Explanation
from interpix.results.files import load_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Why", "rather_than"]

_CONTRAST = "MoXI contrast"
"""What both results call their method."""


def rather_than(found: Explanation, rival: int, full: Score) -> Explanation:
    """A result about the lead of a class over its rival, which says so; `full` is the score of the whole image."""
    claim = f"the answer {found.name_of(found.target)!r} rather than {found.name_of(rival)!r}"
    output = {**found.output, "claim": claim}
    provenance = {**found.provenance, "rival": rival, "output": output}
    known = None if found.coalitions is None else found.coalitions.with_whole(full)
    return dataclasses.replace(found, full=full, provenance=provenance, coalitions=known)


@dataclass(frozen=True, eq=False, kw_only=True)
class Why:
    """Why a model said what is wrong, and not what is right: what `MoXI.why` returns.

    >>> import numpy as np
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> found = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3").why(image, 0, 1)
    >>> found, found.makes_wrong.group, found.hides_right.removed_before
    (<Why 'class 0' and not 'class 1'>, (3,), (3,))

    Attributes:
        makes_wrong: The least patches that make the wrong class more probable than the right one.
        hides_right: The patches without which the right one is the answer (`removed_before`), and those that this
            answer needs then (`group`).
    """

    makes_wrong: Explanation
    hides_right: Explanation

    def words(self) -> str:
        """The same in sentences, a line each."""
        return f"{self._said()}\n{self._alone()}\n{self._less()}"

    def _names(self) -> tuple[str, str]:
        """Those of the wrong class and of the right one, quoted."""
        makes, hides = self.makes_wrong, self.hides_right
        return repr(makes.name_of(makes.target)), repr(hides.name_of(hides.target))

    @property
    def _exclusive(self) -> bool:
        """Whether one class is the answer; else several labels may be right, of which one is the most probable."""
        return bool(self.makes_wrong.output["exclusive"])

    def _said(self) -> str:
        """What the model says to the whole image."""
        makes, hides, (wrong, right) = self.makes_wrong, self.hides_right, self._names()
        said, other = describe(makes.output, makes.full.answer), describe(hides.output, hides.full.answer)
        answer = repr(makes.name_of(makes.prediction))
        first = "The model says" if self._exclusive else "The model's most probable label is"
        if answer != wrong:
            return f"{first} {answer}; {wrong}: {said}, {right}: {other}."
        return f"{first} {answer} ({said}), not {right} ({other})."

    def _alone(self) -> str:
        """What makes the wrong class more probable than the right one."""
        makes, (wrong, right) = self.makes_wrong, self._names()
        say = "say" if self._exclusive else "prefer"
        rather = f"{wrong} rather than {right}" if self._exclusive else f"{wrong} to {right}"
        if makes.stopped_at is None:
            says = f"{say}s"
            return f"However many patches are shown, one by one, it never {says} {rather}."
        if makes.stopped_at == 0:
            already = f"says {rather}" if self._exclusive else f"makes it prefer {rather}"
            return f"An empty image {already} already."
        count = len(makes.group)
        return f"{count} of {makes.players} patches alone {'makes' if count == 1 else 'make'} it {say} {rather}."

    def _less(self) -> str:
        """Without what the right class is the answer, and what that needs."""
        hides, (_, right) = self.hides_right, self._names()
        gone, count = len(hides.removed_before), len(hides.group)
        says = "says" if self._exclusive else "prefers"
        if hides.predicted[0] != hides.target:
            return f"However many patches are taken away, one by one, it never {says} {right}."
        first = f"Without {gone} of {hides.players} patches it {says} {right}" if gone else f"It {says} {right} already"
        if not count:
            return f"{first}, and still does without any patch."
        if not gone:
            return f"{first}, which needs {count} of {hides.players} patches."
        return f"{first}, which then needs {count} other{'' if count == 1 else 's'}."

    def plot(self, *, figure: "Figure | None" = None) -> "Figure":
        """Draws the photo and both groups side by side; needs matplotlib."""
        from interpix.plots import plot_why  # matplotlib only when asked for

        return plot_why(self, figure=figure)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes both results into a file that `Why.load` reads; see `Explanation.save`.

        Raises:
            ArgumentError: They are not one answer of `MoXI.why`.
        """
        if not _belong_together(self.makes_wrong, self.hides_right):
            raise bad_value("why", "the two results of one `MoXI.why`", "others", "save each by itself")
        save_all(path, [self.makes_wrong, self.hides_right], overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote.

        >>> import tempfile
        >>> import numpy as np
        >>> from interpix import MoXI
        >>> path = tempfile.mkdtemp() + "/why.safetensors"
        >>> image = np.random.default_rng(0).random((3, 4, 6), np.float32)
        >>> found = MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3").why(image, 0, 1)
        >>> found.save(path)
        >>> Why.load(path).summary() == found.summary()
        True

        Raises:
            ArgumentError: The file holds other results.
        """
        match load_all(path):
            case [Explanation() as makes, Explanation() as hides] if _belong_together(makes, hides):
                return cls(makes_wrong=makes, hides_right=hides)
        raise bad_value("path", "a file of a Why", f"`{os.fspath(path)}`", "use interpix.results.load_all")

    def summary(self) -> dict[str, Any]:
        """The numbers as plain JSON values with names."""
        both = {"makes_wrong": self.makes_wrong.summary(), "hides_right": self.hides_right.summary()}
        return {"words": self.words(), **both}

    def __str__(self) -> str:
        """The words."""
        return self.words()

    def __repr__(self) -> str:
        """One line for people."""
        makes, hides = self.makes_wrong, self.hides_right
        return f"<Why {makes.name_of(makes.target)!r} and not {hides.name_of(hides.target)!r}>"


def _belong_together(makes: Explanation, hides: Explanation) -> bool:
    """Whether two results are one answer to "why?"."""
    methods, absences = ([one.provenance.get(key) for one in (makes, hides)] for key in ("method", "absence"))
    same = np.array_equal(makes.regions, hides.regions) and np.array_equal(makes.image, hides.image)
    return (
        same
        and makes.provenance.get("rival") == hides.target
        and methods == [_CONTRAST, _CONTRAST]
        and (absences[0] == absences[1])
    )
