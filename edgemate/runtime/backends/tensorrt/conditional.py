"""CUDA graphs with parts that run only where a condition holds, which a kernel in the graph sets."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.cuda import THREAD_LOCAL, Cuda
from edgemate.runtime.backends.tensorrt.cuda_libraries import CONDITIONAL, ConditionalNode, version_text

OLDEST = 12040
"""The CUDA that brought conditional nodes."""

CONDITIONAL_NODE = 13  # cudaGraphNodeTypeConditional
IF = 0  # cudaGraphCondTypeIf


def conditional_problem(cuda: Cuda) -> str | None:
    """Why the runtime or the driver has no such graphs; None if both do."""
    driver = cuda.call("cudaDriverGetVersion") if cuda.version >= OLDEST else 0
    for name, version in (("runtime", cuda.version), ("driver", driver)):
        if version < OLDEST:
            return f"the {name} is of CUDA {version_text(version)}; conditional nodes need {version_text(OLDEST)}"
    missing = [name for name in CONDITIONAL if not hasattr(cuda.runtime, name)]
    return f"the runtime lacks {missing[0]}" if missing else None


class ConditionalGraph:
    """A graph that is put together of captured parts. `root` is the outermost part's; bodies lie in it.

    Raises:
        BackendError: from every method, when a call fails or something cannot be captured.
    """

    def __init__(self, cuda: Cuda, stream: Any) -> None:
        self._cuda = cuda
        self._stream = stream
        self.root: Any = cuda.call("cudaGraphCreate", 0)

    def add(self, graph: Any, after: Sequence[Any], record: Callable[[], None]) -> list[Any]:
        """Put what `record` gives to the stream into `graph`, to be done after these nodes. The nodes that end it.

        Other threads' calls go on undisturbed meanwhile.
        """
        self._cuda.call(
            "cudaStreamBeginCaptureToGraph", self._stream, graph, _array(after), None, len(after), THREAD_LOCAL
        )
        try:
            record()
            ends = self._ends()
        finally:
            status, _ = self._cuda.runtime.cudaStreamEndCapture(self._stream)
            if status:
                self._cuda.runtime.cudaGetLastError()  # or the next launch would report this failure as its own
        if status:
            raise self._cuda.failed("cudaStreamEndCapture", status)
        return ends

    def condition(self, graph: Any) -> int:
        """The handle of a condition for a node in `graph`; a kernel before that node must set it."""
        return int(self._cuda.call("cudaGraphConditionalHandleCreate", graph, 0, 0))

    def add_if(self, graph: Any, after: Sequence[Any], handle: int) -> tuple[Any, Any]:
        """A node of `graph` after these, and its body: an empty graph that runs where the condition is not 0."""
        node = ConditionalNode(type=CONDITIONAL_NODE, handle=handle, condition=IF, size=1)
        made = self._cuda.call("cudaGraphAddNode", graph, _array(after), None, len(after), ctypes.byref(node))
        return made, node.bodies[0]

    def instantiate(self) -> Any:
        """What `Cuda.launch` takes."""
        return self._cuda.instantiate(self.root)

    def close(self) -> None:
        """Give the description back; what was instantiated stays."""
        self._cuda.call("cudaGraphDestroy", self.root)

    def _ends(self) -> list[Any]:
        nodes, count = ctypes.c_void_p(), ctypes.c_size_t()
        self._cuda.call(
            "cudaStreamGetCaptureInfo", self._stream, None, None, ctypes.byref(nodes), None, ctypes.byref(count)
        )
        if not nodes.value or not count.value:
            raise BackendError("CUDA: nothing was captured")
        return list((ctypes.c_void_p * count.value).from_address(nodes.value))


def _array(nodes: Sequence[Any]) -> Any:
    return (ctypes.c_void_p * len(nodes))(*nodes) if nodes else None
