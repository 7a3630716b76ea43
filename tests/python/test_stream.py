"""Any number of images through few places, against one image after the other."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import interpix as ix
from interpix.models.tokens.model import TokenState
from interpix.models.torch.pictures import PictureScorer
from interpix.search.source import Source
from torch_models import HEIGHT, WIDTH, convolutions, picture, vit


@pytest.fixture
def four_places(monkeypatch):
    for module in ("moxi", "stream"):
        monkeypatch.setattr(f"interpix.search.{module}.IN_FLIGHT", 4)
    monkeypatch.setattr("interpix.search.source._ASKED_AT_ONCE", 3)
    monkeypatch.setattr("interpix.search.source._AHEAD", 2)


def watched(model):
    """Hooks keep a model of convolutions out of windows."""
    model.register_forward_hook(lambda *_: None)
    return model


def sums(batch):
    """Of quarters: which answers depends on all of them."""
    rows = batch.reshape(len(batch), 3, 2, batch.shape[2] // 2, 2, -1).mean((3, 5)).reshape(len(batch), -1)
    return np.tanh(rows[:, :5]) * 3 + np.tanh(rows[:, 5:10])


def eyes(count=11):
    return [picture(seed) for seed in range(count)]


MODELS = {
    "tokens": (vit, {}),
    "tokens, mixed": (vit, {"precision": "mixed"}),
    "mean of patches, masked": (lambda: vit(global_pool="avg"), {"absence": ix.MaskAttention(1)}),
    "pictures": (lambda: watched(convolutions()), {"regions": "4x5"}),
    "pictures, blurred": (lambda: watched(convolutions()), {"regions": "4x5", "absence": "blur"}),
    "superpixels": (lambda: watched(convolutions()), {"regions": ix.Superpixels(9, compactness=300)}),
    "windows": (convolutions, {"regions": "4x5"}),
    "windows, mixed": (convolutions, {"regions": "4x5", "precision": "mixed", "absence": "mean"}),
    "function": (lambda: sums, {"regions": "2x3"}),
}


def assert_same(one, other):
    assert one.ranking.tolist() == other.ranking.tolist()
    assert one.group == other.group
    assert (one.target, one.prediction, one.evaluations, one.stopped_at) == (
        other.target,
        other.prediction,
        other.evaluations,
        other.stopped_at,
    )
    for name in ("rewards", "answers", "gaps"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.regions, other.regions)
    hidden = ("scored_as",)
    assert {name: one.provenance[name] for name in hidden if name in one.provenance} == {
        name: other.provenance[name] for name in hidden if name in other.provenance
    }


@pytest.mark.usefixtures("four_places")
@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("name", MODELS)
def test_a_stream_gives_what_each_image_gives_alone(name, direction):
    make, options = MODELS[name]
    moxi, images = ix.MoXI(make(), **options), eyes()
    # Insertions end at different steps; deletions would be long.
    arguments = {"direction": direction, **({"min_patches": 2} if direction == "insertion" else {"stop": 3})}
    found = list(moxi.stream(iter(images), **arguments))
    together = moxi.explain(images, **arguments)
    assert len(found) == len(images)
    for image, one, other in zip(images, found, together, strict=True):
        alone = moxi.explain(image, **arguments)
        assert_same(one, alone)
        assert_same(other, alone)


@pytest.mark.usefixtures("four_places")
def test_groups_are_pruned_in_a_stream_too():
    moxi, images = ix.MoXI(vit()), eyes(9)
    for one, image in zip(moxi.stream(images, minimal=True), images, strict=True):
        alone = moxi.explain(image, minimal=True)
        assert one.minimal_group == alone.minimal_group
        assert_same(one, alone)


@pytest.mark.usefixtures("four_places")
def test_images_of_several_sizes():
    sizes = [(32, 48), (40, 24), (32, 48), (24, 32)]
    images = [np.resize(picture(seed), (3, *size)) for seed, size in enumerate(3 * sizes)]
    moxi = ix.MoXI(watched(convolutions()), regions="2x3")
    for one, image in zip(moxi.stream(images), images, strict=True):
        assert one.image.shape[:2] == image.shape[1:]
        assert_same(one, moxi.explain(image))


@pytest.mark.usefixtures("four_places")
def test_targets_go_with_their_images():
    moxi, images, targets = ix.MoXI(vit()), eyes(9), [0, 1, 2, 3, 4, None, 0, 1, 2]
    found = list(moxi.stream(images, iter(targets), stop=2))
    assert [one.target for one in found] == [
        one.prediction if target is None else target for one, target in zip(found, targets, strict=True)
    ]
    for three in (3, np.int64(3), torch.tensor(3), np.full(9, 3), torch.full((9,), 3)):
        assert {one.target for one in moxi.stream(images, three, stop=1)} == {3}
    with pytest.raises(ix.ArgumentError, match="`target`: expected as many targets as images, got 2 of them"):
        list(moxi.stream(images, [0, 1], stop=1))


@pytest.mark.usefixtures("four_places")
def test_few_images_are_read_ahead_and_held(monkeypatch):
    held = []
    monkeypatch.setattr(TokenState, "__init__", spied(TokenState.__init__, held))
    read = itertools.count()
    images = (picture(next(read)) for _ in range(100))
    ahead = []
    for given, _ in enumerate(ix.MoXI(vit()).stream(images, 1, stop=3), start=1):
        ahead.append(next(read) - given)
        read = itertools.count(given + ahead[-1])
    assert held == [4]
    # Those in four places, what was prepared for the next, and those that wait for an earlier one.
    assert max(ahead) <= 4 + 4 + 4
    assert given == 100


def spied(init, held):
    def call(self, images, *arguments, **options):
        held.append(len(images))
        init(self, images, *arguments, **options)

    return call


def test_nothing_is_read_before_it_is_asked_for_but_options_are_checked():
    images = iter([picture()])
    with pytest.raises(ix.ArgumentError, match="`stop`"):
        ix.MoXI(vit()).stream(images, stop="never")
    with pytest.raises(TypeError, match="`images`: expected an iterable of images"):
        ix.MoXI(vit()).stream("photo.jpg")
    ix.MoXI(vit()).stream(images)
    assert next(images, None) is not None
    assert list(ix.MoXI(vit()).stream([])) == []


@pytest.mark.usefixtures("four_places")
def test_between_two_results_the_model_is_as_the_user_left_it():
    model = vit().train()
    for _ in ix.MoXI(model).stream(eyes(9), 1, stop=1):
        assert model.training
        assert torch.is_grad_enabled()
        assert model.blocks[0].training


@pytest.mark.usefixtures("four_places")
def test_what_was_found_comes_with_an_error():
    calls = itertools.count()

    def breaks(batch):
        if next(calls) > 40:
            raise KeyboardInterrupt
        return sums(batch)

    moxi, got = ix.MoXI(breaks, regions="2x3"), []
    with pytest.raises(KeyboardInterrupt) as caught:
        got.extend(moxi.stream(eyes(40), 1, stop=4))
    assert got
    assert caught.value.explanations
    assert all(len(one.ranking) <= 4 for one in caught.value.explanations)


@pytest.mark.usefixtures("four_places")
def test_files_are_decoded_in_order_and_a_damaged_one_is_named(tmp_path):
    def preprocess(photo):
        return torch.from_numpy(np.asarray(photo.resize((WIDTH, HEIGHT)), np.float32).transpose(2, 0, 1) / 255 - 0.5)

    paths = []
    for seed in range(12):
        paths.append(tmp_path / f"{seed}.png")
        colors = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), np.uint8)
        Image.fromarray(colors).resize((60, 40), Image.Resampling.BICUBIC).save(paths[-1])
    moxi = ix.MoXI(ix.TorchClassifier(vit(), preprocess=preprocess))
    found = list(moxi.stream(paths, stop=2))
    for one, path in zip(found, paths, strict=True):
        assert_same(one, moxi.explain(path, stop=2))
    paths[9].write_bytes(paths[9].read_bytes()[:300])
    got = []
    with pytest.raises(ix.ArgumentError, match=r"9\.png"):
        got.extend(moxi.stream(paths, stop=2))
    assert len(got) < 9


def test_a_list_is_checked_before_the_model_is_asked(tmp_path):
    asked = []

    def model(batch):
        asked.append(len(batch))
        return sums(batch)

    moxi = ix.MoXI(model, regions="2x3")
    with pytest.raises(ix.ArgumentError, match=r"missing\.png"):
        moxi.explain([picture(), tmp_path / "missing.png"])
    with pytest.raises(ix.ArgumentError, match="NaN or infinite"):
        moxi.explain([picture(), picture() * np.nan])
    assert not asked


@pytest.mark.usefixtures("four_places")
def test_a_wrong_target_of_a_later_image_is_told_before_any_search():
    moxi = ix.MoXI(vit())
    with pytest.raises(ix.ArgumentError, match=r"`target`.* got 17") as caught:
        moxi.explain(eyes(9), [0] * 8 + [17])
    assert not getattr(caught.value, "explanations", [])


class Writing(nn.Module):
    """Writes to what it is given."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.mul_(2).add_(1))


