"""Vision Transformers inside of other modules, and those that the user describes."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import interpix as ix
from token_models import HF, build, images_for, shaken, timm_vit

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")


class Holding(nn.Module):
    """As Lightning's modules are: a model by name, and more that is never run."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.loss = nn.Linear(3, 2)

    def forward(self, x):
        return self.model(x)


class Normalizing(Holding):
    def forward(self, x):
        return self.model((x - 0.4) / 0.2)


class Warm(Holding):
    """The logits of its model, each of another scale."""

    def forward(self, x):
        logits = self.model(x)
        return logits * torch.linspace(0.5, 2, logits.shape[1])


class WithHead(nn.Module):
    """A body of transformers with a head of one's own: on the class token, or on the mean of the patches."""

    def __init__(self, body, width, mean):
        super().__init__()
        self.body, self.mean, self.head = body, mean, nn.Linear(width, 5)

    def forward(self, x):
        tokens = self.body(pixel_values=x).last_hidden_state
        return self.head(tokens[:, 5:].mean(1) if self.mean else tokens[:, 0])


SIZES = {key: value for key, value in HF.items() if key != "num_labels"}


def dinov3(*, mean):
    config = transformers.DINOv3ViTConfig(**SIZES | {"image_size": 48}, num_register_tokens=4)
    return WithHead(transformers.DINOv3ViTModel(config), 32, mean)


def dinov2():
    return WithHead(transformers.Dinov2Model(transformers.Dinov2Config(**SIZES | {"image_size": 48})), 32, mean=False)


def clip_tower():
    config = transformers.CLIPVisionConfig(**SIZES | {"image_size": 32})
    return WithHead(transformers.CLIPVisionModel(config), 32, mean=False)


class Pooled(WithHead):
    def forward(self, x):
        return self.head(self.body(x).pooler_output)


def siglip_tower():
    config = transformers.SiglipVisionConfig(**SIZES | {"image_size": 32})
    return Pooled(transformers.SiglipVisionModel(config), 32, mean=False)


def of(name):
    return copy.deepcopy(build(name))


