import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

import interpix as ix
from interpix.methods import AttentionRollout, GradCAM, GradCAMPlusPlus, Gradient

HEIGHT, WIDTH = 12, 18


class Tiny(nn.Module):
    """Six by nine pixels of five channels, averaged, with weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 2, stride=2)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(5, 3)

    def forward(self, batch):
        # Large logits, so that the constant that grad-cam adds to its denominators does not matter.
        return 1e4 * self.head(self.act(self.conv(batch)).mean((2, 3)))


class OtherTransformer(timm.models.vision_transformer.VisionTransformer):
    pass


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)


def vit(seed=0, **options):
    torch.manual_seed(seed)
    options = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 12, "depth": 3, "num_heads": 3} | options
    return timm.models.vision_transformer.VisionTransformer(num_classes=4, **options).eval()


@pytest.fixture
def picture():
    return np.random.default_rng(0).normal(size=(3, 16, 24)).astype(np.float32)


def enlarged(values, size):
    values = torch.as_tensor(np.asarray(values, np.float64))[None, None]
    return nn.functional.interpolate(values, size, mode="bilinear")[0, 0].numpy()


def up_to_scale(ours, theirs):
    """grad-cam scales to 0 ... 1."""
    scaled = (ours - ours.min()) / (ours.max() - ours.min())
    np.testing.assert_allclose(scaled, theirs, atol=2e-4)


def test_grad_cam_by_hand(image):
    model = Tiny()
    maps = torch.relu(model.conv(torch.from_numpy(image)[None]))[0].detach().numpy()
    weights = 1e4 * model.head.weight[1].detach().numpy() / maps[0].size
    expected = enlarged(np.maximum(0, np.tensordot(weights, maps, 1)), (HEIGHT, WIDTH))
    result = GradCAM().explain(model, image, 1)
    np.testing.assert_allclose(result.map, expected, rtol=1e-4, atol=1e-4)
    assert result.provenance["layer"] == "act"


@pytest.mark.parametrize("method", [GradCAM, GradCAMPlusPlus])
def test_cams_are_grad_cams(method, image):
    cam = pytest.importorskip("pytorch_grad_cam")
    model = Tiny().eval()
    theirs = {GradCAM: cam.GradCAM, GradCAMPlusPlus: cam.GradCAMPlusPlus}[method](model, [model.act])
    grayscale = theirs(torch.from_numpy(image)[None], [cam.utils.model_targets.ClassifierOutputTarget(2)])[0]
    theirs.activations_and_grads.release()
    up_to_scale(method().explain(model, image, 2).map, grayscale)


@pytest.mark.parametrize("method", [GradCAM, GradCAMPlusPlus])
def test_cams_of_a_transformer_are_grad_cams(method, picture):
    cam = pytest.importorskip("pytorch_grad_cam")
    model = vit(reg_tokens=2)
    with torch.no_grad():
        model.head.weight *= 1e5

    def to_map(tokens):
        return tokens[:, 3:].reshape(len(tokens), 2, 3, -1).permute(0, 3, 1, 2)

    kind = {GradCAM: cam.GradCAM, GradCAMPlusPlus: cam.GradCAMPlusPlus}[method]
    theirs = kind(model, [model.blocks[-1].norm1], reshape_transform=to_map)
    grayscale = theirs(torch.from_numpy(picture)[None], [cam.utils.model_targets.ClassifierOutputTarget(2)])[0]
    theirs.activations_and_grads.release()
    result = method().explain(model, picture, 2)
    up_to_scale(result.map, grayscale)
    assert result.provenance["layer"] == "blocks.2.norm1"


def test_a_layer_by_name(image):
    model = Tiny()
    np.testing.assert_array_equal(
        GradCAM(layer="act").explain(model, image, 1).map, GradCAM().explain(model, image, 1).map
    )
    with pytest.raises(ix.ArgumentError, match=r"near names: act"):
        GradCAM(layer="acts").explain(model, image)
    with pytest.raises(ix.ArgumentError, match=r"gives \(1, 3\)"):
        GradCAM(layer="head").explain(model, image)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet10t", "layer4.0.act2"),
        ("tf_efficientnet_lite0", "bn2.act"),
        ("test_convnext", "norm_pre"),
        ("swin_tiny", "norm"),
    ],
)
def test_the_last_map_of_known_networks(name, layer):
    torch.manual_seed(0)
    if name == "swin_tiny":
        options = {"img_size": (64, 96), "window_size": 2, "embed_dim": 12, "depths": (1, 1), "num_heads": (1, 1)}
        model = timm.models.swin_transformer.SwinTransformer(num_classes=3, **options)
    else:
        model = timm.create_model(name, num_classes=3)
    picture = np.random.default_rng(0).normal(size=(3, 64, 96)).astype(np.float32)
    result = GradCAM().explain(model, picture, 0)
    assert result.provenance["layer"] == layer
    assert result.map.shape == (64, 96)
    assert result.map.max() > 0
    assert not any(one._forward_hooks for one in model.modules())


def test_a_transformer_that_is_not_known_is_refused(picture):
    torch.manual_seed(0)
    options = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3}
    model = OtherTransformer(num_classes=4, **options)
    with pytest.raises(ix.ArgumentError, match="whose head reads a map"):
        GradCAM().explain(model, picture)
    with pytest.raises(ix.ArgumentError, match="Vision Transformer that interpix knows"):
        AttentionRollout().explain(model, picture)
    assert not any(one._forward_hooks for one in model.modules())


def rollout_by_hand(attentions):
    rollout = np.eye(attentions[0].shape[-1])
    for attention in attentions:
        mean = attention.astype(np.float64).mean(0)
        rollout = (0.5 * mean + 0.5 * np.eye(len(mean))) @ rollout
    return rollout


@pytest.mark.parametrize(
    "options", [{}, {"reg_tokens": 2, "qk_norm": True}, {"global_pool": "avg", "class_token": False}]
)
def test_rollout_of_timm(options, picture):
    model = vit(**options)
    with torch.no_grad():
        # Attention that is not nearly uniform.
        for block in model.blocks:
            block.attn.qkv.weight *= 20
    kept, handles = [], []
    for block in model.blocks:
        block.attn.fused_attn = False
        handles.append(block.attn.attn_drop.register_forward_hook(lambda _, __, output: kept.append(output[0].numpy())))
    with torch.inference_mode():
        model(torch.from_numpy(picture)[None])
    for block, handle in zip(model.blocks, handles, strict=True):
        handle.remove()
        block.attn.fused_attn = True
    rollout, prefix = rollout_by_hand(kept), model.num_prefix_tokens
    row = rollout[0] if prefix else rollout.mean(0)
    result = AttentionRollout().explain(model, picture)
    np.testing.assert_allclose(result.map, enlarged(row[prefix:].reshape(2, 3), (16, 24)), rtol=1e-4)
    assert result.provenance["rows"] == ("class token" if prefix else "patch tokens")
    assert all(block.attn.fused_attn for block in model.blocks)


def test_rollout_of_transformers(picture):
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=24,
        image_size=(16, 24),
        patch_size=8,
    )
    model = ViTForImageClassification(config).eval()
    before = model.config._attn_implementation
    result = AttentionRollout().explain(model, picture)
    assert model.config._attn_implementation == before
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        attentions = model(torch.from_numpy(picture)[None], output_attentions=True).attentions
    row = rollout_by_hand([one[0].numpy() for one in attentions])[0, 1:]
    np.testing.assert_allclose(result.map, enlarged(row.reshape(2, 3), (16, 24)), rtol=1e-4)


def test_rollout_keeps_the_model(picture):
    model = vit().train()
    AttentionRollout().explain(model, picture)
    GradCAM().explain(model, picture)
    assert all(one.training for one in model.modules())
    assert all(one.grad is None and one.requires_grad for one in model.parameters())
    assert not any(one._forward_hooks for one in model.modules())


def test_options_are_checked_at_once():
    with pytest.raises(ix.ArgumentTypeError, match="`layer`"):
        GradCAM(layer=3)
    with pytest.raises(ix.ArgumentError, match="`output`"):
        GradCAMPlusPlus(output="softmax")


def by_autograd(model, layer, image, target, as_map):
    """Grad-CAM of a layer whose output `as_map` turns to (C, h, w)."""
    kept = []
    handle = layer.register_forward_hook(lambda _m, _i, output: kept.append(output))
    logits = model(torch.from_numpy(image)[None])
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, target], kept[-1])
    maps, slopes = (as_map(one.detach()) for one in (kept[-1], gradient))
    weighed = (slopes.mean((1, 2))[:, None, None] * maps).sum(0).clamp(min=0)
    return enlarged(weighed, image.shape[1:])


def first(values):
    return values[0]


def last(values):
    return values[0].permute(2, 0, 1)


@pytest.fixture(scope="module")
def swins():
    torch.manual_seed(0)
    ours = timm.create_model("swin_tiny_patch4_window7_224", num_classes=10, img_size=(64, 96), window_size=2)
    theirs = torchvision.models.swin_transformer.SwinTransformer(
        [4, 4], 12, [1, 1, 1], [2, 2, 2], [2, 2], num_classes=10
    )
    return {"timm": ours.eval(), "torchvision": theirs.eval()}


@pytest.mark.parametrize(
    ("name", "layer", "as_map"),
    [
        ("timm", "layers.2.blocks.5", last),
        ("timm", "layers.0", last),
        ("timm", "patch_embed.proj", first),
        ("torchvision", "features.5", last),
        ("torchvision", "features.1.0.mlp", last),
        ("torchvision", "permute", first),
    ],
)
def test_channels_are_found_by_proportions(swins, name, layer, as_map):
    """F1: a map (B, h, w, C) of a layer that is no norm, and maps of such models that are (B, C, h, w)."""
    model, image = swins[name], np.random.default_rng(0).normal(size=(3, 64, 96)).astype(np.float32)
    found = GradCAM(layer=layer).explain(model, image, 3)
    expected = by_autograd(model, model.get_submodule(layer), image, 3, as_map)
    np.testing.assert_allclose(found.map, expected, rtol=1e-3, atol=1e-6 * expected.max())
    assert found.provenance["layout"] == ("channels_last" if as_map is last else "channels_first")


class Widths(nn.Module):
    """A norm over the columns of maps with channels first, then the mean."""

    def __init__(self, channels, columns):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(3, channels, 1), nn.LayerNorm(columns), nn.Linear(channels, 4)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).square().mean((2, 3)))


def test_a_norm_over_the_last_axis_need_not_be_over_channels(image):
    """F1: the reverse mistake."""
    model = Widths(20, WIDTH).eval()
    found = GradCAM(layer="norm").explain(model, image, 1)
    np.testing.assert_allclose(found.map, by_autograd(model, model.norm, image, 1, first), rtol=1e-4, atol=1e-7)


class Uneven(nn.Module):
    """Rows by 4 and columns by 8, then an activation, and the same map with channels last."""

    def __init__(self, channels):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act = nn.Conv2d(3, channels, (4, 8), stride=(4, 8)), nn.ReLU()
        self.turned, self.head = nn.Identity(), nn.Linear(channels, 4)

    def forward(self, x):
        return self.head(self.turned(self.act(self.conv(x)).permute(0, 2, 3, 1)).square().mean((1, 2)))


@pytest.mark.parametrize("channels", [10, 16, 24])
def test_strides_that_differ_do_not_turn_the_map(channels):
    """F1: 16 rows and 8 columns of a square image; with 16 channels the wrong ones would have its proportions."""
    model, image = Uneven(channels).eval(), np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    found = GradCAM(layer="act").explain(model, image, 1)
    np.testing.assert_allclose(found.map, by_autograd(model, model.act, image, 1, first), rtol=1e-4, atol=1e-7)
    with pytest.raises(ix.ArgumentError, match="could be either"):
        GradCAM(layer="turned").explain(model, image, 1)
    found = GradCAM(layer="turned", layout="channels_last").explain(model, image, 1)
    np.testing.assert_allclose(found.map, by_autograd(model, model.turned, image, 1, last), rtol=1e-4, atol=1e-7)


def test_attention_between_tokens_is_no_map():
    """F1: heads of tokens by tokens."""
    model = timm.create_model("vit_tiny_patch16_224", num_classes=4, img_size=(64, 96), depth=2)
    for block in model.blocks:
        block.attn.fused_attn = False
    image = np.random.default_rng(0).normal(size=(3, 64, 96)).astype(np.float32)
    with pytest.raises(ix.ArgumentError, match=r"`layer`: expected a layer that gives a map.*\(1, 3, 25, 25\)"):
        GradCAM(layer="blocks.1.attn.attn_drop").explain(model, image, 1)


def test_a_layout_that_could_be_either_is_asked_for():
    """F1: as many channels as rows and columns."""
    model, image = Widths(12, 12).eval(), np.random.default_rng(0).normal(size=(3, 12, 12)).astype(np.float32)
    with pytest.raises(ix.ArgumentError, match=r"`layout`: expected where the channels of `norm` are.*say layout="):
        GradCAM(layer="norm").explain(model, image, 1)
    for layout, as_map in (("channels_first", first), ("channels_last", last)):
        found = GradCAM(layer="norm", layout=layout).explain(model, image, 1)
        np.testing.assert_allclose(found.map, by_autograd(model, model.norm, image, 1, as_map), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_tokens_of_an_unknown_transformer_are_laid_out_as_told(prefix):
    """F24: a model outside of the list."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.norm, self.head = nn.Conv2d(3, 5, 8, 8), nn.LayerNorm(5), nn.Linear(5, 4)

        def forward(self, x):
            tokens = self.embed(x).flatten(2).transpose(1, 2)
            tokens = torch.cat([torch.ones(len(x), prefix, 5), tokens], 1)
            return self.head(self.norm(tokens).square().mean(1))

    model, image = Tokens().eval(), np.random.default_rng(0).normal(size=(3, 16, 24)).astype(np.float32)
    with pytest.raises(ix.ArgumentError, match=r"name the layer, with grid=\(rows, columns\)"):
        GradCAM().explain(model, image, 1)
    with pytest.raises(ix.ArgumentError, match=r"`grid`: expected how the tokens of `norm` lie.*grid=\(14, 14\)"):
        GradCAM(layer="norm").explain(model, image, 1)
    with pytest.raises(ix.ArgumentError, match=r"`grid`: expected at most"):
        GradCAM(layer="norm", grid=(4, 4)).explain(model, image, 1)
    found = GradCAM(layer="norm", grid=(2, 3)).explain(model, image, 1)
    expected = by_autograd(model, model.norm, image, 1, lambda one: one[0, prefix:].T.unflatten(1, (2, 3)))
    np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-7)
    assert found.provenance["grid"] == [2, 3]


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.optim.swa_utils.AveragedModel,
        lambda model: nn.Sequential(torchvision.transforms.Normalize(0.5, 0.25), model),
    ],
)
def test_a_wrapped_transformer_is_one(wrap, picture):
    """F18: tokens are dropped, and inner layers found, in each of torch's wrappers and behind a normalization."""
    inner = vit()
    model, seen = wrap(inner).eval(), picture
    if isinstance(model, nn.Sequential):
        seen = (picture - 0.5) / 0.25
    for method in (GradCAM(), AttentionRollout()):
        np.testing.assert_allclose(method.explain(model, picture, 1).map, method.explain(inner, seen, 1).map, rtol=1e-4)
    found, expected = (ix.MoXI(one).explain(x, 1, stop="all") for one, x in ((model, picture), (inner, seen)))
    assert found.provenance["absence"] == "drop_tokens"
    np.testing.assert_array_equal(found.ranking, expected.ranking)
    np.testing.assert_allclose(found.rewards, expected.rewards, atol=1e-4)


