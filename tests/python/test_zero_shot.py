"""Prompts as classes: the model's own logits, texts encoded once, the vision tower on present tokens only."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import interpix as ix
from interpix.models.tokens.model import find_token_model
from prompt_models import LENGTH, MAKERS, PROMPTS, build, clip_tokenizer, photo

transformers = pytest.importorskip("transformers")


def zero_shot(which, **options):
    model, processor = build(which)
    return ix.zero_shot(model, processor, PROMPTS, **options)


def own_inputs(name, image, prompts=PROMPTS):
    """What transformers' own processor makes of a photo and prompts."""
    padding = {"padding": True} if name == "CLIP" else {"padding": "max_length", "max_length": LENGTH}
    return build(name)[1](text=prompts, images=Image.fromarray(image), return_tensors="pt", **padding)


@pytest.mark.parametrize("size", [(50, 70), (64, 40), (32, 32)])
@pytest.mark.parametrize("name", MAKERS)
def test_logits_are_the_models_own(name, size):
    image = photo(*size)
    with torch.no_grad():
        expected = build(name)[0](**own_inputs(name, image)).logits_per_image.numpy()
    model = zero_shot(name)
    found = model.logits(model.preprocess(image)[None])
    assert abs(expected - expected.mean()).max() > 1e-2
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "output"), [("CLIP", "softmax"), ("SigLIP", "sigmoid"), ("SigLIP 2", "sigmoid")])
def test_what_a_model_was_trained_with_is_said(name, output):
    model = zero_shot(name)
    assert (model.output.name, model.class_names) == (output, PROMPTS)
    result = ix.MoXI(model).explain(photo(), "a wolf", stop=1)
    assert (result.provenance["trained_with"], result.provenance["prompts"]) == (output, PROMPTS)


@pytest.mark.parametrize("name", MAKERS)
def test_prompts_are_the_classes_of_every_verb(name):
    moxi, image = ix.MoXI(zero_shot(name)), photo()
    found = moxi.explain(image, "a husky", stop="all")
    assert (found.target, found.name_of(0)) == (0, "a husky")
    assert (found.provenance["scored_as"], found.provenance["absence"]) == ("tokens", "drop_tokens")
    assert found.players == (24 if name == "SigLIP 2" else 16)
    rivals = [prompt for prompt in PROMPTS if prompt != found.name_of(found.prediction)]
    assert moxi.contrast(image, rivals[0]).target == PROMPTS.index(rivals[0])
    assert moxi.shapley(image, "two cats on a sofa", rounds=1).target == 2


@pytest.mark.parametrize("name", MAKERS)
def test_texts_are_encoded_once(name):
    model = copy.deepcopy(build(name)[0])
    seen = []
    model.text_model.register_forward_hook(lambda _, inputs, output: seen.append(1))
    classifier = ix.zero_shot(model, build(name)[1], PROMPTS)
    assert seen == []
    moxi = ix.MoXI(classifier, absence="zero", regions="2x2")
    for direction in ("insertion", "deletion"):
        moxi.explain([photo(), photo(seed=1)], 1, direction=direction, stop="all")
    # Once by itself, and once by the model whose own logits are compared with.
    assert (len(seen), classifier.module.encoded) == (2, 1)


def test_texts_are_encoded_anew_where_the_model_has_changed():
    model, processor = copy.deepcopy(build("CLIP")[0]), build("CLIP")[1]
    classifier = ix.zero_shot(model, processor, PROMPTS)
    picture = classifier.preprocess(photo())[None]
    before = classifier.logits(picture)
    with torch.no_grad():
        model.text_model.embeddings.token_embedding.weight.mul_(-1)
    after = classifier.logits(picture)
    with torch.no_grad():
        expected = model(**own_inputs("CLIP", photo())).logits_per_image.numpy()
    assert abs(after - before).max() > 1e-2
    np.testing.assert_allclose(after, expected, atol=1e-5)


# On some of its tokens


OWNER = torch.tensor([0, 1, 1, 0])


def draw_kept(tokens, size):
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randperm(tokens, generator=generator)[:size].sort().values for _ in range(4)])


