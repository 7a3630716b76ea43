"""Many threads that ask one module: each gets what it would get alone."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import interpix as ix
from torch_models import convolutions, picture, vit

torch = pytest.importorskip("torch")
nn = torch.nn

IMAGES = [picture(seed) for seed in range(24)]


def maps(method, model):
    return [method.explain(model, image).map for image in IMAGES]


@pytest.mark.parametrize("make", [convolutions, vit])
@pytest.mark.parametrize("method", [ix.methods.GradCAM(), ix.methods.GradCAMPlusPlus(), ix.methods.Gradient()])
def test_methods_with_hooks_see_their_own_thread_only(method, make):
    """F6: hooks of one thread saw the passes of the others."""
    model = ix.TorchClassifier(make())
    expected = maps(method, model)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: method.explain(model, image).map, IMAGES))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", [convolutions, vit])
def test_a_search_goes_on_while_others_put_hooks_into_its_module(make):
    """F6: the search said that the module was changed."""
    model = ix.TorchClassifier(make())
    moxi = ix.MoXI(model, regions="2x3")
    expected = [moxi.explain(image, stop=3).ranking.tolist() for image in IMAGES]
    work = [lambda image=image: moxi.explain(image, stop=3).ranking.tolist() for image in IMAGES]
    work += [lambda image=image: ix.methods.GradCAM().explain(model, image).map for image in IMAGES]
    # Search, map, search, map, ...
    work = [work[index // 2 + (index % 2) * len(IMAGES)] for index in range(len(work))]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: one(), work))
    assert found[::2] == expected
    assert not any(len(part._forward_hooks) for part in model.module.modules())


class Waiting(nn.Module):
    """Waits while it is traced, until somebody else has asked it."""

    began, asked = threading.Event(), threading.Event()

    def __init__(self):
        super().__init__()
        self.inner = convolutions()

    def forward(self, x):
        if isinstance(x, torch.fx.Proxy):
            self.began.set()
            assert self.asked.wait(60)
        return self.inner(x)


def test_a_module_is_traced_while_other_threads_ask_it():
    module = Waiting()
    expected = convolutions().eval()(torch.from_numpy(IMAGES[0][None])).detach().numpy()
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(ix.MoXI(module, regions="2x3").explain, IMAGES[0], stop=2)
        assert Waiting.began.wait(60)
        try:
            np.testing.assert_allclose(ix.TorchClassifier(module).logits(IMAGES[0][None]), expected, rtol=1e-5)
        finally:
            Waiting.asked.set()
        found = search.result()
    alone = ix.MoXI(convolutions(), regions="2x3").explain(IMAGES[0], stop=2)
    assert found.ranking.tolist() == alone.ranking.tolist()


def test_a_graph_serves_any_number_of_threads():
    rng = np.random.default_rng(0)
    graph = ix.PixelGraph(rng.integers(0, 256, (40, 57, 3), np.uint8), 3)
    maps = rng.normal(size=(16, 40, 57))
    solvers = ["auto", "conjugate_gradients"]
    work = [(one, solver) for one in maps for solver in solvers]
    expected = [graph.propagate(one, solver=solver).values for one, solver in work]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda each: graph.propagate(each[0], solver=each[1]).values, work))
    np.testing.assert_array_equal(found, expected)


FORKS = """
import os, signal, threading, time
import numpy as np
from interpix import _core

def reap(child, seconds):
    for _ in range(50 * seconds):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 1

work = lambda: _core.rgb_to_lab(np.zeros((4, 6, 3), np.uint8))
work()
for turn in range(60):
    child = os.fork()
    if child == 0:
        # The child's first work makes its pool, which takes some 100 microseconds; meanwhile it forks.
        threading.Thread(target=work).start()
        time.sleep(1e-5 * turn)
        grandchild = os.fork()
        if grandchild == 0:
            work()
            os._exit(0)
        os._exit(reap(grandchild, 20) != 0)
    assert reap(child, 60) == 0, "a child hangs"
"""


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="there is no fork")
def test_a_child_does_not_wait_for_a_lock_that_nobody_holds():
    """F44: forked while another thread held the pool's lock, the child waited for it forever."""
    code = f"import interpix\n{FORKS}"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
