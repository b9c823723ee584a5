"""A live stream whose decoding is too slow skips packets, and no other does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgemate.live.sources.falling_behind import MOST_SECONDS, FallingBehind

PERIOD = 1 / 30


def test_slow_decoding_never_lags_further_than_allowed_and_goes_on_at_a_keyframe() -> None:
    behind, now, decoded, lag = FallingBehind(), 0.0, [], []
    for index in range(900):
        stamp, keyframe = index * PERIOD, index % 10 == 0
        now = max(now, stamp)  # a packet cannot come before its time
        if not behind.skips(now, stamp, keyframe=keyframe):
            if decoded and decoded[-1] != index - 1:
                assert keyframe
            decoded.append(index)
            lag.append(now - stamp)
            now += 1.5 * PERIOD
    assert max(lag) <= MOST_SECONDS + PERIOD
    assert 500 < len(decoded) < 700, "two of three can be decoded"


@given(st.lists(st.floats(0, MOST_SECONDS * 0.9), min_size=1, max_size=300), st.floats(-1e6, 1e6))
def test_jitter_skips_nothing(delays: list[float], epoch: float) -> None:
    behind = FallingBehind()
    for index, delay in enumerate(delays):
        assert not behind.skips(index * PERIOD + delay, epoch + index * PERIOD, keyframe=False)


def test_a_clock_that_is_a_little_slower_skips_nothing_in_a_week() -> None:
    behind = FallingBehind()
    for second in range(0, 7 * 24 * 3600, 60):
        assert not behind.skips(second * (1 + 1e-4), float(second), keyframe=False)


def test_a_camera_that_starts_anew_skips_nothing() -> None:
    behind = FallingBehind()
    for index in range(100):
        assert not behind.skips(1000 + index * PERIOD, index * PERIOD, keyframe=False)
    for index in range(100):
        assert not behind.skips(1060 + index * PERIOD, index * PERIOD, keyframe=False)
