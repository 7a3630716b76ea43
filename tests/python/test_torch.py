"""PyTorch models: what is read of them, what is never changed, and every kind of absence against brute force."""

import pickle
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import interpix as ix
from interpix.absence import read_absence
from interpix.classifiers import as_classifier, tokens
from interpix.classifiers.base import Classifier, Coalitions, compose
from interpix.classifiers.memory import memory_of
from interpix.classifiers.tokens import evaluating
from interpix.classifiers.torch_scorers import WindowScorer
from interpix.rewards import read_logits

timm = pytest.importorskip("timm")

HEIGHT, WIDTH = 32, 48


def convolutions(classes=5, seed=0):
    """A plain stack that can be evaluated in windows, with norms and dropout."""
    torch.manual_seed(seed)
    body = [nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, classes))
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    # Far above rounding, so that no two candidates are nearly equal.
    nn.init.normal_(model[-1].weight, std=30.0)
    return model


def vit(seed=0, **options):
    torch.manual_seed(seed)
    settings = {
        "img_size": (HEIGHT, WIDTH),
        "patch_size": 8,
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "num_classes": 5,
    }
    model = timm.models.vision_transformer.VisionTransformer(**(settings | options))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    nn.init.normal_(model.head.weight, std=3.0)
    return model


def picture(seed=0, count=None):
    shape = (3, HEIGHT, WIDTH) if count is None else (count, 3, HEIGHT, WIDTH)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


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


