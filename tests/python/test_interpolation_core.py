"""The compiled interpolation, against scipy's."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import interpolate, spatial

from interpix import _core
from interpix.errors import ArgumentError

HEIGHT, WIDTH = 17, 23


def in_circle(a, b, c, d):
    """0 if the four lie on one circle; whole numbers, so exact."""
    (p, q, r) = ([int(y - d[0]), int(x - d[1]), int((y - d[0]) ** 2 + (x - d[1]) ** 2)] for y, x in (a, b, c))
    return p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0]) + p[2] * (q[0] * r[1] - q[1] * r[0])


def is_unique(points):
    """Whether there is one Delaunay triangulation: no triangle's circle goes through a fourth point."""
    for simplex in spatial.Delaunay(points).simplices:
        corners = points[simplex]
        others = np.delete(points, simplex, axis=0)
        if any(in_circle(*corners, other) == 0 for other in others):
            return False
    return True


@given(st.lists(st.tuples(st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1)), min_size=3, max_size=9, unique=True))
def test_it_is_scipys_where_the_triangulation_is_unique(points):
    points = np.array(points)
    assume(np.linalg.matrix_rank(points[1:] - points[0]) == 2)
    assume(is_unique(points))
    image = np.random.default_rng(len(points)).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.float32)
    known = np.zeros((HEIGHT, WIDTH), np.bool_)
    known[tuple(points.T)] = True
    found = _core.interpolate(image, known, np.full(3, -1, np.float32))
    everywhere = np.array(list(itertools.product(range(HEIGHT), range(WIDTH))))
    expected = interpolate.griddata(points, image[tuple(points.T)], everywhere, fill_value=-1)
    difference = np.abs(found.reshape(-1, 3) - expected).max(axis=1)
    # scipy decides in floating point whether a pixel on the hull's edge is inside; on it, both answers are right.
    edges = spatial.ConvexHull(points).equations
    on_edge = (np.abs(everywhere @ edges[:, :2].T + edges[:, 2]) < 1e-9).any(axis=1)
    assert difference[~on_edge].max(initial=0) < 1e-3


def test_known_pixels_stay_and_the_arguments_too():
    image = np.random.default_rng(0).random((5, 7, 2), np.float32)
    known = np.random.default_rng(1).random((5, 7)) < 0.5
    before = image.copy(), known.copy()
    found = _core.interpolate(image, known, np.zeros(2, np.float32))
    np.testing.assert_array_equal(found[known], image[known])
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(known, before[1])


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ArgumentError, match=r"`known`: expected a mask of 5 x 7"):
        _core.interpolate(np.zeros((5, 7, 1), np.float32), np.ones((7, 5), np.bool_), np.zeros(1, np.float32))
