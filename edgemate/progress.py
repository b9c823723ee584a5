"""Progress of long work: the current step, how far it is, and the time left. The caller chooses how to show it."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

Clock = Callable[[], float]
"""Seconds from any fixed moment, such as `time.monotonic`."""

EVERY = 30.0
"""Seconds between two lines of progress, at most."""


class Progress(Protocol):
    """Receives the progress of long work.

    No call starts a thread or draws later, so nothing happens while code between two calls is timed. The exception is
    `unattended`, which is for code that is not timed.
    """

    def step(self, text: str) -> None:
        """Begin a step, such as `segments: exit 2 of 4`."""

    def advance(self, done: int, total: int, detail: str | Callable[[], str] = "") -> None:
        """Report how far the current step is.

        Args:
            done: units done, of `total`.
            total: number of units, which the step's text names.
            detail: further text; a function is called only when its text is shown.
        """

    def unattended(self) -> contextlib.AbstractContextManager[None]:
        """Show elapsed time while a block runs that cannot report progress. Not for code that is timed."""


class Silent:
    """Ignores all progress."""

    def step(self, text: str) -> None:
        """Do nothing."""

    def advance(self, done: int, total: int, detail: str | Callable[[], str] = "") -> None:
        """Do nothing."""

    def unattended(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()


SILENT: Progress = Silent()


class Heartbeat:
    """Says when the next report is due: `every` seconds after the last one, or after the start.

    Args:
        every: seconds between two reports.
        clock: returns the time, s.
    """

    def __init__(self, every: float = EVERY, clock: Clock = time.monotonic) -> None:
        self.every = every
        self._clock = clock
        self._last = clock()

    def due(self) -> bool:
        """Whether a report is due. True counts as the report: the next one is due `every` seconds later."""
        now = self._clock()
        if now - self._last < self.every:
            return False
        self._last = now
        return True

    def beat(self) -> None:
        """Count a report that was made now."""
        self._last = self._clock()


class Pace:
    """The rate of work over the last `window` seconds.

    Args:
        window: seconds; what was before them does not count, such as a slow start.
        clock: returns the time, s.
    """

    def __init__(self, window: float = EVERY, clock: Clock = time.monotonic) -> None:
        self._window = window
        self._clock = clock
        self._points: deque[tuple[float, float]] = deque([(clock(), 0.0)])

    def add(self, amount: float) -> None:
        """Add an amount of finished work, in any unit."""
        now = self._clock()
        self._points.append((now, self._points[-1][1] + amount))
        while len(self._points) > 2 and now - self._points[1][0] >= self._window:
            self._points.popleft()

    def restart(self) -> None:
        """Ignore the time since the last `add`."""
        self._points = deque([(self._clock(), 0.0)])

    @property
    def rate(self) -> float | None:
        """Units per second; None before two amounts are known."""
        (first, before), (last, after) = self._points[0], self._points[-1]
        return (after - before) / (last - first) if last > first and after > before else None

    def left(self, amount: float) -> float | None:
        """Seconds that an amount of work takes at this rate; None if the rate is not known yet."""
        rate = self.rate
        return None if rate is None else amount / rate


def duration(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`, such as `0:07` and `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
