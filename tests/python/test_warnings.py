"""Warnings: in the user's own line, once, and remembered by the result."""

import ast
import importlib
import inspect
import pathlib
import re
import threading
import warnings
from typing import NamedTuple

import numpy as np
import pytest

import interpix as ix
from interpix import errors
from interpix.errors import InterpixWarning, warn

PACKAGE = pathlib.Path(ix.__file__).parent
IMAGE = np.random.default_rng(0).normal(size=(3, 8, 12)).astype(np.float32)


def shares(batch):
    odds = np.exp(batch.mean(axis=(2, 3)))
    return odds / odds.sum(axis=1, keepdims=True)


def told(function):
    """What a call warns of, and what it returns."""
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        return records, function()


def test_every_warning_goes_through_the_one_that_finds_the_users_line():
    places = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"warnings.warn", "warnings.warn_explicit"}:
                places.append(path.relative_to(PACKAGE).as_posix())
            if isinstance(node, ast.ImportFrom) and node.module == "warnings":
                places.append(path.relative_to(PACKAGE).as_posix())
    assert places == ["errors.py"]


@pytest.mark.parametrize("call", ["explain", "compare", "sample", "thread", "propagate"])
def test_a_warning_shows_the_users_line(call):
    moxi = ix.MoXI(shares, regions="2x3")

    def act():
        if call == "explain":
            moxi.explain(IMAGE, stop=1)
        elif call == "compare":
            ix.compare(shares, IMAGE, "edges", "insertion(steps=2,baseline='zero')", propagate=False, controls=False)
        elif call == "sample":
            ix.metrics.Sample.of(shares, IMAGE)
        elif call == "propagate":
            ix.propagate(1e-7 * np.eye(5, 7), np.zeros((5, 7, 3), np.uint8), solver="value_iteration")
        else:
            thread = threading.Thread(target=lambda: moxi.explain(IMAGE, stop=1))
            thread.start()
            thread.join()

    records, _ = told(act)
    assert records
    lines, start = inspect.getsourcelines(act)
    for record in records:
        assert record.category is InterpixWarning
        assert record.filename == __file__
        assert start < record.lineno < start + len(lines)


def test_what_is_deprecated_shows_the_users_line(tmp_path):
    with pytest.warns(DeprecationWarning, match="load_attribution is deprecated") as records:  # noqa: SIM117
        with pytest.raises(ix.ArgumentError):
            ix.load_attribution(tmp_path / "nothing")
    assert records[0].filename == __file__


def test_a_module_whose_name_is_no_text_is_the_users():
    """Python shows no warnings of it; that it has none is no error."""
    exec("warn('fog')", {"warn": errors.warn, "__name__": None})


def test_our_warnings_can_be_turned_off_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ix.InterpixWarning)
        warn("ours")
        with pytest.raises(UserWarning, match="another's"):
            warnings.warn("another's", stacklevel=1)


def test_what_look_like_probabilities_is_remembered():
    records, found = told(lambda: ix.MoXI(shares, regions="2x3").explain(IMAGE, stop=1))
    assert [str(one.message).split(";")[0] for one in records] == ["model `shares`: its logits look like probabilities"]
    assert found.provenance["logits_look_like"] == "probabilities"
    logits = ix.MoXI(lambda batch: 9 * batch.mean(axis=(2, 3)), regions="2x3").explain(IMAGE, stop=1)
    assert "logits_look_like" not in logits.provenance


@pytest.mark.parametrize("output", ["auto", "sigmoid", "softmax"])
@pytest.mark.parametrize("labels", [1, 12])
def test_a_sigmoid_at_the_end_is_told_once(output, labels):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    if (output, labels) == ("softmax", 1):
        pytest.skip("refused")
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, labels)]
    model = ix.TorchClassifier(nn.Sequential(*head, nn.Sigmoid()), output=output)
    records, found = told(lambda: ix.MoXI(model, regions="2x3").explain(IMAGE, 0, stop=1))
    assert len(records) == 1
    assert "it ends in a Sigmoid" in str(records[0].message)
    assert records[0].filename == __file__
    assert found.provenance["ends_in"] == "Sigmoid"
    records, again = told(lambda: ix.MoXI(model, regions="2x3").explain(IMAGE, 0, stop=1))
    assert not records
    assert again.provenance["ends_in"] == "Sigmoid"


def test_a_sigmoid_is_remembered_where_warnings_are_errors():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    model = ix.TorchClassifier(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3), nn.Sigmoid()))
    moxi = ix.MoXI(model, regions="2x3")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ix.InterpixWarning)
        with pytest.raises(ix.InterpixWarning, match="it ends in a Sigmoid"):
            moxi.explain(IMAGE, 0, stop=1)
        assert moxi.explain(IMAGE, 0, stop=1).provenance["ends_in"] == "Sigmoid"


class Several(NamedTuple):
    logits: object
    aux: object


