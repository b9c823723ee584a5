"""As much of the CUDA runtime as the runner calls, on a machine without a GPU.

It does no work before it is waited for, as late as a real device may, so that what was read too early shows. What a
real device answers with undefined behavior is an AssertionError here: memory that is not there or not pinned, copies
that overlap, a stream or graph that was given back.
"""

# ruff: noqa: N801, N802, N815 - the names are CUDA's

from __future__ import annotations

import ctypes
import enum
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

POISON = 0xFF  # what fresh memory holds; as float32 it is no number


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


SUCCESS = cudaError_t.cudaSuccess
NON_BLOCKING, DISABLE_TIMING, MAPPED, INTEGRATED = 1, 2, 2, 18
Work = tuple[str, Callable[[], None]]


@dataclass(eq=False)
class Stream:
    """`waiting` is what it has been given and not done; `recording` what a capture has recorded."""

    number: int
    waiting: list[Work] = field(default_factory=list)
    recording: list[Work] | None = None
    broken: bool = False
    alive: bool = True

    def __int__(self) -> int:
        return self.number


@dataclass(eq=False)
class Event:
    """Happens when its stream has come to the `marker` that was put there last."""

    stream: Stream | None = None
    marker: Work | None = None
    alive: bool = True


@dataclass(eq=False)
class Graph:
    """`works` in order, to be enqueued all at once."""

    works: list[Work]
    alive: bool = True


