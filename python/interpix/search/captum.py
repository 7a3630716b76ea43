"""Captum's way to ask: preprocessed batches in, heat maps like them out."""

from typing import Any, Protocol

import numpy as np

from interpix.arrays import from_numpy, to_numpy
from interpix.errors import bad_value, renamed
from interpix.search.arguments import one_for_each, part_of

__all__ = ["attribute"]


class _Explains(Protocol):
    def for_image(self, baselines: Any, feature_mask: Any, index: int, count: int) -> "_Explains": ...

    def explain(self, image: Any, target: Any) -> Any: ...


def attribute(
    moxi: _Explains,
    inputs: Any,
    baselines: Any,
    target: Any,
    additional_forward_args: object,
    feature_mask: Any,
) -> Any:
    """See `interpix.MoXI.attribute`."""
    if additional_forward_args is not None:
        cure = "put the arguments into the function that is the model"
        raise bad_value("additional_forward_args", "None", "something else", cure)
    if isinstance(inputs, tuple):
        if len(inputs) != 1:
            raise bad_value("inputs", "one batch of images", f"{len(inputs)} of them", "pass the images alone")
        return (attribute(moxi, inputs[0], baselines, target, None, feature_mask),)
    array = to_numpy(inputs, "inputs")
    single = array.ndim != 4
    batch = array[None] if single else array
    count = len(batch)
    targets = one_for_each(target, count)
    known = {} if feature_mask is None else {"regions": "feature_mask"}
    known |= {} if baselines is None else {"absence": "baselines"}
    fill_of_each = part_of(baselines, 0, count) is not baselines
    mask_of_each = part_of(feature_mask, 0, count, channels=False) is not feature_mask
    with renamed(image="inputs", **known):
        if count and not (fill_of_each or mask_of_each):  # the images share batches
            found = moxi.for_image(baselines, feature_mask, 0, count).explain(list(batch), targets)
        else:
            found = [
                moxi.for_image(baselines, feature_mask, index, count).explain(image, targets[index])
                for index, image in enumerate(batch)
            ]
        maps = np.stack([one.attribution().map for one in found])
    filled = np.repeat(maps[:, None], batch.shape[1], axis=1)
    return from_numpy(filled[0] if single else filled, like=inputs)
