"""Why one answer and not another: two results, in words."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interpix.outputs.base import describe
from interpix.outputs.readout import Score
from interpix.results.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Why", "rather_than"]


def rather_than(found: Explanation, rival: int, full: Score) -> Explanation:
    """A result about the lead of a class over its rival, which says so; `full` is the score of the whole image."""
    claim = f"the answer {found.name_of(found.target)!r} rather than {found.name_of(rival)!r}"
    output = {**found.output, "claim": claim}
    provenance = {**found.provenance, "rival": rival, "output": output}
    return dataclasses.replace(found, full=full, provenance=provenance)


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
        makes, hides = self.makes_wrong, self.hides_right
        wrong, right = (repr(one.name_of(one.target)) for one in (makes, hides))
        said, other = describe(makes.output, makes.full.answer), describe(hides.output, hides.full.answer)
        answer = repr(makes.name_of(makes.prediction))
        first = f"The model says {answer}"
        first += f" ({said}), not {right} ({other})." if answer == wrong else f"; {wrong}: {said}, {right}: {other}."
        if makes.stopped_at is None:
            alone = f"No patches of up to {len(makes.ranking)} make it say {wrong} rather than {right}."
        elif makes.stopped_at == 0:
            alone = f"An empty image says {wrong} rather than {right} already."
        else:
            count = len(makes.group)
            verb = "makes" if count == 1 else "make"
            alone = f"{count} of {makes.players} patches alone {verb} it say {wrong} rather than {right}."
        gone = len(hides.removed_before)
        if not hides.group:
            less = f"Whatever is taken away, it does not say {right}."
        else:
            needed = f"{len(hides.group)} other{'' if len(hides.group) == 1 else 's'}"
            less = f"Without {gone} of {hides.players} patches it says {right}, which then needs {needed}."
            if gone == 0:
                less = f"It says {right} already, which needs {len(hides.group)} of {hides.players} patches."
        return f"{first}\n{alone}\n{less}"

    def plot(self, *, figure: "Figure | None" = None) -> "Figure":
        """Draws the photo and both groups side by side; needs matplotlib."""
        from interpix.plots import plot_why  # matplotlib only when asked for

        return plot_why(self, figure=figure)

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
