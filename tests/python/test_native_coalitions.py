"""Absence in native models: tokens that are dropped or masked, searches, methods and metrics."""

import json
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from interpix import _core
from interpix.absence import DropTokens, Fill, MaskAttention
from interpix.models.adapters import native
from interpix.models.protocol.classifier import Coalitions

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402 - which needs torch

from compared import candidate_by_candidate  # noqa: E402 - likewise
from native_models import (  # noqa: E402 - likewise
    pictures,
    timm_folder,
)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A small native Vision Transformer and the torch module that it is."""
    folder = tmp_path_factory.mktemp("vit")
    size = {"input_size": [3, 32, 48]}
    module = timm_folder(folder, cfg=size, img_size=[32, 48], patch_size=8, depth=3, num_classes=6)
    return ix.load_model(f"native:{folder}"), ix.TorchClassifier(module)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """The same, with registers and the mean of its patches."""
    folder = tmp_path_factory.mktemp("pooled")
    options = {"img_size": [32, 48], "patch_size": 8, "depth": 2, "num_classes": 6, "embed_dim": 64, "num_heads": 1}
    size = {"input_size": [3, 32, 48]}
    module = timm_folder(folder, "vit_base_patch16_reg4_gap_256", cfg=size, **options)
    return ix.load_model(f"native:{folder}"), ix.TorchClassifier(module)


@pytest.fixture(scope="module")
def without_prefix(tmp_path_factory):
    """The same without any token but those of patches, so that where all are masked nobody sees anything."""
    folder = tmp_path_factory.mktemp("without_prefix")
    options = {"img_size": [32, 48], "patch_size": 8, "depth": 2, "num_classes": 6, "embed_dim": 64, "num_heads": 2}
    size = {"input_size": [3, 32, 48]}
    module = timm_folder(folder, "vit_base_patch16_gap_224", cfg=size, **options)
    return ix.load_model(f"native:{folder}"), ix.TorchClassifier(module)


def rewards(model, absence, masks, owner=None):
    images = pictures(2, (32, 48)).numpy()
    regions = np.tile(np.kron(np.arange(24).reshape(4, 6), np.ones((8, 8), np.int64)), (2, 1, 1))
    owner = np.arange(len(masks)) % 2 if owner is None else owner
    targets = np.tile([0, 3], (len(masks), 1))
    return model.scorer(images, regions, absence).score(Coalitions.of_masks(owner, masks, targets))


MASKS = np.random.default_rng(0).random((9, 24)) < np.linspace(0, 1, 9)[:, None]


@pytest.mark.parametrize("absence", [DropTokens(), MaskAttention(), MaskAttention(1), MaskAttention(2), Fill(0.3)])
def test_absent_patches_are_absent_as_in_torch(vit, absence):
    for ours, theirs in zip(*(rewards(model, absence, MASKS) for model in vit), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("absence", [DropTokens(), MaskAttention(), MaskAttention(1), Fill()])
def test_absent_patches_of_a_pooled_model_are_absent_as_in_torch(pooled, absence):
    for ours, theirs in zip(*(rewards(model, absence, MASKS) for model in pooled), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("absence", [DropTokens(), MaskAttention(), MaskAttention(1)])
def test_tokens_that_see_nothing_are_as_in_torch(without_prefix, absence):
    assert not MASKS[0].any()
    for ours, theirs in zip(*(rewards(model, absence, MASKS) for model in without_prefix), strict=True):
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_no_coalitions_of_no_images_are_no_logits(vit):
    tokens = vit[0]._model.tokens(np.zeros((0, 3, 32, 48), np.float32))
    for masked in (False, True):
        for from_layer in (0, 1):
            none = tokens.logits(np.zeros(0, np.int64), np.zeros((0, 24), bool), masked=masked, from_layer=from_layer)
            assert none.shape == (0, 6)


def test_attention_between_more_tokens_than_fit_into_memory_is_refused(tmp_path):
    """262,144 tokens: the weights take 8 MB, what one head says of each to each 256 GiB."""
    options = {"patch_size": 1, "depth": 1, "embed_dim": 8, "num_heads": 1, "num_classes": 2, "mlp_ratio": 1.0}
    timm_folder(tmp_path, cfg={"input_size": [3, 512, 512]}, img_size=512, **options)
    native = ix.load_model(f"native:{tmp_path}")
    image = np.zeros((1, 3, 512, 512), np.float32)
    with pytest.raises(MemoryError, match=r"`batch`: the network needs .* bytes"):
        native.logits(image)
    with pytest.raises(MemoryError, match=r"`batch`: the network needs .* bytes"):
        native._model.tokens(image)


def test_dropped_tokens_are_those_that_attention_never_sees(vit):
    dropped, masked = (rewards(vit[0], absence, MASKS) for absence in (DropTokens(), MaskAttention(0)))
    for ours, theirs in zip(dropped, masked, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_neither_batches_nor_threads_change_what_tokens_say(vit):
    together = rewards(vit[0], DropTokens(), MASKS)
    for row in range(len(MASKS)):
        alone = rewards(vit[0], DropTokens(), MASKS[row : row + 1], np.array([row % 2]))
        assert [one[0].tolist() for one in alone] == [one[row].tolist() for one in together]
    _core.set_threads(1)
    try:
        serial = rewards(vit[0], DropTokens(), MASKS)
    finally:
        _core.set_threads(0)
    for one, other in zip(serial, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_block_that_is_not_there_is_named(vit):
    with pytest.raises(ix.ArgumentError, match=r"`from_layer`: expected a block of model .* 0 ... 2, got 3"):
        rewards(vit[0], MaskAttention(3), MASKS)
    images, regions = pictures(1, (32, 48)).numpy(), np.zeros((1, 32, 48), np.int64)
    coalitions = Coalitions.of_masks(np.zeros(1, int), np.ones((1, 1), bool), np.zeros((1, 1), int))
    scorer = vit[0].scorer(images, regions, DropTokens())
    with pytest.raises(ix.ArgumentError, match="`precision`"):
        scorer.score(coalitions, "mixed")


def brute_force(scorer, players, steps, direction):
    """The ranking by asking about every candidate alone."""
    chosen = []
    for _ in range(steps):
        rest = [player for player in range(players) if player not in chosen]
        masks = np.zeros((len(rest), players), bool)
        for row, player in enumerate(rest):
            masks[row, [*chosen, player]] = True
        if direction == "deletion":
            masks = ~masks
        scores = scorer(masks)
        chosen.append(rest[int(scores.argmax() if direction == "insertion" else scores.argmin())])
    return chosen


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_moxi_on_a_native_transformer_is_brute_force_and_the_torch_path(vit, direction):
    image = pictures(1, (32, 48))[0].numpy()
    ours, theirs = (ix.MoXI(model, regions="tokens").explain(image, 3, direction=direction, stop=5) for model in vit)
    np.testing.assert_array_equal(ours.ranking, theirs.ranking)
    np.testing.assert_allclose(ours.rewards, theirs.rewards, atol=2e-5)
    assert "drop_tokens" in json.dumps(ours.summary())
    regions = np.kron(np.arange(24).reshape(4, 6), np.ones((8, 8), np.int64))[None]
    scorer = vit[0].scorer(image[None], regions, DropTokens())

    def reward(masks):
        coalitions = Coalitions.of_masks(np.zeros(len(masks), int), masks, np.full((len(masks), 1), 3))
        return scorer.score(coalitions).log_odds[:, 0]

    assert ours.ranking.tolist() == brute_force(reward, 24, 5, direction)


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_moxi_on_a_native_resnet_is_the_torch_path(direction, tmp_path):
    size = {"input_size": [3, 64, 96], "crop_pct": 1.0}
    module = timm_folder(tmp_path, "resnet18", cfg=size, num_classes=5)
    native = ix.load_model(f"native:{tmp_path}")
    image = pictures(1, (64, 96))[0].numpy()
    ours, theirs = (
        ix.MoXI(model, regions="3x4").explain(image, 2, direction=direction, stop=4)
        for model in (native, ix.TorchClassifier(module))
    )
    np.testing.assert_array_equal(ours.ranking, theirs.ranking)
    np.testing.assert_allclose(ours.rewards, theirs.rewards, atol=1e-3)


def test_methods_and_metrics_without_gradients_work(vit, tmp_path):
    native = vit[0]
    names = ["rise(count=20)", "shapley(rounds=2)", "moxi"]
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(photo)
    comparison = ix.compare(native, [photo], names, ["insertion(steps=4)", "deletion(steps=4)"])
    assert not comparison.failed
    assert len(comparison.entries) > 0


def test_weights_that_are_no_numbers_are_told(tmp_path):
    module = timm_folder(
        tmp_path, cfg={"input_size": [3, 32, 48]}, img_size=[32, 48], patch_size=8, depth=1, num_classes=6
    )
    state = module.state_dict()
    state["head.bias"][0] = torch.nan
    save_file(state, tmp_path / "model.safetensors")
    model = ix.load_model(f"native:{tmp_path}")
    with pytest.raises(ix.ModelError, match="its logits hold NaN or infinity"):
        ix.MoXI(model, regions="2x3").explain(pictures(1, (32, 48)).numpy()[0], 1)


OWN_REGIONS = np.kron(np.random.default_rng(5).permutation(24).reshape(4, 6) % 9, np.ones((8, 8), np.int64))
STEPS = {
    "tokens": {},
    "several tokens": {"regions": OWN_REGIONS},
    "masked": {"absence": MaskAttention(1)},
    "pictures": {"absence": "zero", "regions": "3x4"},
    "superpixels": {"absence": "mean", "regions": ix.Superpixels(count=5)},
    "probability": {"reward": "probability"},
    "log probability": {"reward": "log_probability"},
    "logit": {"reward": "logit"},
    "sigmoid": {"output": ix.outputs.Sigmoid()},
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_whole_steps_find_what_candidate_by_candidate_is_found(vit, name, direction, monkeypatch):
    moxi, images = ix.MoXI(vit[0], **STEPS[name]), np.kron(pictures(3, (4, 6)).numpy(), np.ones((8, 8), np.float32))
    told = Mock(wraps=native._told)
    monkeypatch.setattr(native, "_told", told)
    steps = moxi.explain(images, [0, 3, 5], direction=direction, stop="all")
    assert told.call_count
    told.reset_mock()
    with candidate_by_candidate():
        one_by_one = moxi.explain(images, [0, 3, 5], direction=direction, stop="all")
    assert not told.called
    for found, expected in zip(steps, one_by_one, strict=True):
        assert found.ranking.tolist() == expected.ranking.tolist()
        assert (found.stopped_at, found.evaluations) == (expected.stopped_at, expected.evaluations)
        for column in ("rewards", "answers", "predicted", "holds"):
            np.testing.assert_array_equal(getattr(found, column), getattr(expected, column))
        np.testing.assert_allclose(found.gaps, expected.gaps, rtol=1e-9, atol=1e-12)
