"""Whole pictures for a plain stack of convolutions: its layers with folded norms answer in its place."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from interpix.arrays import IntArray
from interpix.models.torch.module import TorchModule
from interpix.models.torch.pictures import Refill, TorchPictureScorer
from interpix.models.windows.folded import FoldedModel
from interpix.terms import Precision

__all__ = ["FoldedScorer"]


class FoldedScorer(TorchPictureScorer):
    """Composed pictures, which the layers with folded norms are asked about, in whole steps, too."""

    _casts = False  # the layers come in both precisions

    def __init__(
        self,
        net: TorchModule,
        folded: FoldedModel,
        images: npt.NDArray[np.float32],
        regions: IntArray,
        fill: npt.NDArray[np.float32],
        *,
        refill: Refill,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Takes what `PictureScorer` takes."""
        super().__init__(net, images, regions, fill, refill=refill, facts=facts)
        self._folded = folded

    @property
    def facts(self) -> dict[str, Any]:
        """See `Scorer`."""
        return super().facts | {"scored_as": "pictures, norms folded"}

    def _evaluate(self, pictures: Tensor, precision: Precision) -> Tensor:
        with self._net.errors_named(f"a batch {tuple(pictures.shape)}"):
            return self._net.rows(self._folded.whole_logits(pictures, precision=precision))
