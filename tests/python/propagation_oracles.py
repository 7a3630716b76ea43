"""P and V by ways that are slow and obvious, and pictures to try them on."""

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from skimage import color, data, transform

from interpix import _core

PHOTOS = {"chelsea": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}
#: Most pairs of them are too far apart for single precision.
EXTREMES = np.array([[0, 0, 255], [0, 255, 0], [255, 0, 0], [255, 255, 0], [0, 0, 0], [255, 255, 255]], np.uint8)


def photo(name, height, width):
    """A photo from scikit-image, small and not square, as uint8."""
    small = transform.resize(PHOTOS[name](), (height, width), anti_aliasing=True)
    return np.rint(255 * small).astype(np.uint8)


def scipy_matrix(image, radius):
    """P as the paper's formula says, from scikit-image's colors, vectorized over pixels, edge by edge."""
    lab = color.rgb2lab(image)
    height, width = lab.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    rows, columns, weights = [], [], []
    for down in range(-min(radius, height - 1), min(radius, height - 1) + 1):
        for right in range(-min(radius, width - 1), min(radius, width - 1) + 1):
            if down == right == 0:
                continue
            here = (slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right)))
            there = (slice(max(0, down), height - max(0, -down)), slice(max(0, right), width - max(0, -right)))
            distance = np.hypot(down, right) + np.linalg.norm(lab[here] - lab[there], axis=-1)
            rows.append(index[here].ravel())
            columns.append(index[there].ravel())
            weights.append(np.exp(-distance).ravel())
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    matrix = sp.csr_array(sp.coo_array(entries, shape=(height * width, height * width)))
    return sp.diags_array(1 / matrix.sum(axis=1)) @ matrix


def direct(matrix, attribution, discount):
    system = sp.eye_array(matrix.shape[0]) - discount * matrix
    return spl.spsolve(system.tocsc(), attribution.ravel().astype(float)).reshape(attribution.shape)


def relative_error(values, exact):
    return np.abs(values - exact).max() / np.abs(exact).max()


def dense_matrix(image, radius, color_weight=1.0):
    """P from the formula in double precision, from the package's colors."""
    lab = np.moveaxis(_core.rgb_to_lab(image) * np.float32(color_weight), 0, -1).reshape(-1, 3).astype(float)
    row, column = (index.ravel() for index in np.indices(image.shape[:2]))
    down, right = np.abs(row[:, None] - row), np.abs(column[:, None] - column)
    distance = np.hypot(down, right) + np.linalg.norm(lab[:, None] - lab, axis=-1)
    distance[(np.maximum(down, right) > radius) | (np.maximum(down, right) == 0)] = np.inf
    weights = np.exp(distance.min(axis=1, keepdims=True) - distance)
    return weights / weights.sum(axis=1, keepdims=True)
