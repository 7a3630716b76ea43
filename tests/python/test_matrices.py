import platform

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from interpix.models.tokens.matrices import Matrix, PackedMatrix, pack  # noqa: E402

ACTIVATIONS = [None, torch.nn.GELU(), torch.nn.GELU("tanh"), torch.nn.ReLU(), torch.tanh]


def make(outputs, inputs, *, bias=True, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    return Matrix(weight.to(dtype), torch.randn(outputs, generator=generator).to(dtype) if bias else None)


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.integers(1, 70),
    inputs=st.integers(1, 70),
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=2),
    bias=st.booleans(),
    act=st.sampled_from(ACTIVATIONS),
    seed=st.integers(0, 99),
)
def test_a_packed_matrix_gives_the_same(outputs, inputs, shape, bias, act, seed):
    matrix = make(outputs, inputs, bias=bias, seed=seed)
    x = torch.randn(*shape, inputs, generator=torch.Generator().manual_seed(seed))
    expected = x.double() @ matrix.weight.double().T + (matrix.bias.double() if bias else 0)
    expected = expected if act is None else act(expected)
    assert (matrix(x, act) - expected).abs().max() < 1e-5
    assert (pack(matrix)(x, act) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("act", ACTIVATIONS[:3])
def test_both_precisions_are_packed_where_torch_can(act):
    x = torch.randn(11, 3, 24, generator=torch.Generator().manual_seed(1))
    operations = torch.ops.mkldnn
    x86 = platform.machine() in ("x86_64", "AMD64") and hasattr(operations, "_linear_pointwise")
    for dtype, error, there in (
        (torch.float32, 1e-6, x86),
        (torch.bfloat16, 3e-2, x86 and operations._is_mkldnn_bf16_supported()),
    ):
        packed = pack(make(17, 24).to(dtype))
        assert isinstance(packed, PackedMatrix if there else Matrix)
        answer = packed(x, act)
        assert answer.dtype == dtype
        assert (answer.float() - make(17, 24)(x, act)).abs().max() < error


def test_slices_of_a_batch_are_taken():
    matrix = make(5, 8)
    x = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(pack(matrix)(x[:, :1]), matrix(x)[:, :1], atol=1e-6)


def test_rows_are_a_part_of_the_outputs():
    matrix = make(9, 4)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(pack(matrix.rows(2, 5))(x), matrix(x)[:, 2:5], atol=1e-6)


def test_huggingface_gelu_is_fused_and_its_python_form_is_called():
    activations = pytest.importorskip("transformers.activations")
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(4))
    for act in (activations.GELUActivation(), activations.GELUActivation(use_gelu_python=True)):
        assert torch.allclose(pack(make(6, 4))(x, act), act(make(6, 4)(x)), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_number_types_stay_as_they_are(dtype):
    assert isinstance(pack(make(3, 4, dtype=dtype)), Matrix)


def test_on_other_processors_they_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert isinstance(pack(make(3, 4)), Matrix)
