"""The classifier that stops: one network, several exits, and an answer from the earliest that will do."""

from __future__ import annotations

import inspect
import itertools
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Bundle, ExitMetadata, InputContract
from edgemate.bundle.consistent import consistently
from edgemate.bundle.manifest import Layout
from edgemate.calibration import read_operating_points
from edgemate.calibration.operating_points import POLICIES_FILE
from edgemate.errors import BackendError, BundleError, ClosedError, UsageError
from edgemate.latency_tables import LatencyTable, matching_latency_table
from edgemate.machine import check_threads
from edgemate.monitoring import Statistics
from edgemate.policies import Confidence, FixedExit, Policy, scores
from edgemate.registry import BACKENDS
from edgemate.runtime.backends.base import Backend
from edgemate.runtime.counting import Counts
from edgemate.runtime.fallback import Fallback, Rows
from edgemate.runtime.prediction import Prediction
from edgemate.runtime.preprocessing import ImageInput, Preprocessor
from edgemate.timing import Latency

Array = npt.NDArray[Any]
OnFailure = Literal["raise", "degrade"]

_FAILURES = (BackendError, BundleError)
"""What a segment that fails raises."""


class AnytimeClassifier:
    """An opened bundle on a backend. Use it as a context manager, or `close()` it.

    Images are paths, PIL images, uint8 arrays `(H, W)` or `(H, W, C)` in RGB, not BGR as OpenCV's are, or ready
    float32 arrays `(C, H, W)` and, for several at once, `(N, C, H, W)`. Files and PIL images are decoded by
    `edgemate.core.image_files.decode`.

    Several threads may share one: what they do is counted together, under a lock. Whether their segments run at the
    same time is the backend's affair.

    Where temperatures were fitted for the bundle, the probabilities in answers are of logits scaled by them, and so is
    what a policy decides on that has no temperature of its own.
    """

    def __init__(
        self, bundle: Bundle, backend: Backend, *, layout: Layout = "segments", on_failure: OnFailure = "raise"
    ) -> None:
        self.bundle = bundle
        self.backend = backend
        self.layout = layout
        self.on_failure = on_failure
        self._closed = False
        self._counts = Counts(len(bundle.manifest.exits))
        self._preprocessor = Preprocessor(bundle.manifest.input)
        self._points = read_operating_points(bundle) if bundle.has(POLICIES_FILE) else None
        fitted = None if self._points is None else self._points.temperatures
        self._temperatures = None if fitted is None else tuple(found.temperature for found in fitted)
        self._scaled: tuple[Policy, Policy] | None = None  # the last policy given, and the same with temperatures
        self._named: dict[str, Policy] = {}  # operating points as policies, with temperatures
        self._segment_ms: dict[int, tuple[float, ...]] = {}

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | Bundle,
        backend: str = "onnxruntime",
        *,
        threads: int | None = None,
        verify: bool = True,
        layout: Layout = "segments",
        trusted_keys: str | os.PathLike[str] | None = None,
        trust_engines: bool = False,
        on_failure: OnFailure = "raise",
        **options: Any,
    ) -> AnytimeClassifier:
        """Open the bundle in folder `path`.

        Args:
            path: the bundle; an opened Bundle is taken as it was opened.
            backend: a registered backend's name.
            threads: CPU threads, 1 or more; by default all usable cores.
            verify: check every file's SHA-256 first.
            layout: `segments` can stop at any exit; `prefixes` runs one graph per image and answers at a fixed exit
                only, which is the cheapest way to do that; `conditional` is one graph that compares the probabilities
                with thresholds itself, one image at a time.
            trusted_keys: a file or folder of public keys; the bundle must be signed by one of them (docs/trust.md).
            trust_engines: run the bundle's engines whoever built them. An engine is code.
            on_failure: where a segment fails, or the last exit's logits are not finite: `raise` the error, or answer
                with logits that are not finite; `degrade` answers with the deepest exit before it whose logits are
                finite, marked `degraded`, and raises only where there is none. For layout `segments`.
            options: what else this backend can be told, such as TensorRT's `speculate`.

        Raises:
            BundleError: the bundle is missing, damaged, unsafe, of a newer format, or has no graphs of this layout.
            BackendError: the backend is not installed or cannot run this bundle.
            UsageError: an unknown backend, layout or option, or fewer than 1 thread.
        """
        if layout not in get_args(Layout):
            raise UsageError(f"layout: must be {' or '.join(map(repr, get_args(Layout)))}, not {layout!r}")
        check_threads(threads)
        if on_failure not in get_args(OnFailure):
            raise UsageError(f"on_failure: must be {' or '.join(map(repr, get_args(OnFailure)))}, not {on_failure!r}")
        factory = BACKENDS.get(backend)
        for option in options.keys() - inspect.signature(factory).parameters.keys():
            raise UsageError(f"{option}: backend {backend!r} has no such option")
        given = path if isinstance(path, Bundle) and trusted_keys is None and not trust_engines else None
        folder = path.path if isinstance(path, Bundle) else Path(path)
        attempts = itertools.count()

        def opened() -> AnytimeClassifier:
            if given is None:
                bundle = Bundle.open(folder, verify=verify, trusted_keys=trusted_keys, trust_engines=trust_engines)
            elif next(attempts) == 0:
                bundle = given
            elif given.trust.signer is not None:
                raise BundleError(f"{folder}: was replaced after its signature was checked; run the command again")
            else:
                bundle = Bundle.open(folder, verify=verify, trust_engines=given.trust.engines)
            made = factory(bundle, layout=layout, threads=threads, **options)
            return cls(bundle, made, layout=layout, on_failure=on_failure)

        return consistently(folder, opened, AnytimeClassifier.close)

    @property
    def exits(self) -> tuple[ExitMetadata, ...]:
        """The exits, first to last, with their MACs and accuracy."""
        return self.bundle.manifest.exits

    @property
    def classes(self) -> tuple[str, ...]:
        """The label of each class index."""
        return self.bundle.manifest.classes

    @property
    def input(self) -> InputContract:
        """What the network takes, and how an image becomes that."""
        return self.bundle.manifest.input

    @property
    def temperatures(self) -> tuple[float, ...] | None:
        """What the logits of each exit are divided by before they become probabilities, `(K,)`; None where not."""
        return self._temperatures

    @property
    def non_finite(self) -> int:
        """Times an image's logits at some exit held a NaN or an infinity; no policy stops there before the last.

        Layout `conditional` shows the logits of the exit that answers alone, so those of exits before it are not seen.
        """
        return self._counts.non_finite

    def deadline_ms(self, policy: Policy | str | None) -> float | None:
        """The deadline of a policy, or of the operating point of that name, in milliseconds; None without one."""
        return self._policy(policy).deadline_ms

    def statistics(self) -> Statistics:
        """What became of all images since the start or the last `reset_statistics()`."""
        return self._counts.statistics()

    def reset_statistics(self) -> None:
        """Count anew."""
        self._counts = Counts(len(self.exits))

    def stream(self, image: ImageInput, policy: Policy | str | None = None) -> Iterator[Prediction]:
        """Answers about one image, one per exit, each better than the last.

        A segment is computed when its answer is asked for: stop iterating, and the rest is never done. The last answer
        taken is the one that counts in the statistics.

        Args:
            image: one image.
            policy: where the stream ends; None at the last exit. Under a `Deadline` the time that the caller takes
                between two answers counts too.

        Raises:
            ClosedError: the classifier was closed.
            ImageError: at once, not at the first answer.
            UsageError: the layout is not `segments`, these are several images, or the policy does not fit.
        """
        self._need_open()
        self._need_segments("stream")
        chosen = None if policy is None else self._policy(policy)
        if chosen is not None and chosen.needs_segment_ms:
            chosen = chosen.with_segment_ms(self._segment_times(1))
        if chosen is not None:
            chosen.check(len(self.exits))
        images = next(self._preprocessor.batches(image, 2), None)
        if images is None or len(images) != 1:
            raise UsageError("stream: takes one image at a time; use classify for several")
        return self._stream(images, chosen)

    def classify(
        self,
        images: ImageInput | Sequence[ImageInput],
        policy: Policy | str | None = None,
        *,
        batch_size: int = 32,
    ) -> list[Prediction]:
        """One answer per image, in order, from the exit where `policy` stops it.

        Images go through the network `batch_size` at a time; those that have stopped leave their batch before the
        next segment runs.

        Args:
            images: one image, a list of them, or ready float32 `(N, C, H, W)`.
            policy: an exit policy, the name of one of the bundle's operating points, or None for the whole network.
                Layout `prefixes` takes only `FixedExit` and None; `conditional` these and `Confidence` without a
                temperature, or one of 1 where the bundle has temperatures.
            batch_size: images per batch, 1 or more; fewer where the backend takes no more at a time.

        Raises:
            BackendError: a segment fails, and `on_failure` is `raise` or no earlier exit has answered.
            BundleError: a segment gives other tensors than the manifest says; likewise.
            ClosedError: the classifier was closed.
            ImageError: an image cannot be read; nothing is answered then.
            UsageError: the policy does not fit this bundle or layout.
        """
        self._need_open()
        if batch_size < 1:
            raise UsageError(f"batch_size: must be 1 or more, not {batch_size}")
        chosen = self._policy(policy)
        batches = self._preprocessor.batches(images, min(batch_size, self.backend.largest_batch or batch_size))
        answers = self._answers(batches, chosen)
        self._counts.add(answers, chosen.deadline_ms)
        return answers

    def latency_table(self) -> LatencyTable | None:
        """The bundle's latency table that was measured on such a machine, with this backend so set; None without one.

        Where there are several it is that of the device that the operating points were chosen for, else the newest.
        """
        device = None if self._points is None else self._points.device
        return matching_latency_table(self.bundle, self.backend.metadata(), device)

    def measure_segments(self, *, batch: int = 1, repeats: int = 100) -> tuple[float, ...]:
        """The 99th percentile of each segment's time on this machine, in milliseconds, for `batch` images: `(K,)`.

        With the decision after it and the making of the answer. `Deadline` uses it where it was given no times of its
        own and the bundle has no latency table of this device; it is then measured when a batch size is first met.
        """
        self._need_open()
        self._need_segments("measure_segments")
        images = np.zeros(self.input.shape(batch), dtype=np.float32)
        exits = len(self.exits)
        samples = np.empty((repeats, exits))
        never = Confidence(Confidence.highest)
        for repeat in range(-max(repeats // 10, 1), repeats):  # the first ones, not counted, warm up
            decider = never.begin(batch, exits)
            flow = self.backend.begin(images)
            for exit in range(exits):
                started = time.perf_counter_ns()
                logits = flow.advance()
                if exit < exits - 1:
                    decider.stop(exit + 1, logits, 0.0)
                self._predictions(logits, exit + 1, started, counted=False)
                if repeat >= 0:
                    samples[repeat, exit] = _milliseconds_since(started)
        return tuple(Latency.of(samples[:, exit].tolist()).p99 for exit in range(exits))

    def close(self) -> None:
        """Free what the backend holds. What is asked afterwards raises ClosedError."""
        self._closed = True
        self.backend.close()

    def __enter__(self) -> AnytimeClassifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answers(self, batches: Iterator[Array], chosen: Policy) -> list[Prediction]:
        if self.layout == "segments":
            return [answer for images in batches for answer in self._classify_batch(images, chosen)]
        if self.layout == "prefixes":
            exit = chosen.fixed_exit
            if exit is None:
                raise UsageError(
                    "policy: layout 'prefixes' answers at a fixed exit only; load the bundle with 'segments'"
                )
            chosen.check(len(self.exits))
            return [answer for images in batches for answer in self._classify_fixed(images, exit)]
        thresholds = self._thresholds(chosen)
        return [answer for images in batches for answer in self._classify_conditional(images, thresholds)]

    def _stream(self, images: Array, policy: Policy | None) -> Iterator[Prediction]:
        exits = len(self.exits)
        answer: Prediction | None = None
        finite: Prediction | None = None  # the last one that is an answer
        started = time.perf_counter_ns()
        decider = None if policy is None else policy.begin(1, exits)
        flow = self.backend.begin(images)
        try:
            for exit in range(1, exits + 1):
                # As in `classify`: an answer that is none does not end it, however late the next one comes.
                answered = answer is not None and not math.isnan(answer.probability)
                if answered and policy is not None and not policy.fits(exit, _milliseconds_since(started)):
                    return
                self._need_open()
                try:
                    logits = flow.advance()
                except _FAILURES:
                    if finite is None or self.on_failure == "raise":
                        raise
                    answer = _degraded(finite, started)
                    yield answer
                    return
                final = exit == exits
                if decider is not None and not final:
                    final = bool(decider.stop(exit, logits, _milliseconds_since(started))[0])
                [answer] = self._predictions(logits, exit, started, final=final)
                if answer.index is not None:
                    finite = answer
                elif exit == exits and finite is not None and self.on_failure == "degrade":
                    answer = _degraded(finite, started)
                yield answer
                if final:
                    return
        finally:
            if answer is not None:
                self._counts.add([answer], None if policy is None else policy.deadline_ms)

    def _classify_batch(self, images: Array, policy: Policy) -> list[Prediction]:
        if len(images) == 1 and self.on_failure == "raise":
            started = time.perf_counter_ns()
            decided = self.backend.decide(images, policy)
            if decided is not None:
                self._counts.add_non_finite(decided.non_finite)
                return self._predictions(decided.logits, decided.exit, started)
        exits = len(self.exits)
        if policy.needs_segment_ms:
            policy = policy.with_segment_ms(self._segment_times(len(images)))
        answers: dict[int, Prediction] = {}
        rows = np.arange(len(images))
        fallback = Fallback(len(images)) if self.on_failure == "degrade" else None
        started = time.perf_counter_ns()
        decider = policy.begin(len(images), exits)
        flow = self.backend.begin(images)
        try:
            for exit in range(1, exits):
                logits = flow.advance()
                if fallback is not None:
                    fallback.add(exit, rows, logits)
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
                if fallback is not None:
                    rows = np.array([row for row in rows.tolist() if answers[row].index is None], dtype=np.intp)
        except _FAILURES:
            if fallback is None or not fallback.covers(rows):
                raise
        if fallback is not None and len(rows):
            answers.update(self._fallback_answers(fallback, rows, started))
        self._counts.add_non_finite(decider.non_finite)
        return [answers[row] for row in range(len(images))]

    def _fallback_answers(self, fallback: Fallback, rows: Rows, started: int) -> Iterator[tuple[int, Prediction]]:
        for exit, chosen, logits in fallback.answers(rows):
            for row, answer in zip(chosen.tolist(), self._predictions(logits, exit, started), strict=True):
                yield row, replace(answer, degraded=True)

    def _classify_fixed(self, images: Array, exit: int) -> list[Prediction]:
        started = time.perf_counter_ns()
        return self._predictions(self.backend.run_prefix(exit, images), exit, started)

    def _classify_conditional(self, images: Array, thresholds: Array) -> list[Prediction]:
        answers = []
        for row in range(len(images)):
            started = time.perf_counter_ns()
            logits, exit = self.backend.run_conditional(images[row : row + 1], thresholds)
            answers += self._predictions(logits, exit, started)
        return answers

    def _thresholds(self, policy: Policy) -> Array:
        thresholds = policy.confidence_thresholds(len(self.exits))
        if thresholds is None:
            raise UsageError(
                "policy: layout 'conditional' compares probabilities with thresholds, without a temperature; for other "
                "policies load the bundle with 'segments'"
            )
        return np.array(thresholds, dtype=np.float32)

    def _predictions(
        self, logits: Array, exit: int, started: int, *, final: bool = True, counted: bool = True
    ) -> list[Prediction]:
        milliseconds = _milliseconds_since(started)
        finite = scores.finite(logits)
        all_finite = finite.all()
        scaled = logits if self._temperatures is None else logits / np.float32(self._temperatures[exit - 1])
        if all_finite:
            probabilities = scores.max_probability(scaled)
        else:
            if counted:
                self._counts.add_non_finite(int(np.count_nonzero(~finite)))
            probabilities = np.where(finite, scores.max_probability(np.where(finite[:, None], scaled, 0)), np.nan)
        classes = self.classes
        answers = [
            Prediction(index, classes[index], probability, exit, milliseconds, row, final)
            for index, probability, row in zip(
                logits.argmax(axis=1).tolist(), probabilities.tolist(), logits, strict=True
            )
        ]
        if not all_finite:
            for row in np.flatnonzero(~finite).tolist():
                answers[row] = replace(answers[row], index=None, label=None)
        return answers

    def _policy(self, given: Policy | str | None) -> Policy:
        if given is None:
            return FixedExit(len(self.exits))
        if isinstance(given, str):
            if given not in self._named:
                points = self._points or read_operating_points(self.bundle)
                self._named[given] = self._with_temperatures(points.get(given).as_policy())
            return self._named[given]
        kept = self._scaled  # read once: another thread may put another there
        if kept is None or kept[0] is not given:
            kept = self._scaled = (given, self._with_temperatures(given))
        return kept[1]

    def _with_temperatures(self, policy: Policy) -> Policy:
        return policy if self._temperatures is None else policy.with_temperatures(self._temperatures[:-1])

    def _segment_times(self, batch: int) -> tuple[float, ...]:
        if batch not in self._segment_ms:
            table = self.latency_table() if batch == 1 else None
            try:
                self._segment_ms[batch] = self.measure_segments(batch=batch) if table is None else table.segment_ms
            except _FAILURES:
                if self.on_failure == "raise":
                    raise
                return (0.0,) * len(self.exits)  # so the time that has passed decides, and then the failure
        return self._segment_ms[batch]

    def _need_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self.bundle.path}: the classifier was closed; load the bundle again")

    def _need_segments(self, what: str) -> None:
        if self.layout != "segments":
            raise UsageError(f"{what}: needs layout 'segments'; this bundle was loaded with {self.layout!r}")


def _milliseconds_since(started: int) -> float:
    return (time.perf_counter_ns() - started) * 1e-6


def _degraded(answer: Prediction, started: int) -> Prediction:
    return replace(answer, milliseconds=_milliseconds_since(started), final=True, degraded=True)
