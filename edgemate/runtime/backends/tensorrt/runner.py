"""Engines between fixed buffers: what a forward pass holds on the device, and how its work is enqueued."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.cuda import Cuda
from edgemate.runtime.backends.tensorrt.engine import Engine
from edgemate.runtime.backends.tensorrt.memory import DeviceTensor, Memory, PinnedTensor, compact

# Every graph needs a context of its own, see Runner; batch sizes met after that many run without a graph.
MAX_GRAPHS = 8


class Lane:
    """All that one forward pass has for itself: a stream, a place for every tensor, and a runner per engine.

    Tensors stay where they are from segment to segment and from pass to pass, which is what lets a CUDA graph hold
    their addresses. A lane serves one pass at a time.

    Args:
        cuda: the CUDA runtime.
        engines: in the order in which they run. Inputs that no engine before gives come from the host.
        fetched: per engine, the outputs that go back to the host.
        rows: the most images at a time.
        cuda_graphs: whether batch sizes become CUDA graphs.
        warm: batch sizes to run once, and to make graphs of, now.
        zero_copy: let the device read images and write answers in host memory, instead of copying them.

    Raises:
        BackendError: a call of CUDA or TensorRT failed; nothing is held then.
    """

    def __init__(
        self,
        cuda: Cuda,
        engines: Sequence[Engine],
        fetched: Sequence[Sequence[str]],
        rows: int,
        *,
        cuda_graphs: bool,
        warm: Iterable[int] = (),
        zero_copy: bool = False,
    ) -> None:
        self.holder: Callable[[], object] | None = None  # gives the pass that it serves, or None where that is gone
        self._cuda = cuda
        self._memory = Memory(cuda)
        self._events: list[Any] = []
        self.runners: list[Runner] = []
        self._stream = cuda.create_stream()
        try:
            scratch = self._memory.scratch(max(engine.scratch_bytes for engine in engines))
            self._tensors: dict[str, DeviceTensor] = {}
            self._rows = rows
            self._copied: dict[str, PinnedTensor] = {}  # where `copies` go
            self._slots = {slot.name: slot for engine in engines for slot in engine.slots.values()}
            self.given: dict[str, npt.NDArray[Any]] = {}
            self._answers: list[list[npt.NDArray[Any]]] = []
            self._shared = _shareable(engines, fetched) if zero_copy else frozenset()
            for engine, names in zip(engines, fetched, strict=True):
                self._add(engine, names, rows, scratch, cuda_graphs)
            for size in sorted(warm):
                for index in range(len(engines)):
                    self.enqueue(index, size)
                cuda.synchronize(self._stream)
        except BaseException:
            with contextlib.suppress(BackendError):  # the first error is the one to tell
                self.close()
            raise

    def enqueue(self, index: int, rows: int) -> None:
        """Give engine `index` to the stream, for the first `rows` rows; the first engine takes `given`, filled before.

        The call comes back at once.
        """
        self.runners[index].enqueue(rows)
        self._cuda.record(self._events[index], self._stream)

    def run(self, index: int, rows: int) -> None:
        """`enqueue`, and wait until the stream is empty: one call less than for an event."""
        self.runners[index].enqueue(rows)
        self._cuda.synchronize(self._stream)

    def wait(self, index: int) -> None:
        """Wait for engine `index` and nothing behind it."""
        self._cuda.wait(self._events[index])

    def fetched(self, index: int) -> list[npt.NDArray[Any]]:
        """Where the fetched outputs of engine `index` arrive, all rows of each: there until it is enqueued again."""
        return self._answers[index]

    def answer(self, index: int, rows: int) -> list[npt.NDArray[Any]]:
        """Wait for engine `index` and nothing behind it: copies of its fetched outputs, `(rows, …)` each.

        What a DLA gives in float16 is float32 here.
        """
        self.wait(index)
        wide = {np.dtype(np.float16): np.dtype(np.float32)}
        return [array[:rows].astype(wide.get(array.dtype, array.dtype)) for array in self._answers[index]]

    def copies(self, names: Iterable[str], rows: int) -> dict[str, npt.NDArray[Any]]:
        """The named tensors, `(rows, …)` each, once the stream has done what it was given.

        In a format of several channels at a time the values of a row are in that format's order.
        """
        found = {}
        for name in names:
            slot, tensor = self._slots[name], self._tensors[name]
            if name not in self._copied:
                self._copied[name] = self._memory.pinned((self._rows, *slot.shape), slot.dtype)
            found[name] = self._copied[name]
            self._cuda.download(found[name].address, tensor.address, rows * tensor.row_bytes, self._stream)
        self._cuda.synchronize(self._stream)
        return {name: pinned.array[:rows].copy() for name, pinned in found.items()}

    def keep(self, names: Iterable[str], kept: npt.NDArray[np.intp]) -> None:
        """Bring the rows `kept` of the named tensors to the front, when the stream gets there."""
        compact(self._cuda, [self._tensors[name] for name in names], kept, self._stream)

    def close(self) -> None:
        """Wait for the device and give everything back."""
        self._cuda.synchronize(self._stream)
        while self.runners:
            self.runners.pop().close()
        while self._events:
            self._cuda.destroy_event(self._events.pop())
        self.given = {}
        self._answers = []
        self._memory.free()
        self._cuda.destroy_stream(self._stream)

    def _add(self, engine: Engine, fetched: Sequence[str], rows: int, scratch: int, cuda_graphs: bool) -> None:
        uploads, downloads = [], []
        answers: dict[str, npt.NDArray[Any]] = {}
        for slot in engine.slots.values():
            if slot.name in self._tensors:
                if self._tensors[slot.name].row_bytes != slot.row_bytes:
                    raise BackendError(f"{engine.path}: takes {slot.name} in another precision than it is given in")
                continue
            if slot.name in self._shared:
                pinned, self._tensors[slot.name] = self._memory.shared((rows, *slot.shape), slot.dtype)
                (self.given if slot.is_input else answers)[slot.name] = pinned.array
                continue
            self._tensors[slot.name] = self._memory.tensor(rows, slot.row_bytes)
            if slot.is_input:
                pinned = self._memory.pinned((rows, *slot.shape), slot.dtype)
                self.given[slot.name] = pinned.array
                uploads.append(Transfer(pinned, self._tensors[slot.name]))
        for name in fetched:
            if name in answers:
                continue
            pinned = self._memory.pinned((rows, *engine.slots[name].shape), engine.slots[name].dtype)
            answers[name] = pinned.array
            downloads.append(Transfer(pinned, self._tensors[name]))
        self._answers.append([answers[name] for name in fetched])
        self._events.append(self._cuda.create_event())
        self.runners.append(
            Runner(
                self._cuda,
                engine,
                self._stream,
                {name: self._tensors[name].address for name in engine.slots},
                uploads,
                downloads,
                scratch,
                cuda_graphs,
            )
        )


def _shareable(engines: Sequence[Engine], fetched: Sequence[Sequence[str]]) -> frozenset[str]:
    """Tensors that only one engine and the host touch: images that the first engine alone takes, and answers.

    What several engines read stays on the device, whose caches may not hold host memory (CUDA for Tegra, "Memory
    Management").
    """
    taken = [name for engine in engines for name, slot in engine.slots.items() if slot.is_input]
    given = {name for engine in engines for name, slot in engine.slots.items() if not slot.is_input}
    images = {name for name in taken if name not in given and taken.count(name) == 1}
    return frozenset(images | {name for names in fetched for name in names if name not in taken})


@dataclass(frozen=True)
class Transfer:
    """A tensor's two places."""

    host: PinnedTensor
    device: DeviceTensor


class Runner:
    """Enqueues one engine: what goes up, the engine, what comes down.

    As a CUDA graph that is one launch. A graph holds for one batch size, and for the context it was captured from only
    as long as that is not touched again: so every graph has a context of its own, and all contexts of a lane, which
    never run at the same time, share their working memory. (TensorRT's developer guide, "CUDA Graphs".)
    """

    def __init__(
        self,
        cuda: Cuda,
        engine: Engine,
        stream: Any,
        addresses: Mapping[str, int],
        uploads: Sequence[Transfer],
        downloads: Sequence[Transfer],
        scratch: int,
        cuda_graphs: bool,
    ) -> None:
        self._cuda = cuda
        self._engine = engine
        self._stream = stream
        self._addresses = addresses
        self._uploads = uploads
        self._downloads = downloads
        self._scratch = scratch
        self._graphs: dict[int, tuple[Any, Any]] = {}  # rows → graph, and the context that must outlive it
        self._plain: Any = None
        self._plain_rows = 0
        self.capturable = cuda_graphs
        self._library_graphs = cuda_graphs and engine.has_graphs  # of what has no graph of ours
        self._spent: Any = None  # a context whose work may still be under way

    def enqueue(self, rows: int) -> None:
        """Give the stream the work for `rows` images.

        Raises:
            BackendError: a call of CUDA or TensorRT failed.
        """
        captured = self._graphs.get(rows)
        if captured is not None:
            self._cuda.launch(captured[0], self._stream)
        elif self.capturable and len(self._graphs) < MAX_GRAPHS:
            context = self._engine.create_context(self._scratch)
            self._engine.bind(context, rows, self._addresses)
            # A context's first run after a change of shape does things that cannot be captured; it is this pass's run.
            self._enqueue(context, rows)
            graph = None
            if self._engine.is_capturable(context, self._stream):
                graph = self._cuda.capture(self._stream, lambda: self._enqueue(context, rows))
            if graph is None:
                self.capturable = False
                if self._library_graphs:
                    self._spent = context
                else:
                    self._plain, self._plain_rows = context, rows
            else:
                self._graphs[rows] = (graph, context)
        else:
            if self._plain is None:
                self._plain = self._engine.create_context(self._scratch, library_graphs=self._library_graphs)
            if self._plain_rows != rows:
                self._engine.bind(self._plain, rows, self._addresses)
                self._plain_rows = rows
            self._enqueue(self._plain, rows)

    def close(self) -> None:
        """Give graphs and contexts back; the stream must be done with them."""
        while self._graphs:
            _, (graph, _) = self._graphs.popitem()
            self._cuda.destroy_graph(graph)
        self._plain = self._spent = None

    def _enqueue(self, context: Any, rows: int) -> None:
        for transfer in self._uploads:
            size = rows * transfer.device.row_bytes
            self._cuda.upload(transfer.device.address, transfer.host.address, size, self._stream)
        self._engine.execute(context, self._stream)
        for transfer in self._downloads:
            size = rows * transfer.device.row_bytes
            self._cuda.download(transfer.host.address, transfer.device.address, size, self._stream)
