"""Arrays in and out: numpy and torch by duck typing, torch never imported here.

An object can only be a tensor if somebody imported torch already, so looking it up in ``sys.modules``
is enough, and who works with numpy alone never pays for torch.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar, Union

import numpy as np
import numpy.typing as npt

from interpix import _core
from interpix.errors import bad_type, bad_value

if TYPE_CHECKING:
    import torch

__all__ = [
    "AnyArray",
    "ArrayT",
    "BoolArray",
    "FloatArray",
    "IntArray",
    "as_batch",
    "dense_tensor",
    "describe",
    "from_numpy",
    "is_array",
    "is_tensor",
    "read_only",
    "spacing",
    "to_numpy",
]

AnyArray: TypeAlias = Union[npt.NDArray[Any], "torch.Tensor"]
"""A numpy array or a torch tensor."""
ArrayT = TypeVar("ArrayT", npt.NDArray[Any], "torch.Tensor")
"""The one kind or the other: what goes in as a tensor comes out as one."""
FloatArray: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

_RUST = type(_core.restore_levels(np.zeros((1, 1, 1), np.float32), [0.0], [1.0], [0], 0.0)[0].base)
"""What holds the memory of arrays that come from Rust, for them alone."""


def is_tensor(value: object) -> TypeGuard["torch.Tensor"]:
    """Whether `value` is a torch tensor.

    >>> is_tensor(np.zeros(3))
    False
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_array(value: object) -> TypeGuard[AnyArray]:
    """Whether `value` is a numpy array or a torch tensor.

    >>> is_array(np.zeros(3)), is_array([0, 0, 0])
    (True, False)
    """
    return isinstance(value, np.ndarray) or is_tensor(value)


def to_numpy(value: object, name: str = "attribution") -> npt.NDArray[Any]:
    """The numpy view (or, from another device, copy) of an array; `name` is for the error message.

    >>> to_numpy(np.arange(3))
    array([0, 1, 2])
    """
    if isinstance(value, np.ma.MaskedArray):
        raise bad_value(name, "an array without a mask of its own", "a masked array", "fill its gaps: array.filled(0)")
    if isinstance(value, np.ndarray):
        return value
    if is_tensor(value):
        return _tensor_to_numpy(value, name)
    raise bad_type(name, "a numpy array or a torch tensor", value, "convert it first")


def dense_tensor(tensor: "torch.Tensor", name: str) -> "torch.Tensor":
    """The tensor where it is, without its graph; refuses one that is no dense array of numbers, as `to_numpy` does."""
    strided = sys.modules["torch"].strided
    if tensor.is_meta or tensor.is_quantized or tensor.is_nested or tensor.layout != strided:
        if tensor.is_meta:
            kind, cure = "on the meta device", "give it data"
        elif tensor.is_quantized:
            kind, cure = "quantized", "call its dequantize()"
        else:
            kind, cure = "nested" if tensor.is_nested else "sparse", "make it dense"
        raise bad_value(name, "a dense tensor of numbers", f"a tensor that is {kind}", cure)
    values: torch.Tensor = tensor.detach().resolve_conj().resolve_neg()
    return values


def _tensor_to_numpy(tensor: "torch.Tensor", name: str) -> npt.NDArray[Any]:
    torch = sys.modules["torch"]
    values = dense_tensor(tensor, name).cpu()
    # numpy has no bfloat16.
    return np.asarray(values.float() if values.is_floating_point() and values.dtype != torch.float64 else values)


def from_numpy(values: npt.NDArray[Any], *, like: object) -> AnyArray:
    """`values` as the same kind of array as `like`: its device, and its dtype if that is a float.

    >>> from_numpy(np.array([1, 2]), like=np.zeros(3, np.float16))
    array([1., 2.], dtype=float16)
    """
    if is_tensor(like):
        torch = sys.modules["torch"]
        dtype = like.dtype if like.is_floating_point() else torch.float32
        tensor: AnyArray = torch.from_numpy(np.ascontiguousarray(values).copy()).to(device=like.device, dtype=dtype)
        return tensor
    own = np.dtype(getattr(like, "dtype", np.float32))
    return values.astype(own if np.issubdtype(own, np.floating) else np.float32)


def describe(array: npt.NDArray[Any]) -> str:
    """Dtype and shape of an array, for error messages.

    >>> describe(np.zeros((2, 3)))
    'float64 (2, 3)'
    """
    return f"{array.dtype} {array.shape}"


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`array` if nobody can write to it, else a copy for which that is so.

    >>> zeros = np.zeros(3)
    >>> frozen = read_only(zeros)
    >>> frozen is zeros, frozen.flags.writeable, read_only(frozen) is frozen
    (False, False, True)
    """
    if _is_frozen(array):
        return array
    copy = np.array(array)
    copy.setflags(write=False)
    return copy


def as_batch(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Arrays of one shape as one (K, ...), not to be written to: without a copy where they lie behind each other.

    >>> batch = np.zeros((3, 2, 2))
    >>> np.shares_memory(as_batch(list(batch)), batch), as_batch([batch[0], batch[0]]).shape
    (True, (2, 2, 2))
    """
    first = arrays[0]
    start, size = first.__array_interface__["data"][0], first.nbytes
    whole = first.base
    behind = isinstance(whole, np.ndarray) and all(
        one.base is whole
        and one.__array_interface__["data"][0] == start + place * size
        and one.flags.c_contiguous
        and (one.shape, one.dtype) == (first.shape, first.dtype)
        for place, one in enumerate(arrays)
    )
    if not behind:
        return np.stack(arrays)
    strides = (size, *first.strides)
    found: npt.NDArray[Any] = np.lib.stride_tricks.as_strided(first, (len(arrays), *first.shape), strides)
    return found


def _is_frozen(array: npt.NDArray[Any]) -> bool:
    """Whether neither an array nor what it is a view of can be written to: what other libraries hold could be."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return False
        owner = owner.base
    return owner is None or type(owner) is _RUST


def spacing(values: npt.NDArray[np.floating[Any]]) -> float:
    """Of which number type values were, by their bits: the spacing of bfloat16, of float16, or 0 for all others.

    >>> spacing(np.array([0.5, 0.0078125])), spacing(np.array([0.1])), spacing(np.array([3.0, 1.0]))
    (0.0078125, 0.0, 0.0)
    """
    if (values == np.round(values)).all():  # counts
        return 0.0
    mantissa, _ = np.frexp(values)
    for bits in (8, 11):
        scaled = np.ldexp(mantissa, bits)
        if (scaled == np.round(scaled)).all():
            return 2.0 ** (1 - bits)
    return 0.0
