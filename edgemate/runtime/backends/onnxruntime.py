"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Bundle, Graph
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError, BundleError, ClosedError
from edgemate.machine import usable_cores
from edgemate.runtime.backends.base import Array, Backend, ForwardPass
from edgemate.runtime.backends.onnx_header import OnnxHeader, lowest_onnxruntime, read_onnx_header
from edgemate.runtime.backends.wiring import Step, wire

_TYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "int8": "tensor(int8)",
    "int32": "tensor(int32)",
    "uint8": "tensor(uint8)",
}
"""A dtype of the manifest as ONNX Runtime names it."""

_Expected = tuple[str, np.dtype[Any], tuple[int, ...]]
"""Name, dtype and shape of an output."""

_MOST_EXPECTED = 64
"""Batch sizes that are remembered."""


class ONNXRuntimeBackend(Backend):
    """One session per graph: a prefix is loaded when it is first run, the others at once."""

    def __init__(self, bundle: Bundle, *, layout: Layout, threads: int | None) -> None:
        self._library = _import_library()
        self._bundle = bundle
        self._layout = layout
        self._threads = threads or usable_cores()
        if layout not in bundle.manifest.graphs:
            raise BundleError(f"{bundle.path}: has no {layout}, only {' and '.join(bundle.manifest.graphs)}")
        self._graphs = bundle.manifest.graphs[layout]
        self._closed = False
        self._whole: dict[int, _Session] = {}  # exit → what answers it in one run: its prefix, or the conditional graph
        self._segments: tuple[tuple[_Session, Step], ...] = ()
        if layout == "segments":
            steps = wire(self._graphs)
            self._segments = tuple((self._open(graph), step) for graph, step in zip(self._graphs, steps, strict=True))
        elif layout == "conditional":
            self._whole = {graph.exit: self._open(graph) for graph in self._graphs}

    def begin(self, images: Array) -> ForwardPass:
        """A pass over the segments."""
        self._need_open()
        return _ONNXRuntimePass(self._segments, images)

    def run_prefix(self, exit: int, images: Array) -> Array:
        """Run the prefix of `exit`."""
        self._need_open()
        if exit not in self._whole:
            graph = self._graphs[exit - 1]
            if self._bundle.verified:
                self._bundle.check(graph.file)  # which may have been replaced since the bundle was opened
            self._whole[exit] = self._open(graph)
        return self._whole[exit].run((f"logits_{exit}",), {"image": images})[0]

    def run_conditional(self, image: Array, thresholds: Array) -> tuple[Array, int]:
        """Run the conditional graph."""
        self._need_open()
        [session] = self._whole.values()
        logits, taken = session.run(("logits", "exit"), {"image": image, "thresholds": thresholds})
        exit, exits = int(taken[0]), len(thresholds) + 1
        if not 1 <= exit <= exits:
            raise BundleError(f"{session.path}: gives exit {exit}; the network has {exits}")
        return logits, exit

    def metadata(self) -> dict[str, str]:
        """Version and threads."""
        return {"onnxruntime": self._library.__version__, "threads": str(self._threads)}

    def close(self) -> None:
        """Drop the sessions, which ends their threads."""
        self._closed = True
        self._segments = ()
        self._whole = {}

    def _open(self, graph: Graph) -> _Session:
        path = self._bundle.graph(graph)
        session = _Session(self._library, path, self._threads)
        session.check(graph)
        return session

    def _need_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self._bundle.path}: the backend was closed; load the bundle again")


class _ONNXRuntimePass(ForwardPass):
    def __init__(self, segments: tuple[tuple[_Session, Step], ...], images: Array) -> None:
        self._remaining = iter(segments)
        self._tensors = {"image": images}

    def advance(self) -> Array:
        following = next(self._remaining, None)
        if following is None:  # a StopIteration would end the generator of a caller without a word
            raise BackendError("no segment is left to run in this pass")
        session, step = following
        tensors = self._tensors
        outputs = session.run(step.gives, {name: tensors[name] for name in step.takes})
        tensors.update(zip(step.gives, outputs, strict=True))
        for name in step.done:
            del tensors[name]
        return outputs[0]

    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        self._tensors = {name: tensor[kept] for name, tensor in self._tensors.items()}

    def features(self) -> dict[str, Array]:
        return dict(self._tensors)  # the logits are not among them, unless a later segment takes them


