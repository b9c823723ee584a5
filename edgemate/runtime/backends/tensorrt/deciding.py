"""All segments as one CUDA graph that decides itself: an image costs one launch and one wait, wherever it stops.

    image → segment 1 → decide 1 → if: segment 2 → decide 2 → if: … segment K → decide K → answer

Segment k+1 is in the body of a conditional node behind decision k, so bodies are nested. What the decisions compare
with lies before the image and is uploaded with it; so another policy needs no other graph.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import BackendError
from edgemate.policies import Confidence, Entropy, FixedExit, Margin, ScorePolicy
from edgemate.policies.single import StopRule
from edgemate.runtime.backends.base import Answered
from edgemate.runtime.backends.tensorrt.conditional import ConditionalGraph, conditional_problem
from edgemate.runtime.backends.tensorrt.cuda import Cuda
from edgemate.runtime.backends.tensorrt.engine import Engine, Slot
from edgemate.runtime.backends.tensorrt.kernel import DecisionKernel
from edgemate.runtime.backends.tensorrt.memory import DeviceTensor, Memory, PinnedTensor

# Both as decision.cu has them.
RULE = np.dtype([("score", "i4"), ("threshold", "f4"), ("temperature", "f4"), ("unused", "i4")])
ANSWER = np.dtype([("exit", "i4"), ("non_finite", "i4"), ("last_class", "i4"), ("agreed", "i4")])
SCORES = ("confidence", "entropy", "margin", "patience")
ALIGNMENT = 256  # of a tensor
TOLERANCE = 0.01  # relative, of what the same engines give twice


def proved_graph(
    cuda: Cuda,
    engines: Sequence[Engine],
    run: Callable[[npt.NDArray[Any]], Sequence[npt.NDArray[Any]]],
    *,
    zero_copy: bool,
) -> DecidingGraph:
    """Such a graph, which answered about one image as the segments do.

    One that is accepted and goes wrong would be worse than none.

    Args:
        cuda: the CUDA runtime.
        engines: of the segments, in order.
        run: runs the segments one by one: an image `(1, …)`, as the first engine takes it, to the logits `(1, C)` per
            exit.
        zero_copy: see `DecidingGraph`.

    Raises:
        BackendError: it is not possible here, or does not agree; nothing is held then.
    """
    problem = deciding_problem(cuda, engines)
    if problem:
        raise BackendError(problem)
    graph = DecidingGraph(cuda, engines, zero_copy=zero_copy)
    try:
        [name] = _given(engines)
        image = _some_image(engines[0].slots[name])
        problem = disagreement(graph, image, run(image))
        if problem:
            raise BackendError(f"the graph that decides on the device is not used: {problem}")
    except BaseException:
        with contextlib.suppress(BackendError):
            graph.close()
        raise
    return graph


def deciding_problem(cuda: Cuda, engines: Sequence[Engine]) -> str | None:
    """Why these engines cannot be put into such a graph here; None where nothing is known to be in the way."""
    if len(engines) < 2:
        return "there is one exit, and nothing to decide"
    for engine in engines:
        if engine.batch.min > 1:
            return f"{engine.path}: takes {engine.batch.min} images or more, not one"
        logits = engine.slots[f"logits_{engine.exit}"]
        if logits.dtype != "float32" or len(logits.shape) != 1:
            return f"{engine.path}: its logits are {logits.dtype} {logits.shape}"
    given = _given(engines)
    if len(given) != 1:
        return f"the first segments take {', '.join(given)} from the host, not one image"
    return conditional_problem(cuda)


class DecidingGraph:
    """The graph, its memory, its stream and its contexts. Threads may share it; it serves one image at a time.

    Args:
        cuda: the CUDA runtime.
        engines: of the segments, in order; see `deciding_problem`.
        zero_copy: let the device read images and write answers in host memory.

    Raises:
        BackendError: an engine cannot be captured, or a call of CUDA or TensorRT failed; nothing is held then.
    """

    def __init__(self, cuda: Cuda, engines: Sequence[Engine], *, zero_copy: bool) -> None:
        self._cuda = cuda
        self._exits = len(engines)
        self._memory = Memory(cuda)
        self._contexts: list[Any] = []
        self._kernel: DecisionKernel | None = None
        self._graph: Any = None
        self._rule: StopRule | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._stream = cuda.create_stream()
        try:
            self._kernel = DecisionKernel()
            self._place(engines, zero_copy)
            self._warm_up(engines)
            self._graph = self._capture(engines)
        except BaseException:
            cuda.runtime.cudaGetLastError()  # or the next launch would report this failure as its own
            with contextlib.suppress(BackendError):  # the first error is the one to tell
                self.close()
            raise

    def answer(self, image: npt.NDArray[Any], rule: StopRule) -> Answered:
        """Run one image `(1, …)`, as the first engine takes it, to where the rule stops it.

        Raises:
            BackendError: a call of CUDA failed, or it was closed.
        """
        with self._lock:
            if self._graph is None:
                raise BackendError("the graph that decides on the device was closed")
            if rule is not self._rule:
                self._write(rule)
            self._image[...] = image
            self._cuda.launch(self._graph, self._stream)
            self._cuda.synchronize(self._stream)
            exit, non_finite, _, _ = self._header.tolist()
            return Answered(self._logits.copy(), exit, non_finite)

    def close(self) -> None:
        """Wait for the device and for an answer under way, and give everything back. Closing again does nothing."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._cuda.synchronize(self._stream)
        if self._graph is not None:
            self._cuda.destroy_graph(self._graph)
            self._graph = None
        self._contexts.clear()
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None
        self._memory.free()
        self._cuda.destroy_stream(self._stream)

    def _place(self, engines: Sequence[Engine], zero_copy: bool) -> None:
        [name] = _given(engines)
        slot = engines[0].slots[name]
        rules = -(-(self._exits - 1) * RULE.itemsize // ALIGNMENT) * ALIGNMENT
        self._classes = engines[0].slots[f"logits_{engines[0].exit}"].shape[0]
        given, self._given = self._pair(rules + slot.row_bytes, zero_copy)
        answer, self._answer = self._pair(ANSWER.itemsize + 4 * self._classes, zero_copy)
        self._up = None if zero_copy else given
        self._down = None if zero_copy else answer
        self._rules = given.array[: (self._exits - 1) * RULE.itemsize].view(RULE)
        self._image = given.array[rules:].view(slot.dtype).reshape(1, *slot.shape)
        self._header = answer.array[: ANSWER.itemsize].view(np.int32)
        self._logits = answer.array[ANSWER.itemsize :].view(np.float32)
        self._addresses = {name: self._given.address + rules}
        for engine in engines:
            for other in engine.slots.values():
                if other.name not in self._addresses:
                    self._addresses[other.name] = self._memory.tensor(1, other.row_bytes).address
        scratch = self._memory.scratch(max(engine.scratch_bytes for engine in engines))
        for engine in engines:
            self._contexts.append(engine.create_context(scratch))
            engine.bind(self._contexts[-1], 1, {name: self._addresses[name] for name in engine.slots})

    def _pair(self, size: int, zero_copy: bool) -> tuple[PinnedTensor, DeviceTensor]:
        if zero_copy:
            return self._memory.shared((size,), np.uint8)
        return self._memory.pinned((size,), np.uint8), self._memory.tensor(1, size)

    def _warm_up(self, engines: Sequence[Engine]) -> None:
        # A context's first run after a change of shape does things that cannot be captured.
        for engine, context in zip(engines, self._contexts, strict=True):
            engine.execute(context, self._stream)
            if not engine.is_capturable(context, self._stream):
                raise BackendError(f"{engine.path}: TensorRT says that it cannot be captured in a CUDA graph")
        # Nor can the loading of a kernel, which may wait for its first launch. The last exit's sets no condition.
        self._enqueue_decision(engines[-1], 0)
        self._cuda.synchronize(self._stream)

    def _capture(self, engines: Sequence[Engine]) -> Any:
        graph = ConditionalGraph(self._cuda, self._stream)
        try:
            part, first = graph.root, None
            after = [] if self._up is None else graph.add(part, [], self._upload)
            for index, (engine, context) in enumerate(zip(engines, self._contexts, strict=True)):
                last = index == self._exits - 1
                handle = 0 if last else graph.condition(part)
                after = graph.add(part, after, partial(self._segment, engine, context, handle))
                if not last:
                    node, part = graph.add_if(part, after, handle)
                    first, after = first or node, []
            if self._down is not None:
                graph.add(graph.root, [first], self._download)
            return graph.instantiate()
        finally:
            graph.close()

    def _segment(self, engine: Engine, context: Any, handle: int) -> None:
        engine.execute(context, self._stream)
        self._enqueue_decision(engine, handle)

    def _enqueue_decision(self, engine: Engine, handle: int) -> None:
        assert self._kernel is not None
        logits = self._addresses[f"logits_{engine.exit}"]
        self._kernel.enqueue(
            self._stream,
            handle,
            logits,
            self._given.address,
            self._answer.address,
            engine.exit,
            self._exits,
            self._classes,
        )

    def _upload(self) -> None:
        assert self._up is not None
        self._cuda.upload(self._given.address, self._up.address, self._up.array.nbytes, self._stream)

    def _download(self) -> None:
        assert self._down is not None
        self._cuda.download(self._down.address, self._answer.address, self._down.array.nbytes, self._stream)

    def _write(self, rule: StopRule) -> None:
        self._rule = None
        self._rules["score"] = SCORES.index(rule.kind)
        self._rules["threshold"] = rule.thresholds
        self._rules["temperature"] = rule.temperatures
        self._rule = rule


def disagreement(graph: DecidingGraph, image: npt.NDArray[Any], logits: Sequence[npt.NDArray[Any]]) -> str | None:
    """Where the graph does not do what the segments, run one by one, and the policies do; None if it does nowhere.

    Args:
        graph: it.
        image: `(1, …)`, as the first engine takes it.
        logits: what the segments give for it, float32 `(1, C)` per exit.
    """
    exits = len(logits)
    for exit, expected in enumerate(logits, start=1):
        found = graph.answer(image, FixedExit(exit).rule(exits))
        if found.exit != exit:
            return f"it answers at exit {found.exit} where exit {exit} is asked for"
        scale = float(np.abs(expected).max())
        if not np.allclose(found.logits, expected[0], rtol=TOLERANCE, atol=TOLERANCE * scale):
            return f"its logits of exit {exit} are not those of the segments run one by one"
    for policy, stops in _around(logits[0]):
        rule = policy.rule(exits)
        stopped = None if rule is None else graph.answer(image, rule).exit
        if stopped is None or (stopped == 1) != stops:
            return f"it answers at exit {stopped} under {policy.description}"
    return None


def _around(logits: npt.NDArray[Any]) -> Iterator[tuple[ScorePolicy, bool]]:
    """Policies that compare with a little less and a little more than an image's score, and whether it stops there."""
    for kind in (Confidence, Entropy, Margin):
        score = float(kind.score(logits)[0])
        if score > 0.001:
            for factor in (1 - TOLERANCE, 1 + TOLERANCE):
                yield kind(min(factor * score, kind.highest), temperature=1.0), (factor < 1) == kind.rises


def _some_image(slot: Slot) -> npt.NDArray[Any]:
    """An image of noise `(1, …)`, as an engine takes it."""
    noise, shape = np.random.default_rng(0), (1, *slot.shape)
    if slot.dtype == "uint8":
        return noise.integers(0, 256, shape, dtype=np.uint8)
    return noise.normal(size=shape).astype(slot.dtype)


def _given(engines: Sequence[Engine]) -> list[str]:
    """What the segments take and none of them gives."""
    slots = [slot for engine in engines for slot in engine.slots.values()]
    given = {slot.name for slot in slots if not slot.is_input}
    return sorted({slot.name for slot in slots if slot.is_input} - given)
