import dataclasses
import re
import signal

import numpy as np
import pytest
import torch

from conftest import HEIGHT, WIDTH, sum_of_pixels
from interpix import CallableClassifier, Fill, MoXI, load, methods
from interpix.errors import ArgumentError, ArgumentTypeError
from interpix.outputs.readout import log_odds
from interpix.targets import resolve_target

REGIONS = "2x3"
BLUE = Fill(np.array([0.0, 0.0, 1.0]))


def brute_force(reward, players, direction):
    """The ranking by its definition: arg-max of the grown set, or arg-min of the shrunken one."""
    insertion = direction == "insertion"
    ranking = []
    for _ in range(players):
        rest = [player for player in range(players) if player not in ranking]
        changed = [{*ranking, player} for player in rest]
        sets = changed if insertion else [set(range(players)) - one for one in changed]
        rewards = [reward(one) for one in sets]
        ranking.append(rest[int(np.argmax(rewards) if insertion else np.argmin(rewards))])
    return ranking


def test_deletion_by_hand(image, classifier):
    result = MoXI(classifier, regions=REGIONS).explain(image, direction="deletion")
    assert result.prediction == result.target == 0
    assert result.group == (3, 2)
    assert result.stopped_at == 2
    assert result.predicted.tolist() == [0, 0, 1]
    # Log-odds of red: 24, 12, 4 against green 10 and blue 0.
    np.testing.assert_allclose(result.rewards, np.array([24, 12, 4]) - np.logaddexp(10, 0), rtol=1e-6)
    assert result.full.answer == pytest.approx(1 / (1 + np.exp(-14) + np.exp(-24)))
    # The image, the empty image, and 6 + 5 coalitions.
    assert result.evaluations == 13


def test_insertion_by_hand(image, classifier):
    result = MoXI(classifier, regions=REGIONS, absence=BLUE).explain(image)
    # Nothing: blue 24. Region 3: red 12, blue 20. Regions 3 and 2: red 20, blue 16.
    assert result.group == (3, 2)
    assert result.predicted.tolist() == [2, 2, 0]
    assert result.empty.predicted == 2
    np.testing.assert_array_equal(result.attribution().map[[2, 0, 0], [0, 4, 0]], [2, 1, 0])


def test_a_search_that_is_over_at_the_start_says_so(image, classifier):
    # With zeros all three sums are 0, and the tie goes to the lowest class.
    result = MoXI(classifier, regions=REGIONS).explain(image)
    assert result.stopped_at == 0
    assert result.group == ()


def test_a_target_that_is_never_reached_has_no_group(image, classifier):
    result = MoXI(classifier, regions=REGIONS).explain(image, "blue")
    assert result.stopped_at is None
    assert len(result.ranking) == 6
    assert result.group == ()


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("reward", ["log_odds", "log_probability", "probability", "logit"])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_brute_force(direction, reward, seed):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(HEIGHT * WIDTH * 3, 4)).astype(np.float32) / 3

    def model(batch):
        return np.tanh(batch.reshape(len(batch), -1) @ weights) * 3

    image = rng.normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)
    result = MoXI(model, regions=REGIONS, reward=reward).explain(image, 1, direction=direction, stop="all")

    def game(coalition):
        kept = np.isin(result.regions, list(coalition))
        logits = model((image * kept)[None]).astype(np.float64)
        if reward == "logit":
            return logits[0, 1]
        return log_odds(logits, np.array([1]))[0]  # the other rewards are increasing functions of it

    assert result.ranking.tolist() == brute_force(game, 6, direction)
    # The image, the empty image, and all steps but the last, whose one candidate is one of these.
    assert result.evaluations == 2 + 6 + 5 + 4 + 3 + 2