# For each: how it is made, its first block, how many tokens come before the patches, and how it is scored.
WRAPPED = {
    "held": (lambda: Holding(of("timm")), "model.blocks.0", 1, "tokens"),
    "held twice": (lambda: Holding(Holding(of("timm"))), "model.model.blocks.0", 1, "tokens"),
    "held, of transformers": (lambda: Holding(of("transformers ViT")), "model.vit.layers.0", 1, "tokens"),
    "behind a normalization": (lambda: nn.Sequential(nn.BatchNorm2d(3), of("timm")), "1.blocks.0", 1, "tokens"),
    "before a rectifier": (lambda: nn.Sequential(of("timm"), nn.ReLU()), "0.blocks.0", 1, "pictures without tokens"),
    "normalizing": (lambda: Normalizing(of("timm DINOv3, class token")), "model.blocks.0", 5, "tokens"),
    "warm": (lambda: Warm(of("timm")), "model.blocks.0", 1, "pictures without tokens"),
    "warm, mean": (lambda: Warm(of("timm mean")), "model.blocks.0", 1, "pictures without tokens"),
    "with a head, DINOv2": (dinov2, "body.encoder.layer.0", 1, "pictures without tokens"),
    "with a head, CLIP": (clip_tower, "body.encoder.layers.0", 1, "pictures without tokens"),
    "with a head, SigLIP, mean": (siglip_tower, "body.encoder.layers.0", 0, "pictures without tokens"),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_tokens_inside_of_a_module_are_dropped(name):
    make, first, prefix, scored_as = WRAPPED[name]
    torch.manual_seed(0)
    module = shaken(make())
    image = images_for("torchvision" if "LIP" in name else "timm")[0].numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ix.MoXI(module).explain(image, 1, stop=4)
    assert (result.provenance["scored_as"], result.provenance["absence"]) == (scored_as, "drop_tokens")
    if name == "normalizing":
        return  # of rotary embeddings: see below
    for count in range("mean" in name, 5):
        patches = sorted(result.ranking[:count].tolist())
        rows = torch.tensor([*range(prefix), *(patch + prefix for patch in patches)])
        handle = module.get_submodule(first).register_forward_pre_hook(
            lambda _, given, rows=rows: (given[0][:, rows], *given[1:])
        )
        with torch.no_grad():
            answer = module(torch.from_numpy(image)[None])
        handle.remove()
        expected = getattr(answer, "logits", answer).softmax(1)[0, 1]
        assert result.probabilities[count] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("mean", [False, True])
def test_rotary_embeddings_inside_of_a_module_are_those_of_the_tokens_that_are_left(mean):
    """Against masks in all of its layers, which transformers takes."""
    torch.manual_seed(0)
    module = shaken(dinov3(mean=mean))
    image = images_for("timm")[0]
    result = ix.MoXI(module).explain(image.numpy(), 1, stop=6)
    assert result.provenance["scored_as"] == "pictures without tokens"
    body = module.body
    for count in (1, 3, 6):
        kept = torch.zeros(24, dtype=torch.bool)
        kept[result.ranking[:count].tolist()] = True
        seen = torch.cat([torch.ones(5, dtype=torch.bool), kept])
        mask = torch.zeros(29).masked_fill(~seen, -torch.inf)[None, None, None].expand(1, 1, 29, 29)
        with torch.no_grad():
            x, turns = body.embeddings(image[None]), body.rope_embeddings(image[None])
            for layer in body.model.layer:
                x = layer(x, attention_mask=mask, position_embeddings=turns)
            x = body.norm(x)
            logits = module.head(x[:, 5:][:, kept].mean(1) if mean else x[:, 0])
        assert result.probabilities[count] == pytest.approx(float(logits.softmax(1)[0, 1]), rel=1e-4)


class Adding(Holding):
    """Its model and a convolution, which sees the whole picture."""

    def __init__(self, model):
        super().__init__(model)
        self.other = nn.Conv2d(3, 7, 8)

    def forward(self, x):
        return self.model(x) + self.other(x).mean((2, 3))


class Shifting(Holding):
    def forward(self, x):
        return self.model(x.roll(4, 3))


class Flipping(Holding):
    def forward(self, x):
        return self.model(x) + self.model(x.flip(3))


class Branching(Holding):
    """Two models, of which one is known."""

    def __init__(self, model):
        super().__init__(model)
        self.second = copy.deepcopy(model)

    def forward(self, x):
        return self.model(x) + self.second(x)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Adding, "by other ways than these tokens"),
        (Shifting, "patch 0 of 24, counted in rows from the top left, goes into"),
        (Flipping, "its blocks run several times for a picture"),
        (Branching, "there are several"),
    ],
)
def test_where_tokens_are_not_all_a_fill_is_taken_with_a_warning(kind, reason):
    module = kind(of("timm"))
    with pytest.warns(UserWarning, match=rf"its part `model` is a Vision Transformer, .*{reason}.*tokens=interpix.Tok"):
        moxi = ix.MoXI(module, regions="2x3")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        assert moxi.explain(images_for("timm")[0].numpy(), 1, stop=1).provenance["absence"] == "zero"
        ix.MoXI(module, regions="2x3", absence="zero")


def test_a_known_model_of_unknown_parts_is_told():
    with pytest.warns(UserWarning, match="it is a Vision Transformer, some parts of which are not known"):
        assert ix.MoXI(timm_vit(global_pool="max")).explain(images_for("timm")[0].numpy(), 1, stop=1).players == 49


