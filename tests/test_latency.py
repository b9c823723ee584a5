from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.latency import Latency

TIMES = st.lists(
    st.lists(st.floats(0.01, 1000), min_size=1, max_size=8),
    min_size=2,
    max_size=10,
)


@given(TIMES)
def test_the_summary_of_blocks_is_that_of_all_calls_with_intervals_around_it(blocks: list[list[float]]) -> None:
    all_of = [one for block in blocks for one in block]
    found, plain = Latency.of_blocks(blocks), Latency.of(all_of)
    assert (found.p50, found.p90, found.p99, found.mean, found.repeats) == (
        plain.p50,
        plain.p90,
        plain.p99,
        plain.mean,
        len(all_of),
    )
    assert found.min == min(all_of)
    assert found.mean_interval is not None
    assert found.mean_interval[0] <= found.mean <= found.mean_interval[1]
    assert found.p50_interval is not None
    assert found.p50_interval[0] <= found.p50 <= found.p50_interval[1]


def test_the_interval_is_a_t_interval_over_the_means_of_the_blocks() -> None:
    found = Latency.of_blocks([[1.0, 3.0], [3.0, 5.0], [5.0, 7.0]])  # means 2, 4, 6: deviation 2, t 4.303
    half = 4.303 * 2 / np.sqrt(3)
    assert found.mean_interval == pytest.approx((4 - half, 4 + half))


def test_one_block_has_no_interval() -> None:
    assert Latency.of_blocks([[1.0, 2.0]]).mean_interval is None


def test_the_interval_covers_the_mean_of_calls_that_correlate() -> None:
    """Every block has a level of its own, as with a clock that changes: an interval over single calls is too narrow."""
    random = np.random.default_rng(0)
    covered = naive = 0
    for _ in range(300):
        blocks = 10 + random.normal(0, 1, (10, 1)) + random.normal(0, 0.1, (10, 10))
        low, high = Latency.of_blocks(blocks.tolist()).mean_interval or (0, 0)
        covered += low <= 10 <= high
        half = 1.96 * blocks.std(ddof=1) / np.sqrt(blocks.size)
        naive += abs(blocks.mean() - 10) <= half
    assert 0.9 <= covered / 300 <= 0.99
    assert naive / 300 < 0.7


@pytest.mark.parametrize(
    ("times", "wide"),
    [
        ([10.0] * 100, False),
        ([10.0, 10.5] * 50, False),
        ([10.0, 12.0] * 50, True),  # the middle half extends over 18 % of the median
        ([10.0] * 85 + [20.0] * 15, True),  # a tenth takes twice as long
        ([10.0] * 95 + [20.0] * 5, False),  # single interruptions are not a spread
    ],
)
def test_a_wide_spread_is_recognized(times: list[float], wide: bool) -> None:
    assert Latency.of(times).is_wide is wide
