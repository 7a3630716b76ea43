"""How sure a group is: the same search where nothing should change, or little."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from interpix.checks import check_number
from interpix.errors import bad_value
from interpix.options import python_number
from interpix.results.attribution import Attribution
from interpix.results.base import is_number, save_all
from interpix.results.explanation import Explanation
from interpix.results.files import load_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Stability"]

_NAMED = 5
_ITSELF = "as it is"
"""What a file calls the photo of which the others are variants."""
_SHIFTED = "shifted"
"""How the names of those begin that are moved, and are other pictures."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Stability:
    """Which patches of a group are in it, too, when the photo moves a pixel or absence looks otherwise.

    A brighter and a darker red patch, and one of green which is enough for another answer:

    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)) + np.array([0, 1, 0]), regions="2x3")
    >>> found = moxi.stability(image, absences=[-1])
    >>> found, found.core()
    (<Stability: 1 of 1 patches of the group are in all of 6 groups>, (3,))
    >>> found.frequency()
    array([0., 0., 0., 1., 0., 0.])

    Attributes:
        explanation: What the search found on the photo as it is.
        variants: What it found of each variant, by name: "shifted by (0, 1)", "absence mean".
        noise: The greatest difference between rewards of the group's patches, one by one, that the model gave in one
            batch and in another: a lead that is not greater is none.
    """

    explanation: Explanation
    variants: Mapping[str, Explanation]
    noise: float

    @classmethod
    def of(cls, explanation: Explanation, variants: Mapping[str, Explanation], noise: float) -> Self:
        """The same with its results' provenance saying what each is.

        Raises:
            ArgumentError: `noise` is no difference of rewards, or a variant is called as the photo itself is.
        """
        if not is_number(noise := python_number(noise)):
            raise bad_value("noise", "a finite number from 0 on", f"{noise}", "it is a difference of rewards")
        if _ITSELF in variants:
            raise bad_value("variants", f"other names than {_ITSELF!r}", "it", "that is what `explanation` is called")
        named = {
            name: dataclasses.replace(one, provenance={**one.provenance, "variant": name, "noise": noise})
            for name, one in {_ITSELF: explanation, **variants}.items()
        }
        return cls(explanation=named.pop(_ITSELF), variants=named, noise=noise)

    @property
    def unsure_steps(self) -> tuple[int, ...]:
        """The steps of the search, from 1 on, at which the best patch was ahead by no more than the model's noise."""
        return tuple((np.flatnonzero(self.explanation.gaps <= self.noise) + 1).tolist())

    def frequency(self) -> npt.NDArray[np.float64]:
        """For each patch (n,), in which part of the groups it is, 0 ... 1; searches that found none count, too."""
        groups = [one.group for one in (self.explanation, *self.variants.values())]
        counts = np.zeros(self.explanation.players)
        for group in groups:
            counts[list(group)] += 1
        return counts / len(groups)

    def core(self, share: float = 1.0) -> tuple[int, ...]:
        """The patches that are in at least this share of the groups, most frequent first."""
        check_number("share", share, 0, 1, "a part of the groups in 0 ... 1", "1 is all of them")
        frequency = self.frequency()
        order = np.argsort(-frequency, kind="stable")
        return tuple(int(patch) for patch in order if frequency[patch] >= share and frequency[patch] > 0)

    def words(self) -> str:
        """What came of it, in sentences, a line each.

        >>> import interpix as ix
        >>> image = np.zeros((3, 4, 6), np.float32)
        >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
        >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)) + np.array([0, 1, 0]), regions="2x3")
        >>> print(moxi.stability(image, absences=[]).words())
        Moved by a pixel or more: 1 of 1 patches of the group are in all of 5 groups.
        Most frequent in all 5: patch 3 (5).
        """
        group, lines = self.explanation.group, list[str]()
        if not group:
            none = "No group was found" if self.explanation.stopped_at is None else "No patch is needed"
            lines.append(f"{none} on the photo as it is.")
        kinds = {"Moved by a pixel or more": _SHIFTED, "Where absence looks otherwise": "absence"}
        for about, kind in kinds.items():
            others = [set(one.group) for name, one in self.variants.items() if name.startswith(kind)]
            if others and group:
                kept = sum(all(patch in other for other in others) for patch in group)
                line = f"{about}: {kept} of {len(group)} patches of the group are in all of {len(others) + 1} groups."
                lines.append(line)
        counts = np.rint(self.frequency() * (len(self.variants) + 1)).astype(int)
        order = [int(patch) for patch in np.argsort(-counts, kind="stable") if counts[patch]][:_NAMED]
        if order:
            named = ", ".join(f"patch {patch} ({counts[patch]})" for patch in order)
            lines.append(f"Most frequent in all {len(self.variants) + 1}: {named}.")
        if self.unsure_steps:
            steps = ", ".join(map(str, self.unsure_steps))
            lines.append(f"At step {steps} the best patch is not ahead by more than the model's own noise.")
        return "\n".join(lines)

    def attribution(self) -> Attribution:
        """The heat map: the frequency of each pixel's patch."""
        base = self.explanation
        method = f"stability ({base.direction})"
        values = dataclasses.replace(base, values=self.frequency()).attribution()
        return dataclasses.replace(values, method=method, provenance={**base.provenance, "method": method})

    def plot(self, *, ax: "Axes | None" = None) -> "Axes":
        """Draws each patch in the light of its frequency, and an outline around the core; needs matplotlib."""
        from interpix.plots import plot_stability  # matplotlib only when asked for

        return plot_stability(self, ax=ax)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes all results into a file that `Stability.load` reads; see `Explanation.save`.

        Raises:
            ArgumentError: The variants are not of the same question.
        """
        told = Stability.of(self.explanation, self.variants, self.noise)  # one made by hand does not say what each is
        for name, one in told.variants.items():
            if not _is_variant(name, one, told.explanation):
                need = "results of the same photo, patches, target and direction, moved ones but for photo and target"
                raise bad_value("variants", need, f"another, {name!r}", "see `MoXI.stability`")
        save_all(path, [told.explanation, *told.variants.values()], overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote.

        >>> import tempfile
        >>> from interpix import MoXI
        >>> path = tempfile.mkdtemp() + "/sure.safetensors"
        >>> found = MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2").stability(np.ones((3, 2, 4), np.float32))
        >>> found.save(path)
        >>> Stability.load(path).summary() == found.summary()
        True

        Raises:
            ArgumentError: The file holds other results.
        """
        found = load_all(path)
        named = {str(one.provenance.get("variant")): one for one in found if isinstance(one, Explanation)}
        base = named.pop(_ITSELF, None)
        about = {} if base is None else base.provenance
        same = base is not None and all(
            _is_variant(name, one, base) and one.provenance.get("noise") == about.get("noise")
            for name, one in named.items()
        )
        if base is None or not same or not is_number(about.get("noise")) or len(named) + 1 < len(found):
            raise bad_value("path", "a file of a Stability", f"`{os.fspath(path)}`", "use interpix.results.load_all")
        return cls(explanation=base, variants=named, noise=float(about["noise"]))

    def summary(self) -> dict[str, Any]:
        """The numbers as plain JSON values with names."""
        return {
            "words": self.words(),
            "noise": self.noise,
            "unsure_steps": list(self.unsure_steps),
            "frequency": self.frequency().tolist(),
            "core": list(self.core()),
            "explanation": self.explanation.summary(),
            "variants": {name: one.summary() for name, one in self.variants.items()},
        }

    def __str__(self) -> str:
        """The words."""
        return self.words()

    def __repr__(self) -> str:
        """One line for people."""
        group, core = self.explanation.group, set(self.core())
        kept = sum(patch in core for patch in group)
        return f"<Stability: {kept} of {len(group)} patches of the group are in all of {len(self.variants) + 1} groups>"


def _is_variant(name: str, one: Explanation, base: Explanation) -> bool:
    """Whether a result answers the same question as that of the photo as it is."""
    # A shift moves the picture, and may give another number to a box.
    still = name.startswith(_SHIFTED) or (one.target == base.target and np.array_equal(one.image, base.image))
    return still and one.direction == base.direction and np.array_equal(one.regions, base.regions)
