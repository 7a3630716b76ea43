"""Prompts as classes of open_clip's models: its own towers, those of timm in it, and a convolutional one."""

import copy
import pickle

import numpy as np
import pytest
import torch

import interpix as ix
from interpix.models.tokens.model import find_token_model
from open_clip_models import (
    MAKERS,
    MEANS,
    PROMPTS,
    WITH_TOKENS,
    build,
    photo,
    preprocess,
    size_of,
    tokenizer,
    zero_shot,
)


def own_logits(model, pictures, prompts=PROMPTS):
    """As open_clip's users compute them."""
    with torch.no_grad():
        text = model.encode_text(tokenizer()(prompts), normalize=True)
        image = model.encode_image(pictures, normalize=True)
        logits = model.logit_scale.exp() * image @ text.T
        return logits if model.logit_bias is None else logits + model.logit_bias


@pytest.mark.parametrize("name", MAKERS)
def test_logits_are_the_models_own(name):
    model = zero_shot(name)
    picture = model.preprocess(photo(name))[None]
    expected = own_logits(build(name), torch.from_numpy(picture)).numpy()
    np.testing.assert_allclose(model.logits(picture), expected, atol=1e-5)
    assert expected.std() > 1e-2
    assert (model.output.name, model.class_names) == (MAKERS[name][2], PROMPTS)


@pytest.mark.parametrize("name", MAKERS)
def test_prompts_are_the_classes_and_texts_are_encoded_once(name):
    model, seen = copy.deepcopy(build(name)), []
    text = getattr(model, "text", None) or model.transformer
    text.register_forward_hook(lambda _, inputs, output: seen.append(len(inputs[0])))
    classifier = zero_shot(name, model)
    with_tokens = MAKERS[name][1] is not None
    moxi = ix.MoXI(classifier, absence="auto" if not with_tokens else "zero", regions="2x2")
    found = moxi.explain([photo(name), photo(name, 1)], "a wolf", stop="all")
    assert [one.target for one in found] == [1, 1]
    # Once by itself, and once by the model whose own logits are compared with.
    assert (seen, classifier.module.encoded) == ([3, 3], 1)


def draw_kept(tokens, size):
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randperm(tokens, generator=generator)[:size].sort().values for _ in range(4)])


@pytest.mark.parametrize("size", [0, 1, 5])
@pytest.mark.parametrize("name", WITH_TOKENS)
def test_dropped_tokens_equal_the_hooked_model_and_masked_ones(name, size):
    model, tokens = find_token_model(zero_shot(name).module), MAKERS[name][1]
    images = torch.randn(2, 3, *size_of(name), generator=torch.Generator().manual_seed(1))
    owner, kept = torch.tensor([0, 1, 1, 0]), draw_kept(tokens, size)
    state = model.state_of(images)
    assert (model.pools_patches, state.grid[0] * state.grid[1]) == (name in MEANS, tokens)
    found = model.logits(state, owner, kept)
    assert torch.isfinite(found).all()
    assert torch.allclose(found, model.reference_logits(images, owner, kept), atol=1e-5)
    mask = torch.zeros(4, tokens, dtype=torch.bool).scatter(1, kept, value=True)
    if name not in MEANS and (size or model.prefix):
        assert torch.allclose(found, model.masked_logits(state, owner, mask, 0), atol=1e-5)


def brute_force(name, target, direction, steps):
    """The first steps of the greedy order by the model's own logits, each candidate gathered before the first block."""
    model = build(name)
    tower = getattr(model.visual, "trunk", model.visual)
    first = tower.blocks[0] if hasattr(tower, "blocks") else tower.transformer.resblocks[0]
    picture = preprocess(photo(name))[None]
    patches, order, gap = set(range(MAKERS[name][1])), [], np.inf

    def score(kept):
        rows = torch.tensor([0, *(patch + 1 for patch in sorted(kept))])
        handle = first.register_forward_pre_hook(lambda _, given: (given[0][:, rows], *given[1:]))
        try:
            logits = own_logits(model, picture)[0].double()
        finally:
            handle.remove()
        if model.logit_bias is not None:
            return float(logits[target])
        return float(logits[target] - torch.cat([logits[:target], logits[target + 1 :]]).logsumexp(0))

    for _ in range(steps):
        left = sorted(patches - set(order))
        rest = [{*order, patch} if direction == "insertion" else set(left) - {patch} for patch in left]
        rewards = np.array([score(kept) for kept in rest]) * (1 if direction == "insertion" else -1)
        gap = min(gap, np.diff(np.sort(rewards)[-2:])[0])
        order.append(left[int(rewards.argmax())])
    return order, gap


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize(("name", "steps"), [("CLIP", 23), ("CoCa", 23), ("SigLIP of timm", 3)])
def test_rankings_equal_brute_force(name, steps, direction):
    expected, gap = brute_force(name, 1, direction, steps)
    found = ix.MoXI(zero_shot(name)).explain(photo(name), PROMPTS[1], direction=direction, stop=steps)
    assert gap > 1e-7
    assert found.provenance["scored_as"] == "tokens"
    assert found.ranking.tolist() == expected


@pytest.mark.parametrize("name", ["CLIP", "SigLIP of timm", "convolutional"])
def test_methods_take_it_as_any_module_and_it_can_be_pickled(name):
    model = pickle.loads(pickle.dumps(zero_shot(name)))
    for method in (ix.methods.Gradient(), ix.methods.RISE(count=4)):
        found = method.explain(model, photo(name), "a wolf").map
        assert found.std() > 0
        np.testing.assert_allclose(found, method.explain(zero_shot(name), photo(name), 1).map, atol=1e-6)


def test_such_a_model_without_prompts_is_told_with_a_cure_that_works():
    """Its features were taken for logits."""
    model = build("CLIP")
    with pytest.raises(ix.ArgumentError, match=r"`model`: .*CLIP, which also needs text; say which") as caught:
        ix.MoXI(model)
    names = {"interpix": ix, "model": model, "preprocess": preprocess, "tokenizer": tokenizer()}
    assert eval(str(caught.value).split("classes: ")[1], names).class_names == ["a husky", "a wolf"]


def test_prompts_that_the_model_does_not_read_to_the_end_are_refused():
    with pytest.raises(ix.ArgumentError, match=r"`prompts`: .*at most 16 tokens, .*got 22 tokens: .*; shorten it"):
        ix.zero_shot(build("CLIP"), (preprocess, tokenizer()), ["a husky", "a wolf " * 10])
    with pytest.raises(ix.ArgumentTypeError, match=r"`processor`: .*open_clip.get_tokenizer"):
        ix.zero_shot(build("CLIP"), preprocess, PROMPTS)
