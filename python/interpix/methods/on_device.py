"""Pictures that are made and scored on the device of a torch module."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpix.classifiers.base import check_logits
from interpix.classifiers.torch import TorchClassifier
from interpix.classifiers.torch_scorers import Chunks

__all__ = ["device_logits", "to_device"]


def to_device(classifier: TorchClassifier, array: npt.NDArray[np.float32]) -> Tensor:
    """An array as a float32 tensor on the module's device."""
    return torch.from_numpy(np.array(array, np.float32)).to(classifier.device)


def device_logits(classifier: TorchClassifier, pictures: Tensor) -> npt.NDArray[np.float64]:
    """Logits (B, classes) of pictures (B, 3, H, W) on the device; fewer at once where memory runs out."""
    with classifier.evaluating():
        chunks = Chunks(classifier.name, classifier.pictures_at_once(*pictures.shape[2:]))
        parts = chunks.run(len(pictures), lambda part: classifier.forward(pictures[part].to(classifier.dtype)).float())
        return check_logits(torch.cat(parts).cpu().numpy(), len(pictures), classifier.name)
