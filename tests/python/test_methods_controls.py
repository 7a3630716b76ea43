import numpy as np
import pytest

import interpix as ix
from conftest import sum_of_pixels
from interpix import methods
from interpix.comparison.variants import controls_of, make_variants


def test_noise_is_the_image_s_own_and_of_the_seed(classifier, image):
    first = methods.Random(seed=1).explain(classifier, image).map
    np.testing.assert_array_equal(first, methods.Random(seed=1).explain(classifier, image).map)
    assert (first != methods.Random(seed=2).explain(classifier, image).map).any()
    assert (first != methods.Random(seed=1).explain(classifier, image + 1).map).any()
    assert (first >= 0).all()


def test_noise_is_normal(classifier):
    noise = methods.Random().explain(sum_of_pixels, np.ones((3, 120, 90), np.float32)).map
    assert noise.mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.02)
    assert np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1] == pytest.approx(0, abs=0.03)


def test_edges_of_a_slope_are_its_steepness(classifier):
    ramp = np.add.outer(3 * np.arange(5), 4 * np.arange(7)).astype(np.uint8)
    found = methods.Edges().explain(classifier, np.repeat(ramp[..., None], 3, axis=2))
    np.testing.assert_allclose(found.map, 5)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_edges_of_a_line_are_those_along_it(classifier, shape):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(*shape, 1).repeat(3, axis=2)
    expected = 0 if shape == (1, 1) else 1
    np.testing.assert_allclose(methods.Edges().explain(classifier, pixels).map, expected)


def test_a_blur_is_scipys(classifier, image):
    ndimage = pytest.importorskip("scipy.ndimage")
    rise = methods.RISE(30, (2, 3), baseline="zero")
    plain = rise.explain(classifier, image)
    found = methods.blurred(rise, sigma=1.5).explain(classifier, image)
    expected = ndimage.gaussian_filter(plain.map.astype(np.float64), 1.5, mode="reflect")
    np.testing.assert_allclose(found.map, expected, rtol=1e-6)
    assert (found.method, found.provenance["sigma"]) == ("blur(rise)", 1.5)


def test_the_blur_grows_with_the_image():
    for side, sigma in ((224, 4), (448, 8)):
        image = np.zeros((3, side, 8), np.float32)
        found = methods.blurred(lambda model, image, target: image[0]).explain(sum_of_pixels, image)
        assert found.provenance["sigma"] == sigma


@pytest.mark.parametrize("sigma", [0, -1, float("nan"), "4", 1e9])
def test_a_blur_of_no_width_is_refused(sigma):
    with pytest.raises(ix.InterpixError, match="`sigma`: expected a positive number of pixels"):
        methods.blurred(methods.RISE(), sigma)


def test_one_s_own_controls_are_not_made_twice():
    own = {"noise": methods.Random(seed=5), "m": methods.MoXIMap()}
    made = make_variants(own, propagate=True, controls=True)
    assert [one.name for one in made] == ["noise", "IProp(noise)", "m", "IProp(m)", "blur(m)", "edges"]
    assert [one.name for one in made if one.control] == ["noise", "IProp(noise)", "blur(m)", "edges"]
    assert controls_of(made[2], made) == ["noise", "edges"]
    assert controls_of(made[3], made) == ["IProp(noise)", "blur(m)"]
    with pytest.raises(ix.ArgumentError, match="each name once, got random twice"):
        make_variants({"random": methods.MoXIMap()}, propagate=True, controls=True)
