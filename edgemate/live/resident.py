"""The loop of a resident process: the latest frame in, its answer out, until the source ends or it is told to stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgemate.errors import ImageError
from edgemate.live.answer import LiveAnswer
from edgemate.live.counters import Counters, LiveReport
from edgemate.live.frame import Frame
from edgemate.live.latest_frame import FrameReader
from edgemate.live.overlay import Overlay
from edgemate.live.ready import Ready
from edgemate.live.replacement import Replacement
from edgemate.monitoring import drift_alerts
from edgemate.runtime import Prediction
from edgemate.runtime.preprocessing import ImageInput
from edgemate.wording import counted

_LOOK_SECONDS = 0.1
"""How long to wait for a frame before signals and new bundles are looked at."""


@dataclass(frozen=True)
class Told:
    """Whom the loop tells what.

    Attributes:
        answer: gets each answer at once.
        report: gets the counts, on request and every so many seconds.
        note: gets a line about a bundle that was taken, or was not.
    """

    answer: Callable[[LiveAnswer], None]
    report: Callable[[LiveReport], None]
    note: Callable[[str], None]


class Resident:
    """Answers frames one at a time.

    Args:
        ready: the classifier; it is closed in the end, and before that where a new one takes its place.
        reader: started by `run` and closed at its end.
        told: see `Told`.
        replacement: where new bundles come from; None keeps this one.
        overlay: shows the answers; None shows them nowhere.
        every: seconds between two reports; None reports on request only.
        stops: asked between two frames; true ends the loop.
        asks_report: asked between two frames; true reports.
    """

    def __init__(
        self,
        ready: Ready,
        reader: FrameReader,
        told: Told,
        *,
        replacement: Replacement | None = None,
        overlay: Overlay | None = None,
        every: float | None = None,
        stops: Callable[[], bool] = lambda: False,
        asks_report: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ready = ready
        self._reader = reader
        self._told = told
        self._replacement = replacement
        self._overlay = overlay
        self._every = every
        self._stops = stops
        self._asks_report = asks_report
        self._counters = Counters()
        self._non_finite = self._degraded = 0  # of bundles that were replaced

    def run(self, frames: int | None = None) -> LiveReport:
        """Answer until the source ends, `frames` have been answered, or `stops` says so; the counts of it all.

        Frames that cannot be read are not counted among `frames`.

        Raises:
            BackendError, BundleError: a segment failed, and the classifier was to raise then.
            DataError: the source failed.
        """
        try:
            if self._replacement is not None:
                self._replacement.start()
            self._reader.start()
            self._loop(frames)
            return self.report()
        finally:
            self._close()

    def report(self) -> LiveReport:
        """The counts so far."""
        statistics, point = self._ready.classifier.statistics(), self._ready.point
        warnings = []
        if non_finite := self._non_finite + statistics.non_finite:
            warnings.append(f"{counted(non_finite, 'time')} the logits of an exit were not finite")
        if degraded := self._degraded + statistics.degraded:
            warnings.append(f"{counted(degraded, 'answer')} came from an earlier exit, as a later one failed")
        alerts = () if point is None else tuple(drift_alerts(statistics, point))
        return self._counters.report(self._reader, drift_alerts=alerts, warnings=tuple(warnings))

    def _loop(self, frames: int | None) -> None:
        done, next_report = 0, _next(self._every)
        while not self._stops() and (frames is None or done < frames):
            self._look_for_a_new_bundle()
            if self._asks_report() or time.monotonic() >= next_report:
                self._told.report(self.report())
                next_report = _next(self._every)
            taken = self._reader.take(_LOOK_SECONDS)
            if taken is not None:
                done += self._answer(*taken)
            elif self._reader.ended:
                return

    def _answer(self, frame: Frame, age: float) -> bool:
        """Answer a frame; whether it could be read."""
        prediction: Prediction | None = None
        image: ImageInput | None = None
        error: str | None = None
        still = False
        try:
            image = frame.image()
            prediction, still = self._ready.classify(image)
        except ImageError as problem:
            error = str(problem)
        latency = time.monotonic() - frame.captured
        deadline = self._ready.deadline_ms
        answer = LiveAnswer(
            frame=frame.index,
            timestamp=frame.timestamp,
            captured=time.time() - latency,
            age_ms=1e3 * age,
            latency_ms=1e3 * latency,
            prediction=prediction,
            still=still,
            late=None if deadline is None or prediction is None else prediction.milliseconds > deadline,
            file=frame.file,
            error=error,
        )
        self._counters.add(answer)
        self._told.answer(answer)
        try:
            if self._overlay is not None and image is not None and prediction is not None:
                # Of an image file it reads the file again, which somebody may have moved since.
                with contextlib.suppress(ImageError):
                    self._overlay.show(image, answer)
        finally:
            self._reader.source.answered(frame)
        return prediction is not None

    def _look_for_a_new_bundle(self) -> None:
        if self._replacement is None:
            return
        found, problems = self._replacement.take()
        for problem in problems:
            self._counters.refused += 1
            self._told.note(f"a new bundle was not taken, the one before goes on: {problem}")
        if found is not None:
            statistics = self._ready.classifier.statistics()
            self._non_finite += statistics.non_finite
            self._degraded += statistics.degraded
            self._ready.close()
            self._ready = found
            self._counters.reloads += 1
            self._told.note(f"{found.classifier.bundle.path}: the new bundle has taken over")

    def _close(self) -> None:
        with contextlib.ExitStack() as parts:  # each, whatever becomes of the others; the last one first
            if self._overlay is not None:
                parts.callback(self._overlay.close)
            parts.callback(self._ready.close)
            if self._replacement is not None:
                parts.callback(self._replacement.close)
            parts.callback(self._reader.close)


def _next(every: float | None) -> float:
    return float("inf") if every is None else time.monotonic() + every
