import subprocess
import sys

import numpy as np
import pytest

from interpix.arrays import describe, from_numpy, is_array, is_tensor, read_only, to_numpy
from interpix.errors import ArgumentTypeError


def test_what_is_an_array():
    import torch

    values = [np.zeros(2), torch.zeros(2), [0, 0], 0.0, None]
    assert [is_array(value) for value in values] == [True, True, False, False, False]
    assert [is_tensor(value) for value in values] == [False, True, False, False, False]


def test_a_tensor_goes_to_numpy_and_back():
    import torch

    tensor = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).requires_grad_()
    array = to_numpy(tensor)
    assert describe(array) == "float32 (2, 3)"
    back = from_numpy(array, like=tensor)
    assert (back.dtype, back.tolist()) == (torch.bfloat16, tensor.tolist())
    assert from_numpy(array, like=torch.zeros(1, dtype=torch.int64)).dtype == torch.float32


def test_numbers_come_back_as_floats_of_the_same_width():
    assert from_numpy(np.ones(2), like=np.zeros(1, np.float16)).dtype == np.float16
    assert from_numpy(np.ones(2), like=np.zeros(1, np.uint8)).dtype == np.float32
    assert from_numpy(np.ones(2), like=[0]).dtype == np.float32


def test_what_is_no_array_is_refused_by_name():
    with pytest.raises(ArgumentTypeError, match="`map`: expected a numpy array or a torch tensor, got list"):
        to_numpy([1, 2], "map")


def test_a_read_only_copy_is_apart_from_what_was_given():
    given = np.zeros(3)
    copy = read_only(given)
    given[0] = 1
    assert copy[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        copy[0] = 1


def test_input_types_join_others_without_torch():
    code = (
        "import sys\n"
        "from interpix.absence import AbsenceInput\n"
        "from interpix.arrays import AnyArray\n"
        "from interpix.images import ImageInput\n"
        "from interpix.masks import MaskInput\n"
        "from interpix.regions import RegionsInput\n"
        "for one in (AnyArray, ImageInput, MaskInput, RegionsInput, AbsenceInput):\n"
        "    assert one | list[one] | None\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
