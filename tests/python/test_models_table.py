"""The table of docs/models.md: each of its rows is built with small random weights, and does what the row says."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import interpix as ix
from interpix.models.tokens.model import find_token_model
from token_models import HF, hf, hf_tower, shaken

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")

TEXT = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if re.match(r"\| .*`.*\|.*\|.*\|", line)
]
SIZES = {key: value for key, value in HF.items() if key != "num_labels"}


class Behind(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body, self.head = body, nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.body(x).pooler_output)


def swin(home):
    if home is transformers:
        config = transformers.SwinConfig(image_size=32, embed_dim=16, depths=[1], num_heads=[2], window_size=4)
        return transformers.SwinForImageClassification(config)
    return torchvision.models.SwinTransformer([4, 4], 16, [1, 1], [1, 1], [4, 4], num_classes=5)


def dinov3():
    config = transformers.DINOv3ViTConfig(**SIZES | {"image_size": 32}, num_register_tokens=4)
    return Behind(transformers.DINOv3ViTModel(config))


def prompted(name):
    import prompt_models

    model, processor = prompt_models.build(name)
    return ix.zero_shot(model, processor, prompt_models.PROMPTS).module


def prompted_open_clip(name):
    pytest.importorskip("open_clip")
    import open_clip_models

    return open_clip_models.zero_shot(name).module


def of_transformers(kind):
    return lambda: hf(f"{kind}ForImageClassification", f"{kind}Config", image_size=32)


MAKERS = {
    "torchvision VisionTransformer": lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5),
    "torchvision SwinTransformer": lambda: swin(torchvision),
    "transformers SwinForImageClassification": lambda: swin(transformers),
    "transformers DeiTForImageClassificationWithTeacher": lambda: hf(
        "DeiTForImageClassificationWithTeacher", "DeiTConfig", image_size=32
    ),
    **{
        f"transformers {kind}ForImageClassification": of_transformers(kind)
        for kind in ("ViT", "DeiT", "Beit", "Dinov2", "Dinov2WithRegisters")
    },
    "transformers CLIPForImageClassification": lambda: hf_tower("CLIP"),
    "transformers SiglipForImageClassification": lambda: hf_tower("Siglip"),
    "transformers DINOv3ViTModel": dinov3,
    "transformers CLIPModel": lambda: prompted("CLIP"),
    "transformers SiglipModel": lambda: prompted("SigLIP"),
    "transformers Siglip2Model": lambda: prompted("SigLIP 2"),
    "open_clip CLIP": lambda: prompted_open_clip("CLIP"),
    "open_clip CustomTextCLIP": lambda: prompted_open_clip("CLIP of custom text, quick GELU"),
    "open_clip CoCa": lambda: prompted_open_clip("CoCa"),
    "open_clip TimmModel": lambda: prompted_open_clip("SigLIP of timm"),
    "open_clip ModifiedResNet": lambda: prompted_open_clip("convolutional"),
}


def of_timm(name):
    """As timm itself makes it by its name, but narrow, and of two blocks."""
    kind = name.partition("_")[0]
    if kind in {"swin", "xcit", "resnet10t"}:
        return timm.create_model(name)
    return timm.create_model(name, embed_dim=48, depth=2, num_heads=4 if kind == "cait" else 3)


def cases():
    for model, package, absent, masking in ROWS:
        for name in re.findall("`([^`]+)`", model):
            if name != "zero_shot":
                yield pytest.param(package, name, absent, masking, id=f"{package} {name}")


def build(package, name):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = of_timm(name) if package == "timm" else MAKERS[f"{package} {name}"]()
    # Those with prompts are shared, and shaken already.
    return module if hasattr(module, "towers") else shaken(module)


def test_the_table_has_a_row_for_each_that_can_be_built():
    named = {f"{package} {name}" for package, name, *_ in (case.values for case in cases()) if package != "timm"}
    assert named == set(MAKERS)
    assert len(ROWS) > 40


@pytest.mark.parametrize(("package", "name", "absent", "masking"), list(cases()))
def test_a_row_is_so(package, name, absent, masking):
    module = build(package, name)
    model = find_token_model(module)
    if absent.startswith("fill"):
        assert model is None
        assert absent.startswith("fill: ")
        assert masking == ""
        return
    assert model is not None
    images = torch.randn(2, 3, *model.image_size, generator=torch.Generator().manual_seed(1))
    state, owner = model.state_of(images), torch.tensor([0, 1, 1])
    count = state.grid[0] * state.grid[1]
    drawn = torch.rand(3, count, generator=torch.Generator().manual_seed(2)).argsort(1)[:, : count // 3]
    kept = drawn.sort(1).values
    dropped = model.logits(state, owner, kept)
    assert torch.allclose(dropped, model.reference_logits(images, owner, kept), atol=1e-5)
    everything = model.logits(state, torch.tensor([0, 1]), torch.arange(count).expand(2, -1))
    with torch.no_grad():
        own = module(images)
    assert torch.allclose(everything, getattr(own, "logits", own), atol=1e-5)
    assert state.as_it_is == (absent == "tokens, by the module itself")
    if state.as_it_is:
        assert masking == ""
        return
    mask = torch.zeros(3, count, dtype=torch.bool).scatter(1, kept, value=True)
    distance = float((dropped - model.masked_logits(state, owner, mask, 0)).abs().max())
    assert (masking == "yes") == (distance < 1e-5)
    assert masking in {"yes", "no: a mean"}
    assert model.pools_patches == (masking != "yes")


@pytest.mark.parametrize("name", ["beit3_base_patch16_224", "vit_dpwee_patch16_reg1_gap_256"])
def test_a_vision_transformer_that_is_filled_is_told_once(name):
    with pytest.warns(UserWarning, match=r"it is a Vision Transformer, some parts .*interpix.Tokens\(") as said:
        moxi = ix.MoXI(of_timm(name), regions="2x2")
    assert len(said) == 1
    size = 256 if "256" in name else 224
    assert moxi.explain(np.zeros((3, size, size), np.float32), 0, stop=1).provenance["absence"] == "zero"