@pytest.mark.parametrize("size", [0, 1, 5, 16])
@pytest.mark.parametrize("name", MAKERS)
def test_dropped_tokens_equal_the_hooked_model_and_masked_ones(name, size):
    model = find_token_model(zero_shot(name).module)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    state, kept = model.state_of(images), draw_kept(16, size)
    assert not model.pools_patches
    found = model.logits(state, OWNER, kept)
    assert found.std(0).min() > 1e-2 or size in {0, 16}
    assert torch.allclose(found, model.reference_logits(images, OWNER, kept), atol=1e-5)
    if size or name == "CLIP":  # a softmax over no keys is none
        mask = torch.zeros(4, 16, dtype=torch.bool).scatter(1, kept, value=True)
        for layer in (0, 2):
            masked = model.masked_logits(state, OWNER, mask, layer)
            assert torch.allclose(model.logits(state, OWNER, kept, from_layer=layer), masked, atol=1e-5)


def brute_force(name, image, target, direction):
    """The greedy order by the model's own logits, each candidate with a gather of its own before the first block."""
    model, inputs = build(name)[0], dict(own_inputs(name, image))
    if name == "SigLIP 2":  # padding is never looked at
        count = int(inputs["spatial_shapes"].prod())
        inputs |= {"pixel_values": inputs["pixel_values"][:, :count], "pixel_attention_mask": None}
    first, prefix = model.vision_model.encoder.layers[0], int(name == "CLIP")

    def score(kept):
        rows = torch.tensor([*range(prefix), *(patch + prefix for patch in sorted(kept))])
        handle = first.register_forward_pre_hook(lambda _, given: (given[0][:, rows], *given[1:]))
        try:
            with torch.no_grad():
                logits = model(**inputs).logits_per_image[0].double()
        finally:
            handle.remove()
        others = torch.cat([logits[:target], logits[target + 1 :]])
        return float(logits[target] - others.logsumexp(0) if name == "CLIP" else logits[target])

    patches, order, gap = set(range(24 if name == "SigLIP 2" else 16)), [], np.inf
    while len(order) < len(patches) - 1:
        left = sorted(patches - set(order))
        rest = [{*order, patch} if direction == "insertion" else set(left) - {patch} for patch in left]
        rewards = np.array([score(kept) for kept in rest]) * (1 if direction == "insertion" else -1)
        gap = min(gap, np.diff(np.sort(rewards)[-2:])[0])
        order.append(left[int(rewards.argmax())])
    return order, gap


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
@pytest.mark.parametrize("name", MAKERS)
def test_rankings_equal_brute_force(name, direction):
    image = photo()
    expected, gap = brute_force(name, image, 1, direction)
    found = ix.MoXI(zero_shot(name)).explain(image, PROMPTS[1], direction=direction, stop="all")
    assert gap > 1e-6
    assert found.ranking.tolist()[: len(expected)] == expected


def test_a_processor_of_other_patches_is_refused():
    model, processor = build("SigLIP 2")
    classifier = ix.zero_shot(model, (processor.image_processor, processor.tokenizer), PROMPTS)
    with pytest.raises(ix.ArgumentError, match="`processor`: expected one that cuts patches of 8 x 8 pixels"):
        classifier.preprocess(photo())


def test_a_large_photo_has_as_many_patches_as_its_processor_gives():
    model = zero_shot("SigLIP 2")
    for size, grid in (((300, 100), (8, 3)), ((90, 400), (2, 9))):
        shown = model.preprocess(photo(*size))
        assert model.token_grid_at(shown.shape[1:]) == grid
        assert ix.MoXI(model).explain(photo(*size), 0, stop=1).provenance["regions"] == f"{grid[0]}x{grid[1]}"


def test_hooks_of_the_user_see_what_they_would_see():
    model = copy.deepcopy(build("CLIP")[0])
    layer = model.vision_model.encoder.layers[1]
    layer.register_forward_hook(lambda _, inputs, output: 2 * output)
    found = ix.MoXI(ix.zero_shot(model, build("CLIP")[1], PROMPTS)).explain(photo(), 1, stop=2)
    assert found.provenance["scored_as"] == "pictures without tokens"
    untouched = ix.MoXI(zero_shot("CLIP")).explain(photo(), 1, stop=2)
    assert abs(found.rewards - untouched.rewards).max() > 1e-3


# As any other torch module


