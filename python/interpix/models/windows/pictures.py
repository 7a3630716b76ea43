"""Whole pictures, of which a plain stack of convolutions is asked in bfloat16 by its layers with folded norms."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpix.arrays import IntArray
from interpix.models.torch.agreement import disagreement
from interpix.models.torch.module import TorchModule
from interpix.models.torch.pictures import Refill, TorchPictureScorer
from interpix.models.windows.folded import FoldedModel
from interpix.terms import Precision

__all__ = ["FoldedScorer"]


class FoldedScorer(TorchPictureScorer):
    """Composed pictures, which the module is asked about; in bfloat16 its layers, if it is a plain stack of them.

    Layers in the layout that bfloat16 wants are faster than torch's autocast. In single precision they would be no
    faster than the module, and so what is exact is the module's own answer.
    """

    def __init__(
        self,
        net: TorchModule,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        fill: npt.NDArray[np.float32],
        *,
        refill: Refill,
        find: Callable[[], FoldedModel | None],
    ) -> None:
        """Takes what `PictureScorer` takes, and what finds the layers, if there are any: asked when they are needed."""
        super().__init__(net, images, regions, fill, refill=refill)
        self._find = find
        self._differs: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """See `Scorer`."""
        given_up = {} if self._differs is None else {"layers_differ_by": self._differs}
        used = {"bfloat16_by": "layers with folded norms"} if vars(self).get("_layers") is not None else {}
        return super().facts | given_up | used

    @cached_property
    def _layers(self) -> FoldedModel | None:
        """The layers, if they answer as the module does; which is looked at once a call."""
        # Elsewhere, as on Apple's devices, torch's autocast decides itself whether it can.
        found = self._find() if self._labels.device.type in {"cpu", "cuda"} else None
        if found is None:
            return None
        first, fill = self._images[0], self._fill[0]
        half = first.clone()
        half[:, :, ::2] = fill[:, :, ::2]
        shown = torch.stack([first, *self._images[1:][-1:], fill, half])
        what, instead = "the layers that were traced", "the module is asked instead"
        self._differs = disagreement(self._net, shown, found.whole_logits, what, instead)
        return found if self._differs is None else None

    def _evaluate(self, pictures: Tensor, precision: Precision) -> Tensor:
        if precision == "exact" or self._layers is None:
            return super()._evaluate(pictures, precision)
        with self._net.errors_named(f"a batch {tuple(pictures.shape)}"):
            return self._net.rows(self._layers.whole_logits(pictures, precision="mixed"))

    def _casting(self, precision: Precision) -> torch.autocast:
        # The layers have weights of their own in bfloat16.
        return super()._casting("exact" if precision == "mixed" and self._layers is not None else precision)
