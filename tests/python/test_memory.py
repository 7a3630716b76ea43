"""Batches that fit into memory, on a device whose memory is an account."""

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import interpix as ix  # noqa: E402
from interpix.models.torch.memory import Chunks, memory_of  # noqa: E402


class Device:
    """`total` bytes, of which work takes `fixed` and `row` for each row while it runs."""

    def __init__(self, total, fixed, row):
        self.total, self.fixed, self.row = total, fixed, row
        self.parts = []

    def free(self):
        return self.total

    def measured(self, work):
        result = work()
        return result, self._need(self.parts[-1])

    def work(self, part):
        self.parts.append(part)
        if self._need(part) > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.arange(part.start, part.stop)

    def _need(self, part):
        return self.fixed + self.row * (part.stop - part.start)


def sizes(device):
    return [part.stop - part.start for part in device.parts]


@given(st.integers(1, 400), st.integers(1, 64), st.integers(0, 900), st.integers(1, 90), st.integers(1, 5))
def test_every_row_is_done_once_and_in_order(rows, greatest, fixed, row, calls):
    device = Device(1000, fixed, row)
    for memory in (device, None):
        chunks = Chunks("model", greatest, memory)
        for _ in range(calls):
            assert torch.cat(chunks.run(rows, device.work)).tolist() == list(range(rows))
        assert chunks.size <= greatest
        assert max(sizes(device)) <= greatest


def test_the_first_part_tells_how_many_rows_fit():
    device = Device(1000, 0, 10)
    chunks = Chunks("model", 500, device)
    chunks.run(150, device.work)
    assert sizes(device) == [8, 70, 70, 2]
    assert chunks.reduced_to is None


def test_less_than_a_trial_tells_nothing():
    device = Device(1000, 400, 10)
    chunks = Chunks("model", 50, device)
    chunks.run(1, device.work)
    chunks.run(60, device.work)
    # A trial of 8 takes 480 bytes, 60 a row with its share of what is fixed.
    assert sizes(device) == [1, 8, 11, 11, 11, 11, 8]


def test_a_trial_that_does_not_fit_is_halved_and_measured_again():
    device = Device(50, 0, 10)
    chunks = Chunks("model", 500, device)
    chunks.run(9, device.work)
    assert sizes(device) == [8, 4, 3, 2]
    assert chunks.reduced_to == 4


def test_a_part_that_grew_beyond_the_memory_is_halved():
    device = Device(1000, 0, 10)
    chunks = Chunks("model", 500, device)
    chunks.run(80, device.work)
    device.total = 400
    device.parts.clear()
    chunks.run(100, device.work)
    assert sizes(device) == [70, 35, 35, 30]
    assert chunks.reduced_to == 35


def test_one_row_that_does_not_fit_is_an_error_that_names_the_model():
    device = Device(5, 0, 10)
    with pytest.raises(ix.ModelError, match="model `net`: a batch of 1 does not fit into memory"):
        Chunks("net", 64, device).run(3, device.work)


def test_other_errors_come_out_as_they_are():
    def work(part):
        raise RuntimeError("a shape")

    with pytest.raises(RuntimeError, match="a shape"):
        Chunks("net", 64).run(3, work)


def test_a_cpu_is_not_measured():
    assert memory_of(torch.device("cpu")) is None
    assert memory_of(torch.device("meta")) is None
