"""Every public call refuses bad input by an error that names the argument, and changes nothing of the user's."""

import copy
import dataclasses
import functools
import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest

import interpix as ix
from interpix import cli, methods, metrics, plots
from interpix.options import make_named as make
from interpix.results import load_all, save_all

torch = pytest.importorskip("torch")

NAN, INF, HUGE = float("nan"), float("inf"), 10**30
IMAGE = np.random.default_rng(0).random((3, 6, 8)).astype(np.float32)
RAW = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
MAP = IMAGE[0]


def sums(batch):
    return batch.sum(axis=(2, 3))


@functools.cache
def module():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(192, 3)
    )


@functools.cache
def result():
    return ix.MoXI(sums, regions="2x2").explain(IMAGE, 1, stop="all")


@functools.cache
def sample():
    return metrics.Sample.of(sums, IMAGE, 1, annotation=[(0, 0, 3, 3)])


TOO_MANY = 2**64
WHOLE = {"fraction": 1.5, "text": "3", "none": None, "bool": True, "list": [], "nan": NAN, "inf": INF, "minus": -1}
REAL = {"text": "3", "none": None, "bool": True, "list": [], "nan": NAN, "minus": -1.0, "complex": 1j}
SEED = WHOLE | {"too great": 2**64}
WORD = {"text": "nonsense", "none": None, "number": 5, "list": []}
FILL = {"text": "nonsense", "list": [1, 2], "texts": np.array(["a"]), "complex": np.array([1j]), "object": object()}
REGIONS = {
    "text": "a lot",
    "none": "0x3",
    "zero": 0,
    "minus": -3,
    "bool": True,
    "float": 2.5,
    "three": (1, 2, 3),
    "floats": np.ones((6, 8)),
}


def given(values):
    """The same for an argument that may be None."""
    return {name: value for name, value in values.items() if name != "none"}


without = given(WHOLE)

