import json

import matplotlib.pyplot as plt
import numpy as np
import pytest

import interpix as ix
from interpix.results.attribution import Attribution
from interpix.storage import read_arrays, write_arrays


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
    again = ix.load_attribution(tmp_path / "map.safetensors")
    np.testing.assert_array_equal(again.map, attribution.map)
    np.testing.assert_array_equal(again.image, attribution.image)
    for name in ("target", "prediction", "class_names", "method", "provenance"):
        assert getattr(again, name) == getattr(attribution, name)


def test_another_result_is_refused(tmp_path):
    explanation = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions=2).explain(np.ones((3, 4, 6), np.float32))
    explanation.save(tmp_path / "group.safetensors")
    with pytest.raises(ix.ArgumentError, match=r"interpix\.load for an explanation"):
        ix.load_attribution(tmp_path / "group.safetensors")


def test_a_file_without_its_image_is_refused(attribution, tmp_path):
    path = tmp_path / "part.safetensors"
    attribution.save(path)
    arrays, metadata = read_arrays(path)
    write_arrays(path, {"map": arrays["map"]}, metadata)
    with pytest.raises(ix.ArgumentError, match=r"the array `image`, got '.*part\.safetensors' without it"):
        ix.load_attribution(path)


def test_propagation_is_propagate(attribution):
    result = attribution.propagate(radius=2, discount=0.9)
    expected = ix.propagate(attribution.map, attribution.image, radius=2, discount=0.9)
    np.testing.assert_array_equal(result.map, expected)
    assert result.method == "IProp(rise)"
    assert result.provenance == {
        "method": "IProp(rise)", "seed": 3, "grid": [7, 7], "radius": 2, "discount": 0.9
    }  # fmt: skip
    json.dumps(result.provenance)


def test_arrays_are_own_and_read_only(attribution):
    assert attribution.map.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        attribution.map[0, 0] = 1


def test_a_map_of_another_size_or_with_nan_is_refused(attribution):
    parts = {name: getattr(attribution, name) for name in attribution.__dataclass_fields__}
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