@pytest.mark.parametrize("name", MAKERS)
def test_methods_and_fills_take_it_as_any_module(name):
    model, image = zero_shot(name), photo()
    shape = model.preprocess(image).shape[1:]
    for method in (
        ix.methods.Gradient(),
        ix.methods.IntegratedGradients(steps=2),
        ix.methods.GradCAM(),
        ix.methods.AttentionRollout(),
        ix.methods.RISE(count=4),
    ):
        found = method.explain(model, image, "a wolf")
        assert found.map.shape == shape
        assert found.map.std() > 0
    filled = ix.MoXI(model, absence="mean", regions="2x2").explain(image, 1, stop="all")
    assert filled.provenance["scored_as"] == "pictures"
    gradient, sample = ix.methods.Gradient(), ix.metrics.Sample.of(model, image, 1)
    randomized = ix.metrics.ModelRandomization(seeds=(0,)).score_method(
        sample, gradient, gradient.explain(model, image, 1).map
    )
    assert abs(randomized.value) < 0.9


def test_gradients_are_those_of_the_whole_model():
    model, inputs = build("CLIP")[0], own_inputs("CLIP", photo())
    pixels = inputs.pop("pixel_values").requires_grad_()
    (expected,) = torch.autograd.grad(model(pixel_values=pixels, **inputs).logits_per_image[0, 2], pixels)
    found = ix.methods.Gradient().explain(zero_shot("CLIP"), photo(), 2)
    np.testing.assert_allclose(found.map, expected[0].sum(0).numpy(), atol=1e-5 * float(expected.abs().max()) * 3)


@pytest.mark.parametrize("name", MAKERS)
def test_the_model_is_as_before_and_the_classifier_can_be_pickled(name):
    model = copy.deepcopy(build(name)[0]).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    classifier = ix.zero_shot(model, build(name)[1], PROMPTS)
    result = ix.MoXI(classifier).explain(photo(), 1, stop=2)
    assert all(part.training for part in model.modules())
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(one.requires_grad and one.grad is None for one in model.parameters())
    again = ix.MoXI(pickle.loads(pickle.dumps(classifier))).explain(photo(), 1, stop=2)
    assert again.ranking.tolist() == result.ranking.tolist()
    assert again.provenance == result.provenance


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_torchs_own_wrappers_are_looked_through(wrap):
    model, processor = build("CLIP")
    found, plain = (ix.MoXI(ix.zero_shot(one, processor, PROMPTS)) for one in (wrap(model), model))
    found, plain = (one.explain(photo(), 1, stop=3) for one in (found, plain))
    assert found.provenance["scored_as"] == "tokens"
    np.testing.assert_array_equal(found.rewards, plain.rewards)


def test_adapters_of_peft_are_looked_through():
    peft = pytest.importorskip("peft")
    model, processor = build("CLIP")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers, about what peft asks
        adapted = peft.get_peft_model(copy.deepcopy(model), config).eval()
    found = ix.MoXI(ix.zero_shot(adapted, processor, PROMPTS)).explain(photo(), 1, stop=3)
    assert found.provenance["scored_as"] == "tokens"
    merged = ix.MoXI(ix.zero_shot(copy.deepcopy(adapted).merge_and_unload(), processor, PROMPTS))
    np.testing.assert_allclose(found.rewards, merged.explain(photo(), 1, stop=3).rewards, atol=1e-4)


def test_prompts_of_several_images_in_both_directions():
    moxi, images = ix.MoXI(zero_shot("SigLIP")), [photo(), photo(seed=1)]
    for direction in ("insertion", "deletion"):
        both = moxi.explain(images, ["a husky", "a wolf"], direction=direction, stop=5)
        alone = [
            moxi.explain(one, target, direction=direction, stop=5) for one, target in zip(images, (0, 1), strict=True)
        ]
        assert [one.ranking.tolist() for one in both] == [one.ranking.tolist() for one in alone]


@pytest.mark.parametrize("name", ["CLIP", "SigLIP"])
def test_half_precision_follows_the_model(name):
    model = copy.deepcopy(build(name)[0]).bfloat16()
    classifier = ix.zero_shot(model, build(name)[1], PROMPTS)
    found = ix.MoXI(classifier).explain(photo(), 1, stop=2)
    assert found.provenance["dtype"] == "bfloat16"
    picture = classifier.preprocess(photo())[None]
    np.testing.assert_allclose(classifier.logits(picture), zero_shot(name).logits(picture), atol=0.1)


