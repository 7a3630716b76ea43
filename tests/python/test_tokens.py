"""Vision Transformers on coalitions: our forward pass, the module itself, and brute force say the same."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from interpix.errors import ModelError  # noqa: E402
from interpix.models.tokens.model import find_token_model  # noqa: E402
from token_models import (  # noqa: E402
    CLASS_TOKEN,
    CLASSES,
    FAMILIES,
    POOLED,
    SQUARE,
    build,
    images_for,
    shaken,
    timm_hybrid,
    timm_own_embedding,
    timm_vit,
)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def logits_of(module, images):
    with torch.no_grad():
        answer = module(images)
    return getattr(answer, "logits", answer)


def draw_kept(tokens, size, count, seed=2):
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(tokens, generator=generator)[:size].sort().values for _ in range(count)]
    return torch.stack(drawn)


def as_mask(kept, tokens):
    return torch.zeros(len(kept), tokens, dtype=torch.bool).scatter(1, kept, value=True)


def prepared(name):
    model = find_token_model(build(name))
    state = model.state_of(images_for(name))
    return model, state, state.grid[0] * state.grid[1]


OWNER = torch.tensor([0, 1, 1, 0])


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_model_is_made_of(name):
    _, prefix, pools = FAMILIES[name]
    model, state, _ = prepared(name)
    assert (model.prefix, model.pools_patches) == (prefix, pools)
    assert state.grid == ((4, 4) if name in SQUARE else (4, 6))
    assert model.grid == ((6, 6) if "DINOv2" in name else state.grid)


@pytest.mark.parametrize("name", FAMILIES)
def test_all_tokens_give_the_whole_model(name):
    model, state, tokens = prepared(name)
    found = model.logits(state, OWNER, torch.arange(tokens).expand(4, -1))
    assert torch.allclose(found, logits_of(build(name), images_for(name))[OWNER], atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("size", [0, 1, 5])
def test_dropped_tokens_equal_the_hooked_module(name, size):
    model, state, tokens = prepared(name)
    kept = draw_kept(tokens, size, 4)
    found = model.logits(state, OWNER, kept)
    assert found.shape == (4, CLASSES)
    assert torch.allclose(found, model.reference_logits(images_for(name), OWNER, kept), atol=1e-5)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", CLASS_TOKEN)
@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_dropped_token_is_one_that_nobody_sees(name, size):
    model, state, tokens = prepared(name)
    kept = draw_kept(tokens, size, 4)
    for layer in {0, model.depth - 1}:
        dropped = model.logits(state, OWNER, kept, from_layer=layer)
        masked = model.masked_logits(state, OWNER, as_mask(kept, tokens), layer)
        assert torch.allclose(dropped, masked, atol=1e-5)


@pytest.mark.parametrize("name", POOLED)
def test_where_the_head_reads_patches_dropping_is_not_masking(name):
    model, state, tokens = prepared(name)
    kept = draw_kept(tokens, 5, 4)
    dropped, masked = model.logits(state, OWNER, kept), model.masked_logits(state, OWNER, as_mask(kept, tokens), 0)
    assert (dropped - masked).abs().max() > 1e-3


def test_masks_of_unequal_sizes():
    model, state, tokens = prepared("timm")
    masks = (
        torch.rand(4, tokens, generator=torch.Generator().manual_seed(3)) < torch.tensor([0.1, 0.5, 0.9, 2])[:, None]
    )
    found = model.masked_logits(state, OWNER, masks, 0)
    for row, (owner, mask) in enumerate(zip(OWNER, masks, strict=True)):
        kept = mask.nonzero().T
        assert torch.allclose(found[row], model.logits(state, owner[None], kept)[0], atol=1e-5)


def test_attention_is_masked_as_timm_masks_it():
    model, state, tokens = prepared("timm")
    module, mask = build("timm"), as_mask(draw_kept(tokens, 5, 4), tokens)
    seen = torch.nn.functional.pad(mask, (1, 0), value=True)[:, None, None]
    with torch.no_grad():
        x = module._pos_embed(module.patch_embed(images_for("timm")[OWNER]))
        x = module.blocks[0](x)
        for block in module.blocks[1:]:
            x = block(x, attn_mask=seen.expand(-1, 1, tokens + 1, -1))
        expected = module.forward_head(module.norm(x))
    assert torch.allclose(model.masked_logits(state, OWNER, mask, 1), expected, atol=1e-5)


class Attending(torch.overrides.TorchFunctionMode):
    """Writes down how many coalitions attention gets at once."""

    def __init__(self):
        super().__init__()
        self.counts = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.scaled_dot_product_attention:
            self.counts.add(len(args[0]))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["timm", "timm mean"])
@pytest.mark.parametrize(("budget", "dropped", "masked"), [(1, 1, 1), (13, 2, 1), (60, 4, 2), (10_000, 4, 4)])
def test_chunks_change_nothing(name, budget, dropped, masked):
    model, state, tokens = prepared(name)
    kept = draw_kept(tokens, 5, 4)
    whole = model.logits(state, OWNER, kept), model.masked_logits(state, OWNER, as_mask(kept, tokens), 1)
    model.token_budget = budget
    with Attending() as dropping:
        assert torch.allclose(model.logits(state, OWNER, kept), whole[0], atol=1e-6)
    with Attending() as masking:
        assert torch.allclose(model.masked_logits(state, OWNER, as_mask(kept, tokens), 1), whole[1], atol=1e-6)
    # Of 6 tokens each, and of 25.
    assert (dropping.counts, masking.counts) == ({dropped}, {masked})


@pytest.mark.parametrize("name", FAMILIES)
def test_mixed_precision_is_close(name):
    model, state, tokens = prepared(name)
    kept = draw_kept(tokens, 5, 4)
    exact, mixed = (model.logits(state, OWNER, kept, precision=which) for which in ("exact", "mixed"))
    others = model.logits(state, OWNER, draw_kept(tokens, 5, 4, seed=3))
    assert 0 < (exact - mixed).abs().max() < min(0.01, (exact - others).abs().max() / 10)
    assert mixed.dtype == torch.float32


def log_odds(logits, target):
    others = logits.clone()
    others[:, target] = -np.inf
    return logits[:, target] - others.logsumexp(1)


def greedy(score, tokens, direction):
    """Brute force: at each step every candidate, scored by `score(kept (c, m))`; also the gaps of the two best."""
    order, gaps = [], []
    for _ in range(tokens - 1):
        left = [patch for patch in range(tokens) if patch not in order]
        if direction == "insertion":
            sets = [sorted([*order, patch]) for patch in left]
        else:
            sets = [[other for other in left if other != patch] for patch in left]
        rewards = score(torch.tensor(sets)) * (1 if direction == "insertion" else -1)
        best = rewards.topk(2).values
        gaps.append(float(best[0] - best[1]))
        order.append(left[int(rewards.argmax())])
    return order, gaps


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("name", ["timm distilled", "transformers ViT"])
def test_greedy_orders_equal_brute_force(name, direction):
    model, state, tokens = prepared(name)
    module, images = build(name), images_for(name)[:1]

    def plain(kept):
        def gather(_, inputs):
            prefix = torch.arange(model.prefix).expand(len(kept), -1)
            index = torch.cat([prefix, kept + model.prefix], 1)
            return (torch.stack([x[rows] for x, rows in zip(inputs[0], index, strict=True)]), *inputs[1:])

        layers = module.blocks if hasattr(module, "blocks") else module.vit.layers
        handle = layers[0].register_forward_pre_hook(gather)
        try:
            return log_odds(logits_of(module, images.expand(len(kept), -1, -1, -1)), 3)
        finally:
            handle.remove()

    def ours(kept):
        return log_odds(model.logits(state, torch.zeros(len(kept), dtype=torch.long), kept), 3)

    expected, gaps = greedy(plain, tokens, direction)
    found, _ = greedy(ours, tokens, direction)
    # Rounding is below the least difference of a best candidate from the next.
    assert min(gaps) > 3e-6
    assert found == expected


@pytest.mark.parametrize("name", ["timm registers, scales, normed queries", "torchvision", "transformers ViT"])
def test_the_module_is_as_before(name):
    module = copy.deepcopy(build(name)).train()
    list(module.modules())[3].eval()
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.5
    before = {key: value.clone() for key, value in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    model = find_token_model(module)
    state = model.state_of(images_for(name))
    kept = draw_kept(16, 5, 4)
    for precision in ("exact", "mixed"):
        found = model.logits(state, OWNER, kept, precision=precision)
        again = model.logits(state, OWNER, kept, precision=precision)
        assert torch.equal(found, again)
    model.masked_logits(state, OWNER, as_mask(kept, state.grid[0] * state.grid[1]), 1)
    model.reference_logits(images_for(name), OWNER, kept)
    assert torch.allclose(model.logits(state, OWNER, kept), prepared_logits(name, kept), atol=1e-6)
    assert modes == [part.training for part in module.modules()]
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in module.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())


def prepared_logits(name, kept):
    model, state, _ = prepared(name)
    return model.logits(state, OWNER, kept)


def test_the_module_is_as_before_after_an_error():
    module = copy.deepcopy(build("timm")).train()
    model = find_token_model(module)
    module.head = torch.nn.Linear(5, 7)
    state = model.state_of(images_for("timm"))
    for ask in (
        lambda: model.logits(state, OWNER, draw_kept(24, 5, 4)),
        lambda: model.reference_logits(state.images, OWNER, draw_kept(24, 5, 4)),
    ):
        with pytest.raises(RuntimeError):
            ask()
        assert all(part.training and not part._forward_pre_hooks for part in module.modules())


def fourth_norm(module):
    return [part for part in module.modules() if isinstance(part, torch.nn.LayerNorm)][3]


@pytest.mark.parametrize("name", ["timm", "timm mean, no prefix", "torchvision", "transformers DINOv2"])
@pytest.mark.parametrize("size", [0, 5])
def test_a_users_hook_changes_what_it_would_change(name, size):
    untouched, state, tokens = prepared(name)
    hooked, doubled = copy.deepcopy(build(name)), copy.deepcopy(build(name))
    fourth_norm(hooked).register_forward_hook(lambda part, inputs, output: 2 * output)
    with torch.no_grad():
        fourth_norm(doubled).weight.mul_(2)
        fourth_norm(doubled).bias.mul_(2)
    kept = draw_kept(tokens, size, 4)
    found, expected = (
        model.logits(model.state_of(images_for(name)), OWNER, kept)
        for model in map(find_token_model, (hooked, doubled))
    )
    assert torch.allclose(found, expected, atol=1e-5)
    # Without a prefix and patches there is nothing left that a norm could change.
    nothing = name == "timm mean, no prefix" and size == 0
    assert ((found - untouched.logits(state, OWNER, kept)).abs().max() > 1e-3) == (not nothing)


def test_a_users_hook_and_absence_in_a_later_block():
    module = copy.deepcopy(build("timm"))
    fourth_norm(module).register_forward_hook(lambda part, inputs, output: None)
    model = find_token_model(module)
    state, kept = model.state_of(images_for("timm")), draw_kept(24, 5, 4)
    for ask in (
        lambda: model.masked_logits(state, OWNER, as_mask(kept, 24), 0),
        lambda: model.logits(state, OWNER, kept, from_layer=1),
    ):
        with pytest.raises(ModelError, match="hooks"):
            ask()


def test_parameters_are_read_when_images_are_prepared():
    for name in ("timm", "transformers ViT"):
        module = copy.deepcopy(build(name))
        model, kept = find_token_model(module), draw_kept(24, 5, 4)
        before = model.logits(model.state_of(images_for(name)), OWNER, kept, precision="mixed")
        shaken(module, seed=9)
        state = model.state_of(images_for(name))
        expected = model.reference_logits(images_for(name), OWNER, kept)
        assert torch.allclose(model.logits(state, OWNER, kept), expected, atol=1e-5)
        assert torch.allclose(model.logits(state, OWNER, kept, precision="mixed"), expected, atol=0.01)
        assert (expected - before).abs().max() > 0.1


def test_a_double_model_stays_double():
    module = copy.deepcopy(build("timm")).double()
    model = find_token_model(module)
    state, kept = model.state_of(images_for("timm")), draw_kept(24, 5, 4)
    found = model.logits(state, OWNER, kept)
    assert found.dtype == torch.float64
    assert torch.allclose(found, model.reference_logits(images_for("timm").double(), OWNER, kept), atol=1e-12)


def test_a_model_of_half_precision_stays_as_it_is():
    module = copy.deepcopy(build("timm")).bfloat16()
    model = find_token_model(module)
    state, kept = model.state_of(images_for("timm")), draw_kept(24, 5, 4)
    found = model.logits(state, OWNER, kept)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, model.logits(state, OWNER, kept, precision="mixed"))
    expected = model.reference_logits(images_for("timm").bfloat16(), OWNER, kept)
    assert torch.allclose(found, expected, atol=0.01)
    assert expected.float().std(dim=0).max() > 0.1


def test_transformers_own_watching_hooks_do_not_slow_it_down():
    module = copy.deepcopy(build("transformers ViT"))
    module(images_for("transformers ViT"), output_hidden_states=True)
    assert any(part._forward_hooks for part in module.modules())
    assert not find_token_model(module).state_of(images_for("transformers ViT")).as_it_is


def test_images_of_the_wrong_size():
    with pytest.raises(ValueError, match="`images`: expected 32 x 48 pixels, got 48 x 32"):
        find_token_model(build("timm")).state_of(torch.zeros(1, 3, 48, 32))
    with pytest.raises(ValueError, match="multiples of the patch, 8 x 8"):
        find_token_model(build("timm any size")).state_of(torch.zeros(1, 3, 48, 33))


def test_other_sizes_where_the_model_takes_them():
    module = build("timm any size")
    model = find_token_model(module)
    images = torch.randn(1, 3, 48, 40, generator=torch.Generator().manual_seed(4))
    state = model.state_of(images)
    assert state.grid == (6, 5)
    found = model.logits(state, torch.tensor([0]), torch.arange(30)[None])
    assert torch.allclose(found, logits_of(module, images), atol=1e-5)


def test_a_model_whose_parts_were_replaced_since():
    module = copy.deepcopy(build("timm"))
    model = find_token_model(module)
    module.blocks[1] = torch.nn.Identity()
    with pytest.raises(ModelError, match="replaced"):
        model.state_of(images_for("timm"))


def subclass_of(module):
    class Other(type(module)):
        def forward(self, x):
            return 2 * super().forward(x)

    module = copy.deepcopy(module)
    module.__class__ = Other
    return module


def with_other_attention():
    module = copy.deepcopy(build("timm"))
    module.blocks[1].attn = subclass_of(module.blocks[1].attn)
    return module


def eva_with_gates(**options):
    from timm.models.eva import Eva, EvaAttention

    module = Eva(img_size=32, num_heads=2, **options)
    module.blocks[0].attn = EvaAttention(32, 2, gated=True, scale_norm=False)
    return module


def unknown_models():
    import timm
    import torchvision
    import transformers

    small = {"num_classes": CLASSES, "embed_dim": 32, "depth": 1}
    return {
        "subclass": lambda: subclass_of(build("timm")),
        "attention subclass": with_other_attention,
        "swin": lambda: timm.models.SwinTransformer(
            img_size=32, patch_size=4, embed_dim=16, depths=(1,), num_heads=(2,), window_size=4
        ),
        "beit maximum": lambda: timm.models.Beit(img_size=32, num_heads=2, global_pool="", **small),
        "eva gated": lambda: eva_with_gates(**small),
        "eva grouped queries": lambda: timm.models.Eva(
            img_size=32, num_heads=2, num_kv_heads=1, attn_type="rope", qkv_fused=False, **small
        ),
        "resnet": torchvision.models.resnet18,
        "parallel": lambda: timm_vit(block_fn=timm.models.vision_transformer.ParallelScalingBlock),
        "maximum": lambda: timm_vit(global_pool="max"),
        "gated MLP": lambda: timm_vit(mlp_layer=timm.layers.GluMlp),
        "embedding without a grid": lambda: timm_own_embedding(grid_size=None),
        "embedding with one number for its grid": lambda: timm_own_embedding(grid_size=24),
        "embedding that pads": lambda: timm_own_embedding(dynamic_img_pad=True),
        "embedding of another grid": lambda: timm_own_embedding(grid_size=(4, 4)),
        "embedding of any size": lambda: timm_hybrid(dynamic_img_size=True),
        "embedding without positions": lambda: timm_hybrid(pos_embed="none"),
        "linear": lambda: torch.nn.Linear(3, 4),
        "transformers flash": lambda: hf_with_attention("flash_attention_2"),
        "transformers Swin": lambda: transformers.SwinForImageClassification(
            transformers.SwinConfig(image_size=32, embed_dim=16, depths=[1], num_heads=[2], window_size=4)
        ),
    }


def hf_with_attention(name):
    module = copy.deepcopy(build("transformers ViT"))
    module.config._attn_implementation_internal = name
    return module


@pytest.mark.parametrize(
    "name",
    [
        "subclass",
        "attention subclass",
        "swin",
        "beit maximum",
        "eva gated",
        "eva grouped queries",
        "resnet",
        "parallel",
        "maximum",
        "gated MLP",
        "embedding without a grid",
        "embedding with one number for its grid",
        "embedding that pads",
        "embedding of another grid",
        "embedding of any size",
        "embedding without positions",
        "linear",
        "transformers flash",
        "transformers Swin",
    ],
)
def test_unknown_models_are_not_guessed(name):
    for package in ("timm", "torchvision", "transformers"):
        pytest.importorskip(package)
    assert find_token_model(unknown_models()[name]()) is None


def test_vit_tiny_itself():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = timm.create_model("vit_tiny_patch16_224", pretrained=False).eval()
    model = find_token_model(module)
    images = torch.randn(1, 3, 224, 224)
    state = model.state_of(images)
    for size in (3, 195):
        kept = draw_kept(196, size, 3)
        owner = torch.zeros(3, dtype=torch.long)
        assert torch.allclose(model.logits(state, owner, kept), model.reference_logits(images, owner, kept), atol=1e-5)


def test_blocks_that_answer_otherwise_than_was_read_are_given_up(monkeypatch):
    """F3: a function of timm's own class was replaced, which no part of the model shows."""
    from timm.models.vision_transformer import Block

    import interpix as ix

    own = Block.forward
    module, image = timm_vit().eval(), images_for("timm")[0].numpy()
    plain = ix.MoXI(module).explain(image, 0, stop=2)
    assert plain.provenance["scored_as"] == "tokens"
    monkeypatch.setattr(Block, "forward", lambda self, x, *rest, **more: own(self, 2 * x, *rest, **more))
    with pytest.warns(UserWarning, match="the blocks as they were read answer otherwise than the module, by up to"):
        found = ix.MoXI(module).explain(image, 0, stop=2)
    assert found.provenance["scored_as"] == "pictures without tokens"
    assert found.provenance["tokens_differ_by"] > 0
    kept = np.arange(24) == found.ranking[0]
    state = find_token_model(module).state_of(torch.from_numpy(image)[None])
    logits = find_token_model(module).reference_logits(
        state.images, torch.tensor([0]), torch.from_numpy(np.flatnonzero(kept))[None]
    )
    assert found.probabilities[1] == pytest.approx(float(logits.softmax(1)[0, 0]), rel=1e-5)
    with (
        pytest.warns(UserWarning, match="answer otherwise than the module"),
        pytest.raises(ModelError, match="would not answer as this model does with its hooks or replaced"),
    ):
        ix.MoXI(module, absence=ix.MaskAttention(1)).explain(image, 0, stop=2)


