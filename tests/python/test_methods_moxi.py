import itertools
import json
import math

import numpy as np
import pytest

import interpix as ix
from interpix.comparison.specs import read_methods
from interpix.methods import CatalogueMap, GroupSearch, MoXIMap, MoXIOneShot, Shapley
from interpix.regions import grid_regions

REGIONS = grid_regions((4, 6), 2, 3)


def shapley_by_hand(game, players):
    values = np.zeros(players)
    for player in range(players):
        others = [one for one in range(players) if one != player]
        for size in range(players):
            weight = math.factorial(size) * math.factorial(players - 1 - size) / math.factorial(players)
            for chosen in itertools.combinations(others, size):
                values[player] += weight * (game({*chosen, player}) - game(set(chosen)))
    return values


@pytest.fixture
def game(image):
    """Log-odds of red against green and blue with only these regions present."""

    def reward(present):
        red, green, blue = (image * np.isin(REGIONS, list(present))).sum((1, 2))
        return red - np.logaddexp(green, blue)

    return reward


def test_shapley_values_by_hand(classifier, image, game):
    result = Shapley(regions="2x3", sampler="exact").explain(classifier, image, "red")
    np.testing.assert_allclose(result.map, shapley_by_hand(game, 6)[REGIONS], rtol=1e-4, atol=1e-5)
    assert (result.method, result.target, result.provenance["sampler"]) == ("shapley", 0, "exact")


def test_one_shot_by_hand(classifier, image, game):
    alone = [game({player}) - game(set()) for player in range(6)]
    result = MoXIOneShot(regions="2x3").explain(classifier, image, 0)
    np.testing.assert_allclose(result.map, np.array(alone)[REGIONS], rtol=1e-4, atol=1e-5)


def test_moxi_by_hand(classifier, image):
    # Without regions 3 and 2, in this order, red is no longer the answer.
    result = MoXIMap(regions="2x3", direction="deletion").explain(classifier, image)
    np.testing.assert_array_equal(result.map, np.array([0, 0, 1, 2, 0, 0])[REGIONS])
    assert result.provenance["group"] == [3, 2]
    json.dumps(result.provenance)


def test_both_by_hand(classifier, image, game):
    # Alone region 3 earns most, and the image misses it most; without 3 and 2 red is no longer the answer.
    result = GroupSearch(regions="2x3").explain(classifier, image)
    both = ix.MoXI(classifier, regions="2x3").explain(image, direction="both")
    assert result.provenance["group"] == list(both.group) == [3, 2]
    np.testing.assert_array_equal(result.map, np.array([0, 0, 1, 2, 0, 0])[REGIONS])
    assert (result.method, result.provenance["search"], result.provenance["weight"]) == ("group_search", "greedy", 0.5)


def test_patches_that_a_group_does_not_need_come_behind_it():
    # 0 alone earns most, but 1 and 2 are the only pair that is enough.
    table = {(1, 2): 3.0, (0, 1, 2): 3.0, (0,): -0.5, (0, 1): -0.4, (0, 2): -0.45}

    def model(batch):
        shown = [tuple(np.flatnonzero(row).tolist()) for row in batch[:, 0, 0, ::2]]
        return np.array([[table.get(one, -1.0), 0.0] for one in shown])

    ones = np.ones((3, 2, 6), np.float32)
    options = {"regions": "1x3", "direction": "insertion", "reward": "logit"}
    assert GroupSearch(**options).explain(model, ones, 0).map[0, ::2].tolist() == [3, 2, 1]
    assert GroupSearch(**options, minimal=True).explain(model, ones, 0).map[0, ::2].tolist() == [1, 3, 2]


def test_a_catalogue_counts_the_groups_of_each_patch(classifier, image):
    found = ix.MoXI(classifier, regions="2x3").catalogue(image, count=3)
    result = CatalogueMap(regions="2x3", count=3).explain(classifier, image)
    np.testing.assert_allclose(result.map, found.frequency()[REGIONS])
    nothing = CatalogueMap(regions="2x3", direction="both").explain(lambda batch: batch.sum((2, 3)) * 0, image)
    assert not nothing.map.any()


def test_maps_can_be_propagated_and_saved(classifier, image, tmp_path):
    result = MoXIMap(regions=REGIONS).explain(classifier, image).propagate(radius=1)
    result.save(tmp_path / "map.safetensors")
    np.testing.assert_array_equal(ix.load(tmp_path / "map.safetensors").map, result.map)


def test_one_image_at_a_time(classifier, image):
    with pytest.raises(ix.ArgumentTypeError, match="`image`"):
        MoXIMap().explain(classifier, [image, image])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shapley(sampler="all"), "`sampler`"),
        (lambda: Shapley(rounds=0), "`rounds`"),
        (lambda: MoXIMap(stop=0), "`stop`"),
        (lambda: MoXIMap(stop="flop"), '"flip", "all" or a number of patches'),
        (lambda: MoXIMap(direction="up"), "`direction`"),
        (lambda: MoXIOneShot(reward="much"), "`reward`"),
        (lambda: MoXIMap(regions="no"), "`regions`"),
        (lambda: MoXIMap.preset("iprop"), '"moxi" for moxi'),
    ],
)
def test_options_are_checked_at_once(make, message):
    with pytest.raises(ix.ArgumentError, match=message):
        make()


def test_masks_from_some_layer_on_are_asked_for_by_name():
    """MoXI's Fig. 10."""
    torch_models = pytest.importorskip("torch_models")  # which needs torch and timm
    model, image, maps = torch_models.vit(), torch_models.picture(), []
    for layer in (0, 1):
        name = f"moxi(stop='all',absence='mask_attention(from_layer={layer})')"
        found = read_methods(name)[name].explain(model, image)
        alone = ix.MoXI(model, absence=ix.MaskAttention(layer)).explain(image, stop="all").attribution()
        np.testing.assert_array_equal(found.map, alone.map)
        maps.append(found.map)
    assert not np.array_equal(*maps)