def test_a_class_that_derives_from_a_known_one_is_told():
    class Own(timm.models.vision_transformer.VisionTransformer):
        pass

    module = of("timm")
    module.__class__ = Own
    for one in (module, Holding(module)):
        with pytest.warns(UserWarning, match="its `Own` derives from a known Vision Transformer, and may do otherwise"):
            ix.MoXI(one, regions="2x3")
    found = ix.MoXI(ix.TorchClassifier(module, tokens=ix.Tokens("blocks", patch=8)))
    assert found.explain(images_for("timm")[0].numpy(), 1, stop=1).provenance["absence"] == "drop_tokens"


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda module: torch.compile(module, backend="eager"), torch.optim.swa_utils.AveragedModel],
)
@pytest.mark.parametrize("inner", ["timm BEiT", "held"])
def test_torchs_own_wrappers_are_looked_through(wrap, inner):
    module = Holding(of("timm")) if inner == "held" else of(inner)
    image = images_for("timm")[0].numpy()
    mine, theirs = (ix.MoXI(one).explain(image, 1, stop=3) for one in (module, wrap(module.eval())))
    assert mine.provenance["scored_as"] == theirs.provenance["scored_as"] == "tokens"
    assert mine.ranking.tolist() == theirs.ranking.tolist()


def test_a_wrapper_is_left_as_it_was_and_can_be_pickled():
    module = Warm(of("timm")).train()
    module.model.eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    moxi, image = ix.MoXI(module), images_for("timm")[0].numpy()
    result = moxi.explain(image, 1, stop=2)
    assert (module.training, module.model.training) == (True, False)
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in module.modules())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert pickle.loads(pickle.dumps(moxi)).explain(image, 1, stop=2).ranking.tolist() == result.ranking.tolist()


def lora(name, targets):
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers, about what peft asks
        return peft.get_peft_model(of(name), config).eval()


@pytest.mark.parametrize(
    ("name", "targets"),
    [("timm", ["qkv", "fc1"]), ("transformers ViT", ["q_proj", "v_proj"]), ("timm EVA-02", ["q_proj"])],
)
def test_adapters_of_peft_are_looked_through(name, targets):
    module, image = lora(name, targets), images_for("timm")[0].numpy()
    result = ix.MoXI(module).explain(image, 1, stop=3)
    assert result.provenance["scored_as"] == "tokens"
    merged = copy.deepcopy(module).merge_and_unload()
    expected = ix.MoXI(merged).explain(image, 1, stop=3)
    np.testing.assert_allclose(result.rewards, expected.rewards, atol=1e-4)
    plain = ix.MoXI(of(name)).explain(image, 1, stop=3)
    assert abs(plain.rewards[1] - result.rewards[1]) > 1e-3


# As the user describes them


class OwnBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x):
        normed = self.norm(x)
        return x + self.attention(normed, normed, normed, need_weights=False)[0]


class OwnViT(nn.Module):
    """A transformer of nobody's, with a class token and a register."""

    def __init__(self, patch=(8, 12), grid=(4, 4), head="token", positions="before"):
        super().__init__()
        self.embed = nn.Conv2d(3, 16, patch, patch)
        self.first = nn.Parameter(torch.randn(1, 2, 16))
        self.place = nn.Parameter(torch.randn(1, grid[0] * grid[1], 16))
        self.blocks = nn.ModuleList([OwnBlock(16) for _ in range(3)])
        self.norm, self.out, self.head, self.positions = nn.LayerNorm(16), nn.Linear(16, 5), head, positions

    def forward(self, x):
        tokens = self.embed(x).flatten(2).mT
        tokens = tokens + self.place if self.positions == "before" else tokens
        tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], 1)
        for block in self.blocks:
            if self.positions == "in blocks":
                tokens = tokens + torch.nn.functional.pad(self.place, (0, 0, 2, 0))[:, : tokens.shape[1]]
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return self.out(tokens[:, 0] if self.head == "token" else tokens[:, 2:].mean(1))


DESCRIPTION = ix.Tokens("blocks", patch=(8, 12), prefix=2)


