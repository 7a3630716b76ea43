"""Gaussian blur of pictures: the taps of the kernel, what lies outside of a picture, and one separable convolution.

The caller chooses where the Gaussian ends and what is outside. The convolution is one matrix product along each axis:
for kernels as wide as the picture, that is faster than a sum of shifted copies.
"""

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Border", "blur_matrix", "convolve", "gaussian_taps"]

Border: TypeAlias = Literal["mirror", "zero"]
"""What is outside of a picture: its mirror image, the edge pixels twice (scipy's `"reflect"`), or zeros."""


def gaussian_taps(sigma: float, reach: int) -> npt.NDArray[np.float64]:
    """A Gaussian at the offsets -`reach` ... `reach`, scaled to sum to 1 (2 `reach` + 1,).

    >>> gaussian_taps(1.0, 1).round(3)
    array([0.274, 0.452, 0.274])

    Args:
        sigma: The standard deviation; it may be 0 if `reach` is 0.
        reach: Where the Gaussian ends.
    """
    if reach == 0:
        return np.ones(1)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    scaled: npt.NDArray[np.float64] = taps / taps.sum()
    return scaled


def blur_matrix(length: int, taps: npt.NDArray[np.float64], border: Border) -> npt.NDArray[np.float64]:
    """The matrix (length, length) that convolves a column with symmetric taps, an odd number of them.

    >>> blur_matrix(3, np.array([1.0, 2.0, 1.0]), "zero")
    array([[2., 1., 0.],
           [1., 2., 1.],
           [0., 1., 2.]])
    >>> blur_matrix(3, np.array([1.0, 2.0, 1.0]), "mirror")
    array([[3., 1., 0.],
           [1., 2., 1.],
           [0., 1., 3.]])
    """
    reach = len(taps) // 2
    if border == "zero":
        # Each row is a window of the taps, padded to reach from one end of the column to the other.
        reached = np.zeros(2 * length - 1)
        near = min(reach, length - 1)
        reached[length - 1 - near : length + near] = taps[reach - near : reach + near + 1]
        return np.lib.stride_tricks.sliding_window_view(reached, length)[::-1]
    # The column and its mirror image alternate for ever.
    place = (np.arange(length)[:, None] + np.arange(-reach, reach + 1)) % (2 * length)
    column = np.minimum(place, 2 * length - 1 - place)
    entry = np.arange(length)[:, None] * length + column
    sums = np.bincount(entry.ravel(), np.tile(taps, length), minlength=length * length)
    return np.asarray(sums, np.float64).reshape(length, length)


def convolve(
    pictures: npt.NDArray[np.floating[Any]], taps: npt.NDArray[np.float64], border: Border
) -> npt.NDArray[np.float64]:
    """Pictures (..., H, W), convolved with the same symmetric taps down the columns and along the rows.

    >>> convolve(np.array([[0.0, 0.0, 0.0], [0.0, 4.0, 0.0]]), np.array([0.25, 0.5, 0.25]), "zero")
    array([[0.25, 0.5 , 0.25],
           [0.5 , 1.  , 0.5 ]])
    """
    height, width = pictures.shape[-2:]
    down = blur_matrix(height, taps, border)
    along = down if height == width else blur_matrix(width, taps, border)
    blurred: npt.NDArray[np.float64] = down @ pictures.astype(np.float64) @ along.T
    return blurred
