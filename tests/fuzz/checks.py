"""What must hold of inputs that are drawn at random; each check is a function of one seed, and raises otherwise."""

import io
import os
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

import interpix as ix
from interpix import _core
from interpix.images import read_image
from interpix.results import load_all
from interpix.storage import read_arrays, write_arrays
from interpix.words import group_title

EXTREMES = np.array([[0, 0, 255], [0, 255, 0], [255, 0, 0], [255, 255, 0], [0, 0, 0], [255, 255, 255]], np.uint8)
EXPONENTS = {np.float16: (-7, 4), np.float32: (-40, 38), np.float64: (-300, 300)}
WAIT = 60


def draw_picture(rng, height, width):
    """Noise, flat, extreme colors, or one pixel unlike all others."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    if kind == 1:
        return np.full((height, width, 3), rng.integers(0, 256), np.uint8)
    if kind == 2:
        return EXTREMES[rng.integers(0, len(EXTREMES), (height, width))]
    picture = np.zeros((height, width, 3), np.uint8)
    picture[height // 2, width // 2] = (0, 255, 0)
    return picture


def dense_matrix(image, radius):
    """P from the formula, in double precision."""
    lab = np.moveaxis(_core.rgb_to_lab(image), 0, -1).reshape(-1, 3).astype(float)
    row, column = (index.ravel() for index in np.indices(image.shape[:2]))
    down, right = np.abs(row[:, None] - row), np.abs(column[:, None] - column)
    distance = np.hypot(down, right) + np.linalg.norm(lab[:, None] - lab, axis=-1)
    distance[(np.maximum(down, right) > radius) | (np.maximum(down, right) == 0)] = np.inf
    weights = np.exp(distance.min(axis=1, keepdims=True) - distance)
    return weights / weights.sum(axis=1, keepdims=True)


def propagation(seed):
    """Every solver is within its bound of a solution in double precision, or says why it is not."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 16, 2))
    if height * width == 1:
        width = 2
    image, radius = draw_picture(rng, height, width), int(rng.integers(1, 6))
    dtype = list(EXPONENTS)[rng.integers(3)]
    with np.errstate(over="ignore", under="ignore"):
        scale = 10.0 ** int(rng.integers(*EXPONENTS[dtype]))
        maps = (rng.normal(size=(int(rng.integers(1, 4)), height, width)) * scale).astype(dtype)
    if not np.isfinite(maps).all():
        return
    discounts = [float(one) for one in rng.choice([0.0, 0.3, 0.9, 0.99, 0.999], int(rng.integers(1, 3)), replace=False)]
    solver = str(rng.choice(["auto", "chebyshev", "conjugate_gradients", "value_iteration"]))
    graph = ix.PixelGraph(image, radius, memory_budget=int(rng.choice([0, 1 << 30])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = graph.propagate(maps, discount=discounts, solver=solver, max_iterations=20_000)
        except ix.ConvergenceError:
            assert solver in {"conjugate_gradients", "value_iteration"}  # isolated pixels; the paper's absolute rule
            return
        except ix.ArgumentError as error:
            if "propagated values" not in str(error):
                raise
            return
    assert np.isfinite(found.values).all()
    assert np.isfinite(found.error_bound)
    matrix, greatest = dense_matrix(image, radius), np.abs(maps.astype(float)).max() or 1.0
    for discount, values in zip(discounts, found.values.astype(float) / greatest, strict=True):
        exact = np.linalg.solve(
            np.eye(height * width) - discount * matrix, (maps.astype(float) / greatest).reshape(len(maps), -1).T
        )
        for one, true in zip(values, exact.T.reshape(values.shape), strict=True):
            assert np.abs(one - true).max() <= (found.error_bound + 1e-11) * np.abs(one).max()


def search(seed):
    """MoXI is the greedy search in plain words."""
    rng = np.random.default_rng(seed)
    players, classes = int(rng.integers(1, 8)), int(rng.integers(2, 5))
    table = rng.normal(size=(2**players, classes))
    if rng.random() < 0.3:  # ties go to the lowest
        table = np.round(table)
    image = np.ones((3, 2, players), np.float32)

    def answer(batch):
        return table[(batch[:, 0, 0, :] > 0) @ (1 << np.arange(players))]

    direction = str(rng.choice(["insertion", "deletion"]))
    target = int(rng.integers(classes))
    stop = ["flip", "all", int(rng.integers(1, players + 1))][rng.integers(3)]
    least = int(rng.integers(0, players + 1)) if stop == "flip" else 0
    moxi = ix.MoXI(answer, regions=(1, players), reward="logit", batch_size=int(rng.integers(1, 20)))
    found = moxi.explain(image, target, direction=direction, stop=stop, min_patches=least)
    ranking, stopped = plain_search(table, players, target, direction, stop, least)
    assert found.ranking.tolist() == ranking, (found.ranking, ranking)
    assert found.stopped_at == stopped


def plain_search(table, players, target, direction, stop, least):
    insertion = direction == "insertion"
    current, ranking, stopped = (0 if insertion else 2**players - 1), [], None

    def holds(mask):
        return (table[mask].argmax() == target) == insertion

    while True:
        if stopped is None and holds(current):
            stopped = len(ranking)
        done = stopped is not None and len(ranking) >= least if stop == "flip" else len(ranking) == stop
        if done or len(ranking) == players:
            return ranking, stopped
        rest = [one for one in range(players) if one not in ranking]
        earned = [(table[current ^ 1 << one][target] * (-1 if insertion else 1), one) for one in rest]
        best = min(earned)[1]
        ranking.append(best)
        current ^= 1 << best


def draw_result(rng):
    players = int(rng.integers(1, 7))
    image = rng.random((3, 4, players)).astype(np.float32)
    weights = rng.normal(size=(3, 3))
    moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)) @ weights, regions=(1, players))
    found = moxi.explain(image, int(rng.integers(3)), direction=str(rng.choice(["insertion", "deletion"])))
    return found if rng.random() < 0.5 else found.attribution()


