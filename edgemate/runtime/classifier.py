"""The classifier that stops: one network, several exits, and an answer from the earliest that will do."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Bundle, ExitFacts, InputContract
from edgemate.bundle.manifest import Layout
from edgemate.errors import UsageError
from edgemate.exits import Confidence, Deadline, FixedExit, OperatingPoints, Policy, read_operating_points, scores
from edgemate.registry import BACKENDS
from edgemate.runtime.backends.base import Backend
from edgemate.runtime.latency import Latency
from edgemate.runtime.prediction import Prediction
from edgemate.runtime.preprocessing import Picture, Preprocessor

Array = npt.NDArray[Any]


class AnytimeClassifier:
    """An opened bundle on a backend. Use it as a context manager, or `close()` it.

    Pictures are paths, PIL images, uint8 arrays `(H, W)` or `(H, W, C)`, or ready float32 arrays `(C, H, W)` and, for
    several at once, `(N, C, H, W)`. `non_finite` counts the times a picture's logits at some exit held a NaN or an
    infinity, at which no policy stops before the last exit.
    """

    def __init__(self, bundle: Bundle, backend: Backend, *, layout: Layout = "segments") -> None:
        self.bundle = bundle
        self.backend = backend
        self.layout = layout
        self.non_finite = 0
        self._preprocessor = Preprocessor(bundle.manifest.input)
        self._points: OperatingPoints | None = None
        self._segment_ms: dict[int, tuple[float, ...]] = {}

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        backend: str = "onnxruntime",
        *,
        threads: int | None = None,
        verify: bool = True,
        layout: Layout = "segments",
        **options: Any,
    ) -> AnytimeClassifier:
        """Open the bundle in folder `path`.

        Args:
            path: the bundle.
            backend: a registered backend's name.
            threads: CPU threads, 1 or more; by default all usable cores.
            verify: check every file's SHA-256 first.
            layout: `segments` can stop at any exit; `prefixes` runs one graph per picture and answers at a fixed exit
                only, which is the cheapest way to do that; `conditional` is one graph that compares the probabilities
                with thresholds itself, one picture at a time.
            options: what else this backend can be told, such as TensorRT's `speculate`.

        Raises:
            BundleError: the bundle is missing, damaged, unsafe, of a newer format, or has no graphs of this layout.
            BackendError: the backend is not installed or cannot run this bundle.
            UsageError: an unknown backend, layout or option, or fewer than 1 thread.
        """
        if layout not in get_args(Layout):
            raise UsageError(f"layout: must be {' or '.join(map(repr, get_args(Layout)))}, not {layout!r}")
        if threads is not None and threads < 1:
            raise UsageError(f"threads: must be 1 or more, not {threads}")
        factory = BACKENDS.get(backend)
        for option in options.keys() - inspect.signature(factory).parameters.keys():
            raise UsageError(f"{option}: backend {backend!r} has no such option")
        bundle = Bundle.open(os.fspath(path), verify=verify)
        return cls(bundle, factory(bundle, layout=layout, threads=threads, **options), layout=layout)

    @property
    def exits(self) -> tuple[ExitFacts, ...]:
        """The exits, first to last, with their MACs and accuracy."""
        return self.bundle.manifest.exits

    @property
    def classes(self) -> tuple[str, ...]:
        """The label of each class index."""
        return self.bundle.manifest.classes

    @property
    def input(self) -> InputContract:
        """What the network takes, and how a picture becomes that."""
        return self.bundle.manifest.input

    def stream(self, picture: Picture) -> Iterator[Prediction]:
        """Answers about one picture, one per exit, each better than the last.

        A segment is computed when its answer is asked for: stop iterating, and the rest is never done.

        Raises:
            PictureError: at once, not at the first answer.
            UsageError: the layout is not `segments`, or these are several pictures.
        """
        self._need_segments("stream")
        images = next(self._preprocessor.batches(picture, 2), None)
        if images is None or len(images) != 1:
            raise UsageError("stream: takes one picture at a time; use classify for several")
        return self._stream(images)

    def classify(
        self,
        pictures: Picture | Sequence[Picture],
        policy: Policy | str | None = None,
        *,
        batch_size: int = 32,
    ) -> list[Prediction]:
        """One answer per picture, in order, from the exit where `policy` stops it.

        Pictures go through the network `batch_size` at a time; those that have stopped leave their batch before the
        next segment runs.

        Args:
            pictures: one picture, a list of them, or ready float32 `(N, C, H, W)`.
            policy: an exit policy, the name of one of the bundle's operating points, or None for the whole network.
                Layout `prefixes` takes only `FixedExit` and None; `conditional` these and `Confidence` without a
                temperature.
            batch_size: pictures per batch, 1 or more; fewer where the backend takes no more at a time.

        Raises:
            PictureError: a picture cannot be read; nothing is answered then.
            UsageError: the policy does not fit this bundle or layout.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size: must be 1 or more, not {batch_size}")
        chosen = self._policy(policy)
        batches = self._preprocessor.batches(pictures, min(batch_size, self.backend.largest_batch or batch_size))
        if self.layout == "segments":
            return [answer for images in batches for answer in self._classify_batch(images, chosen)]
        chosen.begin(0, len(self.exits))  # it is for this number of exits
        if self.layout == "prefixes":
            if not isinstance(chosen, FixedExit):
                raise UsageError(
                    "policy: layout 'prefixes' answers at a fixed exit only; load the bundle with 'segments'"
                )
            return [answer for images in batches for answer in self._classify_fixed(images, chosen)]
        thresholds = self._thresholds(chosen)
        return [answer for images in batches for answer in self._classify_conditional(images, thresholds)]

    def measure_segments(self, *, batch: int = 1, repeats: int = 30) -> tuple[float, ...]:
        """The 99th percentile of each segment's time on this machine, in milliseconds, for `batch` pictures: `(K,)`.

        `Deadline` uses it where it was given no times of its own; it is then measured when a batch size is first met.
        """
        self._need_segments("measure_segments")
        images = np.zeros(self.input.shape(batch), dtype=np.float32)
        exits = len(self.exits)
        samples = np.empty((repeats, exits))
        for repeat in range(-max(repeats // 10, 1), repeats):  # the first ones, not counted, warm up
            flow = self.backend.begin(images)
            for exit in range(exits):
                started = time.perf_counter_ns()
                flow.advance()
                if repeat >= 0:
                    samples[repeat, exit] = _milliseconds_since(started)
        return tuple(Latency.of(samples[:, exit].tolist()).p99 for exit in range(exits))

    def close(self) -> None:
        """Free what the backend holds."""
        self.backend.close()

    def __enter__(self) -> AnytimeClassifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(self, images: Array) -> Iterator[Prediction]:
        exits = len(self.exits)
        started = time.perf_counter_ns()
        flow = self.backend.begin(images)
        for exit in range(1, exits + 1):
            yield self._predictions(flow.advance(), exit, started, final=exit == exits)[0]

    def _classify_batch(self, images: Array, policy: Policy) -> list[Prediction]:
        exits = len(self.exits)
        if isinstance(policy, Deadline) and policy.segment_ms is None:
            policy = policy.with_segment_ms(self._segment_times(len(images)))
        answers: dict[int, Prediction] = {}
        rows = np.arange(len(images))
        started = time.perf_counter_ns()
        decider = policy.begin(len(images), exits)
        flow = self.backend.begin(images)
        for exit in range(1, exits):
            logits = flow.advance()
            stop = decider.stop(exit, logits, _milliseconds_since(started))
            if not stop.any():
                continue
            answers.update(zip(rows[stop].tolist(), self._predictions(logits[stop], exit, started), strict=True))
            kept = np.flatnonzero(~stop)
            rows = rows[kept]
            if not len(rows):
                break
            flow.keep(kept)
            decider.keep(kept)
        else:
            answers.update(zip(rows.tolist(), self._predictions(flow.advance(), exits, started), strict=True))
        self.non_finite += decider.non_finite
        return [answers[row] for row in range(len(images))]

    def _classify_fixed(self, images: Array, policy: FixedExit) -> list[Prediction]:
        started = time.perf_counter_ns()
        return self._predictions(self.backend.run_prefix(policy.exit, images), policy.exit, started)

    def _classify_conditional(self, images: Array, thresholds: Array) -> list[Prediction]:
        answers = []
        for row in range(len(images)):
            started = time.perf_counter_ns()
            logits, exit = self.backend.run_conditional(images[row : row + 1], thresholds)
            answers += self._predictions(logits, exit, started)
        return answers

    def _thresholds(self, policy: Policy) -> Array:
        early = range(1, len(self.exits))
        if isinstance(policy, FixedExit):
            return np.array([0.0 if exit >= policy.exit else 1.0 for exit in early], dtype=np.float32)
        if isinstance(policy, Confidence) and policy.temperature is None:
            return np.array(policy.thresholds(len(self.exits)), dtype=np.float32)
        raise UsageError(
            "policy: layout 'conditional' compares probabilities with thresholds, without a temperature; for other "
            "policies load the bundle with 'segments'"
        )

    def _predictions(self, logits: Array, exit: int, started: int, *, final: bool = True) -> list[Prediction]:
        milliseconds = _milliseconds_since(started)
        finite = scores.finite(logits)
        if finite.all():
            probabilities = scores.max_probability(logits)
        else:
            self.non_finite += int(np.count_nonzero(~finite))
            probabilities = np.where(finite, scores.max_probability(np.where(finite[:, None], logits, 0)), np.nan)
        named = logits.argmax(axis=1)
        return [
            Prediction(index, self.classes[index], probability, exit, milliseconds, row, final)
            for index, probability, row in zip(named.tolist(), probabilities.tolist(), logits, strict=True)
        ]

    def _policy(self, given: Policy | str | None) -> Policy:
        if given is None:
            return FixedExit(len(self.exits))
        if isinstance(given, Policy):
            return given
        if self._points is None:
            self._points = read_operating_points(self.bundle)
        return self._points.get(given).as_policy()

    def _segment_times(self, batch: int) -> tuple[float, ...]:
        if batch not in self._segment_ms:
            self._segment_ms[batch] = self.measure_segments(batch=batch)
        return self._segment_ms[batch]

    def _need_segments(self, what: str) -> None:
        if self.layout != "segments":
            raise UsageError(f"{what}: needs layout 'segments'; this bundle was loaded with {self.layout!r}")


def _milliseconds_since(started: int) -> float:
    return (time.perf_counter_ns() - started) * 1e-6
