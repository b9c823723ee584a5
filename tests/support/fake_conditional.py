"""A CUDA of 12.6 on top of the fake one: graphs with conditional nodes, and the driver that starts the kernel.

What is captured into a graph must come after all that is in it already, since nothing here runs side by side. What the
real one leaves undefined or refuses is an AssertionError.
"""

# ruff: noqa: N802 - the names are CUDA's

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import decision_reference
import numpy as np
from decision_kernel import RULE
from fake_cuda import SUCCESS, FakeCuda, Graph, Stream, Work, cudaError_t, cudaStreamCaptureMode

ALLOWED = ("segments", "decide", "upload", "download", "if")


@dataclass(eq=False)
class If:
    """A conditional node."""

    cuda: FakeConditionalCuda
    handle: int
    body: Part

    def __call__(self) -> None:
        taken = self.cuda.conditions.pop(self.handle, None)
        assert taken is not None, "no kernel has set the condition"
        if taken:
            for work in self.body.works:
                work[1]()
                self.cuda.done.append(work[0])


@dataclass(eq=False)
class Part(Graph):
    """A graph that is put together; `number` tells its nodes from those of others."""

    number: int = 0
    handles: list[int] = field(default_factory=list)

    def node(self, index: int) -> int:
        return self.number * 1000 + index

    def tree(self) -> list[Any]:
        """Names of what it does; a body is a list."""
        return [work[1].body.tree() if isinstance(work[1], If) else work[0] for work in self.works]


class FakeConditionalCuda(FakeCuda):
    """`parts` are the graphs that were made, the root of each first."""

    def __init__(self, *, integrated: bool = False, driver: int = 12060) -> None:
        super().__init__(integrated=integrated)
        self.driver = driver
        self.parts: list[Part] = []
        self.conditions: dict[int, int] = {}
        self._targets: dict[Stream, Part] = {}
        self._keep: list[Any] = []

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return (SUCCESS, self.driver)

    def cudaGraphCreate(self, flags: int) -> tuple[Any, ...]:
        assert flags == 0
        part = Part([], number=len(self.parts) + 1)
        self.parts.append(part)
        return self._made("cudaGraphCreate", part)

    def cudaGraphConditionalHandleCreate(self, graph: Any, default: int, flags: int) -> tuple[Any, ...]:
        status = self._called("cudaGraphConditionalHandleCreate")
        part = self._part(graph)
        handle = part.number * 100 + len(part.handles) + 7
        part.handles.append(handle)
        return (status, handle)

    def cudaStreamBeginCaptureToGraph(
        self, stream: Stream, graph: Any, after: Any, data: None, count: int, mode: int
    ) -> cudaError_t:
        status = self._called("cudaStreamBeginCaptureToGraph")
        if not status:
            assert stream.recording is None
            assert mode == cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal, "other threads would be disturbed"
            self._targets[stream] = part = self._part(graph)
            self._assert_last(part, after, count)
            stream.recording, stream.broken = [], False
        return status

    def cudaStreamGetCaptureInfo(
        self, stream: Stream, number: None, graph: None, nodes: Any, data: None, count: Any
    ) -> tuple[Any, ...]:
        status = self._called("cudaStreamGetCaptureInfo")
        if stream.broken:
            status = cudaError_t.cudaErrorStreamCaptureInvalidated
        assert stream.recording is not None
        part = self._targets[stream]
        found = (ctypes.c_void_p * 1)(part.node(len(part.works) + len(stream.recording) - 1))
        self._keep.append(found)
        nodes._obj.value, count._obj.value = ctypes.addressof(found), 1
        return (status, 1)

    def cudaStreamEndCapture(self, stream: Stream) -> tuple[Any, ...]:
        part = self._targets.pop(stream, None)
        if part is None:
            return super().cudaStreamEndCapture(stream)
        status = self._called("cudaStreamEndCapture")
        recorded, stream.recording = stream.recording, None
        assert recorded is not None
        if stream.broken:
            status = cudaError_t.cudaErrorStreamCaptureInvalidated
        if not status:
            assert all(name.startswith(ALLOWED) for name, _ in recorded), "a body takes no such node"
            part.works += recorded
        return (status, part)

    def cudaGraphAddNode(self, graph: Any, after: Any, data: None, count: int, node: Any) -> tuple[Any, ...]:
        status = self._called("cudaGraphAddNode")
        if status:
            return (status, None)
        part, wanted = self._part(graph), node._obj
        assert (wanted.type, wanted.condition, wanted.size) == (13, 0, 1)
        assert wanted.handle in part.handles, "a condition is for a node of its own graph"
        self._assert_last(part, after, count)
        body = Part([], number=len(self.parts) + 1)
        self.parts.append(body)
        bodies = (ctypes.c_void_p * 1)(body.number)
        self._keep.append(bodies)
        wanted.bodies = ctypes.cast(bodies, ctypes.POINTER(ctypes.c_void_p))
        part.works.append(("if", If(self, wanted.handle, body)))
        return (SUCCESS, part.node(len(part.works) - 1))

    def is_in_graph(self, work: Callable[[], None]) -> bool:
        graphs = [handle for handle in self._handles if isinstance(handle, Graph) and handle.alive]
        return any(work is held for graph in graphs for _, held in _all(graph.works))

    def _part(self, graph: Any) -> Part:
        part = graph if isinstance(graph, Part) else self.parts[graph - 1]
        assert part.alive
        return part

    def _assert_last(self, part: Part, after: Any, count: int) -> None:
        nodes = [] if after is None else list(after)
        assert len(nodes) == count
        assert nodes == ([part.node(len(part.works) - 1)] if part.works else []), "it would not run after what is there"