def test_images_share_batches_and_keep_their_answers(image, classifier):
    images = [image, image[:, :, ::-1].copy(), image[[1, 0, 2]]]
    moxi = MoXI(classifier, regions=REGIONS, absence=BLUE)
    sizes = []

    def counted(batch):
        sizes.append(len(batch))
        return sum_of_pixels(batch)

    many = MoXI(counted, regions=REGIONS, absence=BLUE, batch_size=7).explain(images, stop="all")
    alone = [moxi.explain(one, stop="all") for one in images]
    for together, one in zip(many, alone, strict=True):
        np.testing.assert_array_equal(together.ranking, one.ranking)
        np.testing.assert_allclose(together.rewards, one.rewards, rtol=1e-6)
    assert max(sizes) == 7
    assert isinstance(moxi.explain(np.stack(images)), list)


def test_targets_by_index_name_and_image(image, classifier):
    moxi = MoXI(classifier, regions=REGIONS)
    assert moxi.explain(image, 1).target == moxi.explain(image, "Green").target == 1
    assert [one.target for one in moxi.explain([image, image], ["green", None])] == [1, 0]
    with pytest.raises(ArgumentError, match="near names: green"):
        moxi.explain(image, "gren")
    with pytest.raises(ArgumentError, match=r"a class in 0 ... 2, got 3"):
        moxi.explain(image, 3)
    with pytest.raises(ArgumentError, match="2 targets for 2 images, got 1"):
        moxi.explain([image, image], [0])
    with pytest.raises(ArgumentTypeError, match="class index or a class name"):
        moxi.explain(image, 1.5)
    with pytest.raises(ArgumentError, match="no class names"):
        MoXI(sum_of_pixels, regions=REGIONS).explain(image, "green")


def test_names_that_occur_twice_need_an_index(image):
    model = CallableClassifier(sum_of_pixels, class_names=["crane", "crane", "duck"])
    with pytest.raises(ArgumentError, match=r"names the classes 0, 1; pass the index of one"):
        MoXI(model, regions=REGIONS).explain(image, "crane")


@pytest.mark.parametrize(
    ("count", "said"), [(5, "0, 1, 2, 3, 4;"), (6, "0, 1, 2, 3, 4 and 1 other;"), (9, "4 and 4 others;")]
)
def test_a_name_of_many_classes_lists_five(count, said):
    with pytest.raises(ArgumentError, match=f"names the classes .*{said} pass the index of one"):
        resolve_target("cat", ["cat"] * count + ["dog"], count + 1)


def test_stop_rules(image, classifier):
    moxi = MoXI(classifier, regions=REGIONS, absence=BLUE)
    assert len(moxi.explain(image, stop=1).ranking) == 1
    assert len(moxi.explain(image, stop="all").ranking) == 6
    sure = moxi.explain(image, min_confidence=0.999999)
    assert sure.stopped_at > moxi.explain(image).stopped_at
    assert sure.probabilities[-1] >= 0.999999


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "up"}, "x"),
        ({"stop": "never"}, '"flip", "all" or a number of patches'),
        ({"stop": 0}, "positive integer, got 0"),
        ({"min_confidence": 2}, "probability in 0 ... 1, got 2"),
        ({"min_confidence": float("nan")}, "probability"),
        ({"min_confidence": None}, "probability in 0 ... 1, got NoneType"),
        ({"min_confidence": "half"}, "probability in 0 ... 1, got str"),
    ],
)
def test_bad_search_options(image, classifier, options, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        MoXI(classifier, regions=REGIONS).explain(image, **options)


BAD_NUMBERS = [-1, 1.5, float("nan"), True, "x", None, 1j, [1], np.array([1, 2]), np.float32(1.5)]


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=repr)
def test_numbers_are_checked_before_the_model_is_asked(image, value):
    """A raw TypeError or OverflowError came from the work, or numpy's doubts about an array (R23, F34)."""
    moxi = MoXI(lambda _batch: pytest.fail("it was asked"), regions=REGIONS, absence="zero")
    for name, ask in {
        "batch_size": lambda: MoXI(sum_of_pixels, batch_size=value),
        "stop": lambda: moxi.explain(image, stop=value),
        "min_confidence": lambda: moxi.explain(image, min_confidence=value),
        "rounds": lambda: moxi.shapley(image, rounds=value),
        "seed": lambda: moxi.shapley(image, seed=value),
        "sampler": lambda: moxi.shapley(image, sampler=value),
        "direction": lambda: moxi.one_shot(image, direction=value),
    }.items():
        with pytest.raises((ArgumentError, ArgumentTypeError), match=f"`{name}`: expected"):
            ask()
    for kind in (methods.Shapley, methods.RISE, methods.LIME, methods.SuperpixelRISE):
        with pytest.raises((ArgumentError, ArgumentTypeError), match="`seed`: expected an integer in 0"):
            kind(seed=value)
    with pytest.raises((ArgumentError, ArgumentTypeError), match="`rounds`: expected"):
        methods.Shapley(rounds=value)


