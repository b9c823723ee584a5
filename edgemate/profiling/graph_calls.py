"""The calls that time a bundle's graphs: every exit's prefix, chain of segments, and segment alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Bundle
from edgemate.errors import EdgemateError
from edgemate.policies import Confidence, FixedExit
from edgemate.profiling.timings import Case, Graphs, Loading
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends.base import Backend
from edgemate.timing import SelfTimed

Array = npt.NDArray[Any]
Calls = dict[Case, Callable[[], object]]

NO_ENGINES = "the bundle has no engines; edgemate build makes them on a device with a GPU"
LAYOUTS: Mapping[Literal["segments", "prefixes"], Graphs] = {"segments": "segments", "prefixes": "prefix"}


@dataclass(frozen=True)
class Loaded:
    """The classifiers of one bundle, warm.

    Attributes:
        classifiers: (library, layout) → classifier.
        loading: how long each took to load.
        unavailable: library or layout → why it cannot be timed.
    """

    classifiers: dict[tuple[str, Literal["segments", "prefixes"]], AnytimeClassifier]
    loading: tuple[Loading, ...]
    unavailable: dict[str, str]


def load_libraries(bundle: Bundle, image: Array, threads: int, stack: contextlib.ExitStack) -> Loaded:
    """Open a bundle in ONNX Runtime, and in TensorRT where it has engines that fit this device.

    Args:
        bundle: whose hashes have been checked.
        image: for the first call, float32 (1, C, H, W).
        threads: CPU threads.
        stack: closes the classifiers.

    Raises:
        BackendError: ONNX Runtime is not installed or cannot run the bundle.
        BundleError: it has no segments or no prefixes.
    """
    classifiers: dict[tuple[str, Literal["segments", "prefixes"]], AnytimeClassifier] = {}
    loading, unavailable = [], {}
    has_engines = bool(bundle.engine_folders())
    for library in ("onnxruntime", "tensorrt", "tensorrt_rtx"):
        if library != "onnxruntime" and not has_engines:
            unavailable[library] = NO_ENGINES
            continue
        for layout, graphs in LAYOUTS.items():
            try:
                classifier, took = _load(bundle, library, layout, graphs, image, threads, stack)
            except EdgemateError as error:
                if library == "onnxruntime":
                    raise
                unavailable[f"{library} {graphs}"] = str(error)
                _join(unavailable, library)
                continue
            classifiers[library, layout] = classifier
            loading.append(took)
    return Loaded(classifiers, tuple(loading), unavailable)


def graph_calls(loaded: Loaded, images: Array, batches: Sequence[int]) -> Calls:
    """The calls of every exit, batch size and library.

    Args:
        loaded: what `load_libraries` returned; a batch size beyond a backend's largest is noted in its `unavailable`.
        images: float32 (N, C, H, W), repeated to fill a batch.
        batches: batch sizes.
    """
    calls: Calls = {}
    for (library, layout), classifier in loaded.classifiers.items():
        graphs, most = LAYOUTS[layout], classifier.backend.largest_batch
        exits = range(1, len(classifier.exits) + 1)
        for batch in batches:
            if most is not None and batch > most:
                loaded.unavailable[f"{library} {graphs}, batch {batch}"] = f"the engines take at most {most} images"
                continue
            filled = np.resize(images, (batch, *images.shape[1:]))
            for exit in exits:
                calls[Case(library, graphs, exit, batch)] = partial(
                    classifier.classify, filled, FixedExit(exit), batch_size=batch
                )
                if layout == "segments":
                    calls[Case(library, "segment", exit, batch)] = OneSegment(classifier.backend, exit, filled)
        if layout == "segments":
            for exit in exits:  # at 0 every probability stops, at 1 none does
                policy = Confidence([1.0] * (exit - 1) + [0.0] * (len(exits) - exit))
                calls[Case(library, "stop", exit, 1)] = partial(classifier.classify, images[:1], policy)
    return calls


class OneSegment(SelfTimed):
    """Segment `exit` alone: the segments before it run too, but are not timed.

    Its inputs are thus where they are in use: in the caches, or on the device.
    """

    def __init__(self, backend: Backend, exit: int, images: Array) -> None:
        self._backend = backend
        self._before = exit - 1
        self._images = images

    def __call__(self) -> float:
        """Run the pass up to this segment; the milliseconds of this segment."""
        flow = self._backend.begin(self._images)
        for _ in range(self._before):
            flow.advance()
        started = time.perf_counter_ns()
        flow.advance()
        return (time.perf_counter_ns() - started) * 1e-6


def _join(unavailable: dict[str, str], library: str) -> None:
    """One line for a library of which both layouts are unavailable for the same reason."""
    segments, prefix = (unavailable.get(f"{library} {graphs}") for graphs in LAYOUTS.values())
    if segments is not None and segments == prefix:
        for graphs in LAYOUTS.values():
            del unavailable[f"{library} {graphs}"]
        unavailable[library] = segments


def _load(
    bundle: Bundle,
    library: str,
    layout: Literal["segments", "prefixes"],
    graphs: Graphs,
    image: Array,
    threads: int,
    stack: contextlib.ExitStack,
) -> tuple[AnytimeClassifier, Loading]:
    started = time.perf_counter()
    classifier = stack.enter_context(AnytimeClassifier.load(bundle, library, threads=threads, layout=layout))
    loaded = time.perf_counter()
    classifier.classify(image, FixedExit(len(classifier.exits)))
    called = time.perf_counter()
    took = 1e3 * (loaded - started), 1e3 * (called - loaded)
    return classifier, Loading(library, graphs, *took, backend=classifier.backend.metadata())