@pytest.mark.usefixtures("four_places")
@pytest.mark.parametrize("kind", ["pictures", "tokens", "function"])
def test_the_users_images_stay_as_they_are(kind):
    if kind == "tokens":
        model = vit()
        model.patch_embed.proj = Writing(model.patch_embed.proj)
    elif kind == "pictures":
        model = watched(Writing(convolutions()))
    else:

        def model(batch):
            batch *= 2
            return sums(batch)

    batch = np.stack(eyes(9))
    before = batch.copy()
    moxi = ix.MoXI(model, **({} if kind == "tokens" else {"regions": "2x3"}))
    moxi.explain(batch, 1, stop=2)
    list(moxi.stream(batch, 1, stop=2))
    moxi.explain(torch.from_numpy(batch), 1, stop=2)
    np.testing.assert_array_equal(batch, before)


def test_the_pictures_in_other_places_stay_the_users(monkeypatch):
    """Places that are used again must not be the user's own batch."""
    monkeypatch.setattr("interpix.search.moxi.IN_FLIGHT", 2)
    kept = []
    monkeypatch.setattr(PictureScorer, "replace", kept_images(PictureScorer.replace, kept))
    batch = np.stack(eyes(5))
    ix.MoXI(watched(convolutions()), regions="2x3").explain(batch, 1, stop=1)
    assert kept
    np.testing.assert_array_equal(batch, np.stack(eyes(5)))