def own(**options):
    torch.manual_seed(0)
    return shaken(OwnViT(**options))


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("head", ["token", "mean"])
def test_described_tokens_are_dropped(head, direction):
    module, image = own(head=head), images_for("timm")[0]
    moxi = ix.MoXI(ix.TorchClassifier(module, tokens=DESCRIPTION))
    result = moxi.explain(image.numpy(), 1, direction=direction, stop=15)
    assert (result.provenance["scored_as"], result.provenance["regions"]) == ("pictures without tokens", "4x4")
    with torch.no_grad():
        x = torch.cat([module.first, module.embed(image[None]).flatten(2).mT + module.place], 1)

    def reward(kept):
        tokens = x[:, [0, 1, *(patch + 2 for patch in sorted(kept))]]
        with torch.no_grad():
            for block in module.blocks:
                tokens = block(tokens)
            tokens = module.norm(tokens)
            logits = module.out(tokens[:, 0] if head == "token" else tokens[:, 2:].mean(1))[0].double()
        return float(logits[1] - torch.cat([logits[:1], logits[2:]]).logsumexp(0))

    order = []
    while len(order) < 15:
        left = [patch for patch in range(16) if patch not in order]
        adding = direction == "insertion"
        rewards = [reward([*order, one] if adding else set(left) - {one}) for one in left]
        order.append(left[int(np.argmax(rewards) if adding else np.argmin(rewards))])
    assert result.ranking.tolist() == order


def test_what_is_not_known_cannot_be_masked():
    classifier = ix.TorchClassifier(own(), tokens=DESCRIPTION)
    for absence in (ix.MaskAttention(), ix.MaskAttention(1)):
        with pytest.raises(ix.ArgumentError, match=r'`absence`: .*not known well enough.*use "drop_tokens", or "zero"'):
            ix.MoXI(classifier, absence=absence).explain(images_for("timm")[0].numpy(), 1, stop=1)


def test_a_description_equals_what_is_known_by_class():
    image = images_for("timm")[0].numpy()
    known = ix.MoXI(of("timm")).explain(image, 1, stop="all")
    described = ix.MoXI(ix.TorchClassifier(of("timm"), tokens=ix.Tokens("blocks", patch=8))).explain(
        image, 1, stop="all"
    )
    assert described.ranking.tolist() == known.ranking.tolist()
    np.testing.assert_allclose(described.rewards, known.rewards, atol=1e-4)


@pytest.mark.parametrize(
    ("tokens", "options", "reason"),
    [
        (ix.Tokens("blocks", patch=(8, 12), prefix=1), {}, r"takes \(1, 18, 16\), where 1 \+ 4 x 4 tokens"),
        (ix.Tokens("blocks", patch=8, prefix=2), {}, r"where 2 \+ 4 x 6 tokens were expected"),
        (
            ix.Tokens("blocks", patch=(16, 6), prefix=2),
            {},
            r"patch 0 of 16, .* goes into token 2, 6, where token 2 was",
        ),
        (DESCRIPTION, {"positions": "in blocks"}, "its blocks know tokens by their order"),
        (ix.Tokens("blocks", patch=32, prefix=17), {}, "were expected"),
    ],
)
def test_a_description_that_is_not_so_is_refused(tokens, options, reason):
    moxi = ix.MoXI(ix.TorchClassifier(own(**options), tokens=tokens))
    image = images_for("timm")[0].numpy()
    if tokens.patch == 32:
        image = image[:, :, :32].copy()
        moxi = ix.MoXI(ix.TorchClassifier(own(patch=(8, 8)), tokens=ix.Tokens("blocks", patch=32, prefix=2)))
    with pytest.raises(ix.ArgumentError, match=rf"`tokens`: .*one that is not so: .*{reason}"):
        moxi.explain(image, 1, stop=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ix.TorchClassifier(own(), tokens=ix.Tokens("layers", patch=8)), "`tokens`: .*got 'layers'; .*blocks"),
        (lambda: ix.TorchClassifier(own(), tokens="blocks"), "`tokens`: expected an interpix.Tokens, got str; use"),
        (lambda: ix.Tokens(3, patch=8), "`blocks`: expected the name of a list of blocks"),
        (lambda: ix.Tokens("blocks", patch=0), "`patch`: expected pixels of a patch"),
        (lambda: ix.Tokens("blocks", patch=(8, 8, 3)), "`patch`: expected pixels of a patch"),
        (lambda: ix.Tokens("blocks", patch=8, prefix=-1), "`prefix`: expected a number of tokens"),
    ],
)
def test_descriptions_of_another_kind_are_refused(make, message):
    with pytest.raises((ix.ArgumentError, ix.ArgumentTypeError), match=message):
        make()
