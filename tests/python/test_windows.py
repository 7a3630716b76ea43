"""Windows against the module itself on whole pictures, candidate by candidate."""

import copy

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

from interpix.errors import ArgumentError, ModelError
from interpix.regions import grid_regions

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - only where torch is

from interpix.models.windows.layers import Reach  # noqa: E402
from interpix.models.windows.maps import Layout, changed_outputs  # noqa: E402
from interpix.models.windows.model import find_window_model  # noqa: E402
from interpix.models.windows.winograd import Winograd, WinogradInputs, suits_winograd, winograd_pays  # noqa: E402

SIZE = (61, 83)


def seeded(module, seed=0):
    """`module` in evaluation, with weights that let the picture through and batch norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, generator=generator)
        if isinstance(part, nn.BatchNorm2d):
            for values, low, high in [(part.running_mean, -0.2, 0.2), (part.running_var, 0.5, 1.5)]:
                values.uniform_(low, high, generator=generator)
            nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(part.bias, -0.2, 0.2, generator=generator)
    return module.eval()


def pictures(size, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, *size, generator=generator).unbind()


def head(channels):
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)


def net(*layers, channels):
    torch.manual_seed(0)
    return seeded(nn.Sequential(*layers, *head(channels)))


def candidates(base, other, regions, flipped):
    """The oracle's pictures (c, 3, H, W): composed in full."""
    masks = torch.from_numpy(regions)[None] == torch.as_tensor(flipped)[:, None, None]
    return torch.where(masks[:, None], other, base)


def check(module, regions, size=SIZE, *, flipped=None, tolerance=1e-5):
    """Windows, and whole pictures with folded norms, equal the module."""
    model = find_window_model(module, size)
    assert model is not None
    base, other = pictures(size)
    base, other = base.to(next(module.parameters()).dtype), other.to(next(module.parameters()).dtype)
    flipped = np.arange(regions.max() + 1) if flipped is None else flipped
    batch = candidates(base, other, regions, flipped)
    with torch.no_grad():
        expected, start = module(batch), module(base[None])[0]
    bound = tolerance * expected.abs().max()
    # A network that hardly sees its picture would make the test blind.
    assert (expected - start).abs().max() > 100 * bound
    state = model.state_of(base, other, regions)
    for got, want in [
        (model.logits(state, flipped), expected),
        (model.whole_logits(batch), expected),
        (state.logits, start),
    ]:
        assert got.dtype == want.dtype
        assert not got.requires_grad
        assert (got - want).abs().max() <= bound
    return model, state, expected


class Residual(nn.Module):
    """A block of a ResNet, with a projection where the map shrinks."""

    def __init__(self, channels, out, stride=1, *, in_place=True):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(in_place)
        )
        self.second = nn.Sequential(nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out))
        projected = stride != 1 or channels != out
        self.shortcut = (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride), nn.BatchNorm2d(out)) if projected else nn.Identity()
        )

    def forward(self, x):
        y = self.second(self.first(x))
        y += self.shortcut(x)
        return torch.relu(y)


