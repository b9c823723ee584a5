from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from fake_cuda import FakeCuda
from hypothesis import given

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.cuda import Cuda
from edgemate.runtime.backends.tensorrt.memory import Memory, compact, moves

subsets = st.lists(st.integers(0, 40), unique=True).map(sorted)


@given(subsets)
def test_moves_bring_the_kept_rows_to_the_front(kept: list[int]) -> None:
    rows = list(range(41))
    for source, to, length in moves(np.array(kept, np.intp)):
        assert to + length <= source, "a copy overlaps itself"
        rows[to : to + length] = rows[source : source + length]
    assert rows[: len(kept)] == kept


@given(st.integers(0, 10), st.integers(1, 30))
def test_one_run_of_rows_needs_few_copies(first: int, length: int) -> None:
    copies = list(moves(np.arange(first, first + length)))
    assert len(copies) == (0 if first == 0 else -(-length // first))


def test_rows_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(BackendError, match=r"rows to keep must ascend, not \[2, 1\]"):
        list(moves(np.array([2, 1])))


def test_compaction_moves_every_tensor_in_the_streams_order() -> None:
    fake = FakeCuda()
    cuda = Cuda(fake)
    memory, stream = Memory(cuda), cuda.create_stream()
    rows = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    host = memory.pinned(rows.shape, np.float32)
    host.array[:] = rows
    tensors = [memory.tensor(6, 20), memory.tensor(6, 20)]
    for tensor in tensors:
        cuda.upload(tensor.address, host.address, 120, stream)
    compact(cuda, tensors, np.array([1, 2, 5]), stream)
    assert fake.done == []  # nothing waited
    for tensor in tensors:
        cuda.download(host.address, tensor.address, 60, stream)
        cuda.synchronize(stream)
        np.testing.assert_array_equal(host.array[:3], rows[[1, 2, 5]])


def test_pinned_memory_starts_as_zeros_and_all_memory_is_given_back() -> None:
    fake = FakeCuda()
    memory = Memory(Cuda(fake))
    assert not memory.pinned((3, 4), np.float16).array.any()
    memory.tensor(3, 8)
    memory.scratch(0)
    assert fake.held() == {"device": 2, "pinned": 1}
    memory.free()
    assert not fake.held()


def test_shared_memory_is_one_place_for_host_and_device() -> None:
    fake = FakeCuda()
    cuda = Cuda(fake)
    memory, stream = Memory(cuda), cuda.create_stream()
    host, device = memory.shared((3, 4), np.float32)
    assert not host.array.any()
    assert device.row_bytes == 16
    host.array[:] = np.arange(12).reshape(3, 4)
    compact(cuda, [device], np.array([2]), stream)
    cuda.synchronize(stream)
    assert host.array[0].tolist() == [8, 9, 10, 11]
    memory.free()
    cuda.destroy_stream(stream)
    assert not fake.held()
