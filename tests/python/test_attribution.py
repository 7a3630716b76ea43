import dataclasses
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import interpix as ix
from interpix.results import Attribution
from interpix.storage import FORMAT, read_arrays, write_arrays

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def attribution():
    rng = np.random.default_rng(0)
    return Attribution(
        map=rng.normal(size=(8, 11)),
        target=1,
        prediction=0,
        class_names=("red", "green"),
        image=rng.integers(0, 256, (8, 11, 3), dtype=np.uint8),
        method="rise",
        provenance={"method": "rise", "seed": 3, "grid": [7, 7]},
    )


def test_a_saved_attribution_is_read_back(attribution, tmp_path):
    attribution.save(tmp_path / "map.safetensors")
    again = ix.load(tmp_path / "map.safetensors")
    np.testing.assert_array_equal(again.map, attribution.map)
    np.testing.assert_array_equal(again.image, attribution.image)
    for name in ("target", "prediction", "class_names", "method", "provenance"):
        assert getattr(again, name) == getattr(attribution, name)


def test_another_result_is_refused(tmp_path):
    explanation = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions=2).explain(np.ones((3, 4, 6), np.float32))
    explanation.save(tmp_path / "group.safetensors")
    with (
        pytest.warns(DeprecationWarning, match=r"interpix\.load_attribution is deprecated; use interpix\.load"),
        pytest.raises(ix.ArgumentError, match=r"interpix\.load for an explanation"),
    ):
        ix.load_attribution(tmp_path / "group.safetensors")


def test_a_file_without_its_image_is_refused(attribution, tmp_path):
    path = tmp_path / "part.safetensors"
    attribution.save(path)
    arrays, metadata = read_arrays(path)
    write_arrays(path, {"0.map": arrays["0.map"]}, metadata)
    with pytest.raises(ix.ArgumentError, match=r"the array `0\.image`, got '.*part\.safetensors' without it"):
        ix.load(path)


def test_propagation_is_propagate(attribution):
    result = attribution.propagate(radius=2, discount=0.9)
    expected = ix.propagate(attribution.map, attribution.image, radius=2, discount=0.9)
    np.testing.assert_array_equal(result.map, expected)
    assert result.method == "IProp(rise)"
    assert result.provenance == {
        "method": "IProp(rise)", "seed": 3, "grid": [7, 7], "radius": 2, "color_weight": 1.0, "discount": 0.9
    }  # fmt: skip
    json.dumps(result.provenance)


def test_arrays_are_own_and_read_only(attribution):
    assert attribution.map.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        attribution.map[0, 0] = 1


def test_the_provenance_is_not_the_callers(attribution):
    facts = {"method": "mine"}
    result = dataclasses.replace(attribution, provenance=facts)
    facts["method"] = "another"
    assert result.provenance == {"method": "mine"}


def test_a_map_of_another_size_or_with_nan_is_refused(attribution):
    parts = {field.name: getattr(attribution, field.name) for field in dataclasses.fields(attribution)}
    with pytest.raises(ix.ArgumentError, match="a map of 8 x 11"):
        Attribution(**parts | {"map": attribution.map.T})
    with pytest.raises(ix.ArgumentError, match="88 NaN"):
        Attribution(**parts | {"map": attribution.map * np.nan})


def test_plot_shows_raw_values(attribution):
    ax = attribution.plot()
    np.testing.assert_array_equal(ax.images[-1].get_array(), attribution.map)
    assert ax.get_title() == "rise: green"
    plt.close(ax.figure)


def test_repr_is_one_line(attribution):
    assert repr(attribution) == "<Attribution of 'green' by rise: 8 x 11>"


def test_numpy_and_matplotlib_take_it_for_its_map(attribution):
    np.testing.assert_array_equal(np.asarray(attribution), attribution.map)
    assert np.asarray(attribution, np.float64).dtype == np.float64
    assert np.shares_memory(np.array(attribution, copy=False), attribution.map)
    ax = plt.figure().subplots()
    np.testing.assert_array_equal(ax.imshow(attribution).get_array(), attribution.map)
    plt.close("all")


