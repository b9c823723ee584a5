"""The calls of the CUDA runtime that the runner makes. Each one that fails becomes one line that names it.

Device addresses are plain integers, sizes are bytes; streams, events and graphs are handles of cuda-python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgemate.errors import BackendError


class Cuda:
    """`cuda.bindings.runtime`, checked.

    Args:
        runtime: that module, or one with the same functions.

    Raises:
        BackendError: from every method, when its call fails.
    """

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._to_device = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._to_host = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._within_device = runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice

    @classmethod
    def load(cls) -> Cuda:
        """Import cuda-python. Raises BackendError where it is not installed."""
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise BackendError(f"cuda-python cannot be imported ({error}); pip install 'edgemate[trt]'") from error
        return cls(runtime)

    def allocate(self, size: int) -> int:
        """Device memory, aligned to 256 bytes or more."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._call("cudaFree", address)

    def allocate_pinned(self, size: int) -> int:
        """Host memory that is never paged out, so that copies from and to it need not wait for the host."""
        return int(self._call("cudaMallocHost", size))

    def free_pinned(self, address: int) -> None:
        """Give pinned memory back."""
        self._call("cudaFreeHost", address)

    def create_stream(self) -> Any:
        """A stream that does not wait for the default stream."""
        return self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)

    def synchronize(self, stream: Any) -> None:
        """Wait until `stream` has done all its work."""
        self._call("cudaStreamSynchronize", stream)

    def destroy_stream(self, stream: Any) -> None:
        """Give a stream back."""
        self._call("cudaStreamDestroy", stream)

    def create_event(self) -> Any:
        """An event to wait for; it takes no time stamps."""
        return self._call("cudaEventCreateWithFlags", self._runtime.cudaEventDisableTiming)

    def record(self, event: Any, stream: Any) -> None:
        """Let `event` happen when `stream` has done what it was given so far."""
        self._call("cudaEventRecord", event, stream)

    def wait(self, event: Any) -> None:
        """Wait until `event` has happened."""
        self._call("cudaEventSynchronize", event)

    def destroy_event(self, event: Any) -> None:
        """Give an event back."""
        self._call("cudaEventDestroy", event)

    def upload(self, to: int, source: int, size: int, stream: Any) -> None:
        """Copy pinned memory to device memory, in the stream's order."""
        self._call("cudaMemcpyAsync", to, source, size, self._to_device, stream)

    def download(self, to: int, source: int, size: int, stream: Any) -> None:
        """Copy device memory to pinned memory, in the stream's order."""
        self._call("cudaMemcpyAsync", to, source, size, self._to_host, stream)

    def move(self, to: int, source: int, size: int, stream: Any) -> None:
        """Copy within device memory, in the stream's order. The two places must not overlap."""
        self._call("cudaMemcpyAsync", to, source, size, self._within_device, stream)

    def capture(self, stream: Any, record: Callable[[], None]) -> Any | None:
        """What `record` gives to `stream`, not done but made a graph; None if something in it cannot be captured.

        Other threads' calls go on undisturbed meanwhile.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        try:
            record()
            recorded = True
        except BackendError:
            recorded = False
        finally:
            status, graph = self._runtime.cudaStreamEndCapture(stream)
        if int(status):
            self._runtime.cudaGetLastError()  # or the next launch would report this failure as its own
            return None
        try:
            return self._call("cudaGraphInstantiate", graph, 0) if recorded else None
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: Any, stream: Any) -> None:
        """Enqueue all that a graph holds."""
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        """Give a graph back."""
        self._call("cudaGraphExecDestroy", graph)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *found = getattr(self._runtime, name)(*arguments)
        if int(status):
            raise BackendError(f"CUDA: {name} failed: {self._describe(status)}")
        return found[0] if found else None

    def _describe(self, status: Any) -> str:
        texts = [getattr(self._runtime, ask)(status)[1] for ask in ("cudaGetErrorName", "cudaGetErrorString")]
        name, meaning = (text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in texts)
        return f"{name} ({meaning})"