# A class of options, and for each field what it must not be.
OPTIONS = {
    methods.RISE: {
        "count": WHOLE | {"zero": 0, "huge": HUGE},
        "keep": REAL | {"zero": 0.0, "one": 1.0},
        "seed": SEED,
        "batch_size": without,
        "baseline": FILL,
        "grid": {"one": 7, "three": (1, 2, 3), "zero": (0, 3), "huge": (10**6, 3)},
    },
    methods.SuperpixelRISE: {
        "count": WHOLE | {"huge": HUGE},
        "keep": REAL,
        "seed": SEED,
        "regions": REGIONS,
        "baseline": FILL,
    },
    methods.LIME: {
        "count": WHOLE,
        "keep": REAL,
        "seed": SEED,
        "regularization": REAL | {"zero": 0.0, "inf": INF},
        "batch_size": without,
    },
    methods.XRAI: {"steps": WHOLE | {"huge": HUGE}, "algorithm": WORD, "output": WORD, "batch_size": without},
    methods.BlurIG: {"steps": WHOLE | {"huge": HUGE}, "sigma": REAL | {"zero": 0.0, "huge": 1e9}, "output": WORD},
    methods.GuidedIG: {
        "steps": WHOLE | {"huge": HUGE},
        "fraction": REAL | {"zero": 0.0, "two": 2.0},
        "corridor": REAL | {"two": 2.0},
        "baseline": FILL,
    },
    methods.IntegratedGradients: {
        "steps": WHOLE | {"huge": HUGE},
        "baseline": FILL,
        "output": WORD,
        "batch_size": without,
    },
    methods.GradCAM: {
        "layer": {"number": 3, "list": []},
        "output": WORD,
        "layout": {"text": "sideways", "number": 1},
        "grid": {"one": 7, "zero": (0, 2)},
    },
    methods.GradCAMPlusPlus: {"output": WORD},
    methods.Gradient: {"output": WORD},
    methods.MoXIMap: {
        "regions": REGIONS,
        "absence": FILL,
        "reward": WORD,
        "direction": WORD,
        "stop": {"zero": 0, "minus": -1, "text": "never", "half": 1.5, "none": None},
        "batch_size": without,
    },
    methods.GroupSearch: {
        "direction": WORD,
        "search": WORD,
        "weight": given(REAL) | {"two": 2.0},
        "width": without | {"zero": 0, "greedy": 4},
        "stop": {"zero": 0, "text": "never"},
        "minimal": {"text": "yes", "none": None},
    },
    methods.CatalogueMap: {
        "direction": WORD,
        "count": WHOLE | {"huge": HUGE},
        "overlap": REAL | {"two": 2.0},
        "width": WHOLE | {"huge": HUGE},
    },
    methods.MoXIOneShot: {"direction": WORD, "reward": WORD},
    methods.Shapley: {"sampler": WORD, "rounds": WHOLE | {"huge": HUGE}, "seed": SEED},
    metrics.Insertion: {"preset": WORD, "steps": without | {"zero": 0}, "baseline": FILL},
    metrics.Deletion: {"preset": WORD, "steps": without},
    metrics.DeletionInsertionRatio: {"preset": WORD, "steps": without},
    metrics.SoftmaxInformation: {
        "bins": WHOLE | {"huge": HUGE},
        "min_confidence": REAL,
        "aggregate_by": WORD,
        "fraction": REAL | {"two": 2.0},
        "monotonous": {"text": "yes", "none": None},
        "thresholds": {
            "falling": (0.5, 0.1),
            "empty": (),
            "text": "0.5",
            "beyond": (0.5, 2.0),
            "zero": (0.0, 0.5),
            "nan": (NAN,),
            "number": 0.5,
            "words": ("a",),
        },
    },
    metrics.AccuracyInformation: {"bins": WHOLE, "fraction": REAL},
    metrics.PointingGame: {"tolerance": REAL | {"inf": INF}},
    metrics.AccuracyDeletion: {"regions": REGIONS, "replacement": FILL},
    metrics.AdversarialAccuracy: {
        "radius": REAL | {"huge": HUGE},
        "step_size": REAL | {"huge": HUGE, "too many": TOO_MANY},
        "steps": WHOLE | {"huge": HUGE},
        "regions": REGIONS,
    },
    metrics.CorruptionAccuracy: {
        "severity": WHOLE | {"six": 6, "zero": 0},
        "corruptions": {"text": "fog", "none": None, "empty": ()},
    },
    metrics.ModelRandomization: {
        "seeds": {"empty": (), "text": "12", "none": None, "minus": (-1,), "half": (0.5,), "great": (2**64,)}
    },
    ix.Superpixels: {"count": WHOLE | {"zero": 0}, "compactness": REAL | {"zero": 0.0, "inf": INF}},
    ix.Fill: {"value": FILL},
    ix.MaskAttention: {"from_layer": WHOLE},
}
IMAGES = {
    "none": None,
    "number": 3,
    "empty": np.zeros((0, 6, 3), np.uint8),
    "integers": np.zeros((3, 6, 8), int),
    "nan": IMAGE * NAN,
    "inf": IMAGE * INF,
    "missing": "no/such/photo.jpg",
    "folder": Path(__file__).parent,
    "four channels": np.zeros((6, 8, 4), np.uint8),
    "times": np.zeros((6, 8, 3), "m8[s]"),
    "sparse": torch.eye(6).to_sparse(),
    "meta": torch.zeros(3, 6, 8, device="meta"),
    "object": object(),
}
TARGETS = {"beyond": 3, "minus": -1, "name": "cat", "half": 1.5, "bool": True, "list": [[1]], "huge": HUGE, "nan": NAN}
MAPS = {
    "none": None,
    "text": "map",
    "list": [[1.0]],
    "size": np.ones((5, 8)),
    "nan": MAP * NAN,
    "inf": MAP * INF,
    "times": MAP.astype("m8[s]"),
    "complex": MAP * 1j,
    "texts": np.full((6, 8), "a"),
    "axes": np.ones((1, 1, 1, 6, 8)),
    "none at all": np.ones((0, 6, 8)),
    "meta": torch.zeros(6, 8, device="meta"),
    "objects": MAP.astype(object),
    "masked": np.ma.masked_equal(MAP, 0),
}
ANNOTATIONS = {
    "size": np.ones((8, 6), bool),
    "outside": [(0, 0, 9, 3)],
    "turned": [(3, 3, 0, 0)],
    "floats": [(0.0, 0.0, 1.5, 2.0)],
    "three": [(0, 0, 1)],
    "labels": np.ones((6, 8), int),
    "missing": "no/such/mask.png",
}
MODELS = {"none": None, "number": 3, "text": "resnet18", "class": torch.nn.Linear, "list": [sums]}
PATHS = {"none": None, "number": 3.5, "missing": "no/such/file", "empty": ""}