def test_a_propagated_map_says_how_exact_it_is(attribution, tmp_path):
    assert attribution.error_bound is None
    result = ix.propagate(attribution, radius=2, discount=0.9, tolerance=1e-5)
    exact = ix.PixelGraph(attribution.image, 2).propagate(attribution.map, discount=0.9, tolerance=1e-6).values
    assert np.abs(result.map - exact).max() / np.abs(exact).max() <= result.error_bound + 1e-6
    assert 0 < result.error_bound < 1e-5
    said = float(repr(result).removesuffix(">").split("error at most ")[1])
    assert result.error_bound <= said <= 2 * result.error_bound
    result.save(tmp_path / "map.safetensors")
    assert ix.load(tmp_path / "map.safetensors").error_bound == result.error_bound


def test_an_attribution_goes_over_another_picture_if_one_is_given(attribution):
    image = attribution.image[::-1].copy()
    result = ix.propagate(attribution, image, radius=1)
    np.testing.assert_array_equal(result.map, ix.propagate(attribution.map, image, radius=1))
    with pytest.raises(
        ix.ArgumentError, match="`image`: expected the picture that the map explains, got none; pass it"
    ):
        ix.propagate(attribution.map)


def test_an_attribution_has_no_channels_to_sum(attribution):
    with pytest.raises(
        ix.ArgumentError, match=r"`channel_axis`: expected None for an Attribution.*got 0; leave it out"
    ):
        ix.propagate(attribution, channel_axis=0)


def test_a_notebook_shows_the_map(attribution):
    assert attribution._repr_html_().startswith('<img alt="&lt;Attribution of &#x27;green&#x27; by rise: 8 x 11&gt;"')


@pytest.mark.parametrize("version", range(1, FORMAT + 1))
@pytest.mark.parametrize("kind", ["explanation", "attribution"])
def test_files_of_every_format_stay_readable(kind, version):
    image = np.zeros((3, 4, 6), np.float32)
    image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    names = ["red", "green", "blue"]
    model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), name="sums", class_names=names)
    found = ix.load(DATA / f"{kind}-{version}.safetensors")
    if kind == "explanation":
        expected = ix.MoXI(model, regions="2x3").shapley(image, sampler="exact")
    else:
        expected = ix.methods.RISE(count=20, grid=(2, 3), baseline="zero").explain(model, image)
    for name, array in expected.arrays().items():
        np.testing.assert_allclose(getattr(found, name), array, rtol=1e-6, atol=1e-6)
    before, after = found.scalars(), expected.scalars()
    for changing in ("provenance", "seconds"):
        before.pop(changing, None), after.pop(changing, None)
    assert before == after


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: [],
        lambda saved: {"scores_format": 1, "scores": {}},  # what a comparison keeps beside its maps
        lambda saved: {"format": FORMAT},
        lambda saved: {"format": FORMAT, "results": None},
        lambda saved: {"format": FORMAT, "results": [saved | {"kind": "recipe"}]},
        lambda saved: {"format": FORMAT, "results": [{name: saved[name] for name in saved if name != "method"}]},
        lambda saved: {"format": FORMAT, "results": [{name: saved[name] for name in saved if name != "class_names"}]},
    ],
)
def test_a_file_that_holds_something_else_is_refused(attribution, tmp_path, change):
    path = tmp_path / "other.safetensors"
    attribution.save(path)
    arrays, metadata = read_arrays(path)
    write_arrays(path, arrays, change(metadata["results"][0]))
    with pytest.raises(ix.ArgumentError, match=r"a result of interpix, got '.*other\.safetensors'; check that"):
        ix.load(path)


def test_a_file_of_a_later_format_says_so(attribution, tmp_path):
    attribution.save(tmp_path / "map.safetensors")
    path = tmp_path / "map.safetensors"
    arrays, metadata = read_arrays(path)
    write_arrays(path, arrays, metadata | {"format": FORMAT + 1})
    with pytest.raises(ix.ArgumentError, match=f"of a format up to {FORMAT}, got {FORMAT + 1}; read it with a later"):
        ix.load(path)
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"X99"'))  # it may have what is not known today
    with pytest.raises(ix.ArgumentError, match=f"of a format up to {FORMAT}, got {FORMAT + 1}; read it with a later"):
        ix.load(path)


@pytest.mark.parametrize("scale", [1e-60, 1e-300])
def test_a_map_that_would_vanish_in_single_precision_is_refused(scale):
    """F16: a map of zeros is another map."""
    model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)))
    method = ix.propagated(lambda model, image, target: image[0].astype(np.float64) * scale)
    with pytest.raises(
        ix.ArgumentError, match="`map`: expected numbers that fit into single precision, got a map of up to"
    ):
        method.explain(model, np.ones((3, 4, 6), np.float32), 0)
