from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_cuda import FakeCuda, cudaError_t

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.cuda import Cuda

CALLS: dict[str, Callable[[Cuda], object]] = {
    "cudaMalloc": lambda cuda: cuda.allocate(8),
    "cudaMallocHost": lambda cuda: cuda.allocate_pinned(8),
    "cudaFree": lambda cuda: cuda.free(0),
    "cudaFreeHost": lambda cuda: cuda.free_pinned(0),
    "cudaHostAlloc": lambda cuda: cuda.allocate_mapped(8),
    "cudaHostGetDevicePointer": lambda cuda: cuda.allocate_mapped(8),
    "cudaDeviceGetAttribute": lambda cuda: cuda.is_integrated(),
    "cudaStreamCreateWithFlags": lambda cuda: cuda.create_stream(),
    "cudaEventCreateWithFlags": lambda cuda: cuda.create_event(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_fails_is_named_with_cudas_reason(name: str) -> None:
    fake = FakeCuda()
    fake.fails[name] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(BackendError) as caught:
        CALLS[name](Cuda(fake))
    assert str(caught.value) == f"CUDA: {name} failed: cudaErrorMemoryAllocation (what it means)"
    assert not fake.held()


def test_a_capture_becomes_one_launch() -> None:
    fake = FakeCuda()
    cuda = Cuda(fake)
    stream = cuda.create_stream()

    def record() -> None:
        for name in ("first", "second"):
            fake.enqueue(int(stream), name, lambda: None)

    graph = cuda.capture(stream, record)
    cuda.synchronize(stream)
    assert fake.done == []
    for _ in range(2):
        cuda.launch(graph, stream)
    cuda.synchronize(stream)
    assert fake.done == ["first", "second"] * 2
    cuda.destroy_graph(graph)
    cuda.destroy_stream(stream)
    assert not fake.held()


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("invalid", [False, True])
def test_what_cannot_be_captured_leaves_the_stream_as_it_was(raises: bool, invalid: bool) -> None:
    fake = FakeCuda()
    cuda = Cuda(fake)
    stream = cuda.create_stream()

    def record() -> None:
        if invalid:
            fake.invalidate(int(stream))
        if raises:
            raise BackendError("refused")

    graph = cuda.capture(stream, record)
    assert (graph is None) == (raises or invalid)
    fake.enqueue(int(stream), "work", lambda: None)
    cuda.synchronize(stream)
    assert fake.done == ["work"]


def test_a_capture_that_is_interrupted_is_ended() -> None:
    fake = FakeCuda()
    cuda = Cuda(fake)
    stream = cuda.create_stream()

    def record() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cuda.capture(stream, record)
    assert not fake.is_capturing(int(stream))


def test_waiting_for_an_event_does_not_wait_for_what_is_behind_it() -> None:
    fake = FakeCuda()
    cuda = Cuda(fake)
    stream, event = cuda.create_stream(), cuda.create_event()
    fake.enqueue(int(stream), "before", lambda: None)
    cuda.record(event, stream)
    fake.enqueue(int(stream), "behind", lambda: None)
    cuda.wait(event)
    assert fake.done == ["before"]