def of_options():
    for cls, fields in OPTIONS.items():
        for field, values in fields.items():
            for kind, value in values.items():
                yield f"{cls.__name__}({field}={kind})", functools.partial(cls, **{field: value}), field


def of_arguments():
    """Of each call, with what it is given, and for each argument what it must not be."""
    moxi, graph = ix.MoXI(sums, regions="2x2"), ix.PixelGraph(IMAGE, 2)
    compared = (sums, IMAGE, "moxi(regions='2x2')", "roc_auc", [np.eye(6, 8, dtype=bool)])
    batch = without | {"none": None}
    discount, tolerance = REAL | {"one": 1.0}, given(REAL) | {"zero": 0.0, "two": 2.0}
    axes = {"text": "1", "half": 0.5, "beyond": 7, "huge": HUGE}
    stop = {"zero": 0, "minus": -1, "text": "never", "half": 1.5}
    names = {"text": "cat", "numbers": [1, 2], "number": 3, "dict": {"a": 1}}
    labels = {"size": np.zeros((5, 5), int), "floats": np.zeros((6, 8))}
    models = {"none": None, "number": 3, "unknown": "no_such_model", "empty": "", "source": "tf:resnet"}
    models |= {"timm": "timm:no_such_net", "torchvision": "torchvision:no_such_net"}
    options = {"regions": REGIONS, "absence": FILL, "reward": WORD, "precision": WORD, "batch_size": batch}
    search = {"target": TARGETS, "direction": WORD, "stop": stop}
    search |= {"min_confidence": REAL | {"two": 2.0}, "min_patches": WHOLE}
    shapley = {"target": TARGETS, "sampler": WORD, "rounds": WHOLE | {"huge": HUGE}, "seed": SEED, "direction": WORD}
    single = {name: value for name, value in TARGETS.items() if name != "list"}
    captum = {"target": single, "baselines": FILL, "additional_forward_args": {"tuple": (1,)}, "feature_mask": labels}
    solve = {"discount": discount, "tolerance": tolerance, "solver": WORD, "channel_axis": axes}
    return [
        ("MoXI", ix.MoXI, (sums,), options),
        ("MoXI.explain", moxi.explain, (IMAGE,), search),
        ("MoXI.one_shot", moxi.one_shot, (IMAGE,), {"target": TARGETS, "direction": WORD}),
        ("MoXI.shapley", moxi.shapley, (IMAGE,), shapley),
        ("MoXI.contrast", moxi.contrast, (IMAGE,), {"target": TARGETS}),
        ("MoXI.game", moxi.game, (IMAGE,), {"target": TARGETS}),
        ("MoXI.attribute", moxi.attribute, (IMAGE,), captum),
        ("propagate", ix.propagate, (MAP, IMAGE), solve | {"radius": without | {"zero": 0}}),
        ("PixelGraph", ix.PixelGraph, (IMAGE,), {"radius": without | {"zero": 0}, "memory_budget": WHOLE}),
        ("PixelGraph.propagate", graph.propagate, (MAP,), solve | {"max_iterations": WHOLE | {"zero": 0}}),
        ("propagated", ix.propagated, (methods.Gradient(),), {"radius": without | {"zero": 0}, "discount": discount}),
        ("compare", ix.compare, compared, {"batch_size": WHOLE, "seed": SEED, "keep_maps": WHOLE}),
        ("Sample.of", metrics.Sample.of, (sums, IMAGE), {"annotation": ANNOTATIONS, "batch_size": WHOLE}),
        ("Sample.of", metrics.Sample.of, (sums, IMAGE), {"seed": SEED, "target": TARGETS}),
        ("corrupt", metrics.corrupt, (np.zeros((32, 40, 3), np.uint8), "fog"), {"severity": WHOLE | {"six": 6}}),
        ("CallableClassifier", ix.CallableClassifier, (sums,), {"class_names": names}),
        ("TorchClassifier", ix.TorchClassifier, (module(),), {"class_names": names, "preprocess": {"number": 3}}),
        ("load_model", ix.load_model, (), {"name": models}),
        ("plot", result().plot, (), {"kind": WORD}),
    ]