def kept_images(replace, kept):
    def call(self, *arguments):
        kept.append(arguments)
        replace(self, *arguments)

    return call


def test_a_source_without_images_is_empty():
    assert Source(ix.CallableClassifier(sums), ()).take(4) == []


@pytest.mark.usefixtures("four_places")
@pytest.mark.parametrize("kind", [np.float32, np.uint8, torch.float32])
def test_a_generator_may_write_the_next_image_into_the_same_array(kind):
    model = ix.TorchClassifier(
        vit(), preprocess=lambda photo: np.asarray(photo, np.float32).transpose(2, 0, 1) / 64 - 2
    )
    shape = (HEIGHT, WIDTH, 3) if kind is np.uint8 else (3, HEIGHT, WIDTH)
    given = [np.random.default_rng(seed).normal(size=shape) for seed in range(9)]
    given = [(60 * one + 128).clip(0, 255).astype(np.uint8) if kind is np.uint8 else one for one in given]
    buffer = torch.empty(shape) if kind is torch.float32 else np.empty(shape, kind)

    def overwritten():
        for image in given:
            buffer[...] = torch.from_numpy(image) if kind is torch.float32 else image
            yield buffer

    moxi = ix.MoXI(model)
    for found, image in zip(moxi.stream(overwritten(), 1, stop=2), given, strict=True):
        alone = moxi.explain(image.astype(np.float32) if kind is not np.uint8 else image, 1, stop=2)
        assert_same(found, alone)