class FakeDriver:
    """What of libcuda is called; the kernel is done by `decision_reference`."""

    def __init__(self, cuda: FakeConditionalCuda) -> None:
        self.cuda = cuda
        self.fails: set[str] = set()
        self.modules = 0

    def cuModuleLoadData(self, image: bytes) -> tuple[int, Any]:
        assert b".visible .entry decide(" in image
        self.modules += "cuModuleLoadData" not in self.fails
        return self._status("cuModuleLoadData"), "module"

    def cuModuleGetFunction(self, module: str, name: bytes) -> tuple[int, Any]:
        assert (module, name) == ("module", b"decide")
        return self._status("cuModuleGetFunction"), "function"

    def cuModuleUnload(self, module: str) -> int:
        self.modules -= 1
        return 0

    def cuGetErrorName(self, status: int) -> tuple[int, bytes]:
        return 0, b"CUDA_ERROR_UNSUPPORTED_PTX_VERSION"

    def cuGetErrorString(self, status: int) -> tuple[int, bytes]:
        return 0, b"what it means"

    def cuLaunchKernel(self, function: str, *rest: Any) -> int:
        *shape, shared, stream, places, extra = rest
        assert (function, shape, shared, extra) == ("function", [1, 1, 1, 128, 1, 1], 0, None)
        kinds = [ctypes.c_ulonglong] * 4 + [ctypes.c_int] * 3
        values = [kind.from_address(place).value for kind, place in zip(kinds, places, strict=True)]
        self.cuda.enqueue(stream, f"decide {values[4]}", lambda: self._decide(*values))
        return self._status("cuLaunchKernel")

    def _decide(self, handle: int, logits: int, rules: int, answer: int, exit: int, exits: int, classes: int) -> None:
        values = self._array(logits, np.dtype("f4"), classes).copy()
        header = self._array(answer, np.dtype("i4"), 4)
        stop, sets = decision_reference.decide(values, self._array(rules, RULE, exits - 1), header, exit, exits)
        if stop:
            self._array(answer + 16, np.dtype("f4"), classes)[:] = values
        if sets:
            self.cuda.conditions[handle] = int(not stop)

    def _array(self, address: int, dtype: np.dtype[Any], count: int) -> np.ndarray:
        return np.frombuffer(self.cuda.view("device", address, dtype.itemsize * count), dtype=dtype)

    def _status(self, name: str) -> int:
        return 222 if name in self.fails else 0


def _all(works: list[Work]) -> Iterator[Work]:
    for work in works:
        yield work
        if isinstance(work[1], If):
            yield from _all(work[1].body.works)
