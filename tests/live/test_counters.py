"""What the counters say at the end, to somebody who has not read about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgemate.errors import BackendError
from edgemate.live import Frame, FrameReader, LiveReport, Resident
from edgemate.live.resident import Told
from edgemate.live.sources import Source
from edgemate.monitoring import Statistics


def test_the_counters_are_one_line_that_explains_itself() -> None:
    assert LiveReport().summary == "0 frames: 0 answered"
    one = LiveReport(frames=1, answered=1, exits={2: 1}, oldest_ms=1.25, mean_ms=0.5, delayed_ms=0.1)
    assert one.summary.split("; ") == [
        "1 frame: 1 answered",
        "an answer took 0.50 ms on average, network and policy",
        "the oldest frame was 1.2 ms old when its turn came",
        "answered by exit 2 100.0 %",
    ]
    many = LiveReport(
        frames=1_009,
        answered=1_000,
        still=600,
        replaced=2,
        too_old=1,
        lost=3,
        unanswered=1,
        unreadable=2,
        exits={1: 300, 3: 100},
        late=1,
        oldest_ms=9.0,
        mean_ms=0.611,
        delayed_ms=40.0,
        reloads=1,
        refused=2,
    )
    assert many.summary.split("; ") == [
        "1,009 frames: 1,000 answered",
        "600 of them like an earlier frame, whose answer they kept",
        "6 skipped (2 since a newer one had come, 1 since they were too old, "
        "3 by the source, since decoding fell behind)",
        "2 could not be read",
        "1 still waiting",
        "an answer took 0.61 ms on average, network and policy",
        "the oldest frame was 9.0 ms old when its turn came",
        "answered by exit 1 75.0 %, exit 3 25.0 %",
        "1 answer came after the deadline",
        "the video was played 40 ms late, since it could not be read faster",
        "1 new bundle taken, 2 refused",
    ]


TOLD = Told(lambda answer: None, lambda report: None, lambda line: None)


class Nothing(Source):
    name = "nothing"

    def frames(self) -> Iterator[Frame]:
        yield from ()

    def close(self) -> None: ...


class Bundled:
    """A loaded bundle that has failed so often."""

    point = None

    def __init__(self, non_finite: int, degraded: int) -> None:
        statistics = Statistics(
            answers=(0, 0), probability_sum=0.0, non_finite=non_finite, deadlines=0, late=0, degraded=degraded
        )
        self.classifier = SimpleNamespace(
            statistics=lambda: statistics, bundle=SimpleNamespace(path=Path("b")), close=lambda: None
        )

    def close(self) -> None: ...


def test_an_end_that_fails_closes_the_rest_all_the_same() -> None:
    class Broken(Bundled):
        def close(self) -> None:
            raise BackendError("the device is gone")

    closed: list[str] = []
    overlay: Any = SimpleNamespace(close=lambda: closed.append("overlay"))
    broken: Any = Broken(0, 0)
    with pytest.raises(BackendError, match="the device is gone"):
        Resident(broken, FrameReader(Nothing()), TOLD, overlay=overlay).run()
    assert closed == ["overlay"]


def test_what_failed_before_a_new_bundle_took_over_is_told_too() -> None:
    following = [(Bundled(2, 3), []), (None, [])]
    replacement = SimpleNamespace(
        start=lambda: None, close=lambda: None, take=lambda: following.pop(0) if following else (None, [])
    )
    first: Any = Bundled(5, 1)
    found = Resident(first, FrameReader(Nothing()), TOLD, replacement=replacement).run()  # type: ignore[arg-type]
    assert found.reloads == 1
    assert found.warnings == (
        "7 times the logits of an exit were not finite",
        "4 answers came from an earlier exit, as a later one failed",
    )