def same(one, other):
    if type(one) is not type(other) or one.scalars() != other.scalars():
        return False
    return all(np.array_equal(array, other.arrays()[name], equal_nan=True) for name, array in one.arrays().items())


def damage(rng, content):
    """Some bytes changed, cut off, doubled, or of another place."""
    content = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        start = int(rng.integers(len(content) or 1))
        kind = rng.integers(4)
        if kind == 0 and content:
            content[start] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del content[start:]
        elif kind == 2:
            content[start:start] = content[start : start + int(rng.integers(1, 64))]
        else:
            content[start : start + 8] = rng.bytes(8)
    return bytes(content)


def files(seed):
    """What was saved is read back; what was changed is read as it was, or refused."""
    rng = np.random.default_rng(seed)
    result = draw_result(rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.safetensors"
        result.save(path)
        assert same(ix.load(path), result)
        content = path.read_bytes()
        for _ in range(20):
            path.write_bytes(damage(rng, content))
            try:
                found = ix.load(path)
            except ix.ArgumentError:
                continue
            assert same(found, result)


STRANGE = [None, True, -1, 0, 3, 10**30, 1.5, float("nan"), float("inf"), "", "x", [], [1], [[]], {}, {"a": 1}, ["red"]]


def change(rng, value, where=()):
    """Another value in a random place of a tree of JSON; sometimes nothing, or something more."""
    inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    if not inner or (where and rng.random() < 0.4):
        return STRANGE[rng.integers(len(STRANGE))]
    key, one = inner[rng.integers(len(inner))]
    copied = dict(value) if isinstance(value, dict) else list(value)
    kind = rng.random()
    if isinstance(copied, dict) and kind < 0.1:
        del copied[key]
    elif isinstance(copied, dict) and kind < 0.2:
        copied["new"] = 1
    else:
        copied[key] = change(rng, one, (*where, key))
    return copied


def change_array(rng, array):
    whole = np.nan_to_num(array, posinf=9)
    kinds = [
        array.astype(np.float64),
        whole.astype(np.int64) + rng.integers(-2, 3),
        array[:-1],
        array[None],
        array.astype(np.float32) * np.nan,
        np.zeros(0),
        np.int64(3),
    ]
    return np.asarray(kinds[rng.integers(len(kinds))])


def fields(seed):
    """What something else wrote, with a checksum of its own, is refused, or is a result like any other."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.safetensors"
        draw_result(rng).save(path)
        arrays, metadata = read_arrays(path)
        for _ in range(20):
            changed, about = dict(arrays), metadata
            for _ in range(int(rng.integers(1, 3))):
                name = str(rng.choice(list(arrays)))
                if rng.random() < 0.7:
                    about = change(rng, about)
                else:
                    changed[name] = change_array(rng, arrays[name])
            write_arrays(path, changed, about, overwrite=True)
            try:
                results = load_all(path)
            except ix.ArgumentError:
                continue
            for found in results:
                found.save(path, overwrite=True)
                assert same(ix.load(path), found)
                repr(found)
                if isinstance(found, ix.Explanation):
                    found.summary(), found.attribution(), found.mask(), group_title(found)


def pictures(seed):
    """A damaged picture is read, or refused."""
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    kind = str(rng.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]))
    picture = Image.fromarray(draw_picture(rng, *(int(side) for side in rng.integers(1, 40, 2))))
    picture.convert("P" if kind == "GIF" else "RGB").save(buffer, kind)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "picture"
        for _ in range(20):
            path.write_bytes(damage(rng, buffer.getvalue()))
            try:
                pixels = read_image(path).raw
            except ix.ArgumentError:
                continue
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3


def shared_work(seed):
    """Calls that share one torch module, one search and one graph, each with what it gives as bytes."""
    import torch

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    layers = [torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.BatchNorm2d(6), torch.nn.ReLU()]
    head = [torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(24, 4)]
    model = ix.TorchClassifier(torch.nn.Sequential(*layers, *head))
    moxi, graph = ix.MoXI(model, regions="3x4"), ix.PixelGraph(draw_picture(rng, 14, 11), 3)
    images = rng.normal(size=(12, 3, 18, 24)).astype(np.float32)
    maps = rng.normal(size=(12, 14, 11)).astype(np.float32)
    methods = (
        ix.methods.GradCAM(layer="0"),
        ix.methods.Gradient(),
        ix.methods.IntegratedGradients(steps=3, baseline="zero"),
    )
    work = [lambda one=one: moxi.explain(one, 1, stop=2).ranking.tobytes() for one in images]
    work += [lambda one=one: graph.propagate(one).values.tobytes() for one in maps]
    for method in methods:
        work += [
            lambda one=one, method=method: np.round(method.explain(model, one, 1).map, 4).tobytes() for one in images
        ]
    return [work[index] for index in rng.permutation(len(work))]


def threads(seed):
    """Many threads that share everything get what one alone gets."""
    work = shared_work(seed)
    expected = [one() for one in work]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda one: one(), work)) == expected


def forks(seed):
    """A child works while its parent's threads do; it is killed if it waits for a lock that nobody holds."""
    work = shared_work(seed)
    expected = work[0]()
    ended = threading.Event()

    def go_on():
        while not ended.is_set():
            for one in work:
                one()

    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(go_on) for _ in range(2)]
        try:
            time.sleep(0.05)
            with warnings.catch_warnings():  # Python's own, of threads
                warnings.simplefilter("ignore")
                child = os.fork()
            if child == 0:
                graph = ix.PixelGraph(np.zeros((9, 7, 3), np.uint8), 2)
                found = graph.propagate(np.ones((9, 7), np.float32)).values
                os._exit(0 if np.isfinite(found).all() else 1)
            assert wait_for(child) == 0
        finally:
            ended.set()
        for one in busy:
            one.result()
    assert work[0]() == expected


def wait_for(child):
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("the child waits forever")


CHECKS = {one.__name__: one for one in (propagation, search, files, fields, pictures, threads, forks)}