def test_numbers_of_any_size_are_taken_or_refused(image, classifier):
    """2**64 overflowed (R23)."""
    expected = MoXI(classifier, regions=REGIONS).explain(image, stop="all")
    found = MoXI(classifier, regions=REGIONS, batch_size=2**64).explain(image, stop=10**30)
    assert found.ranking.tolist() == expected.ranking.tolist()
    for options, name in [({"rounds": 2**64}, "rounds"), ({"seed": 2**64}, "seed"), ({"seed": 10**30}, "seed")]:
        with pytest.raises(ArgumentError, match=f"`{name}`: expected"):
            MoXI(classifier, regions=REGIONS).shapley(image, **options)
        with pytest.raises(ArgumentError, match=f"`{name}`: expected"):
            methods.Shapley(**options)
    assert MoXI(classifier, regions=REGIONS).shapley(image, rounds=2, seed=2**64 - 1).values is not None
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(image.size, 3))
    for method in (methods.IntegratedGradients(steps=2, baseline="zero"), methods.RISE(count=4, baseline="zero")):
        many = dataclasses.replace(method, batch_size=2**64)
        np.testing.assert_array_equal(many.explain(module, image).map, method.explain(module, image).map)


def test_numbers_of_numpy_are_numbers(image, classifier, tmp_path):
    ours = MoXI(classifier, regions=(2, 3), absence=0.5, batch_size=4)
    theirs = MoXI(classifier, regions=(np.int64(2), np.int64(3)), absence=np.float32(0.5), batch_size=np.int32(4))
    assert repr(MoXI(classifier, regions=np.int64(2))) == repr(MoXI(classifier, regions=2))
    pairs = [
        (ours.explain(image, stop=2), theirs.explain(image, stop=np.int64(2))),
        (ours.explain(image, min_confidence=0.5), theirs.explain(image, min_confidence=np.float32(0.5))),
        (ours.shapley(image, rounds=2, seed=1), theirs.shapley(image, rounds=np.int64(2), seed=np.int64(1))),
    ]
    for expected, result in pairs:
        assert result.provenance == expected.provenance
        assert result.ranking.tolist() == expected.ranking.tolist()
        result.save(tmp_path / "result.safetensors")
        assert load(tmp_path / "result.safetensors").provenance == expected.provenance
    with pytest.raises(ArgumentTypeError, match="`rounds`: expected a positive integer, got float"):
        ours.shapley(image, rounds=2.5)


def test_bad_models_and_options():
    with pytest.raises(ArgumentTypeError, match=r"`model`.*got str.*load_model"):
        MoXI("efficientnet")
    with pytest.raises(ArgumentError, match="`batch_size`"):
        MoXI(sum_of_pixels, batch_size=0)
    with pytest.raises(ArgumentError, match="`reward`"):
        MoXI(sum_of_pixels, reward="profit")


