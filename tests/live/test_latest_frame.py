"""The latest frame is answered, those it replaces are counted, and none waits in a line."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from edgemate.errors import DataError
from edgemate.live import Frame, FrameReader
from edgemate.live.sources import Source


class Listed(Source):
    """Frames at these times; `gate` holds each back until it is released."""

    name = "list"
    period = 0.02

    def __init__(self, stamps: list[float | None], *, live: bool = False, gate: bool = False) -> None:
        self.stamps = stamps
        self.live = live  # type: ignore[misc]
        self.gate = threading.Semaphore(0) if gate else None
        self.closed = False
        self.given = 0

    def frames(self) -> Iterator[Frame]:
        for index, stamp in enumerate(self.stamps):
            if self.gate is not None:
                self.gate.acquire()
            if self.closed:
                return
            self.given += 1
            yield Frame(index, lambda: None, stamp, time.monotonic())  # type: ignore[arg-type, return-value]

    def close(self) -> None:
        self.closed = True
        if self.gate is not None:
            self.gate.release()


def wait_until(condition: object, seconds: float = 5) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:  # type: ignore[operator]
        time.sleep(0.001)
    assert condition()  # type: ignore[operator]


def take_all(reader: FrameReader) -> list[int]:
    found = []
    while not reader.ended:
        taken = reader.take(0.05)
        if taken is not None:
            found.append(taken[0].index)
    return found


def test_with_pace_real_the_newest_is_taken_and_the_others_are_counted() -> None:
    source = Listed([None] * 5, live=True, gate=True)
    reader = FrameReader(source, pace="real")
    reader.start()
    assert source.gate is not None
    source.gate.release(3)
    wait_until(lambda: reader.read == 3)
    taken = reader.take(1)
    assert taken is not None
    assert taken[0].index == 2
    assert reader.replaced == 2
    assert reader.take(0.01) is None
    assert not reader.ended
    source.gate.release(2)
    wait_until(lambda: reader.read == 5)
    assert take_all(reader) == [4]
    assert reader.replaced == 3
    reader.close()


def test_with_pace_fastest_none_is_skipped_and_the_source_waits() -> None:
    source = Listed([None] * 20)
    reader = FrameReader(source)
    reader.start()
    time.sleep(0.05)
    assert source.given <= 2, "one waits, and one is being handed over"
    assert take_all(reader) == list(range(20))
    assert (reader.replaced, reader.too_old) == (0, 0)
    reader.close()


def test_the_frames_of_a_file_come_at_their_own_time() -> None:
    reader = FrameReader(Listed([0.0, 0.1, 0.2]), pace="real")
    started = time.monotonic()
    reader.start()
    times = []
    while not reader.ended:
        if reader.take(0.05) is not None:
            times.append(time.monotonic() - started)
    assert len(times) == 3
    assert times[1] > 0.09
    assert times[2] > 0.19
    reader.close()


def test_a_frame_that_is_too_old_is_skipped_and_counted() -> None:
    source = Listed([None, None], live=True, gate=True)
    reader = FrameReader(source, pace="real", max_age=0.02)
    reader.start()
    assert source.gate is not None
    source.gate.release()
    wait_until(lambda: reader.read == 1)
    time.sleep(0.03)
    assert reader.take(1) is None
    assert reader.too_old == 1
    threading.Timer(0.05, source.gate.release).start()
    taken = reader.take(5)  # woken by the frame itself
    assert taken is None or taken[1] <= 0.02
    reader.close()


def test_a_file_that_cannot_be_read_in_time_is_delayed_and_does_not_lag() -> None:
    class Slow(Listed):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                time.sleep(0.06)  # three times its period
                yield frame

    reader = FrameReader(Slow([0.02 * k for k in range(6)]), pace="real")
    reader.start()
    ages = []
    while not reader.ended:
        taken = reader.take(0.5)
        if taken is not None:
            ages.append(taken[1])
    assert len(ages) == 6
    assert reader.delayed > 0.1
    assert sorted(ages)[3] < 0.02, "the lag does not add up"
    reader.close()


def test_an_error_of_the_source_comes_after_its_frames() -> None:
    class Failing(Listed):
        def frames(self) -> Iterator[Frame]:
            yield from super().frames()
            raise DataError("list: the cable was pulled")

    reader = FrameReader(Failing([None, None]))
    reader.start()
    assert reader.take(5) is not None
    assert not reader.ended
    assert reader.take(5) is not None
    assert not reader.ended
    with pytest.raises(DataError, match="the cable was pulled"):
        reader.take(5)
    assert reader.ended
    reader.close()


def test_closing_ends_a_thread_that_waits() -> None:
    for pace in ("real", "fastest"):
        reader = FrameReader(Listed([0.0, 1000.0, 2000.0]), pace=pace)  # type: ignore[arg-type]
        reader.start()
        time.sleep(0.02)
        started = time.monotonic()
        reader.close(timeout=5)
        assert time.monotonic() - started < 2
        assert not reader._thread.is_alive()
