"""Signs of life of long work: what it is at, how far, and for how much longer. The caller chooses who shows them."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

Clock = Callable[[], float]
"""Seconds from any fixed moment, such as `time.monotonic`."""

EVERY = 30.0
"""Seconds that may pass in silence."""


class Progress(Protocol):
    """What long work tells of itself.

    None of these calls starts a thread or draws later by itself, so nothing happens while code between them is timed.
    The one exception is `unattended`, which is for code that is not.
    """

    def step(self, text: str) -> None:
        """A new step begins, such as `segments: exit 2 of 4`."""

    def advance(self, done: int, total: int, detail: str | Callable[[], str] = "") -> None:
        """How far the present step is.

        Args:
            done: of `total`.
            total: of whatever the step's text names.
            detail: what else there is to say; a function is called only when it is shown.
        """

    def unattended(self) -> contextlib.AbstractContextManager[None]:
        """Show that time goes by while a block runs that cannot tell how far it is. Not for code that is timed."""


class Silent:
    """Tells nobody."""

    def step(self, text: str) -> None:
        """Nothing."""

    def advance(self, done: int, total: int, detail: str | Callable[[], str] = "") -> None:
        """Nothing."""

    def unattended(self) -> contextlib.AbstractContextManager[None]:
        """Nothing."""
        return contextlib.nullcontext()


SILENT: Progress = Silent()


class Heartbeat:
    """When the next sign of life is due: `every` seconds after the last one, or after the start.

    Args:
        every: seconds.
        clock: tells the time.
    """

    def __init__(self, every: float = EVERY, clock: Clock = time.monotonic) -> None:
        self.every = every
        self._clock = clock
        self._last = clock()

    def due(self) -> bool:
        """Whether it is time. A yes counts as the sign itself: the next is due `every` seconds later."""
        now = self._clock()
        if now - self._last < self.every:
            return False
        self._last = now
        return True

    def beat(self) -> None:
        """There was a sign just now."""
        self._last = self._clock()


class Pace:
    """How fast work goes, over the last `window` seconds.

    Args:
        window: seconds; a slow start is forgotten after them.
        clock: tells the time.
    """

    def __init__(self, window: float = EVERY, clock: Clock = time.monotonic) -> None:
        self._window = window
        self._clock = clock
        self._points: deque[tuple[float, float]] = deque([(clock(), 0.0)])

    def add(self, amount: float) -> None:
        """So much more is done, in any unit."""
        now = self._clock()
        self._points.append((now, self._points[-1][1] + amount))
        while len(self._points) > 2 and now - self._points[1][0] >= self._window:
            self._points.popleft()

    def restart(self) -> None:
        """Leave what went by since the last `add` out of account."""
        self._points = deque([(self._clock(), 0.0)])

    @property
    def rate(self) -> float | None:
        """Units per second; None before there is anything to go by."""
        (first, before), (last, after) = self._points[0], self._points[-1]
        return (after - before) / (last - first) if last > first and after > before else None

    def left(self, amount: float) -> float | None:
        """Seconds that so much more takes at this pace; None where that cannot be said yet."""
        rate = self.rate
        return None if rate is None else amount / rate


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