def test_nothing_of_the_users_is_changed(image):
    before, seen = image.copy(), []
    labels = np.repeat(np.arange(4), 6).reshape(4, 6)
    fill = np.ones(3, np.float32)

    def model(batch):
        seen.append(batch)
        logits = sum_of_pixels(batch)
        batch[:] = 0  # a rude model, on data that is its own
        return logits

    result = MoXI(model, regions=labels, absence=fill).explain(image, direction="deletion", stop=2)
    np.testing.assert_array_equal(image, before)
    assert (fill == 1).all()
    assert result.full.predicted == 0
    again = MoXI(sum_of_pixels, regions=labels, absence=fill).explain(image, direction="deletion", stop=2)
    np.testing.assert_array_equal(result.rewards, again.rewards)


def test_ctrl_c_ends_the_search_and_keeps_what_was_found(image):
    calls = []

    def model(batch):
        calls.append(len(batch))
        if len(calls) == 6:
            signal.raise_signal(signal.SIGINT)
        return sum_of_pixels(batch)

    with pytest.raises(KeyboardInterrupt) as caught:
        MoXI(model, regions=REGIONS).explain(image, direction="deletion", stop="all")
    (partial,) = caught.value.explanations
    assert len(calls) == 6
    assert partial.ranking.tolist() == [3, 2]
    assert partial.stopped_at == 2


@pytest.mark.parametrize("method", ["one_shot", "shapley"])
def test_a_failure_keeps_the_images_that_are_ranked(image, method):
    def model(batch):
        if (batch[0] == 7).any():
            raise KeyboardInterrupt
        return sum_of_pixels(batch)

    moxi = MoXI(model, regions=REGIONS, batch_size=1)
    rank = getattr(moxi, method)
    options = {"rounds": 2} if method == "shapley" else {}
    expected = rank(image, 0, **options)
    # The second image's prediction is asked for with the first one's, before the search.
    spoiled = image.copy()
    spoiled[0, 0, 0] = 7.0
    with pytest.raises(KeyboardInterrupt) as caught:
        rank([image, spoiled], 0, **options)
    (done,) = caught.value.explanations
    assert done.ranking.tolist() == expected.ranking.tolist()


def test_raw_images_need_a_preprocessing(image, classifier):
    raw = (image.transpose(1, 2, 0) * 25).astype(np.uint8)
    result = MoXI(classifier, regions=REGIONS).explain(raw, direction="deletion")
    assert result.group == (3, 2)
    np.testing.assert_array_equal(result.image, raw)
    with pytest.raises(ArgumentError, match=r"preprocess=\.\.\."):
        MoXI(sum_of_pixels, regions=REGIONS).explain(raw)


def test_images_of_different_sizes_share_a_call(image):
    images = [image, image[:, :2], 2 * image, image[:, :, :4]]
    moxi = MoXI(sum_of_pixels, regions="1x2")
    for verb in (moxi.explain, moxi.one_shot, lambda one, **options: moxi.shapley(one, sampler="exact", **options)):
        together = verb(images, direction="deletion")
        for found, one in zip(together, images, strict=True):
            alone = verb(one, direction="deletion")
            assert found.image.shape[:2] == one.shape[1:]
            np.testing.assert_array_equal(found.ranking, alone.ranking)
            np.testing.assert_array_equal(found.rewards, alone.rewards)


def test_an_interrupted_call_of_several_sizes_carries_what_is_done_in_order(image):
    images = [image, image[:, :2], 2 * image]

    calls = []

    def failing(batch):
        calls.append(batch.shape)
        if len(calls) > 12 and batch.shape[2] == 2:
            raise KeyboardInterrupt
        return sum_of_pixels(batch)

    with pytest.raises(KeyboardInterrupt) as caught:
        MoXI(failing, regions="2x3", batch_size=1).explain(images, direction="deletion", stop="all")
    kept = caught.value.explanations
    assert [one.image.shape[:2] for one in kept[:2]] in ([(4, 6), (2, 6)], [(4, 6), (4, 6)])
    assert len(kept[0].ranking) == 6