class FakeCuda:
    """The module. `calls` lists the calls by name, copies with their kind; `fails` names calls that are to fail."""

    def __init__(self, *, integrated: bool = False) -> None:
        self.integrated = integrated
        self.calls: list[str] = []
        self.fails: dict[str, cudaError_t] = {}
        self.done: list[str] = []  # what the device did, in order
        self._memory: dict[int, tuple[str, ctypes.Array[Any]]] = {}
        self._handles: list[Stream | Event | Graph] = []

    def held(self) -> Counter[str]:
        """What has not been given back, by kind."""
        kinds = [kind for kind, _ in self._memory.values()]
        return Counter(kinds + [type(handle).__name__ for handle in self._handles if handle.alive])

    def view(self, kind: str, address: int, size: int) -> memoryview:
        """`size` bytes of `kind` ("device" or "pinned") memory, which must have been allocated as one piece."""
        for start, (known, block) in self._memory.items():
            if (known == kind or known == "mapped") and start <= address and address + size <= start + len(block):
                return memoryview(block).cast("B")[address - start : address - start + size]
        raise AssertionError(f"no {size} bytes of {kind} memory at {address}")

    def enqueue(self, stream: int, name: str, work: Callable[[], None]) -> None:
        """Let stream number `stream` do `work` when it gets there."""
        self._put(self._stream(stream), (name, work))

    def is_capturing(self, stream: int) -> bool:
        return self._stream(stream).recording is not None

    def is_in_graph(self, work: Callable[[], None]) -> bool:
        """Whether a graph that is still there holds `work`."""
        graphs = [handle for handle in self._handles if isinstance(handle, Graph) and handle.alive]
        return any(work is held for graph in graphs for _, held in graph.works)

    def invalidate(self, stream: int) -> None:
        """What a call that must not be captured does to a capture."""
        self._stream(stream).broken = True

    # The module's functions. Each answers with a status first.

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate("cudaMalloc", "device", size)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate("cudaMallocHost", "pinned", size)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        assert flags == MAPPED
        return self._allocate("cudaHostAlloc", "mapped", size)

    def cudaHostGetDevicePointer(self, address: int, flags: int) -> tuple[Any, ...]:
        status = self._called("cudaHostGetDevicePointer")
        assert flags == 0
        assert self._memory[address][0] == "mapped"
        return (status, 0 if status else address)

    def cudaDeviceGetAttribute(self, attribute: int, device: int) -> tuple[Any, ...]:
        assert (attribute, device) == (INTEGRATED, 0)
        return (self._called("cudaDeviceGetAttribute"), int(self.integrated))

    def cudaFree(self, address: int) -> cudaError_t:
        return self._free("cudaFree", "device", address)

    def cudaFreeHost(self, address: int) -> cudaError_t:
        return self._free("cudaFreeHost", "pinned", address)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: Stream) -> cudaError_t:
        status = self._called("cudaMemcpyAsync")
        if status:
            return status
        pinned_or_device = {
            cudaMemcpyKind.cudaMemcpyHostToDevice: ("upload", "pinned", "device"),
            cudaMemcpyKind.cudaMemcpyDeviceToHost: ("download", "device", "pinned"),
            cudaMemcpyKind.cudaMemcpyDeviceToDevice: ("move", "device", "device"),
        }
        name, source_kind, to_kind = pinned_or_device[cudaMemcpyKind(kind)]
        assert size > 0
        assert abs(to - source) >= size, "a copy overlaps itself"
        self.view(source_kind, source, size), self.view(to_kind, to, size)

        def copy() -> None:
            self.view(to_kind, to, size)[:] = self.view(source_kind, source, size)

        self._put(stream, (name, copy))
        return SUCCESS

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == NON_BLOCKING
        return self._made("cudaStreamCreateWithFlags", Stream(1000 + len(self._handles)))

    def cudaStreamDestroy(self, stream: Stream) -> cudaError_t:
        assert not stream.waiting, "work is under way"
        return self._destroyed("cudaStreamDestroy", stream)

    def cudaStreamSynchronize(self, stream: Stream) -> cudaError_t:
        status = self._called("cudaStreamSynchronize")
        if stream.recording is not None:
            stream.broken = True
            status = cudaError_t.cudaErrorStreamCaptureUnsupported
        if not status:
            self._work_off(stream, None)
        return status

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == DISABLE_TIMING
        return self._made("cudaEventCreateWithFlags", Event())

    def cudaEventDestroy(self, event: Event) -> cudaError_t:
        return self._destroyed("cudaEventDestroy", event)

    def cudaEventRecord(self, event: Event, stream: Stream) -> cudaError_t:
        status = self._called("cudaEventRecord")
        if not status:
            assert event.alive
            event.stream, event.marker = stream, ("event", lambda: None)
            self._put(stream, event.marker)
        return status

    def cudaEventSynchronize(self, event: Event) -> cudaError_t:
        status = self._called("cudaEventSynchronize")
        if not status:
            assert event.alive
            assert event.stream is not None, "nothing was recorded"
            if event.marker in event.stream.waiting:
                self._work_off(event.stream, event.marker)
        return status

    def cudaStreamBeginCapture(self, stream: Stream, mode: int) -> cudaError_t:
        status = self._called("cudaStreamBeginCapture")
        if not status:
            assert stream.recording is None
            assert mode == cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal, "other threads would be disturbed"
            stream.recording, stream.broken = [], False
        return status

    def cudaStreamEndCapture(self, stream: Stream) -> tuple[Any, ...]:
        status = self._called("cudaStreamEndCapture")
        assert stream.recording is not None
        recorded, stream.recording = stream.recording, None
        if stream.broken:
            status = cudaError_t.cudaErrorStreamCaptureInvalidated
        if status:
            return (status, None)
        return self._made("", Graph(recorded))

    def cudaGraphInstantiateWithFlags(self, graph: Graph, flags: int) -> tuple[Any, ...]:
        assert graph.alive
        return self._made("cudaGraphInstantiateWithFlags", Graph(graph.works))

    def cudaGraphDestroy(self, graph: Graph) -> cudaError_t:
        return self._destroyed("cudaGraphDestroy", graph)

    def cudaGraphExecDestroy(self, graph: Graph) -> cudaError_t:
        return self._destroyed("cudaGraphExecDestroy", graph)

    def cudaGraphLaunch(self, graph: Graph, stream: Stream) -> cudaError_t:
        status = self._called("cudaGraphLaunch")
        if not status:
            assert graph.alive
            for work in graph.works:
                self._put(stream, work)
        return status

    def cudaGetLastError(self) -> cudaError_t:
        return SUCCESS

    def cudaGetErrorName(self, status: cudaError_t) -> bytes:
        return status.name.encode()

    def cudaGetErrorString(self, status: cudaError_t) -> bytes:
        return b"what it means"

    # Below: what the above need

    def _called(self, name: str) -> cudaError_t:
        self.calls.append(name)
        return self.fails.get(name, SUCCESS)

    def _allocate(self, name: str, kind: str, size: int) -> tuple[Any, ...]:
        status = self._called(name)
        if status:
            return (status, 0)
        assert size > 0
        assert not any(stream.recording is not None for stream in self._handles if isinstance(stream, Stream))
        block = (ctypes.c_uint8 * size)()
        ctypes.memset(block, POISON, size)
        self._memory[ctypes.addressof(block)] = (kind, block)
        return (SUCCESS, ctypes.addressof(block))

    def _free(self, name: str, kind: str, address: int) -> cudaError_t:
        status = self._called(name)
        if not status:
            assert self._memory[address][0] in {"device": ("device",), "pinned": ("pinned", "mapped")}[kind]
            del self._memory[address]
        return status

    def _made(self, name: str, handle: Stream | Event | Graph) -> tuple[Any, ...]:
        status = self._called(name) if name else SUCCESS
        if status:
            return (status, None)
        self._handles.append(handle)
        return (SUCCESS, handle)

    def _destroyed(self, name: str, handle: Stream | Event | Graph) -> cudaError_t:
        status = self._called(name)
        if not status:
            assert handle.alive, "given back twice"
            handle.alive = False
        return status

    def _stream(self, number: int) -> Stream:
        [found] = [one for one in self._handles if isinstance(one, Stream) and one.number == number and one.alive]
        return found

    def _put(self, stream: Stream, work: Work) -> None:
        assert stream.alive
        (stream.waiting if stream.recording is None else stream.recording).append(work)

    def _work_off(self, stream: Stream, last: Work | None) -> None:
        while stream.waiting:
            work = stream.waiting.pop(0)
            work[1]()
            if work[0] != "event":
                self.done.append(work[0])
            if work is last:
                return
