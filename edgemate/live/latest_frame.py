"""A thread that reads a source, and the place where it leaves the latest frame: a queue of one, which cannot lag."""

from __future__ import annotations

import threading
import time

from edgemate.live.frame import Frame
from edgemate.live.sources.base import Pace, Source


class FrameReader:
    """Reads a source in a thread. The answering thread takes the latest frame; those it misses are counted.

    With pace `real` a frame replaces the one that nobody has taken yet, and the frames of a file come at their own
    time. With `fastest` the reader waits until its frame was taken, so that none is skipped.

    Args:
        source: is closed by `close`.
        pace: see above; the source's usual one if None.
        max_age: seconds; a frame that is older when it is taken is skipped too. None takes it anyway.

    Attributes:
        read: frames that the source gave.
        replaced: frames in whose place a newer one came before they were taken.
        too_old: frames that were skipped for their age.
        delayed: seconds by which the playing of a file was delayed because reading it was slower than its own time.
    """

    def __init__(self, source: Source, *, pace: Pace | None = None, max_age: float | None = None) -> None:
        self.source = source
        self.pace = pace or source.usual_pace
        self.replaced = 0
        self.too_old = 0
        self.delayed = 0.0
        self.read = 0
        self._max_age = max_age
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._waiting: Frame | None = None
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the source has ended, its last frame was taken, and its error, if it had one, was raised."""
        with self._changed:
            return self._ended and self._waiting is None and self._error is None

    def take(self, timeout: float) -> tuple[Frame, float] | None:
        """The latest frame that was not taken yet, and its age in seconds; None if there is none after `timeout`.

        Raises:
            DataError: the source has failed; frames before that have been taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._ended, timeout)
            frame, self._waiting = self._waiting, None
            if frame is None:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                return None
            self._changed.notify_all()
            age = time.monotonic() - frame.captured
            if self._max_age is not None and self.pace == "real" and age > self._max_age:
                self.too_old += 1
                return None
            return frame, age

    def close(self, timeout: float = 2.0) -> None:
        """End the reading, and wait so many seconds for the thread. A read that waits for the network ends later."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self.source.close()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _read(self) -> None:
        try:
            start: float | None = None
            for frame in self.source.frames():
                if self.pace == "real" and not self.source.live and frame.timestamp is not None:
                    start = time.monotonic() - frame.timestamp if start is None else start
                    frame, start = self._due(frame, start)
                if self._closing.is_set():
                    break
                self._leave(frame)
        except BaseException as error:  # it is raised where frames are taken
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _due(self, frame: Frame, start: float) -> tuple[Frame, float]:
        """Wait until the frame is due; one that is read later than the next is due delays all that follow."""
        assert frame.timestamp is not None
        due = start + frame.timestamp
        late = time.monotonic() - due
        if late < 0:
            self._closing.wait(-late)
        elif late > (self.source.period or 0.0):
            self.delayed += late
            start, due = start + late, due + late
        return Frame(frame.index, frame.image, frame.timestamp, due, frame.file), start

    def _leave(self, frame: Frame) -> None:
        with self._changed:
            if self.pace == "fastest":
                self._changed.wait_for(lambda: self._waiting is None or self._closing.is_set())
                if self._closing.is_set():
                    return
            elif self._waiting is not None:
                self.replaced += 1
            self._waiting = frame
            self.read += 1
            self._changed.notify_all()
