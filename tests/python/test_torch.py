"""PyTorch models: every kind of absence against brute force and against each other."""

import numpy as np
import pytest
import torch

import interpix as ix
from interpix.absence import read_absence
from interpix.models import as_classifier
from interpix.models.protocol.classifier import Coalitions
from interpix.models.protocol.pictures import compose
from interpix.models.torch.memory import memory_of
from interpix.models.windows.scorer import WindowScorer
from interpix.outputs.readout import read_logits
from torch_models import HEIGHT, WIDTH, convolutions, picture, vit

timm = pytest.importorskip("timm")


def brute_force(model, image, regions, direction, target, *, steps, tokens=False):
    """The greedy ranking by its definition, in plain PyTorch, one picture at a time; and the least gap."""
    players = int(regions.max()) + 1
    insertion = direction == "insertion"
    kept = set() if insertion else set(range(players))
    ranking, least = [], np.inf

    def reward(coalition):
        x = torch.from_numpy(image)[None]
        with torch.no_grad():
            if tokens:
                rows = torch.tensor([0] + [1 + t for t in sorted(coalition)])
                hook = model.blocks[0].register_forward_pre_hook(lambda _, args: (args[0][:, rows],))
                logits = model(x)
                hook.remove()
            else:
                logits = model(x * torch.from_numpy(np.isin(regions, list(coalition))))
        logits = logits[0].double()
        others = torch.cat([logits[:target], logits[target + 1 :]])
        return float(logits[target] - others.logsumexp(0))

    for _ in range(steps):
        rest = [p for p in range(players) if p not in ranking]
        rewards = np.array([reward(kept | {p} if insertion else kept - {p}) for p in rest])
        ordered = np.sort(rewards if not insertion else -rewards)
        if len(rest) > 1:
            least = min(least, ordered[1] - ordered[0])
        best = rest[int(rewards.argmax() if insertion else rewards.argmin())]
        ranking.append(best)
        kept = kept | {best} if insertion else kept - {best}
    return ranking, least


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_convolutions_equal_brute_force(direction):
    model = convolutions().eval()
    result = ix.MoXI(model, regions="3x4", batch_size=7).explain(picture(), 2, direction=direction, stop="all")
    ranking, least = brute_force(model, picture(), result.regions, direction, 2, steps=12)
    assert least > 1e-5
    assert result.ranking.tolist() == ranking
    assert result.provenance["absence"] == "zero"


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("precision", ["exact", "mixed"])
def test_a_vision_transformer_drops_tokens_and_equals_brute_force(direction, precision):
    model = vit().eval()
    moxi = ix.MoXI(model, precision=precision)
    result = moxi.explain(picture(), 1, direction=direction, stop=6)
    ranking, least = brute_force(model, picture(), result.regions, direction, 1, steps=6, tokens=True)
    assert least > 1e-4
    assert result.ranking.tolist() == ranking
    assert result.players == 24
    assert result.provenance["absence"] == "drop_tokens"
    assert repr(moxi) == "MoXI(VisionTransformer, regions=4x6, absence=drop_tokens)"


def test_five_images_at_once_keep_their_answers():
    for model in (vit().eval(), convolutions().eval()):
        moxi = ix.MoXI(model, regions="2x3")
        many = moxi.explain(picture(count=5), stop="all")
        for one, image in zip(many, picture(count=5), strict=True):
            alone = moxi.explain(image, stop="all")
            assert one.ranking.tolist() == alone.ranking.tolist()
            np.testing.assert_allclose(one.rewards, alone.rewards, atol=1e-5)


def test_dropped_tokens_equal_masked_attention_for_a_class_token():
    classifier = as_classifier(vit())
    rng = np.random.default_rng(3)
    regions = np.repeat(np.repeat(np.arange(24).reshape(4, 6), 8, 0), 8, 1)[None]
    coalitions = Coalitions.of_masks(np.zeros(9, np.int64), rng.random((9, 24)) < 0.4, rng.integers(0, 5, (9, 2)))
    dropped, masked, late = (
        classifier.scorer(picture()[None], regions, absence).score(coalitions)
        for absence in (ix.DropTokens(), ix.MaskAttention(0), ix.MaskAttention(1))
    )
    np.testing.assert_allclose(dropped.log_odds, masked.log_odds, atol=1e-5)
    assert np.abs(late.log_odds - dropped.log_odds).max() > 1e-3