def test_an_image_and_a_model_must_agree_in_size(image):
    model = CallableClassifier(sum_of_pixels, input_size=(8, 8))
    with pytest.raises(ArgumentError, match=r"\(8, 8\) pixels.*got 4 x 6"):
        MoXI(model, regions=REGIONS).explain(image)


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_one_shot_ranks_by_what_a_patch_does_alone(image, classifier, direction):
    result = MoXI(classifier, regions=REGIONS, absence=BLUE, batch_size=4).one_shot(image, direction=direction)
    # Red sums: region 3 has 12, region 2 has 8, region 0 has 4; without red there is only what hides blue.
    assert result.ranking[:3].tolist() == [3, 2, 0]
    assert (
        result.stopped_at
        == MoXI(classifier, regions=REGIONS, absence=BLUE).explain(image, direction=direction).stopped_at
    )
    assert len(result.rewards) == 7
    assert result.provenance["method"] == "MoXI(-)"


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("options", [None, {"sampler": "exact"}, {"sampler": "moxi"}, {"sampler": "permutation"}])
def test_evaluations_are_what_the_model_was_asked(image, direction, options):
    asked = []

    def counted(batch):
        asked.append(len(batch))
        return sum_of_pixels(batch)

    moxi = MoXI(counted, regions=REGIONS)
    if options is None:
        result = moxi.one_shot(image, direction=direction)
        assert result.evaluations == 2 * 6 + 3
    else:
        result = moxi.shapley(image, direction=direction, rounds=3, **options)
    assert result.evaluations == sum(asked) - 3  # which ask the same once more, beside two others


def test_one_shot_cannot_see_that_two_patches_say_the_same():
    # Red needs regions 0 and 3 together; region 1 alone gives more than either of them, but adds nothing to them.
    def model(batch):
        both = np.minimum(batch[:, 0, 0, 0], batch[:, 0, 2, 0])
        red = 5 * both + 0.5 * batch[:, 0, 0, 0] + np.maximum(batch[:, 0, 0, 2], batch[:, 0, 0, 4])
        return np.stack([red, np.full_like(red, 4)], axis=1)

    ones = np.ones((3, HEIGHT, WIDTH), np.float32)
    moxi = MoXI(model, regions=REGIONS, reward="logit")
    assert moxi.one_shot(ones).ranking[:2].tolist() == [1, 2]  # two that replace each other
    assert moxi.explain(ones, 0, stop=3).ranking.tolist() == [1, 0, 3]


def test_captum_style(image):
    import torch

    moxi = MoXI(sum_of_pixels, regions=REGIONS)
    inputs = torch.from_numpy(np.stack([image, image[[1, 0, 2]]])).double().requires_grad_()
    blue = torch.tensor([0.0, 0.0, 1.0]).reshape(1, 3, 1, 1).expand(2, 3, 4, 6)
    maps = moxi.attribute(inputs, blue, target=torch.tensor([0, 1]))
    assert maps.shape == inputs.shape
    assert maps.dtype == inputs.dtype
    expected = MoXI(sum_of_pixels, regions=REGIONS, absence=BLUE).explain(image, 0).attribution().map
    np.testing.assert_array_equal(maps[0, 1].numpy(), expected)
    labels = np.arange(24).reshape(4, 6) // 4
    expected = MoXI(sum_of_pixels, regions=labels).explain(image, 1).attribution().map
    assert expected[0].tolist() == [1, 1, 1, 1, 0, 0]
    np.testing.assert_array_equal(moxi.attribute(image, target=1, feature_mask=labels[None]), [expected] * 3)
    with pytest.raises(ArgumentError, match="additional_forward_args"):
        moxi.attribute(inputs, additional_forward_args=(1,))


def test_torch_logits_are_taken(image):
    import torch

    def model(batch):
        return torch.from_numpy(batch).sum(dim=(2, 3)).requires_grad_()

    assert MoXI(model, regions=REGIONS).explain(image, direction="deletion").group == (3, 2)