def test_the_model_leaves_as_it_came():
    for model in (convolutions().train(), vit().train()):
        model[-1].eval() if isinstance(model, nn.Sequential) else model.blocks[0].eval()
        seen = []
        hook = model.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        modes = [part.training for part in model.modules()]
        hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        ix.MoXI(model, regions="2x3").explain(picture(), stop="all")
        ix.MoXI(model, regions="2x3", absence="mean").explain(picture(), direction="deletion")
        assert seen, "the user's hook saw the model run"
        assert modes == [part.training for part in model.modules()]
        assert hooks == [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        assert all((parameter.grad == 1).all() and parameter.requires_grad for parameter in model.parameters())
        hook.remove()


class Training(nn.Module):
    """Calls `train` in its forward pass."""

    def __init__(self):
        super().__init__()
        self.inner = convolutions()

    def forward(self, x):
        self.inner[1].train()
        return self.inner(x)


def test_a_model_that_changes_its_own_mode_leaves_as_it_came():
    model = Training().eval()
    ix.MoXI(model, regions="2x3").explain(picture(), stop=1)
    assert not any(part.training for part in model.modules())


def test_threads_that_ask_one_model_share_its_mode():
    model = convolutions().train()
    first, second = evaluating(model), evaluating(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(part.training for part in model.modules()), "the second one is still at it"
    second.__exit__(None, None, None)
    assert all(part.training for part in model.modules())


@pytest.mark.parametrize("whole_first", [True, False])
def test_threads_that_ask_modules_with_common_parts_share_their_modes(whole_first):
    model = convolutions().train()
    model[1].eval()
    before = [part.training for part in model.modules()]
    first, second = map(evaluating, (model, model[0]) if whole_first else (model[0], model))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not model[0].training, "the second one is still at it"
    second.__exit__(None, None, None)
    assert [part.training for part in model.modules()] == before


class Interrupted:
    """A lock at whose first use Ctrl-C comes."""

    def __init__(self):
        self.used = 0

    def __enter__(self):
        self.used += 1
        if self.used == 1:
            raise KeyboardInterrupt

    def __exit__(self, *_):
        pass


def test_an_interrupt_leaves_what_another_thread_asks_as_it_is(monkeypatch):
    model = convolutions().train()
    with evaluating(model):
        monkeypatch.setattr(tokens, "_asking", Interrupted())
        with pytest.raises(KeyboardInterrupt), evaluating(model):
            pass
        assert not any(part.training for part in model.modules())
    assert all(part.training for part in model.modules())


def test_who_comes_between_an_interrupt_and_its_cleaning_up_finds_all_parts_evaluated(monkeypatch):
    model = convolutions().train()
    second = evaluating(model)

    def interrupt(*_, **__):
        monkeypatch.undo()
        second.__enter__()
        raise KeyboardInterrupt

    monkeypatch.setattr(tokens, "_asking", nullcontext())
    monkeypatch.setattr(tokens, "_set_training", interrupt)
    with pytest.raises(KeyboardInterrupt), evaluating(model):
        pass
    assert not any(part.training for part in model.modules())
    second.__exit__(None, None, None)
    assert all(part.training for part in model.modules())


@pytest.mark.filterwarnings("ignore:.torch.jit.*deprecated")
def test_torchscript_in_training_mode_is_evaluated_and_leaves_as_it_came():
    model = torch.jit.script(convolutions().train())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = ix.MoXI(model, regions="2x3").explain(picture(), 2, stop="all")
    expected = ix.MoXI(convolutions().eval(), regions="2x3").explain(picture(), 2, stop="all")
    np.testing.assert_allclose(result.rewards, expected.rewards, atol=1e-4)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class Remembering(nn.Module):
    """Makes a table when it first sees the width of a picture, and keeps it."""

    def __init__(self):
        super().__init__()
        self.inner, self.table = convolutions(), None

    def forward(self, x):
        if self.table is None:
            self.table = torch.linspace(0, 1, x.shape[3])
        return self.inner(x * self.inner[0].weight.mean() * self.table)


def test_a_model_that_was_asked_can_be_trained():
    model = Remembering().train()
    ix.MoXI(model, regions="2x3").explain(picture(), stop=1)
    model(torch.from_numpy(picture(count=2))).sum().backward()
    assert model.inner[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("make", [convolutions, vit, Remembering])
def test_a_callers_context_changes_nothing(make):
    torch.manual_seed(0)
    moxi = ix.MoXI(make().eval(), regions="2x3")
    expected = moxi.explain(picture(), 2, stop="all")
    for context in (torch.autocast("cpu", torch.bfloat16), torch.inference_mode(), torch.enable_grad()):
        with context:
            result = moxi.explain(picture(), 2, stop="all")
        np.testing.assert_array_equal(result.rewards, expected.rewards)
        assert result.full == expected.full


def test_nothing_piles_up():
    import gc

    model = convolutions()
    moxi = ix.MoXI(model, regions="2x3")
    image = picture()
    moxi.explain(image, stop=1)
    gc.collect()
    before = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
    for _ in range(100):
        moxi.explain(image, stop=1)
    gc.collect()
    assert sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects()) == before


@pytest.mark.parametrize("make", [convolutions, vit])
def test_a_used_explainer_can_be_pickled(make):
    moxi = ix.MoXI(make(), regions="2x3")
    result = moxi.explain(picture(), stop="all")
    again = pickle.loads(pickle.dumps(moxi))
    assert again.explain(picture(), stop="all").ranking.tolist() == result.ranking.tolist()


def test_weights_that_change_are_seen():
    model = convolutions()
    moxi = ix.MoXI(model, regions="2x3")
    first = moxi.explain(picture(), 0, stop="all")
    with torch.no_grad():
        model[-1].bias += torch.arange(5.0)
        model[0].weight *= -1
    second = moxi.explain(picture(), 0, stop="all")
    fresh = ix.MoXI(model, regions="2x3").explain(picture(), 0, stop="all")
    np.testing.assert_array_equal(second.rewards, fresh.rewards)
    assert np.abs(second.rewards - first.rewards).max() > 0.1
    assert first.provenance["weights_sha256"] != second.provenance["weights_sha256"]


def negate_data(model):
    model[0].weight.data.mul_(-1)


def negate_in_numpy(model):
    model[0].weight.detach().numpy()[:] *= -1


def widen(model):
    model[1].eps = 1.0


@pytest.mark.parametrize("change", [negate_data, negate_in_numpy, widen])
def test_changes_that_torch_does_not_count_are_seen(change):
    model = convolutions()
    moxi = ix.MoXI(model, regions="2x3")
    first = moxi.explain(picture(), 0, stop="all")
    change(model)
    second = moxi.explain(picture(), 0, stop="all")
    fresh = ix.MoXI(model, regions="2x3").explain(picture(), 0, stop="all")
    np.testing.assert_array_equal(second.rewards, fresh.rewards)
    assert np.abs(second.rewards - first.rewards).max() > 0.1
    assert second.provenance["weights_sha256"] == fresh.provenance["weights_sha256"]


def test_small_changes_of_short_numbers_are_seen():
    classifier = as_classifier(convolutions().to(torch.bfloat16))
    weight = classifier.module[0].weight
    weight.data.fill_(2)
    before = classifier.provenance()["weights_sha256"]
    weight.data[0, 0, 0, 0] += 2**-4
    assert classifier.provenance()["weights_sha256"] != before


@pytest.mark.filterwarnings("ignore")  # torch announces the next way to quantize
def test_quantized_models_are_explained():
    def quantized(seed):
        return torch.ao.quantization.quantize_dynamic(convolutions(seed=seed).eval(), {nn.Linear})

    results = [ix.MoXI(quantized(seed), regions="2x3").explain(picture(), 2, stop="all") for seed in (0, 0, 1)]
    expected = ix.MoXI(convolutions().eval(), regions="2x3").explain(picture(), 2, stop="all")
    assert np.abs(results[0].rewards - expected.rewards).max() < 0.05 * np.abs(expected.rewards).max()
    hashes = [result.provenance["weights_sha256"] for result in results]
    assert hashes[0] == hashes[1] != hashes[2]


def test_timm_brings_its_preprocessing_and_class_names():
    model = timm.create_model("test_vit", pretrained=False)
    classifier = as_classifier(model)
    assert isinstance(classifier, Classifier)
    assert classifier.name.startswith("timm:test_vit")
    assert classifier.class_names[967] == "espresso"
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 310, 3), dtype=np.uint8))
    config = timm.data.resolve_model_data_config(model)
    expected = timm.data.create_transform(**config, is_training=False)(photo)
    raw = np.asarray(photo)
    np.testing.assert_array_equal(classifier.preprocess(raw), expected.numpy())
    mean, std = (np.array(config[key])[:, None, None] for key in ("mean", "std"))
    shown = classifier.display(raw)
    np.testing.assert_allclose(shown.transpose(2, 0, 1), (expected.numpy() * std + mean) * 255, atol=0.51)
    result = ix.MoXI(model, regions="2x2").explain(photo, stop=1)
    assert "Normalize" in result.provenance["preprocessing"]
    assert result.target == int(model.eval()(expected[None]).argmax())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_vit", {}),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4}),
    ],
)
def test_timm_models_made_for_another_size_are_preprocessed_for_it(name, options):
    model = timm.create_model(name, img_size=(64, 96), **options)
    result = ix.MoXI(model).explain(np.zeros((90, 80, 3), np.uint8), stop=1)
    assert result.image.shape == (64, 96, 3)