@pytest.mark.usefixtures("four_places")
def test_weights_that_change_between_two_results_are_noticed():
    model, got = vit(), []

    def train(results):
        for found in results:
            got.append(found)
            with torch.no_grad():
                model.head.bias.add_(1)

    with pytest.raises(ix.ModelError, match="its weights changed between two results of a stream") as caught:
        train(ix.MoXI(model).stream(eyes(9), 1, stop=2))
    assert 0 < len(got) < 9
    assert caught.value.explanations


class Counting(nn.Module):
    """Its own number changes by being asked, and its settings are those of a part of torch's."""

    def __init__(self):
        super().__init__()
        self.inner, self.act, self.asked = convolutions(), nn.LeakyReLU(0.1), 0

    def forward(self, x):
        self.asked += 1
        return self.inner(self.act(x))


CHANGES = {
    "a slope": lambda model: setattr(model.act, "negative_slope", 2.0),
    "a norm's epsilon": lambda model: setattr(model.inner[1], "eps", 1.0),
    "a part": lambda model: setattr(model, "act", nn.LeakyReLU(0.1)),
    "behind torch's back": lambda model: model.inner[0].weight.data.neg_(),
    "two that cancel in a sum": lambda model: model.inner[-1].bias.data.add_(torch.tensor([1.0, -1, 0, 0, 0])),
}


@pytest.mark.usefixtures("four_places")
@pytest.mark.parametrize("change", CHANGES)
def test_settings_that_change_between_two_results_are_noticed(change):
    model = Counting()
    results = ix.MoXI(model, regions="2x3").stream(eyes(9), 1, stop=2)
    next(results)
    CHANGES[change](model)
    with pytest.raises(ix.ModelError, match="changed between two results of a stream"):
        list(results)


@pytest.mark.usefixtures("four_places")
def test_counters_and_threads_are_no_changes():
    model, threads = Counting(), torch.get_num_threads()
    model.inner[-1] = nn.Sequential(nn.Linear(8, 1024), nn.Linear(1024, 5))
    try:
        results = ix.MoXI(model, regions="2x3").stream(eyes(9), 1, stop=2)
        next(results)
        asked = model.asked
        torch.set_num_threads(threads + 1)
        assert len(list(results)) == 8
        assert model.asked > asked > 0
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("absence", ["blur", "mean"])
def test_a_place_alone_gets_the_next_images_own_fill(monkeypatch, absence):
    monkeypatch.setattr("interpix.search.moxi.IN_FLIGHT", 1)
    moxi = ix.MoXI(watched(convolutions()), regions="2x3", absence=absence)
    for found, image in zip(moxi.stream(eyes(4), 1, stop=3), eyes(4), strict=True):
        assert_same(found, moxi.explain(image, 1, stop=3))


def test_a_size_that_the_model_does_not_take_is_told_before_it_is_asked(monkeypatch):
    model = vit()
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("asked"))
    with pytest.raises(ix.ArgumentError, match=r"`image`: expected .* pixels"):
        ix.MoXI(model).explain([picture(), picture()[:, :, :40]])


class Best:
    """A scorer of a user's own, with attributes that mean something else."""

    batch_size, facts, best, replace = 8, {}, 3, "nothing"

    def __init__(self, scorer):
        self.score = scorer.score


def test_a_scorer_of_a_users_own_is_not_taken_for_another():
    class Own(ix.CallableClassifier):
        evaluating = "yes"

        def scorer(self, *arguments):
            return Best(super().scorer(*arguments))

    moxi, plain = ix.MoXI(Own(sums), regions="2x3"), ix.MoXI(sums, regions="2x3")
    for found, image in zip(moxi.stream(eyes(3), 1), eyes(3), strict=True):
        assert found.ranking.tolist() == plain.explain(image, 1).ranking.tolist()