class Unnamed(NamedTuple):
    first: object
    second: object


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda rows: (rows, -rows), "a tuple of 2"),
        (lambda rows: [rows, -rows, rows], "a list of 3"),
        (lambda rows: Unnamed(rows, -rows), "a Unnamed of 2"),
        (lambda rows: (rows,), None),
        (lambda rows: Several(rows, -rows), None),
        (lambda rows: {"logits": rows, "aux": -rows}, None),
        (lambda rows: rows, None),
    ],
)
def test_which_of_several_answers_is_taken_is_told_once_and_remembered(answer, kind):
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def forward(self, x):
            return answer(9 * x.mean((2, 3)))

    moxi = ix.MoXI(Net(), regions="2x3")
    records, found = told(lambda: [moxi.explain(IMAGE, stop=1), moxi.explain(IMAGE, stop=1)])
    assert len(records) == (kind is not None)
    for one in found:
        assert one.provenance.get("answer_taken") == (None if kind is None else f"the first of {kind}")
        assert one.target == int(np.argmax(IMAGE.mean((1, 2))))
    if kind is not None:
        assert f"it answers with {kind}, of which the first is taken" in str(records[0].message)


def test_copies_of_a_module_do_not_tell_it_again():
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def forward(self, x):
            return 9 * x.mean((2, 3)), x

    model = ix.TorchClassifier(Net())
    told(lambda: model.logits(IMAGE[None]))
    records, _ = told(lambda: model.with_module(Net()).logits(IMAGE[None]))
    assert not records


def test_a_transformer_whose_tokens_are_not_used_is_remembered():
    torch = pytest.importorskip("torch")
    vit = pytest.importorskip("timm").create_model("vit_tiny_patch16_224", img_size=32, num_classes=4, depth=1)

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = vit

        def forward(self, x):
            return self.inner(x) + x.mean((1, 2, 3))[:, None]

    image = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    records, found = told(lambda: ix.MoXI(Wrapped(), regions="2x3").explain(image, stop=1))
    assert any("absent patches are filled with zero" in str(one.message) for one in records)
    assert found.provenance["absence"] == "zero"
    assert found.provenance["tokens_unused"] in str(records[0].message)


@pytest.mark.parametrize(("scale", "given"), [(None, None), (255, "0 ... 1"), (127.5, "0 ... 2"), (1, "0 ... 255")])
def test_preprocessing_that_leaves_out_the_normalization_of_timm_is_told(scale, given):
    timm = pytest.importorskip("timm")
    module = timm.create_model("resnet18", num_classes=3)
    mean, std = module.pretrained_cfg["mean"], module.pretrained_cfg["std"]

    def preprocess(photo):
        pixels = np.asarray(photo, np.float32)
        return ((pixels / 255 - mean) / std if scale is None else pixels / scale).transpose(2, 0, 1)

    model = ix.TorchClassifier(module, preprocess=preprocess)
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    records, found = told(lambda: ix.MoXI(model, regions="2x3").explain(photo, stop=1))
    said = [str(one.message) for one in records if f"its preprocessing gives values in {given}" in str(one.message)]
    assert len(said) == (given is not None)
    assert found.provenance.get("looks_unnormalized") == given


def test_the_page_on_trouble_knows_every_warning_and_where_it_stands():
    """Each row's first cell is a part of a message; facts that it names are written by the package."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    page = (PACKAGE.parents[1] / "docs" / "guides" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.split("## Warnings")[1].split("## Errors")[0].splitlines()]
    cells = [[cell.strip() for cell in row] for row in rows if len(row) == 4][2:]
    assert len(cells) > 10
    for says, *_, remembered in cells:
        words = [part for part in re.split(r" \.\.\. |\b\d+\b|(?<=depends on) ", says) if len(part) > 3]
        assert words, says
        joined = " ".join(re.sub(r'"\s*\n\s*f?"', "", source).split())
        assert all(part.strip() in joined for part in words), says
        for fact in re.findall(r"`(\w+)`", remembered):
            assert f'"{fact}"' in source or f"{fact}:" in source, fact


def test_errors_of_python_name_what_people_call():
    for name in ix.__all__:
        member = getattr(ix, name)
        if inspect.isclass(member) and inspect.isfunction(member.__init__):
            assert member.__init__.__qualname__ == f"{name}.__init__"
    with pytest.raises(TypeError, match=r"^MoXI\.__init__\(\) got an unexpected keyword argument 'target'"):
        ix.MoXI(shares, target=3)
    with pytest.raises(TypeError, match=r"^MoXI\.shapley\(\) got an unexpected keyword argument 'baselines'"):
        ix.MoXI(shares).shapley(IMAGE, baselines=0)
    for home in ("methods", "metrics", "outputs"):
        module = importlib.import_module(f"interpix.{home}")
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isclass(member) and inspect.isfunction(member.__init__) and not inspect.isabstract(member):
                assert "GameMaker" not in member.__init__.__qualname__