def test_preprocessing_to_a_size_that_the_model_does_not_take_is_refused():
    model = ix.TorchClassifier(vit(), preprocess=lambda image: np.zeros((3, 24, 40), np.float32))
    with pytest.raises(
        ix.ArgumentError, match=r"`preprocess`: expected \(32, 48\) pixels.*got 24 x 40; make the preproc"
    ):
        ix.MoXI(model).explain(np.zeros((30, 40, 3), np.uint8))


def test_torchvision_weights_and_hugging_face_processors_preprocess():
    models = pytest.importorskip("torchvision.models")
    transformers = pytest.importorskip("transformers")
    raw = np.random.default_rng(0).integers(0, 255, (300, 420, 3), dtype=np.uint8)
    weights = models.ResNet18_Weights.DEFAULT
    classifier = ix.TorchClassifier(convolutions(1000), preprocess=weights)
    assert classifier.class_names[967] == "espresso"
    np.testing.assert_array_equal(classifier.preprocess(raw), weights.transforms()(Image.fromarray(raw)).numpy())
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    config.id2label = {0: "cat", 1: "dog"}
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(config)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    pipeline = transformers.pipeline("image-classification", model=model, image_processor=processor)
    classifier = as_classifier(pipeline)
    assert classifier.module is model
    assert classifier.class_names == ["cat", "dog"]
    assert classifier.token_grid == (4, 4)
    expected = processor(images=Image.fromarray(raw), return_tensors="pt")["pixel_values"][0]
    np.testing.assert_array_equal(classifier.preprocess(raw), expected.numpy())
    result = pickle.loads(pickle.dumps(ix.MoXI(pipeline))).explain(raw, "dog", stop=2)
    assert result.provenance["absence"] == "drop_tokens"
    assert len(result.ranking) == 2


def test_names_of_other_classes_are_left_out_or_refused():
    weights = pytest.importorskip("torchvision.models").ResNet18_Weights.DEFAULT
    model = convolutions(5)  # as after the last layer of a pretrained model was replaced
    assert (
        ix.MoXI(ix.TorchClassifier(model, preprocess=weights), regions="2x3").explain(picture(), stop=1).class_names
        is None
    )
    wrong = ix.TorchClassifier(model, class_names=["cat", "dog"])
    with pytest.raises(
        ix.ArgumentError, match="`class_names`: expected a name for each of the model's 5 classes, got 2"
    ):
        ix.MoXI(wrong).explain(picture())
    right = ix.TorchClassifier(model, preprocess=weights, class_names=list("abcde"))
    assert ix.MoXI(right, regions="2x3").explain(picture(), "E", stop=1).target == 4
    for names in ("abcde", {0: "a", 1: "b"}, range(5)):
        with pytest.raises(ix.ArgumentTypeError, match="`class_names`: expected a list of names"):
            ix.TorchClassifier(model, class_names=names)


