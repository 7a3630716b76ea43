import dataclasses
import json
import subprocess
import sys
import tracemalloc

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from torch import nn

import interpix as ix
from interpix.methods import LIME, METHODS, RISE, SuperpixelRISE
from interpix.methods.rise import Masks
from interpix.regions import grid_regions

HEIGHT, WIDTH = 12, 17
REGIONS = grid_regions((HEIGHT, WIDTH), 2, 3)


@pytest.fixture
def image():
    return np.ones((3, HEIGHT, WIDTH), np.float32)


def two_regions_count(batch):
    """Logit of class 1: 2 if region 4 is there, -3 for region 1; of class 0: none."""
    shown = np.stack([batch[:, 0][:, region == REGIONS].mean(1) for region in (4, 1)], axis=1)
    return np.stack([np.zeros(len(batch)), shown @ [2, -3] - 0.5], axis=1)


def left_half(batch):
    return np.stack([np.zeros(len(batch)), batch[:, 0, :, : WIDTH // 2].mean((1, 2)) * 4 - 2], axis=1)


def slow_mask(grid, shift, size):
    """One pixel after the other: the grid on one cell more than the image, interpolated between centers, cut."""
    out = np.zeros(size)
    cells = [-(-length // count) for length, count in zip(size, grid.shape, strict=True)]
    for row in range(size[0]):
        for column in range(size[1]):
            corners = []
            for where, cell, count in zip((row + shift[0], column + shift[1]), cells, grid.shape, strict=True):
                center = min(max((where + 0.5) * count / ((count + 1) * cell) - 0.5, 0), count - 1)
                low = min(int(center), count - 1)
                corners.append((low, min(low + 1, count - 1), center - low))
            (top, bottom, down), (left, right, across) = corners
            upper = grid[top, left] * (1 - across) + grid[top, right] * across
            lower = grid[bottom, left] * (1 - across) + grid[bottom, right] * across
            out[row, column] = upper * (1 - down) + lower * down
    return out


@hypothesis.given(
    size=st.tuples(st.integers(3, 13), st.integers(3, 13)),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 99),
)
@hypothesis.settings(max_examples=15)
def test_masks_and_their_weighted_sum_are_the_slow_ones(size, grid, seed):
    masks = Masks.draw(size, grid, 3, 0.5, seed)
    slow = [slow_mask(cells, shift, size) for cells, shift in zip(masks.grids, masks.shifts, strict=True)]
    down, across = masks.shifts.T
    fast = masks.rows[down] @ masks.grids @ masks.columns[across].swapaxes(1, 2)
    np.testing.assert_allclose(fast, slow, atol=1e-6)
    weights = np.array([0.3, -2.0, 5.0])
    np.testing.assert_allclose(masks.weighted_sum(weights), np.tensordot(weights, slow, 1), atol=1e-5)


def test_masks_keep_as_much_as_asked():
    masks = Masks.draw((30, 40), (7, 7), 2000, 0.3, 0)
    np.testing.assert_allclose(masks.weighted_sum(np.full(2000, 1 / 2000)), 0.3, atol=0.03)


def test_rise_of_a_constant_model_is_its_probability(image):
    result = RISE(count=3000, baseline="zero").explain(lambda batch: np.zeros((len(batch), 4)), image)
    np.testing.assert_allclose(result.map, 0.25, rtol=0.05)


def test_rise_orders_pixels_as_the_weights_of_a_linear_probability(image):
    weights = np.linspace(1, 0, WIDTH) ** 2

    def model(batch):
        probability = 0.05 + 0.9 * (batch.mean((1, 2)) @ weights) / weights.sum()
        return np.log(np.stack([1 - probability, probability], 1))

    profile = RISE(count=4000, baseline="zero").explain(model, image, 1).map.mean(0)
    # By hand: the mean is the mean probability, half of the whole's 0.9 + 0.05; the weights decide the rest.
    assert profile.mean() == pytest.approx(0.5, abs=0.02)
    assert (np.diff(profile[2:-2]) < 0).all()


@pytest.mark.parametrize("method", [RISE(count=90, baseline="zero"), SuperpixelRISE(90, "2x3", baseline="zero")])
def test_chunks_change_no_bit_and_seeds_do(method, image):
    def maps(**changes):
        return dataclasses.replace(method, **changes).explain(left_half, image, 1).map

    first = maps()
    for size in (1, 7, 90, 1000):
        np.testing.assert_array_equal(maps(batch_size=size), first)
    assert not np.array_equal(maps(seed=1), first)


def test_rise_on_torch_is_rise_on_numpy(image):
    class LeftHalf(nn.Module):
        def forward(self, batch):
            assert not self.training
            score = batch[:, 0, :, : WIDTH // 2].mean((1, 2)) * 4 - 2
            return torch.stack([torch.zeros_like(score), score], 1)

    model = LeftHalf().train()
    method = RISE(count=60, baseline="mean")
    np.testing.assert_allclose(method.explain(model, image, 1).map, method.explain(left_half, image, 1).map, rtol=1e-5)
    assert model.training


def test_lime_finds_the_weights(image):
    result = LIME(3000, "2x3", baseline="zero", regularization=1e-3).explain(two_regions_count, image, 1)
    by_region = [result.map[region == REGIONS][0] for region in range(6)]
    # A logistic model of regions is what LIME fits: the weights come out exactly, as the probabilities have no noise.
    np.testing.assert_allclose(by_region, [0, -3, 0, 0, 2, 0], atol=0.02)
    assert result.provenance["superpixels"] == 6


def test_superpixel_rise_is_the_mean_over_sets_with_the_region(image):
    result = SuperpixelRISE(4000, "2x3", baseline="zero").explain(two_regions_count, image, 1)
    by_region = [result.map[region == REGIONS][0] for region in range(6)]

    def probability(four, one):
        return 1 / (1 + np.exp(0.5 - 2 * four + 3 * one))

    mean = np.mean([[probability(four, one) for one in (0, 1)] for four in (0, 1)])
    expected = [mean] * 6
    expected[4] = (probability(1, 0) + probability(1, 1)) / 2
    expected[1] = (probability(0, 1) + probability(1, 1)) / 2
    np.testing.assert_allclose(by_region, expected, atol=0.02)


@pytest.mark.parametrize("method", [LIME, SuperpixelRISE])
def test_slic_superpixels_are_the_default(method):
    raw = np.zeros((24, 40, 3), np.uint8)
    raw[:, 20:] = 200
    classifier = ix.CallableClassifier(
        lambda batch: np.stack([np.zeros(len(batch)), batch[:, 0, :, 20:].mean((1, 2)) * 9 - 4], 1),
        preprocess=lambda image: image.transpose(2, 0, 1).astype(np.float32) / 255,
    )
    result = method(count=600).explain(classifier, raw, 1)
    assert result.provenance["superpixels"] > 20
    assert result.provenance["regions"] == "Superpixels(count=200, compactness=10.0)"
    assert result.map[:, 22:].mean() > result.map[:, :18].mean()
    json.dumps(result.provenance)


@pytest.mark.parametrize("method", [LIME, SuperpixelRISE])
def test_tokens_are_regions_where_a_model_has_them(method):
    vit = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "num_classes": 3}
    models = pytest.importorskip("timm").models
    picture = np.random.default_rng(0).normal(size=(3, 16, 24)).astype(np.float32)
    tokens = method(20, "tokens", baseline="zero")
    result = tokens.explain(models.vision_transformer.VisionTransformer(**vit), picture)
    assert (result.provenance["regions"], result.provenance["superpixels"]) == ("2x3", 6)
    np.testing.assert_array_equal(result.map, np.kron(result.map[::8, ::8], np.ones((8, 8))))
    assert len(np.unique(result.map)) == 6
    convolutions = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ix.ArgumentError, match="`regions`: expected a grid, as this model has no tokens"):
        tokens.explain(convolutions, picture)


def test_a_native_model_needs_no_torch():
    code = (
        "import sys, numpy as np, interpix as ix\n"
        "model = lambda b: b.sum(axis=(2, 3))\n"
        "ix.methods.RISE(count=9, baseline='zero').explain(model, np.ones((3, 8, 9), np.float32))\n"
        "print(sorted({'torch', 'matplotlib', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_memory_does_not_grow_with_the_number_of_masks():
    image = np.ones((3, 224, 224), np.float32)
    peaks = []
    for count in (64, 640):
        tracemalloc.start()
        RISE(count=count, baseline="zero").explain(lambda batch: batch[:, :, 0, 0], image)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 200e6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RISE(count=0), "`count`"),
        (lambda: RISE(keep=1.0), "`keep`"),
        (lambda: RISE(grid=(7, 0)), "`grid`"),
        (lambda: RISE(grid=(7,)), "rows and columns"),
        (lambda: RISE(baseline="drop_tokens"), "`baseline`"),
        (lambda: LIME(regularization=0), "`regularization`"),
        (lambda: LIME(regions="no"), "`regions`"),
        (lambda: SuperpixelRISE(keep=0), "`keep`"),
        (lambda: RISE.preset("gradcam"), '"iprop" for rise'),
    ],
)
def test_options_are_checked_at_once(make, message):
    with pytest.raises(ix.ArgumentError, match=message):
        make()


def test_arrays_are_remembered_by_their_shape(image):
    baseline = torch.zeros(3, 1, 1)
    result = LIME(9, REGIONS, baseline=baseline).explain(left_half, image)
    assert (result.provenance["regions"], result.provenance["baseline"]) == ("label map", "array")
    json.dumps(result.provenance)


def test_every_preset_is_a_method():
    for name, method in METHODS.items():
        assert method.name == name
        for preset in method.presets:
            assert isinstance(method.preset(preset), method)