class _Session:
    """An `InferenceSession` that fails with one line."""

    def __init__(self, library: Any, path: Path, threads: int) -> None:
        self.path = path
        self._outputs: dict[str, tuple[np.dtype[Any], bool, tuple[int, ...]]] = {}
        self._expected: dict[tuple[tuple[str, ...], int], list[_Expected]] = {}  # by outputs and rows
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry(*_spinning(library.__version__))
        options.add_session_config_entry("session.load_model_format", "ONNX")  # which is what was checked
        try:
            self._session = library.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], enable_fallback=False
            )
        except Exception as error:  # ONNX Runtime has a class of its own for every status and no common base
            raise BackendError(_why_not_loaded(path, library.__version__, error)) from error

    def check(self, graph: Graph) -> None:
        """BundleError when the names or types of the graph's tensors are not the manifest's.

        `run` compares their shapes, which a graph need not state.
        """
        for what, stated, found in (
            ("takes", graph.inputs, self._session.get_inputs()),
            ("gives", graph.outputs, self._session.get_outputs()),
        ):
            wanted = {tensor.name: _TYPES[tensor.dtype] for tensor in stated}
            given = {tensor.name: tensor.type for tensor in found}
            if sorted(given) != sorted(wanted):
                names, stated_names = (", ".join(sorted(one)) for one in (given, wanted))
                raise BundleError(f"{self.path}: {what} {names} where the manifest says {stated_names}")
            for name, kind in wanted.items():
                if given[name] != kind:
                    raise BundleError(f"{self.path}: {what} {name} as {given[name]} where the manifest says {kind}")
        for tensor in graph.outputs:
            batch = tensor.shape[0] == "batch"
            rest = tuple(size for size in tensor.shape[batch:] if size != "batch")
            self._outputs[tensor.name] = (np.dtype(tensor.dtype), batch, rest)

    def run(self, gives: tuple[str, ...], tensors: dict[str, Array]) -> list[Array]:
        try:
            outputs: list[Array] = self._session.run(gives, tensors)
        except Exception as error:
            raise BackendError(f"{self.path}: ONNX Runtime cannot run it: {_one_line(error)}") from error
        rows = len(next(iter(tensors.values())))
        expected = self._expected.get((gives, rows))
        if expected is None:
            expected = self._expect(gives, rows)
        for array, (name, dtype, shape) in zip(outputs, expected, strict=True):
            if type(array) is not np.ndarray or array.shape != shape or array.dtype != dtype:
                raise BundleError(
                    f"{self.path}: gives {name} as {_described(array)}; the manifest says {dtype} {shape}"
                )
        return outputs

    def _expect(self, gives: tuple[str, ...], rows: int) -> list[_Expected]:
        """What these outputs must be for so many images; kept for the next time."""
        expected: list[_Expected] = []
        for name in gives:
            dtype, batch, rest = self._outputs[name]
            expected.append((name, dtype, (rows, *rest) if batch else rest))
        if len(self._expected) < _MOST_EXPECTED:
            self._expected[gives, rows] = expected
        return expected


def _described(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _spinning(version: str) -> tuple[str, str]:
    """The session option that keeps the sessions' threads out of each other's way.

    Every session has threads of its own, which spin while they wait for work: by default for up to half a second after
    a run, on the cores that the next segment's threads need. ResNet-18 at 32×32 cut in four, batch 1, 2 threads on 2
    cores, ms of the single graph → of all segments, on an idle machine and beside two busy processes:

        as it comes                            4.6 → 8.5    41 → 49
        stop spinning when a run ends          4.4 → 4.8    21 → 23
        spin for 25 µs                         4.3 → 4.6    10 → 11
        never spin                             5.1 → 5.5     9 → 9
        one pool for all sessions              4.4 → 4.6    17 → 17, but that is a setting of the whole process

    Those 25 µs bridge the gap to the next segment, whose threads wake faster on a core that has not gone to sleep. What
    stopping still costs is that waking, the features' way to and from the layout of the convolutions, and the earlier
    heads.
    """
    if _minor(version) >= (1, 26):
        return "session.intra_op.spin_duration_us", "25"
    return "session.force_spinning_stop", "1"


def _why_not_loaded(path: Path, installed: str, error: Exception) -> str:
    """One line: that ONNX Runtime is too old, where it is, which its own message leaves to be worked out."""
    try:
        header = read_onnx_header(path)
    except (OSError, ValueError):
        header = OnnxHeader(0, 0)
    needed = lowest_onnxruntime(header)
    if needed is not None and _minor(installed) < _minor(needed):
        return (
            f"{path}: needs onnxruntime {needed} or later (IR version {header.ir_version}, opset {header.opset}), and "
            f"{installed} is installed: pip install 'onnxruntime>={needed}', or export the run again"
        )
    return f"{path}: ONNX Runtime cannot load it: {_one_line(error)}"


def _minor(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _import_library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(f"onnxruntime cannot be imported ({error}); pip install 'edgemate[ort]'") from error
    return onnxruntime


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
