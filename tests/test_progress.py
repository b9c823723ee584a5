from __future__ import annotations

import subprocess
import sys

import pytest
from clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from edgemate.progress import Heartbeat, Pace, duration


def test_a_sign_is_due_once_the_silence_has_lasted_long_enough() -> None:
    clock = FakeClock()
    heartbeat = Heartbeat(30, clock)
    assert not heartbeat.due()
    clock.pass_by(29)
    assert not heartbeat.due()
    clock.pass_by(1)
    assert heartbeat.due()
    assert not heartbeat.due()
    clock.pass_by(20)
    heartbeat.beat()
    clock.pass_by(20)
    assert not heartbeat.due()


@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=200))
def test_polled_often_no_silence_is_longer_than_the_gap_and_a_poll(gaps: list[float]) -> None:
    clock = FakeClock()
    heartbeat = Heartbeat(30, clock)
    last = clock()
    for gap in gaps:
        clock.pass_by(gap)
        if heartbeat.due():
            assert clock() - last >= 30 - 1e-6
            last = clock()
        assert clock() - last < 30 + max(gaps)


def test_the_pace_is_that_of_the_last_seconds() -> None:
    clock = FakeClock()
    pace = Pace(window=30, clock=clock)
    assert pace.rate is None
    assert pace.left(10) is None
    clock.pass_by(100)  # a slow start
    pace.add(1)
    assert pace.rate == pytest.approx(0.01)
    for _ in range(40):
        clock.pass_by(1)
        pace.add(5)
    assert pace.rate == pytest.approx(5)
    assert pace.left(50) == pytest.approx(10)
    clock.pass_by(1000)
    pace.restart()
    clock.pass_by(1)
    pace.add(7)
    assert pace.rate == pytest.approx(7)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_it_is_light() -> None:
    code = "import sys; import edgemate.progress; print([name for name in ('rich', 'numpy') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
