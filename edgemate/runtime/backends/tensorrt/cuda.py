"""The calls of the CUDA runtime that the runner makes. Each one that fails becomes one line that names it.

Device addresses, streams, events and graphs are plain integers, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.cuda_libraries import error_name, find_cudart

# Of driver_types.h; a test compares them with it.
TO_DEVICE, TO_HOST, WITHIN_DEVICE = 1, 2, 3  # cudaMemcpyKind
NON_BLOCKING = 1  # cudaStreamNonBlocking
DISABLE_TIMING = 2  # cudaEventDisableTiming
THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal
MAPPED = 2  # cudaHostAllocMapped
INTEGRATED = 18  # cudaDevAttrIntegrated


class Cuda:
    """The CUDA runtime, checked.

    Args:
        runtime: the functions of `cuda_libraries.RUNTIME`.
        version: its version as it counts, 12060 for 12.6.

    Raises:
        BackendError: from every method, when its call fails.
    """

    def __init__(self, runtime: Any, version: int = 0) -> None:
        self.runtime = runtime
        self.version = version
        # Those that are called for every image, bound once.
        self._copy = runtime.cudaMemcpyAsync
        self._launch = runtime.cudaGraphLaunch
        self._record = runtime.cudaEventRecord
        self._wait = runtime.cudaEventSynchronize
        self._synchronize = runtime.cudaStreamSynchronize

    @classmethod
    def load(cls) -> Cuda:
        """The system's runtime. Raises BackendError where there is none that works with its driver."""
        found = find_cudart()
        return cls(found.functions, found.version)

    def allocate(self, size: int) -> int:
        """Device memory, aligned to 256 bytes or more."""
        return int(self.call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Give device memory back."""
        self.call("cudaFree", address)

    def allocate_pinned(self, size: int) -> int:
        """Host memory that is never paged out, so that copies from and to it need not wait for the host."""
        return int(self.call("cudaMallocHost", size))

    def allocate_mapped(self, size: int) -> tuple[int, int]:
        """Pinned memory that the device works in without a copy: its address, and the same place's for the device.

        `free_pinned` gives it back.
        """
        address = int(self.call("cudaHostAlloc", size, MAPPED))
        try:
            return address, int(self.call("cudaHostGetDevicePointer", address, 0))
        except BackendError:
            self.free_pinned(address)
            raise

    def is_integrated(self) -> bool:
        """Whether device and host share one memory, as on a Jetson."""
        return bool(self.call("cudaDeviceGetAttribute", INTEGRATED, 0))

    def free_pinned(self, address: int) -> None:
        """Give pinned memory back."""
        self.call("cudaFreeHost", address)

    def create_stream(self) -> Any:
        """A stream that does not wait for the default stream."""
        return self.call("cudaStreamCreateWithFlags", NON_BLOCKING)

    def synchronize(self, stream: Any) -> None:
        """Wait until `stream` has done all its work."""
        status = self._synchronize(stream)
        if status:
            raise self.failed("cudaStreamSynchronize", status)

    def destroy_stream(self, stream: Any) -> None:
        """Give a stream back."""
        self.call("cudaStreamDestroy", stream)

    def create_event(self) -> Any:
        """An event to wait for; it takes no time stamps."""
        return self.call("cudaEventCreateWithFlags", DISABLE_TIMING)

    def record(self, event: Any, stream: Any) -> None:
        """Let `event` happen when `stream` has done what it was given so far."""
        status = self._record(event, stream)
        if status:
            raise self.failed("cudaEventRecord", status)

    def wait(self, event: Any) -> None:
        """Wait until `event` has happened."""
        status = self._wait(event)
        if status:
            raise self.failed("cudaEventSynchronize", status)

    def destroy_event(self, event: Any) -> None:
        """Give an event back."""
        self.call("cudaEventDestroy", event)

    def upload(self, to: int, source: int, size: int, stream: Any) -> None:
        """Copy pinned memory to device memory, in the stream's order."""
        status = self._copy(to, source, size, TO_DEVICE, stream)
        if status:
            raise self.failed("cudaMemcpyAsync", status)

    def download(self, to: int, source: int, size: int, stream: Any) -> None:
        """Copy device memory to pinned memory, in the stream's order."""
        status = self._copy(to, source, size, TO_HOST, stream)
        if status:
            raise self.failed("cudaMemcpyAsync", status)

    def move(self, to: int, source: int, size: int, stream: Any) -> None:
        """Copy within device memory, in the stream's order. The two places must not overlap."""
        status = self._copy(to, source, size, WITHIN_DEVICE, stream)
        if status:
            raise self.failed("cudaMemcpyAsync", status)

    def capture(self, stream: Any, record: Callable[[], None]) -> Any | None:
        """What `record` gives to `stream`, not done but made a graph; None if something in it cannot be captured.

        Other threads' calls go on undisturbed meanwhile.
        """
        self.call("cudaStreamBeginCapture", stream, THREAD_LOCAL)
        try:
            record()
            recorded = True
        except BackendError:
            recorded = False
        finally:
            status, graph = self.runtime.cudaStreamEndCapture(stream)
        if status:
            self.runtime.cudaGetLastError()  # or the next launch would report this failure as its own
            return None
        try:
            return self.instantiate(graph) if recorded else None
        finally:
            self.call("cudaGraphDestroy", graph)

    def instantiate(self, graph: Any) -> Any:
        """What `launch` takes, made of a graph's description, which is not needed any more then."""
        return self.call("cudaGraphInstantiateWithFlags", graph, 0)

    def launch(self, graph: Any, stream: Any) -> None:
        """Enqueue all that a graph holds."""
        status = self._launch(graph, stream)
        if status:
            raise self.failed("cudaGraphLaunch", status)

    def destroy_graph(self, graph: Any) -> None:
        """Give a graph back."""
        self.call("cudaGraphExecDestroy", graph)

    def failed(self, name: str, status: int) -> BackendError:
        """One line about a function that gave a status other than 0, with CUDA's name for it."""
        return BackendError(f"CUDA: {name} failed: {error_name(self.runtime, status)}")

    def call(self, name: str, *arguments: Any) -> Any:
        """The result of a function of the runtime; None where it has none."""
        answer = getattr(self.runtime, name)(*arguments)
        status, found = answer if isinstance(answer, tuple) else (answer, None)
        if status:
            raise self.failed(name, status)
        return found
