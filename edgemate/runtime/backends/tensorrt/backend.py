"""TensorRT on an NVIDIA GPU: images go up, logits come down, and the features between segments never leave it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError
from edgemate.runtime.backends.base import Array, Backend, ForwardPass
from edgemate.runtime.backends.tensorrt.compat import Flavour, load_tensorrt
from edgemate.runtime.backends.tensorrt.cuda import Cuda
from edgemate.runtime.backends.tensorrt.engine import Engine
from edgemate.runtime.backends.tensorrt.formats import check_formats
from edgemate.runtime.backends.tensorrt.loading import EngineFile, find_engines, open_engine
from edgemate.runtime.backends.tensorrt.options import BatchRange
from edgemate.runtime.backends.tensorrt.runner import Lane
from edgemate.runtime.backends.wiring import Step, wire


class TensorRTBackend(Backend):
    """Runs the engines that `edgemate build` left in the bundle.

    Segments and the conditional graph are opened at once, a prefix when it is first run. `threads` means nothing here.

    Args:
        bundle: as every backend's.
        layout: as every backend's.
        threads: as every backend's.
        cuda_graphs: launch a segment with its copies as one CUDA graph: those for one image and for the batch size
            that the engines are tuned for are made now, others when they are first met.
        speculate: enqueue the next segment while the host decides about the last. An image that stops has then kept
            the GPU busy for one segment more; what is gained is the host's time between two segments.
        engines: run these, in the order of the layout's graphs; those that fit this device if None.
    """

    flavour: Flavour = "tensorrt"

    def __init__(
        self,
        bundle: Bundle,
        *,
        layout: Layout,
        threads: int | None,
        cuda_graphs: bool = True,
        speculate: bool = False,
        engines: Sequence[EngineFile] | None = None,
    ) -> None:
        self._trt = load_tensorrt(self.flavour)
        self._cuda = Cuda.load()
        self._files = find_engines(bundle, self._trt, layout) if engines is None else list(engines)
        self._largest_batch = min(BatchRange.parse(file.metadata.options["batch"]).max for file in self._files)
        self._shape = bundle.manifest.input.shape(1)[1:]
        self._cuda_graphs = cuda_graphs
        self._speculate = speculate
        self._lock = threading.Lock()
        self._chains: dict[int, _Chain] = {}  # exit of the last engine → engines
        if layout == "segments":
            self._open(self._files, wire([file.graph for file in self._files]))
        elif layout == "conditional":
            [file] = self._files
            names = tuple(tensor.name for tensor in file.graph.inputs)
            self._open(self._files, [Step(names, ("logits", "exit"), names)], fetched=2)

    @property
    def largest_batch(self) -> int:
        """The most images that the engines take at a time."""
        return self._largest_batch

    def begin(self, images: Array) -> ForwardPass:
        """A pass over the segments."""
        return self._begin(self._chains[len(self._files)], images)

    def run_prefix(self, exit: int, images: Array) -> Array:
        """Run the prefix of `exit`."""
        with self._lock:
            if exit not in self._chains:
                file = self._files[exit - 1]
                self._open([file], [Step(("image",), (f"logits_{exit}",), ("image",))])
        return self._begin(self._chains[exit], images).advance()

    def run_conditional(self, image: Array, thresholds: Array) -> tuple[Array, int]:
        """Run the conditional graph."""
        [chain] = self._chains.values()
        flow = self._begin(chain, image, thresholds=thresholds)
        logits, exit = flow.fetch()
        return logits[0], int(exit[0, 0])

    def metadata(self) -> dict[str, str]:
        """Version, GPU, precision, batch sizes, and how segments are launched."""
        engine = self._files[0].metadata
        lanes = [lane for chain in self._chains.values() for lane in chain.lanes]
        captured = {runner.capturable for lane in lanes for runner in lane.runners} or {self._cuda_graphs}
        return {
            self.flavour: self._trt.version_text,
            "gpu": self._trt.require_device().name,
            "precision": engine.precision,
            "engine batch": str(engine.options["batch"]),
            "cuda graphs": "not for all engines" if len(captured) > 1 else "on" if captured == {True} else "off",
            "speculation": "on" if self._speculate else "off",
        }

    def close(self) -> None:
        """Wait for the GPU, then free everything on it. Passes that are still under way cannot go on."""
        while self._chains:
            self._chains.popitem()[1].close()

    def _open(self, files: Sequence[EngineFile], steps: Sequence[Step], fetched: int = 1) -> None:
        engines = [Engine(self._trt, file.path, open_engine(self._trt, file), file.graph) for file in files]
        check_formats(engines)
        # What decides on the device which branch to run cannot be captured.
        graphs = self._cuda_graphs and files[0].metadata.layout != "conditional"
        chain = _Chain(self._cuda, engines, steps, [step.gives[:fetched] for step in steps], graphs)
        chain.lane()  # the first now, so that what can fail does so when the bundle is loaded
        self._chains[engines[-1].exit] = chain

    def _begin(self, chain: _Chain, images: Array, **others: Array) -> _TensorRTPass:
        batch = chain.batch
        if images.shape[1:] != self._shape or not 1 <= len(images) <= batch.max:
            raise BackendError(
                f"{chain.engines[0].path}: takes float32 images (N, {', '.join(map(str, self._shape))}) with N from 1 "
                f"to {batch.max}, not {images.dtype} {images.shape}; edgemate build --batch min:opt:max sets N"
            )
        with self._lock:
            lane = chain.lane()
            flow = _TensorRTPass(lane, chain.steps, batch.min, self._speculate, len(images))
            lane.holder = weakref.ref(flow)
        lane.given["image"][: len(images)] = images
        for name, array in others.items():
            lane.given[name][0] = array
        return flow


class TensorRTRTXBackend(TensorRTBackend):
    """The same with TensorRT-RTX."""

    flavour: Flavour = "tensorrt_rtx"


class _Chain:
    """Engines that run one after another, and the lanes in which they do: one, or as many as passes are under way."""

    def __init__(
        self,
        cuda: Cuda,
        engines: Sequence[Engine],
        steps: Sequence[Step],
        fetched: Sequence[tuple[str, ...]],
        cuda_graphs: bool,
    ) -> None:
        self.engines = engines
        self.steps = steps
        batches = [engine.batch for engine in engines]
        least, most = max(batch.min for batch in batches), min(batch.max for batch in batches)
        self.batch = BatchRange(least, min(max(batches[0].opt, least), most), most)
        self.lanes: list[Lane] = []
        self._cuda = cuda
        self._fetched = fetched
        self._cuda_graphs = cuda_graphs

    def lane(self) -> Lane:
        """A lane whose last pass is gone, else a new one.

        What that pass left under way harms nobody: the stream does it before it begins with anything new.
        """
        for lane in self.lanes:
            if lane.holder is None or lane.holder() is None:
                return lane
        warm = {self.batch.min, self.batch.opt}
        lane = Lane(self._cuda, self.engines, self._fetched, self.batch.max, cuda_graphs=self._cuda_graphs, warm=warm)
        self.lanes.append(lane)
        return lane

    def close(self) -> None:
        while self.lanes:
            self.lanes.pop().close()
        for engine in self.engines:
            engine.close()


class _TensorRTPass(ForwardPass):
    def __init__(self, lane: Lane, steps: Sequence[Step], least: int, speculate: bool, rows: int) -> None:
        self._lane = lane
        self._steps = steps
        self._least = least
        self._speculate = speculate
        self._rows = rows
        self._live = {"image"}  # tensors on the device that a segment not yet enqueued takes
        self._enqueued: list[int] = []  # images in each segment's batch when it was enqueued
        self._answered = 0
        self._late: npt.NDArray[np.intp] | None = None  # rows kept since the segment to answer next was enqueued

    def advance(self) -> Array:
        logits: Array = self.fetch()[0]
        return logits

    def fetch(self) -> list[Array]:
        index = self._answered
        late, self._late = self._late, None
        if index == len(self._enqueued):
            self._enqueue()
        if self._speculate and len(self._enqueued) < len(self._steps):
            self._enqueue()
        arrays = self._lane.answer(index, self._enqueued[index])
        self._answered += 1
        return arrays if late is None else [array[late] for array in arrays]

    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        if self._answered < len(self._enqueued):  # its answer is on the way, with the rows of images that have left
            self._late = kept if self._late is None else self._late[kept]
        self._lane.keep(sorted(self._live), kept)
        self._rows = len(kept)

    def _enqueue(self) -> None:
        step = self._steps[len(self._enqueued)]
        # Below the least batch that the engines take, rows of earlier images are computed along and not looked at.
        self._lane.enqueue(len(self._enqueued), max(self._rows, self._least))
        self._enqueued.append(self._rows)
        self._live = (self._live | set(step.gives)) - set(step.done)