@pytest.mark.parametrize("name", ["CLIP", "SigLIP"])
def test_a_pipeline_brings_processor_and_template(name):
    model, processor = build(name)
    pipeline = transformers.pipeline(
        "zero-shot-image-classification",
        model=model,
        image_processor=processor.image_processor,
        tokenizer=processor.tokenizer,
    )
    prompts, image = ["husky", "wolf"], photo()
    classifier = ix.zero_shot(pipeline, prompts=prompts)
    assert classifier.class_names == prompts
    logits = classifier.logits(classifier.preprocess(image)[None])[0]
    with torch.no_grad():
        expected = model(**own_inputs(name, image, [f"This is a photo of {one}." for one in prompts]))
    np.testing.assert_allclose(logits, expected.logits_per_image[0].numpy(), atol=1e-5)
    if name == "CLIP":  # SigLIP's pipeline pads to 64 tokens, which this model does not read
        answer = {one["label"]: one["score"] for one in pipeline(Image.fromarray(image), candidate_labels=prompts)}
        found = torch.from_numpy(logits).softmax(0)
        assert [answer[one] for one in prompts] == pytest.approx(found.tolist(), abs=1e-6)
    with pytest.raises(ix.ArgumentError, match="also needs text; say which classes: ") as caught:
        ix.MoXI(pipeline)
    cure = str(caught.value).split("classes: ")[1]
    assert eval(cure, {"interpix": ix, "model": pipeline}).class_names == ["a husky", "a wolf"]
    plain = ix.zero_shot(pipeline, prompts=prompts, template="{}")
    assert abs(plain.logits(plain.preprocess(image)[None])[0] - logits).max() > 1e-3
    with pytest.raises(ix.ArgumentTypeError, match="`processor`: expected None for a pipeline"):
        ix.zero_shot(pipeline, processor, prompts)


def test_a_template_is_filled_in():
    model = zero_shot("CLIP", template="a bad photo of {}!", name="husky or wolf")
    assert (model.class_names, model.name) == (PROMPTS, "husky or wolf")
    with torch.no_grad():
        expected = build("CLIP")[0](**own_inputs("CLIP", photo(), [f"a bad photo of {one}!" for one in PROMPTS]))
    found = model.logits(model.preprocess(photo())[None])
    np.testing.assert_allclose(found, expected.logits_per_image.numpy(), atol=1e-5)


# Bad input


@pytest.mark.parametrize(
    ("prompts", "kind", "message"),
    [
        ((), ix.ArgumentError, r"at least two different texts, got \[\]; add what it is to be told apart from"),
        (["a husky"], ix.ArgumentError, r"got \['a husky'\]; add what it is to be told apart from"),
        ("a husky", ix.ArgumentTypeError, r"got str; put it into a list beside others, for example \[\"a husky\""),
        (["a husky", "a wolf", "A husky "], ix.ArgumentError, "'a husky' and 'A husky '; leave out one of the two"),
        (["a husky", 3], ix.ArgumentTypeError, "expected texts, got int"),
        (["a husky", None], ix.ArgumentTypeError, "expected texts, got NoneType"),
        ({"a husky": 1, "a wolf": 2}, ix.ArgumentTypeError, "got dict"),
        (7, ix.ArgumentTypeError, "got int"),
        (["a husky", " "], ix.ArgumentError, "texts that say something"),
        (["a  husky", "a husky"], ix.ArgumentError, "which are the same to it"),
        (["a husky", "a wolf " * 30], ix.ArgumentError, "at most 40 tokens, .* got 152 tokens: 'a wolf .*; shorten it"),
    ],
)
def test_prompts_that_are_none_are_refused_before_any_work(prompts, kind, message):
    model = copy.deepcopy(build("CLIP")[0])
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model was run"))
    with pytest.raises(kind, match=f"`prompts`: .*{message}"):
        ix.zero_shot(model, build("CLIP")[1], prompts)


