"""Which player each patch token of a Vision Transformer belongs to."""

from typing import Any

import numpy.typing as npt

from interpix.arrays import IntArray
from interpix.errors import bad_value

__all__ = ["token_players", "without_repeats"]


def token_players(regions: IntArray, grid: tuple[int, int]) -> IntArray:
    """The player of each token (K, T), if every patch of `regions` (K, H, W) lies in one region.

    >>> import numpy as np
    >>> token_players(np.array([[[0, 0, 1, 1], [0, 0, 1, 1]]]), (1, 2))
    array([[0, 1]])

    Raises:
        ArgumentError: A region cuts a patch.
    """
    count, height, width = regions.shape
    patches = regions.reshape(count, grid[0], height // grid[0], grid[1], width // grid[1])
    players = patches[:, :, 0, :, 0]
    if not (patches == players[:, :, None, :, None]).all():
        expected = f"regions made of whole patches of the {grid[0]} x {grid[1]} token grid"
        raise bad_value("regions", expected, "regions that cut patches", 'use "tokens", or absence="zero"')
    return players.reshape(count, -1)


def without_repeats(arrays: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Arrays of K images (K, ...) as (1, ...) if one was broadcast to all.

    >>> import numpy as np
    >>> without_repeats(np.broadcast_to(np.array([[0, 1]]), (50_000, 1, 2))).shape
    (1, 1, 2)
    """
    return arrays[:1] if arrays.strides[0] == 0 else arrays