class Mixed(nn.Module):
    """Branches that are joined in every way that is known."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, 2, 2)
        self.left, self.right = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, (1, 5), padding=(0, 2))
        self.norm, self.pool = nn.BatchNorm2d(16), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = nn.functional.silu(self.stem(x))
        left, right = self.left(x), self.right(x)
        joined = torch.cat([left * torch.sigmoid(right), left + right], 1)
        x = self.pool(nn.functional.relu(self.norm(joined)))
        return self.head((2 * x + 1).mean([2, 3]))


STACKS = {
    "residual": lambda: net(
        nn.Conv2d(3, 8, 7, 2, 3), nn.MaxPool2d(3, 2, 1), Residual(8, 8), Residual(8, 16, 2), channels=16
    ),
    "joins": lambda: seeded(Mixed()),
    "vgg": lambda: seeded(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d((2, 3)),
            nn.Flatten(),
            nn.ReLU(inplace=True),
            nn.Linear(48, 7),
            nn.Dropout(),
        )
    ),
    "dilation": lambda: net(
        nn.Conv2d(3, 8, 3, dilation=(2, 3), padding=(1, 4)), nn.ELU(), nn.Conv2d(8, 8, 2, 3), channels=8
    ),
    "groups": lambda: net(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.Hardswish(),
        nn.Conv2d(8, 16, 1),
        nn.GELU(),
        nn.Conv2d(16, 16, 3, 1, 1, groups=4),
        channels=16,
    ),
    "padding names": lambda: net(
        nn.Conv2d(3, 6, 4, padding="same"), nn.AvgPool2d(3, 2, 1), nn.Conv2d(6, 6, 3, padding="valid"), channels=6
    ),
    "stride over kernel": lambda: net(nn.Conv2d(3, 6, 3, padding=1), nn.SiLU(), nn.Conv2d(6, 6, 1, 4), channels=6),
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("grid", [(3, 5), (13, 7)])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_equals_the_module(name, grid):
    check(STACKS[name](), grid_regions(SIZE, *grid))


def superpixels(size):
    """Cells of random centers: boxes of every size, overlapping."""
    rng = np.random.default_rng(5)
    centers = rng.uniform(0, 1, (30, 2)) * size
    pixels = np.stack(np.indices(size), -1)
    return np.linalg.norm(pixels[:, :, None] - centers, axis=-1).argmin(-1)


def test_superpixels_in_any_order_and_one_that_lies_everywhere():
    regions = superpixels(SIZE)
    regions[::20, ::20] = 30
    check(STACKS["residual"](), regions, flipped=np.array([30, 7, 2, 29, 0]))


def test_only_the_region_within_its_box_is_flipped():
    module = STACKS["groups"]()
    regions = np.zeros(SIZE, np.int64)
    regions[10:20, 30:41] = 1
    regions[13:16, 33:36] = 2
    check(module, regions, flipped=[1, 2])


# The linear bottlenecks of MobileNets amplify float32's rounding above 1e-5 when their weights are random.
@pytest.mark.parametrize(
    ("library", "name", "options", "size", "dtype"),
    [
        ("torchvision", "resnet18", {}, (61, 83), "float32"),
        ("torchvision", "resnet50", {"width_per_group": 8}, (64, 50), "float32"),
        ("torchvision", "squeezenet1_1", {}, (64, 83), "float32"),
        ("torchvision", "mobilenet_v2", {"width_mult": 0.35}, (64, 83), "float64"),
        ("timm", "resnet18", {}, (64, 50), "float32"),
        ("timm", "tf_efficientnet_lite0", {}, (61, 83), "float32"),
        ("timm", "mobilenetv2_050", {}, (64, 83), "float64"),
    ],
)
def test_models_of_libraries(library, name, options, size, dtype):
    package = pytest.importorskip(library)
    torch.manual_seed(0)
    module = (
        getattr(package.models, name)(**options) if library == "torchvision" else package.create_model(name, **options)
    )
    module = seeded(module).to(getattr(torch, dtype))
    check(module, grid_regions(size, 3, 4), size, tolerance=1e-5 if dtype == "float32" else 1e-12)


@st.composite
def stacks(draw):
    """Random layers, and a picture size that they do not use up."""
    size = draw(st.tuples(st.integers(20, 33), st.integers(20, 33)))
    layers, channels, left = [], 3, size
    for _ in range(draw(st.integers(1, 4))):
        kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
        stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
        if draw(st.integers(0, 3)) == 0 and channels > 3:
            layers.append(nn.MaxPool2d(kernel, stride, tuple(k // 2 for k in kernel), ceil_mode=draw(st.booleans())))
            left = layers[-1](torch.empty(1, 1, *left)).shape[2:]
            continue
        out = draw(st.sampled_from([4, 6]))
        groups = 2 if channels % 2 == 0 and draw(st.booleans()) else 1
        padding, dilation = draw(st.tuples(st.integers(0, 3), st.integers(0, 3))), draw(st.integers(1, 2))
        starts = [n + 2 * p - dilation * (k - 1) for n, p, k in zip(left, padding, kernel, strict=True)]
        if min(starts) < 1:
            break
        left = [(n - 1) // step + 1 for n, step in zip(starts, stride, strict=True)]
        layers += [nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups), nn.BatchNorm2d(out), nn.ELU()]
        channels = out
    return layers, channels, size


@given(stacks(), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=60)
def test_random_stacks(stack, rows, columns):
    layers, channels, size = stack
    module = seeded(nn.Sequential(*layers, *head(channels))).double()
    model = find_window_model(module, size)
    base, other = (picture.double() for picture in pictures(size))
    regions = grid_regions(size, rows, columns)
    flipped = np.arange(rows * columns)
    with torch.no_grad():
        expected = module(candidates(base, other, regions, flipped))
    got = model.logits(model.state_of(base, other, regions), flipped)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@given(
    st.integers(1, 5), st.integers(1, 4), st.integers(0, 4), st.integers(6, 15), st.integers(0, 14), st.integers(1, 15)
)
def test_spread_covers_every_output_that_reads_a_change(extent, stride, before, size, top, length):
    bottom = min(top + length, size)
    assume(top < bottom)
    assume(size + 2 * before >= extent)
    outputs = (size + 2 * before - extent) // stride + 1
    reach = Reach((extent, extent), (stride, stride), (before, before), (before, before))
    box = changed_outputs(np.array([[top, top, bottom, bottom]]), reach, (outputs, outputs))[0]
    reading = [o for o in range(outputs) if o * stride - before < bottom and o * stride - before + extent > top]
    assert (box[0], box[2]) == (box[1], box[3])
    if reading:
        assert (box[0], box[2]) == (reading[0], reading[-1] + 1)
    else:
        assert 0 <= box[0] == box[2] - 1 < outputs


def test_windows_lie_on_the_map_and_cover_what_changed():
    rng = np.random.default_rng(3)
    corner = rng.integers(0, [9, 14], (40, 2))
    changed = np.concatenate([corner, np.minimum(corner + rng.integers(1, 9, (40, 2)), [9, 14])], axis=1)
    layout = Layout(changed, (9, 14))
    top, left, height, width, first = layout.places
    assert (np.minimum(top, left) >= 0).all()
    assert (top <= changed[:, 0]).all()
    assert (left <= changed[:, 1]).all()
    assert (changed[:, 2] <= top + height).all()
    assert (changed[:, 3] <= left + width).all()
    assert (top + height <= 9).all()
    assert (left + width <= 14).all()
    rows = np.concatenate([np.arange(f, f + n) for f, n in zip(first, height * width, strict=True)])
    assert sorted(rows) == list(range(2 + 9 * 14, layout.rows))


def test_products_are_counted_by_hand():
    module = net(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), channels=8)
    model = find_window_model(module, (6, 9))
    # A kernel of 216 and one of 64; a column of 6 x 3 pixels changes 6 x 4, in the middle 6 x 5.
    assert model.count_products(grid_regions((6, 9), 1, 3)) == (3 * 54 * 280, (24 + 30 + 24) * 280)


def test_winograd_is_for_wide_layers_and_large_maps():
    assert suits_winograd(nn.Conv2d(192, 200, 3, padding=1))
    for other in [(64, 200, 3), (200, 64, 3), (192, 192, 1), (192, 192, 3, 2), (192, 192, 3, 1, 1, 2), (384, 384, 3)]:
        assert not suits_winograd(nn.Conv2d(*other, groups=2 if other[0] == 384 else 1))
    assert winograd_pays(3, (7, 12), torch.float32)
    assert winograd_pays(3, (7, 12), torch.bfloat16)
    assert not winograd_pays(2, (7, 12), torch.float32)
    assert not winograd_pays(9, (5, 5), torch.float32)
    assert not winograd_pays(3, (7, 12), torch.float64)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 3e-5), (torch.bfloat16, 0.1)])
def test_winograd_is_the_convolution(dtype, bound):
    """Of the difference from a base map; the maps are many enough to be done in several parts."""
    torch.manual_seed(0)
    kernel, count, size = torch.randn(200, 192, 3, 3) / 40, 50, (9, 14)
    maps, base = torch.randn(count, *size, 192).to(dtype), torch.randn(*size, 192).to(dtype)
    windows = np.array([[0, 0, *size, i * 9 * 14] for i in range(count)]).T
    start = torch.randn(7, 12, 200)
    inputs = WinogradInputs(maps.flatten(0, 2), base.flatten(0, 1), size, windows, np.zeros((2, count), np.int64))
    got = Winograd(kernel, dtype)(inputs, (7, 12), start, np.zeros((2, count), np.int64))
    difference = (maps.double() - base.double()).permute(0, 3, 1, 2)
    expected = nn.functional.conv2d(difference, kernel.double()) + start.permute(2, 0, 1)
    assert got.shape == expected.shape
    assert got.dtype == dtype
    assert (got - expected).abs().max() < bound * expected.abs().max()


def test_wide_layers_equal_the_module_to_float32():
    module = net(nn.Conv2d(3, 192, 5, 4), nn.ReLU(), nn.Conv2d(192, 192, 3, 1, 1), nn.BatchNorm2d(192), channels=192)
    regions = grid_regions(SIZE, 2, 3)
    model, state, expected = check(module, regions)
    mixed = model.logits(state, np.arange(6), precision="mixed")
    effects = (expected - state.logits).abs().amax(1)
    assert 1e-6 * expected.abs().max() < (mixed - expected).abs().max() < effects.min() / 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_modules_of_other_numbers(dtype):
    module = net(nn.Conv2d(3, 192, 5, 4), nn.ReLU(), nn.Conv2d(192, 192, 3, 1, 1), channels=192).to(dtype)
    regions = grid_regions(SIZE, 2, 3)
    base, other = (picture.to(dtype) for picture in pictures(SIZE))
    with torch.no_grad():
        expected, start = module(candidates(base, other, regions, range(6))), module(base[None])[0]
    bound = max(3 * torch.finfo(dtype).eps, 1e-12) * expected.abs().max()
    # The regions change what the module says by more than rounding does.
    assert (expected - start).abs().max() > 5 * bound
    model = find_window_model(module, SIZE)
    got = model.logits(model.state_of(base, other, regions), range(6))
    assert got.dtype == dtype
    assert (got - expected).abs().max() <= bound


def test_mixed_precision_is_near_and_keeps_the_dtype():
    model, state, expected = check(STACKS["residual"](), grid_regions(SIZE, 6, 5))
    got = model.logits(state, np.arange(30), precision="mixed")
    error = (got - expected).abs().max() / expected.abs().max()
    assert got.dtype == torch.float32
    assert 1e-6 < error < 2e-3
    whole = model.whole_logits(candidates(*pictures(SIZE), grid_regions(SIZE, 6, 5), [4]), precision="mixed")
    assert 1e-6 < (whole - expected[4]).abs().max() / expected.abs().max() < 2e-3


def test_the_module_stays_as_it_is():
    module = STACKS["residual"]().train()
    module[2].eval()
    before, flags = copy.deepcopy(module.state_dict()), [part.training for part in module.modules()]
    strides = [parameter.stride() for parameter in module.parameters()]
    base, other = pictures(SIZE)
    kept = base.clone(), other.clone()
    model = find_window_model(module, SIZE)
    logits = model.logits(model.state_of(base, other, grid_regions(SIZE, 2, 2)), [0, 3])
    assert torch.equal(base, kept[0])
    assert torch.equal(other, kept[1])
    assert [part.training for part in module.modules()] == flags
    assert [parameter.stride() for parameter in module.parameters()] == strides
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    with torch.no_grad():
        expected = module.eval()(candidates(base, other, grid_regions(SIZE, 2, 2), [0, 3]))
    torch.testing.assert_close(logits, expected)


def test_changed_weights_are_taken_anew():
    module = STACKS["residual"]()
    model, state, _ = check(module, grid_regions(SIZE, 3, 3))
    with torch.no_grad():
        module[0].weight *= 1.5
    with pytest.raises(ArgumentError, match="ask for a new state"):
        model.logits(state, [0])
    for change in (lambda: None, lambda: module.load_state_dict(STACKS["residual"]().state_dict()), module.double):
        change()
        base, other = (picture.to(next(module.parameters()).dtype) for picture in pictures(SIZE))
        regions = grid_regions(SIZE, 3, 3)
        with torch.no_grad():
            expected = module(candidates(base, other, regions, range(9)))
        torch.testing.assert_close(model.logits(model.state_of(base, other, regions), range(9)), expected)


def test_a_hook_that_comes_later_is_an_error():
    module = STACKS["residual"]()
    model = find_window_model(module, SIZE)
    module[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ModelError, match="hooks"):
        model.state_of(*pictures(SIZE), grid_regions(SIZE, 2, 2))
    assert find_window_model(module, SIZE) is None


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.excite = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.excite(x.mean((2, 3), keepdim=True)))


class Reused(nn.Module):
    """Reads a map after it was overwritten: what a graph does not show."""

    def forward(self, x):
        y = nn.functional.relu(x, inplace=True)
        return x + y


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    "part",
    [
        Gate(),
        Reused(),
        Branching(),
        nn.Upsample(scale_factor=2),
        nn.InstanceNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1)),
        nn.Softmax(dim=3),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_is_no_plain_stack_is_left_alone(part):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), part, nn.Conv2d(4, 4, 3), *head(4))
    assert find_window_model(module, (20, 30)) is None


def test_another_device_is_left_alone():
    module = STACKS["residual"]()
    model = find_window_model(module, SIZE)
    module.to("meta")
    assert find_window_model(module, SIZE) is None
    with pytest.raises(ModelError, match="on meta"):
        model.whole_logits(torch.zeros(1, 3, *SIZE))


def test_other_answers_than_logits_of_color_pictures_are_left_alone():
    assert find_window_model(nn.Flatten(), (20, 30)) is None
    assert find_window_model(nn.Conv2d(3, 4, 3), (20, 30)) is None
    assert find_window_model(nn.Sequential(nn.Conv2d(1, 4, 3), *head(4)), (20, 30)) is None


@pytest.mark.parametrize("name", ["efficientnet_b0", "vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050"])
def test_other_architectures_are_left_alone(name):
    timm = pytest.importorskip("timm")
    assert find_window_model(timm.create_model(name), (224, 224)) is None


def test_bad_arguments_say_what_was_needed():
    module = STACKS["residual"]()
    model = find_window_model(module, SIZE)
    base, other = pictures(SIZE)
    with pytest.raises(ArgumentError, match="two pictures"):
        model.state_of(base[:, 1:], other, grid_regions(SIZE, 2, 2))
    with pytest.raises(ArgumentError, match="exact"):
        model.logits(model.state_of(base, other, grid_regions(SIZE, 2, 2)), [0], precision="half")