def of_first_arguments():
    """Of each argument, what it must not be, and the calls that take it."""
    moxi, graph = ix.MoXI(sums, regions="2x2"), ix.PixelGraph(IMAGE, 2)
    score, auc = metrics.Insertion(baseline="zero", steps=2).score, metrics.RocAuc().score
    by = methods.Gradient()
    chosen = {"none": None, "number": 3, "empty": [], "unknown": "magic", "options": "moxi(size=3)", "open": "moxi("}
    chosen |= {"code": "moxi(stop=open('x'))", "twice": ["moxi", "moxi"], "class": methods.RISE}
    images = {"none": None, "number": 3, "empty": [], "folder": "no/such/folder", "object": object()}
    masks = {"count": [None, None], "names": {"other": None}, "size": [np.ones((3, 3), bool)], "missing": ["no/mask"]}
    objects = {"none": None, "number": 3, "map": MAP, "class": methods.RISE}
    return [
        (
            "image",
            IMAGES,
            {
                "MoXI.explain": moxi.explain,
                "MoXI.contrast": lambda value: moxi.contrast(value, 1),
                "PixelGraph": ix.PixelGraph,
                "Gradient.explain": lambda value: by.explain(module(), value),
                "Sample.of": lambda value: metrics.Sample.of(sums, value),
            },
        ),
        (
            "attribution",
            MAPS,
            {
                "propagate": lambda value: ix.propagate(value, IMAGE),
                "PixelGraph.propagate": graph.propagate,
                "Insertion.score": lambda value: score(sample(), value),
                "RocAuc.score": lambda value: auc(sample(), value),
            },
        ),
        (
            "model",
            MODELS,
            {
                "MoXI": ix.MoXI,
                "Gradient.explain": lambda value: by.explain(value, IMAGE),
                "compare": lambda value: ix.compare(value, IMAGE, "moxi", "insertion"),
            },
        ),
        ("module", MODELS, {"TorchClassifier": ix.TorchClassifier}),
        ("path", PATHS, {"load": ix.load, "load_all": load_all}),
        (
            "path",
            PATHS | {"missing": "no/such/folder/file"},
            {"save": result().save, "save_all": lambda value: save_all(value, [result()])},
        ),
        ("methods", chosen, {"compare": lambda value: ix.compare(sums, IMAGE, value, "insertion")}),
        ("metrics", chosen, {"compare": lambda value: ix.compare(sums, IMAGE, "moxi", value)}),
        ("image", images, {"compare": lambda value: ix.compare(sums, value, "moxi", "insertion")}),
        ("masks", masks, {"compare": lambda value: ix.compare(sums, IMAGE, "moxi", "roc_auc", value)}),
        (
            "target",
            {name: value for name, value in TARGETS.items() if name != "list"},
            {"compare": lambda value: ix.compare(sums, IMAGE, "moxi(regions='2x2')", "insertion", targets=value)},
        ),
        ("method", objects, {"propagated": ix.propagated}),
        ("results", objects, {"plot_comparison": plots.plot_comparison}),
        (
            "model",
            {"convolutions": module()},
            {"rollout": lambda value: methods.AttentionRollout().explain(value, IMAGE)},
        ),
        ("model", {"function": sums}, {"gradient": lambda value: by.explain(value, IMAGE)}),
        ("layer", {"unknown": "nowhere"}, {"CAM": lambda value: methods.GradCAM(layer=value).explain(module(), IMAGE)}),
        ("name", {"unknown": "nobody's", "none": None}, {"preset": methods.RISE.preset}),
        ("count", {"minus": "rise(count=-1)"}, {"make": lambda value: make("methods", value, methods.METHODS)}),
    ]


