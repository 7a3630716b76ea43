"""IProp's Triton kernels: in Triton's interpreter, and compiled for GPUs that are not here."""

import functools
import os
import subprocess
import sys
import warnings

import pytest
import torch

from interpix.propagation.device import choice
from interpix.propagation.device.products import TorchProducts

CPU = torch.device("cpu")


@pytest.fixture
def fresh_choice():
    choice.why_not_triton.cache_clear()
    yield
    choice.why_not_triton.cache_clear()


@pytest.mark.usefixtures("fresh_choice")
def test_where_triton_is_not_used_the_reason_is_known(monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(choice, "_differences", lambda kind, device: (1e-6, 1e-15))
    assert choice.why_not_triton(gpu) == ""
    choice.why_not_triton.cache_clear()

    def fail(kind, device):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(choice, "_differences", fail)
    assert choice.why_not_triton(gpu) == "Triton failed: RuntimeError: Failed to find C compiler."
    choice.why_not_triton.cache_clear()
    for differences, told in [((float("nan"), 0.0), "nan, in double precision by 0e"), ((1e-6, 1e-7), "1e-06, in")]:
        monkeypatch.setattr(choice, "_differences", lambda kind, device, found=differences: found)
        with pytest.warns(
            UserWarning, match=f"Triton's products differ from torch's by {told}.* on cuda:0; torch's are"
        ):
            assert choice.why_not_triton(gpu).startswith(f"Triton's products differ from torch's by {told}")
        choice.why_not_triton.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choice.why_not_triton(gpu) == "triton is not installed"


class Wrong(TorchProducts):
    """A kernel with a fault: a little off, which only its answers tell."""

    def step(self, values):
        return 1.02 * super().step(values)


def test_a_wrong_kernel_is_found_out():
    single, double = choice._differences(functools.partial(TorchProducts, memory_budget=1 << 20), CPU)
    assert (0 < single < 1e-5, double) == (True, 0.0)
    single, double = choice._differences(functools.partial(Wrong, memory_budget=1 << 20), CPU)
    assert single > choice._TOO_DIFFERENT[0]


INTERPRETED = """
import torch
from interpix.propagation.device import choice
from interpix.propagation.device.kernels import TritonProducts
from interpix.propagation.device.products import TorchProducts

single, double = choice._differences(TritonProducts, torch.device("cpu"))
print("single", single)
print("double", double)
made = torch.Generator().manual_seed(0)
for images, vectors, height, width, radius in [(1, 1, 16, 17, 3), (2, 3, 5, 7, 9), (1, 5, 1, 11, 2), (2, 1, 1, 1, 1)]:
    colors = 60 * torch.rand(images, 3, height, width, generator=made)
    colors[0, :, 0, 0] = torch.tensor([30.0, -100.0, -120.0])
    values = torch.rand(images, vectors, height, width, generator=made, dtype=torch.float64)
    triton, known = TritonProducts(colors, radius), TorchProducts(colors, radius, 0)
    print("single", float((triton.step(values.float()) - known.step(values.float())).abs().max()))
    print("double", float((triton.step_exactly(values) - known.step_exactly(values)).abs().max()))
"""


def test_tritons_kernels_are_right_in_its_interpreter(tmp_path):
    pytest.importorskip("triton")
    environment = {"TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    told = python(INTERPRETED, environment)
    limits = {"single": 2e-6, "double": 1e-13}
    differences = [line.split() for line in told.splitlines()]
    assert [name for name, _ in differences] == ["single", "double"] * 5
    assert all(float(difference) <= limits[name] for name, difference in differences), told


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from interpix.propagation.device import kernels

for capability in (80, 90):
    for kernel, number, group in [
        (kernels.nearest_kernel, "fp32", None),
        *[(kernels.step_kernel, number, group) for number in ("fp32", "fp64") for group in kernels.GROUPS],
    ]:
        constants = {"BLOCK": kernels.BLOCK} | ({"GROUP": group} if group else {})
        types = dict.fromkeys(("offsets", "values", "out"), f"*{number}")
        types |= dict.fromkeys(("colors", "nearest"), "*fp32") | dict.fromkeys(constants, "constexpr")
        names = kernel.arg_names
        source = ASTSource(
            fn=kernel,
            signature={name: types.get(name, "i32") for name in names},
            constexprs={(names.index(name),): value for name, value in constants.items()},
        )
        target = GPUTarget("cuda", capability, 32)
        done = triton.compile(source, target=target, options={"enable_fp_fusion": True})
        is_for_it = f".target sm_{capability}" in done.asm["ptx"]
        print(capability, kernel.fn.__name__, number, is_for_it, len(done.asm["cubin"]))
"""


def test_tritons_kernels_compile_for_gpus_that_are_not_here(tmp_path):
    """Down to the machine's instructions: NVIDIA's assembler comes with triton."""
    pytest.importorskip("triton")
    told = [line.split() for line in python(COMPILED, {"TRITON_CACHE_DIR": str(tmp_path)}).splitlines()]
    assert len(told) == 14
    assert {line[0] for line in told} == {"80", "90"}
    assert all(line[3] == "True" and int(line[4]) > 1000 for line in told), told


def python(code, environment):
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_numpy_brings_in_neither_torch_nor_triton():
    code = (
        "import sys, numpy as np, interpix\n"
        "interpix.propagate(np.ones((4, 6)), np.zeros((4, 6, 3), np.uint8))\n"
        "print(sorted({'torch', 'triton', 'interpix.propagation.device'} & set(sys.modules)))"
    )
    assert python(code, {}).strip() == "[]"