@pytest.mark.parametrize("size", [(32, 48), (48, 32), (16, 64)])
def test_a_model_of_any_size_has_the_tokens_of_the_size_it_gets(size):
    """N12: timm's `dynamic_img_size`."""
    import interpix as ix

    module = timm_vit(dynamic_img_size=True).eval()
    image = np.random.default_rng(0).normal(size=(3, *size)).astype(np.float32)
    moxi, patches = ix.MoXI(module), (size[0] // 8) * (size[1] // 8)
    found = moxi.explain(image, 1, stop="all")
    assert (found.provenance["absence"], found.provenance["scored_as"]) == ("drop_tokens", "tokens")
    assert found.provenance["regions"] == f"{size[0] // 8}x{size[1] // 8}"
    assert len(found.ranking) == patches
    model, kept = find_token_model(module), [found.ranking[:count] for count in (1, patches // 2)]
    for count, some in zip((1, patches // 2), kept, strict=True):
        rows = torch.from_numpy(np.sort(some))[None]
        logits = model.reference_logits(torch.from_numpy(image)[None], torch.tensor([0]), rows)
        assert found.probabilities[count] == pytest.approx(float(logits.softmax(1)[0, 1]), rel=1e-4)
    assert ix.methods.GradCAM().explain(module, image, 1).map.shape == size
    assert ix.methods.AttentionRollout().explain(module, image, 1).map.shape == size
    assert moxi.attribute(image, target=1).shape == image.shape
    with pytest.raises(ValueError, match="multiples of the patch, 8 x 8"):
        moxi.explain(image[:, :-1], 1)


def test_an_empty_sequential_is_no_transformer():
    assert find_token_model(torch.nn.Sequential()) is None
    assert find_token_model(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Sequential())) is None