def test_a_compiled_model_gives_its_maps(image):
    """F18: hooks are put on the module inside, which is what they see."""
    model = Tiny()
    compiled = torch.compile(model, backend="eager")
    np.testing.assert_array_equal(GradCAM().explain(compiled, image, 1).map, GradCAM().explain(model, image, 1).map)


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: nn.Sequential(nn.Upsample((16, 24)), model),
        lambda model: nn.Sequential(Applied(lambda x: x.flip(-1)), model),
        lambda model: nn.Sequential(Applied(lambda x: x.roll(4, -2)), model),
        lambda model: nn.Sequential(nn.AvgPool2d(3, 1, 1), model),
        lambda model: nn.Sequential(Applied(lambda x: x * 0), model),
        lambda model: nn.Sequential(nn.Upsample((16, 24)), nn.Sequential(model, nn.ReLU())),
    ],
)
def test_a_transformer_inside_of_something_unknown_is_told(wrap, picture):
    """F18: patches are filled there, which is said."""
    model = wrap(vit())
    with pytest.warns(UserWarning, match=r"its part `[\w.]+` is a Vision Transformer.*filled with zero"):
        moxi = ix.MoXI(model, regions="2x3")
    assert moxi.explain(picture, 1, stop=1).provenance["absence"] == "zero"
    ix.MoXI(model, regions="2x3", absence="zero")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_is_asked_but_not_watched(image):
    """F20: a frozen script has no mode, and scripts take no hooks."""
    model = Tiny().eval()
    script = torch.jit.trace(model, torch.zeros(1, 3, HEIGHT, WIDTH))
    for one in (script, torch.jit.freeze(script)):
        found = ix.MoXI(one, regions="2x3").explain(image, 1, stop="all")
        np.testing.assert_array_equal(
            found.ranking, ix.MoXI(model, regions="2x3").explain(image, 1, stop="all").ranking
        )
        with pytest.raises(ix.ArgumentError, match=r"layers can be watched, got `\w+` \(TorchScript\)"):
            GradCAM().explain(one, image, 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantized_model_has_no_gradient(image):
    """F20: no raw error of autograd."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * HEIGHT * WIDTH, 4))
    quantized = torch.ao.quantization.quantize_dynamic(module, {nn.Linear})
    with pytest.raises(
        ix.ModelError, match="carry no gradient; it may detach its input, or be quantized; use a method"
    ):
        Gradient().explain(quantized, image, 1)


@pytest.mark.parametrize("method", [GradCAM, GradCAMPlusPlus])
def test_a_layer_is_read_before_another_writes_to_it(method, image):
    """F1's sister: the activation after it works in place."""
    model, other = Tiny(), Tiny()
    other.act = nn.ReLU()
    found, expected = (method(layer="conv").explain(one, image, 1).map for one in (model, other))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.max() > 0