@pytest.mark.parametrize("size", [(2, 3), (4, 6)])
def test_windows_and_pictures_give_the_same_scores(size):
    model = convolutions()
    classifier = as_classifier(model)
    from interpix.regions import grid_regions

    regions = grid_regions((HEIGHT, WIDTH), *size)[None]
    players = regions.max() + 1
    scorer = classifier.scorer(picture()[None], regions, ix.Fill("mean"))
    assert isinstance(scorer, WindowScorer)
    base = np.random.default_rng(1).random(players) < 0.5
    for added in (True, False):
        flips = np.flatnonzero(base != added)
        flip = np.append(flips, -1)
        zeros = np.zeros_like(flip)
        coalitions = Coalitions(zeros, base[None], zeros, flip, np.full((len(flip), 1), 3))
        fill = ix.Fill("mean").make(picture(), classifier)[None]
        logits = classifier.logits(compose(picture()[None], regions, fill, coalitions.owner, coalitions.masks))
        expected = read_logits(logits.astype(np.float64), coalitions.targets)
        np.testing.assert_allclose(scorer.score(coalitions).log_odds, expected.log_odds, atol=1e-5)


def test_superpixels_differ_from_image_to_image():
    pytest.importorskip("skimage")
    images = [np.kron(np.random.default_rng(seed).integers(0, 255, (4, 6, 3)), np.ones((8, 8, 1))) for seed in (0, 1)]
    model = ix.TorchClassifier(
        convolutions(), preprocess=lambda image: np.asarray(image, np.float32).transpose(2, 0, 1) / 255 - 0.5
    )
    results = ix.MoXI(model, regions=ix.Superpixels(8)).explain([one.astype(np.uint8) for one in images], stop="all")
    assert (results[0].regions != results[1].regions).any()
    for result, image in zip(results, images, strict=True):
        np.testing.assert_array_equal(result.image, image)
        assert sorted(result.ranking) == list(range(result.players))


@pytest.mark.parametrize("make", [convolutions, vit])
def test_flips_of_any_sets_in_any_order_give_the_scores_of_their_masks(make):
    classifier, rng = as_classifier(make().eval()), np.random.default_rng(6)
    tokens = np.kron(np.arange(24).reshape(1, 4, 6), np.ones((1, 8, 8), np.int64))
    scorer = classifier.scorer(
        picture(count=2), np.concatenate([tokens, 23 - tokens]), read_absence("auto", classifier.token_grid)
    )
    row, flip, targets = rng.integers(0, 5, 70), rng.integers(-1, 24, 70), rng.integers(0, 5, (70, 2))
    owner = np.array([0, 1, 1, 0, 1])[row]
    coalitions = Coalitions(owner, rng.random((5, 24)) < 0.5, row, flip, targets)
    expected = scorer.score(Coalitions.of_masks(owner, coalitions.masks, targets))
    got = scorer.score(coalitions)
    np.testing.assert_allclose(got.log_odds, expected.log_odds, atol=1e-5)
    np.testing.assert_array_equal(got.predicted, expected.predicted)


def test_bfloat16_models_are_followed():
    expected = ix.MoXI(vit()).explain(picture(), stop=2)
    result = ix.MoXI(vit().to(torch.bfloat16)).explain(picture(), stop=2)
    assert result.provenance["dtype"] == "bfloat16"
    assert result.target == expected.target
    assert result.ranking.tolist() == expected.ranking.tolist()
    np.testing.assert_allclose(result.rewards, expected.rewards, rtol=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_ranking():
    for model in (vit().eval(), convolutions().eval()):
        expected = ix.MoXI(model).explain(picture(), 1, stop=6)
        assert ix.MoXI(model.cuda()).explain(picture(), 1, stop=6).ranking.tolist() == expected.ranking.tolist()
    memory = memory_of(torch.device("cuda"))
    _, taken = memory.measured(lambda: torch.ones(2**20, device="cuda"))
    assert 2**22 <= taken < memory.free()


def test_captums_way_of_asking():
    moxi = ix.MoXI(vit())
    inputs = torch.from_numpy(picture(count=2))
    maps = moxi.attribute(inputs, target=1)
    assert maps.shape == inputs.shape
    assert torch.equal(maps[0, 0], maps[0, 2])
    np.testing.assert_array_equal(maps[0, 0].numpy(), moxi.explain(inputs[0], 1).attribution().map)