class Holding:
    """A function of numpy arrays that happens to keep a torch module as its `model`."""

    model = nn.Conv2d(3, 2, 1)

    def __call__(self, batch):
        assert isinstance(batch, np.ndarray)
        return batch.mean(axis=(2, 3))


class Named(nn.Module):
    """A module whose own `model` is a name."""

    model = "named"

    def forward(self, x):
        return x.mean(dim=(2, 3))


def test_only_a_pipeline_is_taken_for_the_model_that_it_holds():
    function = Holding()
    classifier = as_classifier(function)
    assert isinstance(classifier, ix.CallableClassifier)
    assert classifier.function is function
    assert ix.MoXI(function, regions="2x3").explain(picture(), 0, stop=1).target == 0
    with pytest.raises(ix.ArgumentTypeError, match=r"`module`.*got Holding"):
        ix.TorchClassifier(function)
    holder = Named()
    assert as_classifier(holder).module is holder
    assert ix.TorchClassifier(holder).module is holder
    # A module is taken itself even if it has another one, and a processor, as its parts.
    holder.model, holder.image_processor = nn.Identity(), None
    assert as_classifier(holder).module is holder


class Halting(nn.Module):
    """Fits `most` pictures into its memory."""

    def __init__(self, most, error=torch.OutOfMemoryError):
        super().__init__()
        self.inner, self.most, self.error, self.sizes = convolutions().eval(), most, error, []

    def forward(self, x):
        if len(x) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate 2 GiB")
        self.sizes.append(len(x))
        return {"logits": self.inner(x)}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_memory_that_runs_out_halves_the_batch_and_is_remembered(error):
    result = ix.MoXI(Halting(5, error), regions="3x4").explain(picture(), 2, stop="all")
    expected = ix.MoXI(convolutions().eval(), regions="3x4").explain(picture(), 2, stop="all")
    assert result.ranking.tolist() == expected.ranking.tolist()
    assert result.provenance["batch_size_reduced_to"] <= 5
    with pytest.raises(ix.ModelError, match="a batch of 1 does not fit into memory"):
        ix.MoXI(Halting(0, error), regions="3x4").explain(picture())


def test_a_transformer_that_is_filled_gets_no_more_pictures_than_fit():
    model, sizes = vit(), []
    hook = model.register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
    ix.MoXI(model, absence="zero", regions="4x6").explain(picture(count=5), stop=1)
    hook.remove()
    assert max(sizes) == ix.TorchClassifier(model).batch_size == 64
    # Tokens have a budget of their own, so all candidates come at once.
    assert ix.MoXI(model).explain(picture(), stop=1).provenance["batch_size"] == 1024


class Answering(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def fail(_x):
    raise ZeroDivisionError("my own bug")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (fail, r"raised ZeroDivisionError for a batch \(1, 3, 32, 48\): my own bug"),
        (lambda x: torch.full((len(x), 4), torch.nan), "NaN or infinity"),
        (lambda x: torch.zeros(len(x) + 1, 4), r"expected logits \(1, classes\)"),
        (lambda x: torch.zeros(len(x), 4, 2), "expected logits"),
        (lambda x: "cat", "expected logits, got str"),
    ],
)
def test_models_that_fail_are_named(answer, message):
    with pytest.raises(ix.ModelError, match=message) as caught:
        ix.MoXI(Answering(answer), regions="2x3").explain(picture())
    if answer is fail:
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


class Failing(nn.Module):
    """A norm that raises where more than `most` sequences come."""

    def __init__(self, inner, most, error):
        super().__init__()
        self.inner, self.most, self.error = inner, most, error

    def forward(self, x):
        if len(x) > self.most:
            raise self.error
        return self.inner(x)


@pytest.mark.parametrize("absence", [ix.DropTokens(), ix.MaskAttention(1)])
@pytest.mark.parametrize("part", ["first", "last"])
def test_a_part_of_a_vision_transformer_that_fails_is_the_models_error(absence, part):
    model = vit(global_pool="avg")
    block = model.blocks[0 if part == "first" else 1]
    block.norm1 = Failing(block.norm1, 0, ValueError("no norm today"))
    tokens = np.kron(np.arange(24).reshape(1, 4, 6), np.ones((1, 8, 8), np.int64))
    scorer = as_classifier(model).scorer(picture(count=1), tokens, absence)
    message = r"model `VisionTransformer` raised ValueError for images with.*: no norm today"
    with pytest.raises(ix.ModelError, match=message):
        scorer.score(Coalitions.of_masks(np.array([0]), np.arange(24)[None] > 3, np.array([[0]])))