def rows():
    """Name, call, and the argument that the message must name."""
    yield from of_options()
    for name, call, values, arguments in of_arguments():
        for argument, bad in arguments.items():
            for kind, value in bad.items():
                yield f"{name}({argument}={kind})", functools.partial(call, *values, **{argument: value}), argument
    for argument, bad, calls in of_first_arguments():
        for (name, call), (kind, value) in itertools.product(calls.items(), bad.items()):
            yield f"{name}({argument}: {kind})", functools.partial(call, value), argument


ROWS = list(rows())


def test_the_table_is_long_and_without_doubles():
    names = [name for name, _, _ in ROWS]
    assert len(set(names)) == len(names) > 600


@pytest.fixture(scope="module")
def untouched():
    """Everything of the user's that the table hands over is as it was, after all of it."""
    arrays = [IMAGE, RAW, MAP]
    before, state = [one.copy() for one in arrays], copy.deepcopy(module().state_dict())
    modes = [part.training for part in module().modules()]
    yield
    for one, copied in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(one, copied)
    assert all(torch.equal(value, state[name]) for name, value in module().state_dict().items())
    assert [part.training for part in module().modules()] == modes
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module().modules())
    assert all(parameter.grad is None for parameter in module().parameters())


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("call", "argument"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_bad_input_is_refused_by_name(call, argument):
    """R23: an error of ours, which names the argument."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ix.InterpixError, MemoryError)) as caught:
            call()
    assert argument in str(caught.value), str(caught.value)


def test_numbers_of_numpy_and_torch_are_numbers():
    """F28: in options, too."""
    found = methods.RISE(
        count=np.int64(5), keep=np.float32(0.25), seed=torch.tensor(3), grid=(np.int32(2), torch.tensor(3))
    )
    assert found == methods.RISE(count=5, keep=0.25, seed=3, grid=(2, 3))
    assert all(type(value) in {int, float, tuple, str, type(None)} for value in dataclasses.astuple(found))
    assert metrics.PointingGame(np.float64(2)) == metrics.PointingGame(2.0)
    assert metrics.ModelRandomization(np.array([1, 2])) == metrics.ModelRandomization((1, 2))
    assert metrics.SoftmaxInformation(bins=np.uint8(9)).bins == 9


def test_the_command_refuses_bad_numbers(capsys):
    for arguments in (
        ["explain", "x.jpg", "--steps", "a"],
        ["compare", "x.jpg", "--seed", "1.5"],
        ["propagate", "x.jpg"],
    ):
        with pytest.raises(SystemExit):
            cli.main(arguments)
        assert "usage: interpix" in capsys.readouterr().err


def test_options_without_bounds_cost_nothing():
    """R20: more steps than pixels are as many; a tolerance beyond the picture is the whole picture."""
    exact = metrics.Insertion(baseline="zero", steps=48).score(sample(), MAP)
    found = metrics.Insertion(baseline="zero", steps=10**9).score(sample(), MAP)
    np.testing.assert_array_equal(found.curve.y, exact.curve.y)
    assert metrics.PointingGame(1e9).score(sample(), MAP).value == 1


@pytest.mark.parametrize("name", ["x" * 300, "no\0name"])
def test_names_that_no_file_can_have_are_told(name, tmp_path):
    """Of these, `pathlib` raises."""
    model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)))
    calls = [
        lambda: ix.MoXI(model).explain(f"{name}.jpg"),
        lambda: ix.compare(model, f"{name}.jpg", "random", "deletion"),
        lambda: ix.compare(model, [f"{name}.jpg"], "random", "deletion"),
        lambda: ix.evaluate(model, name, "random", "deletion", tmp_path / "out"),
        lambda: ix.evaluate(model, f"{name}.csv", "random", "deletion", tmp_path / "out"),
        lambda: ix.evaluate(model, f"{name}.tar", "random", "deletion", tmp_path / "out"),
        lambda: ix.load(name),
        lambda: ix.load_evaluation(name),
        lambda: ix.load_model(name),
        lambda: ix.load_model(f"{name}.onnx"),
        lambda: ix.load_model(f"native:{name}"),
        lambda: ix.load_model("resnet18", weights=name),
    ]
    for call in calls:
        with pytest.raises(ix.InterpixError, match=r"^`(image|images|source|path|out|name|model|weights)`: "):
            call()