@pytest.mark.parametrize("with_tqdm", [True, False])
def test_progress_is_on_stderr(image, classifier, capsys, monkeypatch, with_tqdm):
    if not with_tqdm:
        monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    MoXI(classifier, regions=REGIONS).explain(image, direction="deletion", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.findall(r": (\d+) model evaluations", err)[-1] == "12"


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_patches_beyond_the_flip_are_ranked_on_the_way(image, direction):
    """N7: the search goes on from where it stood, and asks nothing twice."""
    asked = []

    def model(batch):
        asked.append(len(batch))
        return sum_of_pixels(batch)

    moxi = MoXI(model, regions=REGIONS)
    whole, flip = (moxi.explain(image, direction=direction, stop=stop) for stop in ("all", "flip"))
    for least in range(7):
        asked.clear()
        found = moxi.explain(image, direction=direction, min_patches=least)
        assert sum(asked) == found.evaluations + 3
        assert (found.stopped_at, found.group) == (flip.stopped_at, flip.group)
        assert found.ranking.tolist() == whole.ranking[: max(least, flip.stopped_at)].tolist()
    with pytest.raises(ArgumentError, match='`min_players`: expected 0 unless `stop` is "flip"'):
        moxi.explain(image, stop="all", min_patches=3)


def test_the_command_asks_nothing_twice(tmp_path, monkeypatch):
    """N7: where the answer has not flipped within `--steps`, the search goes on."""
    import json

    from PIL import Image

    import interpix as ix
    from interpix import cli

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)).save(tmp_path / "photo.png")
    asked = []

    def model(batch):
        asked.append(len(batch))
        return batch.mean(axis=(2, 3)) + np.array([0, -0.1, 0])

    own = CallableClassifier(model, name="means", preprocess=lambda raw: raw.transpose(2, 0, 1) / np.float32(255))
    monkeypatch.setattr(ix, "load_model", lambda _name: own)
    assert (
        cli.main(["explain", str(tmp_path / "photo.png"), "--steps", "1", "--quiet", "-o", str(tmp_path / "out")]) == 0
    )
    found = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert sum(asked) == sum(one["evaluations"] for one in found["results"]) + 2 * 3


def test_captums_tuples_of_one_are_taken(image):
    """N27: captum.metrics asks in tuples, and wants them back."""
    moxi = MoXI(sum_of_pixels, regions=REGIONS)
    (found,) = moxi.attribute((image,), target=0)
    np.testing.assert_array_equal(found, moxi.attribute(image, target=0))
    with pytest.raises(ArgumentError, match="`inputs`: expected one batch of images, got 2 of them"):
        moxi.attribute((image, image))


def test_captums_sensitivity_takes_it(image):
    """N27: Captum's own measure."""
    torch = pytest.importorskip("torch")
    measures = pytest.importorskip("captum.metrics")

    class Sums(torch.nn.Module):
        def forward(self, x):
            return x.sum((2, 3))

    moxi = MoXI(Sums(), regions=REGIONS)
    found = measures.sensitivity_max(moxi.attribute, torch.from_numpy(image)[None], target=0, n_perturb_samples=2)
    assert found.isfinite().all()


def test_methods_say_what_to_do_with_many_images(image):
    """N31: as a list is taken by MoXI."""
    from interpix import methods

    with pytest.raises(ArgumentTypeError, match="`image`: expected one image, got list; call it once for each"):
        methods.MoXIMap(regions=REGIONS).explain(sum_of_pixels, [image, image])


def test_synonyms_and_names_with_commas(image):
    """N32: any synonym of ImageNet's names; near ones are told apart."""
    names = ["tabby, tabby cat", "tiger cat", "Egyptian cat, cat"]
    moxi = MoXI(CallableClassifier(sum_of_pixels, class_names=names), regions=REGIONS)
    for target, expected in (("tabby", 0), ("Tabby Cat", 0), ("cat", 2), ("tabby, tabby cat", 0)):
        assert moxi.explain(image, target).target == expected
    with pytest.raises(ArgumentError, match="near names: 'tabby, tabby cat'"):
        moxi.explain(image, "tabb")