def test_a_vision_transformer_that_runs_out_of_memory_gets_fewer_at_once():
    model = vit()
    expected = ix.MoXI(model).explain(picture(), 2, stop=2)
    model.blocks[1].norm1 = Failing(model.blocks[1].norm1, 5, RuntimeError("not enough memory"))
    result = ix.MoXI(model).explain(picture(), 2, stop=2)
    assert result.ranking.tolist() == expected.ranking.tolist()
    assert result.provenance["batch_size_reduced_to"] <= 5


def test_a_layer_that_fails_in_windows_is_the_models_error():
    model = convolutions().eval()
    labels = np.arange(4).repeat(HEIGHT * WIDTH // 4).reshape(1, HEIGHT, WIDTH)
    scorer = as_classifier(model).scorer(picture(count=1), labels, ix.Fill())
    assert isinstance(scorer, WindowScorer)
    model[-1].to("meta")  # another device
    base, zeros = np.ones((1, 4), bool), np.zeros(4, np.int64)
    for flip in (np.arange(4), np.full(4, -1)):
        with pytest.raises(ix.ModelError, match=r"model `Sequential` raised \w+ for (a batch|the picture)"):
            scorer.score(Coalitions(zeros, base, zeros, flip, zeros[:, None]))


def test_a_failure_on_the_way_keeps_what_was_found():
    calls = []

    def tired(x):
        calls.append(len(x))
        if len(calls) > 4:
            raise ZeroDivisionError("tired")
        return x.sum(dim=(2, 3))

    with pytest.raises(ix.ModelError, match="tired") as caught:
        ix.MoXI(Answering(tired), regions="2x3", batch_size=6).explain(picture(), stop="all")
    assert len(caught.value.explanations[0].ranking) >= 1


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (convolutions, {"absence": "drop_tokens"}, "`absence`: expected a Fill"),
        (convolutions, {"regions": "tokens"}, "this model has no tokens"),
        (vit, {"regions": "3x5"}, "whole patches of the 4 x 6 token grid"),
        (vit, {"absence": ix.MaskAttention(2)}, "`from_layer`: expected a block"),
        (convolutions, {"precision": "half"}, '"exact" or "mixed"'),
    ],
)
def test_what_does_not_fit_the_model_is_refused(model, options, message):
    with pytest.raises(ix.ArgumentError, match=message):
        ix.MoXI(model(), **options).explain(picture())


def test_a_raw_image_needs_preprocessing():
    with pytest.raises(ix.ArgumentError, match=r"interpix.TorchClassifier\(model, preprocess=...\)"):
        ix.MoXI(convolutions()).explain(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(ix.ArgumentError, match=r"pixels for model"):
        ix.MoXI(vit()).explain(picture()[:, :, :40])


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_torchs_own_wrappers_are_looked_into(wrap):
    model = vit()
    wrapped = ix.TorchClassifier(wrap(model))
    plain = ix.TorchClassifier(model)
    assert (wrapped.name, wrapped.token_grid) == (plain.name, (4, 6))
    mine, theirs = (ix.MoXI(one).explain(picture(), 1, stop=3) for one in (plain, wrapped))
    assert mine.ranking.tolist() == theirs.ranking.tolist()
    assert mine.provenance == theirs.provenance


@pytest.mark.parametrize("precision", ["exact", "mixed"])
def test_another_default_device_changes_nothing(precision):
    for model in (vit().eval(), convolutions().eval()):
        moxi = ix.MoXI(model, precision=precision)
        expected = moxi.explain(picture(), 1, stop=3)
        with torch.device("meta"):
            assert ix.MoXI(model, precision=precision).explain(picture(), 1, stop=3).ranking.tolist() == (
                expected.ranking.tolist()
            )


def test_bfloat16_models_are_followed():
    model = vit().to(torch.bfloat16)
    result = ix.MoXI(model).explain(picture(), stop=2)
    assert result.provenance["dtype"] == "bfloat16"
    assert len(result.ranking) == 2


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
    np.testing.assert_array_equal(maps[0, 0].numpy(), moxi.explain(inputs[0], 1).attribution())


def test_names_lead_to_libraries(monkeypatch):
    for name, message in [
        ("timm:no_such_net", "one of timm's models"),
        ("tf:resnet", "timm:NAME"),
        ("torchvision:x", "torchvision"),
        ("torch:resnet50", "one of efficientnet_lite0"),
    ]:
        with pytest.raises(ix.ArgumentError, match=message):
            ix.load_model(name)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: vit() if pretrained else None)
    assert ix.load_model("timm:vit_tiny_patch16_224").token_grid == (4, 6)