@pytest.mark.parametrize("name", ["SigLIP", "SigLIP 2"])
def test_a_sigmoid_answers_to_a_single_prompt(name):
    model, processor = build(name)
    alone, beside = (ix.zero_shot(model, processor, prompts) for prompts in (PROMPTS[:1], PROMPTS))
    found, expected = (ix.MoXI(one).explain(photo(), PROMPTS[0], stop="all") for one in (alone, beside))
    assert found.class_names == (PROMPTS[0],)
    assert found.ranking.tolist() == expected.ranking.tolist()
    np.testing.assert_allclose(found.rewards, expected.rewards, atol=1e-4)
    with pytest.raises(ix.ArgumentError, match=r"`prompts`: expected a list of different texts, got \[\]"):
        ix.zero_shot(model, processor, [])


def test_prompts_are_checked_before_a_model_is_loaded(tmp_path):
    for prompts in ("a husky", [], ["a husky", "A husky"]):
        with pytest.raises((ix.ArgumentError, ix.ArgumentTypeError), match="`prompts`"):
            ix.load_model(f"hf:{tmp_path}/nowhere", prompts=prompts)


def test_arrays_and_tuples_of_prompts_are_taken():
    model, processor = build("CLIP")
    for prompts in (tuple(PROMPTS), np.array(PROMPTS)):
        assert ix.zero_shot(model, processor, prompts).class_names == PROMPTS


@pytest.mark.parametrize(
    ("template", "kind"), [(3, ix.ArgumentTypeError), ("a photo", ix.ArgumentError), ("{} {}", ix.ArgumentError)]
)
def test_a_template_without_one_place_is_refused(template, kind):
    with pytest.raises(kind, match=r'`template`: .*for example "a photo of \{\}"'):
        zero_shot("CLIP", template=template)


@pytest.mark.parametrize("processor", [None, 3, clip_tokenizer(), (1, 2, 3), lambda image: image])
def test_a_processor_of_another_kind_is_refused_with_a_cure(processor):
    with pytest.raises(ix.ArgumentTypeError, match=r"`processor`: .*AutoProcessor.from_pretrained"):
        ix.zero_shot(build("CLIP")[0], processor, PROMPTS)


def test_a_pair_may_take_the_processors_place_but_not_turned_round():
    model, processor = build("CLIP")
    pair = processor.image_processor, processor.tokenizer
    picture = zero_shot("CLIP").preprocess(photo())[None]
    found = ix.zero_shot(model, pair, PROMPTS)
    np.testing.assert_array_equal(found.logits(picture), zero_shot("CLIP").logits(picture))
    with pytest.raises(ix.ArgumentTypeError, match=r"turn them round: \(preprocess, tokenizer\)"):
        ix.zero_shot(model, pair[::-1], PROMPTS)


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 3), "openai/clip-vit-base-patch32", None])
def test_a_model_of_another_kind_is_refused(model):
    with pytest.raises(ix.ArgumentTypeError, match="`model`: expected CLIP, SigLIP or SigLIP 2 of transformers"):
        ix.zero_shot(model, build("CLIP")[1], PROMPTS)


def test_a_model_whose_logits_are_made_otherwise_is_refused():
    model = copy.deepcopy(build("CLIP")[0])

    class Warmer(type(model)):
        def forward(self, **inputs):
            found = super().forward(**inputs)
            found.logits_per_image = found.logits_per_image * 1.5
            return found

    model.__class__ = Warmer
    classifier = ix.zero_shot(model, build("CLIP")[1], PROMPTS)
    with pytest.raises(ix.ModelError, match=r"its logits are not exp\(logit_scale\) \* cosine .* differ by up to"):
        ix.MoXI(classifier, absence="zero").explain(photo())


@pytest.mark.parametrize("name", MAKERS)
def test_such_a_model_without_prompts_is_told_with_a_cure_that_works(name):
    """F25: CLIP was an inner AttributeError."""
    model, processor = build(name)
    with pytest.raises(ix.ArgumentError, match=r"`model`: .*Model, which also needs text; say which") as caught:
        ix.MoXI(model)
    cure = str(caught.value).split("classes: ")[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = eval(cure, {"interpix": ix, "model": model, "processor": processor})
    assert ix.MoXI(classifier).explain(photo(), "a husky", stop=1).target == 0
