"""Blocks that know where tokens lie: of those that are left they know the same, by oracles of the packages' own."""

import copy

import numpy as np
import pytest
import torch

import interpix as ix
from interpix.models.tokens.model import find_token_model
from token_models import build, images_for

timm = pytest.importorskip("timm")

TURNED = [
    "timm EVA-02",
    "timm EVA-02, norms within and after",
    "timm EVA, mixed rotary embeddings",
    "timm DINOv3",
    "timm DINOv3, class token",
    "timm Perception Encoder",
]


class Keeping(torch.nn.Module):
    """In place of timm's dropout of patches, behind which timm gathers rotary embeddings."""

    def __init__(self, prefix, patches):
        super().__init__()
        self.prefix, self.patches = prefix, torch.tensor(sorted(patches))

    def forward(self, x):
        kept = self.patches.expand(len(x), -1)
        patches = x[:, self.prefix :].gather(1, kept[..., None].expand(-1, -1, x.shape[2]))
        return torch.cat([x[:, : self.prefix], patches], 1), kept


def by_timms_dropout(name):
    module = copy.copy(build(name))
    module._modules = dict(module._modules)
    image = images_for(name)[:1]

    def logits(patches):
        module.patch_drop = Keeping(module.num_prefix_tokens, patches)
        with torch.no_grad():
            return module(image)[0]

    return logits


def by_a_part_of_the_bias(name):
    """Timm's BEiT, whose biases are cut down to the tokens that are left."""
    module, image = copy.deepcopy(build(name)), images_for(name)[:1]
    biases = [block.attn._get_rel_pos_bias().detach() for block in module.blocks]
    shared = None if module.rel_pos_bias is None else module.rel_pos_bias().detach()
    keep = {}

    def cut(bias):
        rows = keep["rows"]
        return torch.stack([torch.stack([bias[..., i, j] for j in rows], -1) for i in rows], -2)

    for block, bias in zip(module.blocks, biases, strict=True):
        block.attn._get_rel_pos_bias = lambda bias=bias: cut(bias)
    if shared is not None:
        module.rel_pos_bias.forward = lambda: cut(shared)
    module.blocks[0].register_forward_pre_hook(lambda _, given: (given[0][:, keep["rows"]], *given[1:]))

    def logits(patches):
        keep["rows"] = [0, *(patch + 1 for patch in sorted(patches))]
        with torch.no_grad():
            return module(image)[0]

    return logits


def by_a_mask_of_transformers(name):
    """BEiT of transformers takes a mask of the tokens that are seen; `sdpa` adds its biases to True and False."""
    module, image = copy.deepcopy(build(name)), images_for(name)[:1]
    module.set_attn_implementation("eager")

    def logits(patches):
        seen = torch.tensor([[True, *(patch in patches for patch in range(24))]])
        with torch.no_grad():
            body = module.beit(image, attention_mask=seen)
            if name.endswith("bias"):  # the mean is over those that are left
                left = body.last_hidden_state[:, seen[0]][:, 1:].mean(1)
                return module.classifier(module.beit.pooler.layernorm(left))[0]
            return module.classifier(body.pooler_output)[0]

    return logits


ORACLES = {
    **dict.fromkeys(TURNED, by_timms_dropout),
    "timm BEiT": by_a_part_of_the_bias,
    "timm BEiT, mean, shared bias": by_a_part_of_the_bias,
    "transformers BEiT": by_a_mask_of_transformers,
    "transformers BEiT, mean, shared bias": by_a_mask_of_transformers,
}


@pytest.mark.parametrize("name", ORACLES)
def test_places_are_those_of_the_tokens_that_are_left(name):
    pytest.importorskip(name.split()[0])
    oracle, model = ORACLES[name](name), find_token_model(build(name))
    state = model.state_of(images_for(name))
    generator = torch.Generator().manual_seed(3)
    for size in (1, 4, 11, 24):
        kept = torch.randperm(24, generator=generator)[:size].sort().values
        expected = oracle(kept.tolist())
        found = model.logits(state, torch.tensor([0]), kept[None])[0]
        assert torch.allclose(found, expected, atol=1e-5)
        reference = model.reference_logits(images_for(name), torch.tensor([0]), kept[None])[0]
        assert torch.allclose(reference, expected, atol=1e-5)
        if 1 < size < 24:
            first = torch.arange(size)[None]
            assert not torch.allclose(model.logits(state, torch.tensor([0]), first)[0], expected, atol=1e-3)


def greedy(oracle, target, direction, steps):
    order, gap = [], np.inf
    while len(order) < steps:
        left = [patch for patch in range(24) if patch not in order]
        sets = [{*order, one} if direction == "insertion" else set(left) - {one} for one in left]
        logits = torch.stack([oracle(one) for one in sets]).double()
        others = torch.cat([logits[:, :target], logits[:, target + 1 :]], 1)
        rewards = (logits[:, target] - others.logsumexp(1)) * (1 if direction == "insertion" else -1)
        gap = min(gap, float(rewards.topk(2).values.diff().abs()))
        order.append(left[int(rewards.argmax())])
    return order, gap


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("name", ["timm EVA-02", "timm DINOv3", "timm BEiT", "transformers BEiT"])
def test_rankings_equal_brute_force(name, direction):
    pytest.importorskip(name.split()[0])
    expected, gap = greedy(ORACLES[name](name), 3, direction, 12)
    found = ix.MoXI(build(name)).explain(images_for(name)[0].numpy(), 3, direction=direction, stop=12)
    assert gap > 1e-6
    assert found.provenance["scored_as"] == "tokens"
    assert found.ranking.tolist() == expected


@pytest.mark.parametrize("size", [(40, 48), (32, 64)])
@pytest.mark.parametrize("name", ["timm DINOv3, class token", "transformers BEiT"])
def test_other_sizes_have_places_of_their_own(name, size):
    pytest.importorskip(name.split()[0])
    model, module = find_token_model(build(name)), build(name)
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(4))
    state = model.state_of(images)
    count = (size[0] // 8) * (size[1] // 8)
    assert state.grid == (size[0] // 8, size[1] // 8)
    with torch.no_grad():
        own = module(images)
    found = model.logits(state, torch.tensor([0]), torch.arange(count)[None])
    assert torch.allclose(found, getattr(own, "logits", own), atol=1e-5)
    some = torch.arange(0, count, 3)[None]
    expected = model.reference_logits(images, torch.tensor([0]), some)
    assert torch.allclose(model.logits(state, torch.tensor([0]), some), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["timm EVA-02", "timm BEiT", "timm CaiT"])
def test_attention_rollout_knows_places_and_heads_that_are_mixed(name):
    """Rows of attention sum to one, so those of the map do but for the class token's own share."""
    module, image = build(name), images_for(name)[0]
    found = ix.methods.AttentionRollout().explain(module, image.numpy(), 1)
    small = found.map[4::8, 4::8]
    assert small.shape == (4, 6)
    assert 0 < small.min() < small.max() < 1
