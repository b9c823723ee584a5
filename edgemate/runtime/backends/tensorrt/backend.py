"""TensorRT on an NVIDIA GPU: images go up, logits come down, and the features between segments never leave it."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

import numpy as np

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError, UsageError
from edgemate.policies.single import StopRule
from edgemate.runtime.backends.base import Answering, Array, Backend, ForwardPass, SinglePass
from edgemate.runtime.backends.tensorrt.compat import Flavour, load_tensorrt
from edgemate.runtime.backends.tensorrt.cuda import Cuda
from edgemate.runtime.backends.tensorrt.deciding import DecidingGraph, proved_graph
from edgemate.runtime.backends.tensorrt.engine import Engine
from edgemate.runtime.backends.tensorrt.first_load import prove_at_first_load
from edgemate.runtime.backends.tensorrt.formats import check_formats
from edgemate.runtime.backends.tensorrt.loading import EngineFile, find_engines, open_engine
from edgemate.runtime.backends.tensorrt.options import BatchRange, speed_options
from edgemate.runtime.backends.tensorrt.passes import TensorRTPass, TensorRTSinglePass
from edgemate.runtime.backends.tensorrt.runner import Lane
from edgemate.runtime.backends.wiring import Step, wire

Decide = Literal["auto", "device", "host"]


class TensorRTBackend(Backend):
    """Runs the engines that `edgemate build` left in the bundle.

    Segments and the conditional graph are opened at once, a prefix when it is first run. Engines that were not built on
    this device are proved on the bundle's golden samples when it first loads them. `threads` means nothing here.

    Args:
        bundle: as every backend's.
        layout: as every backend's.
        threads: as every backend's.
        cuda_graphs: launch a segment with its copies as one CUDA graph: those for one image and for the batch size
            that the engines are tuned for are made now, others when they are first met.
        speculate: enqueue the next segment while the host decides about the last. An image that stops has then kept
            the GPU busy for one segment more; what is gained is the host's time between two segments. For layout
            `segments`, as `decide: device`.
        zero_copy: let the GPU read images and write logits in host memory, instead of copying them; where both share
            one memory, as on a Jetson, if None.
        decide: `device` lets one CUDA graph run all segments for one image and decide itself where it stops; `host`
            does not; `auto` does so where runtime, driver and engines can, and it answers as the segments do, unless it
            was told to speculate or to make no CUDA graphs.
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
        zero_copy: bool | None = None,
        decide: Decide = "auto",
        engines: Sequence[EngineFile] | None = None,
    ) -> None:
        if decide not in get_args(Decide):
            raise UsageError(f"decide: must be {' or '.join(map(repr, get_args(Decide)))}, not {decide!r}")
        for option, asked in (("speculate", speculate), ("decide", decide == "device")):
            if asked and layout != "segments":
                raise UsageError(
                    f"{option}: is about what comes between two segments, and the layout is {layout!r}; leave it out"
                )
        self._trt = load_tensorrt(self.flavour)
        self._trt.require_device()  # TensorRT-RTX loads without one, and CUDA's own message would not help
        self._cuda = Cuda.load()
        self._files = find_engines(bundle, self._trt, layout) if engines is None else list(engines)
        self._largest_batch = min(BatchRange.parse(file.metadata.options["batch"]).max for file in self._files)
        self._shape = bundle.manifest.input.shape(1)[1:]
        self._dtype = np.dtype(bundle.manifest.input.dtype)
        self._one_image = bundle.manifest.input.shape(1)
        self._cuda_graphs = cuda_graphs
        self._speculate = speculate
        self._zero_copy = self._cuda.is_integrated() if zero_copy is None else zero_copy
        self._lock = threading.Lock()
        self._chains: dict[int, _Chain] = {}  # exit of the last engine → engines
        # For those who never call close(). At the end of the process the driver frees everything by itself, and may be
        # gone before this could.
        weakref.finalize(self, _let_go, self._chains).atexit = False
        self._deciding: DecidingGraph | None = None
        self.decides_on_host: str | None = None  # why, where it was to decide on the device
        if layout == "segments":
            self._open(self._files, wire([file.graph for file in self._files]))
        elif layout == "conditional":
            [file] = self._files
            names = tuple(tensor.name for tensor in file.graph.inputs)
            self._open(self._files, [Step(names, ("logits", "exit"), names)], fetched=2)
        if engines is None:
            try:
                prove_at_first_load(bundle, self, layout, self._files, self._trt)
            except BaseException:
                self.close()
                raise
        if layout == "segments":  # by engines that are proved
            self._decide_on_device(decide)
        self._keep_kernels()

    @property
    def largest_batch(self) -> int:
        """The most images that the engines take at a time."""
        return self._largest_batch

    def begin(self, images: Array) -> ForwardPass:
        """A pass over the segments."""
        return self._begin(self._chains[len(self._files)], images)

    def begin_one(self, image: Array) -> SinglePass:
        """A pass of one image over the segments: the same object for each image that a lane gets."""
        chain = self._chains[len(self._files)]
        if image.shape != self._one_image or image.dtype != self._dtype:
            raise self._refused(chain, image)
        with self._lock:
            flow = chain.single_pass(self._speculate)
        flow.start(image)
        return flow

    def answering(self, rule: StopRule) -> Answering | None:
        """The graph that decides itself, where there is one."""
        return None if self._deciding is None else partial(self._deciding.answer, rule=rule)

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
        """Version, GPU with its multiprocessors and memory, precision, how engines are built and segments launched."""
        engine = self._files[0].metadata
        lanes = [lane for chain in self._chains.values() for lane in chain.lanes]
        captured = {runner.capturable for lane in lanes for runner in lane.runners} or {self._cuda_graphs}
        found = {
            self.flavour: self._trt.version_text,
            **self._trt.require_device().metadata(),
            "precision": engine.precision,
            "engine batch": str(engine.options["batch"]),
            "engine options": speed_options(engine.options),
            "cuda graphs": "not for all engines" if len(captured) > 1 else "on" if captured == {True} else "off",
            "speculation": "on" if self._speculate else "off",
        }
        if self._zero_copy:
            found["zero copy"] = "on"
        if self._deciding is not None:
            found["decides"] = "on the device"
        return found

    def close(self) -> None:
        """Wait for the GPU, then free everything on it. Passes that are still under way cannot go on.

        A backend that nobody holds any more, and no pass either, is closed by itself.
        """
        self._keep_kernels()
        if self._deciding is not None:
            self._deciding.close()
            self._deciding = None
        _close(self._chains)

    def _keep_kernels(self) -> None:
        if self._chains and self._trt.kernels is not None:
            self._trt.kernels.save()

    def _open(self, files: Sequence[EngineFile], steps: Sequence[Step], fetched: int = 1) -> None:
        engines = [Engine(self._trt, file.path, partial(open_engine, self._trt, file), file.graph) for file in files]
        check_formats(engines)
        # What decides on the device which branch to run cannot be captured. A graph needs a context of its own, which
        # would be a copy of the engine for each batch size where it may have one only.
        graphs = (
            self._cuda_graphs
            and files[0].metadata.layout != "conditional"
            and all(engine.has_many_contexts for engine in engines)
        )
        chain = _Chain(self._cuda, engines, steps, [step.gives[:fetched] for step in steps], graphs, self._zero_copy)
        chain.lane()  # the first now, so that what can fail does so when the bundle is loaded
        self._chains[engines[-1].exit] = chain

    def _decide_on_device(self, decide: Decide) -> None:
        if decide == "host" or (decide == "auto" and (self._speculate or not self._cuda_graphs)):
            return
        try:
            self._deciding = self._deciding_graph()
            # For those who never call close(); at the end of the process the driver may be gone before this.
            weakref.finalize(self, _let_go_graph, self._deciding).atexit = False
        except BackendError as error:
            if decide == "device":
                self.close()
                raise BackendError(f"decide: 'device' is not possible here: {error}") from error
            self.decides_on_host = str(error)

    def _deciding_graph(self) -> DecidingGraph:
        [chain] = self._chains.values()

        def run(image: Array) -> list[Array]:
            flow = self.begin(image)
            return [flow.advance() for _ in chain.engines]

        return proved_graph(self._cuda, chain.engines, run, zero_copy=self._zero_copy)

    def _begin(self, chain: _Chain, images: Array, **others: Array) -> TensorRTPass:
        batch = chain.batch
        if images.shape[1:] != self._shape or images.dtype != self._dtype or not 1 <= len(images) <= batch.max:
            raise self._refused(chain, images)
        with self._lock:
            lane = chain.lane()
            flow = TensorRTPass(lane, chain.steps, batch.min, self._speculate, len(images))
            flow.backend = self
            lane.holder = weakref.ref(flow)
        lane.given["image"][: len(images)] = images
        for name, array in others.items():
            lane.given[name][0] = array
        return flow

    def _refused(self, chain: _Chain, images: Array) -> BackendError:
        return BackendError(
            f"{chain.engines[0].path}: takes {self._dtype} images (N, {', '.join(map(str, self._shape))}) with N from "
            f"1 to {chain.batch.max}, not {images.dtype} {images.shape}; edgemate build --batch min:opt:max sets N"
        )


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
        zero_copy: bool,
    ) -> None:
        self.engines = engines
        self.steps = steps
        batches = [engine.batch for engine in engines]
        least, most = max(batch.min for batch in batches), min(batch.max for batch in batches)
        self.batch = BatchRange(least, min(max(batches[0].opt, least), most), most)
        self.lanes: list[Lane] = []
        self._singles: dict[Lane, TensorRTSinglePass] = {}
        self._cuda = cuda
        self._fetched = fetched
        self._cuda_graphs = cuda_graphs
        self._zero_copy = zero_copy

    def lane(self) -> Lane:
        """A lane whose last pass is gone, else a new one.

        What that pass left under way harms nobody: the stream does it before it begins with anything new.
        """
        for lane in self.lanes:
            if lane.holder is None or lane.holder() is None:
                return lane
        warm = {self.batch.min, self.batch.opt}
        lane = Lane(
            self._cuda,
            self.engines,
            self._fetched,
            self.batch.max,
            cuda_graphs=self._cuda_graphs,
            warm=warm,
            zero_copy=self._zero_copy,
        )
        self.lanes.append(lane)
        return lane

    def single_pass(self, speculate: bool) -> TensorRTSinglePass:
        """The pass of one image of a free lane, which is not free until that is ended."""
        lane = self.lane()
        lane.holder = _busy
        flow = self._singles.get(lane)
        if flow is None:
            flow = self._singles[lane] = TensorRTSinglePass(lane, self.batch.min, speculate)
        return flow

    def close(self) -> None:
        self._singles = {}
        while self.lanes:
            self.lanes.pop().close()
        for engine in self.engines:
            engine.close()


def _close(chains: dict[int, _Chain]) -> None:
    while chains:
        chains.popitem()[1].close()


def _let_go_graph(graph: DecidingGraph) -> None:
    with contextlib.suppress(BackendError):  # nobody is there to be told
        graph.close()


def _let_go(chains: dict[int, _Chain]) -> None:
    # Nobody is there to be told of an error.
    while chains:
        with contextlib.suppress(BackendError):
            chains.popitem()[1].close()


def _busy() -> bool:
    """The holder of a lane whose pass says itself when it ends."""
    return True
