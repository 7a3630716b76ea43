"""Several groups of one image, each of which does by itself what was asked for."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import numpy.typing as npt

from interpix.errors import bad_value
from interpix.results.attribution import Attribution
from interpix.results.base import is_count, save_all
from interpix.results.explanation import Explanation
from interpix.results.files import load_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Catalogue"]

_OPTIONS = ("method", "count", "overlap", "min_confidence", "width", "exhaust", "tries")


@dataclass(frozen=True, eq=False, kw_only=True)
class Catalogue(Sequence[Explanation]):
    """Several minimal groups of one image that overlap little, the first found first: what `MoXI.catalogue` returns.

    Two patches of a picture are enough by themselves, the red one and the brighter red one:

    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, :2, :2], image[0, 2:, 4:], image[1, :2, 2:4] = 3, 4, 2
    >>> model = lambda batch: np.stack([batch[:, 0].max(axis=(1, 2)), batch[:, 1].max(axis=(1, 2)) + 0.5], axis=1)
    >>> found = ix.MoXI(model, regions="2x3").catalogue(image)
    >>> found, [one.group for one in found]
    (<Catalogue insertion of 'class 0': 2 groups of 1 of 6 patches; there are no others>, [(5,), (0,)])
    >>> found[0].proven
    'no part of it does'
    >>> found.frequency()
    array([0.5, 0. , 0. , 0. , 0. , 0.5])

    Attributes:
        groups: One result for each, whose `group` is minimal.
        none_up_to: All groups of up to so many patches were tried, and none does what was asked for.
        complete: All groups of all sizes were tried: there are no others that overlap as little.
        options: How they were looked for.
    """

    groups: tuple[Explanation, ...]
    none_up_to: int | None
    complete: bool
    options: Mapping[str, Any]

    @overload
    def __getitem__(self, index: int) -> Explanation: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Explanation, ...]: ...

    def __getitem__(self, index: int | slice) -> Explanation | tuple[Explanation, ...]:
        """A group, or several."""
        return self.groups[index]

    def __len__(self) -> int:
        """How many groups were found."""
        return len(self.groups)

    def __iter__(self) -> Iterator[Explanation]:
        """The groups, in order."""
        return iter(self.groups)

    def frequency(self) -> npt.NDArray[np.float64]:
        """For each patch (n,) the part of the groups that it is in, 0 ... 1.

        Raises:
            ArgumentError: There are no groups.
        """
        first = self._first()
        counts = np.zeros(first.players)
        for one in self.groups:
            counts[list(one.group)] += 1
        return counts / len(self.groups)

    def attribution(self) -> Attribution:
        """The heat map: for each pixel the part of the groups that it is in.

        Raises:
            ArgumentError: There are no groups.
        """
        first = self._first()
        method = f"catalogue ({first.direction})"
        return Attribution(
            map=self.frequency().astype(np.float32)[first.regions],
            target=first.target,
            prediction=first.prediction,
            class_names=first.class_names,
            image=first.image,
            method=method,
            provenance={**first.provenance, "method": method},
        )

    def plot(self, *, figure: "Figure | None" = None) -> "Figure":
        """Draws all groups side by side; needs matplotlib."""
        from interpix.plots import plot_catalogue  # matplotlib only when asked for

        return plot_catalogue(self, figure=figure)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the groups into a file that `Catalogue.load` reads; see `Explanation.save`.

        Raises:
            ArgumentError: There are no groups, or they are not of one catalogue.
        """
        self._first()
        if not _are_of_one(self.groups):
            need = "distinct groups of one image and one `MoXI.catalogue`"
            raise bad_value("groups", need, "others", "use interpix.results.save_all")
        save_all(path, self.groups, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote.

        >>> import tempfile
        >>> from interpix import MoXI
        >>> path = tempfile.mkdtemp() + "/groups.safetensors"
        >>> found = MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2").catalogue(np.ones((3, 2, 4), np.float32))
        >>> found.save(path)
        >>> Catalogue.load(path).summary() == found.summary()
        True

        Raises:
            ArgumentError: The file holds other results.
        """
        groups = load_all(path)
        one = [group for group in groups if isinstance(group, Explanation)]
        if len(one) < len(groups) or not _are_of_one(one):
            raise bad_value("path", "a file of a catalogue", f"`{os.fspath(path)}`", "use interpix.results.load_all")
        about = one[0].provenance
        options = {name: about[name] for name in _OPTIONS}
        return cls(groups=tuple(one), none_up_to=one[0].none_up_to, complete=about["complete"], options=options)

    def summary(self) -> dict[str, Any]:
        """The numbers as plain JSON values with names."""
        return {
            "options": dict(self.options),
            "none_up_to": self.none_up_to,
            "complete": self.complete,
            "groups": [one.summary() for one in self.groups],
        }

    def _first(self) -> Explanation:
        if not self.groups:
            cure = "see its `none_up_to`, and ask explain(stop='all') how the answer changes"
            raise bad_value("catalogue", "at least one group", "none", cure)
        return self.groups[0]

    def __repr__(self) -> str:
        """One line for people."""
        if not self.groups:
            tried = "" if self.none_up_to is None else f"; none of up to {self.none_up_to} patches exists"
            return f"<Catalogue: no group found{tried}>"
        first, sizes = self.groups[0], sorted({len(one.group) for one in self.groups})
        patches = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        groups = "1 group" if len(self.groups) == 1 else f"{len(self.groups)} groups"
        about = f"{first.direction} of {first.name_of(first.target)!r}"
        more = ""
        if len(self.groups) < self.options["count"]:
            more = "; there are no others" if self.complete else f"; no more of {self.options['count']} were found"
        return f"<Catalogue {about}: {groups} of {patches} of {first.players} patches{more}>"


def _are_of_one(groups: Sequence[Explanation]) -> bool:
    """Whether these are the groups of one catalogue, which each says how they were looked for."""
    needed = {*_OPTIONS, "complete"}
    if not groups or not all(needed <= group.provenance.keys() for group in groups):
        return False
    first = groups[0]
    same = all(
        group.target == first.target
        and np.array_equal(group.regions, first.regions)
        and np.array_equal(group.image, first.image)
        and all(group.provenance[name] == first.provenance[name] for name in needed)
        for group in groups
    )
    distinct = len({frozenset(group.group) for group in groups}) == len(groups)
    known = is_count(first.provenance["count"]) and isinstance(first.provenance["complete"], bool)
    return same and distinct and known
