from __future__ import annotations

import pytest
from backends import Opener

from edgemate.runtime import AnytimeClassifier, measure_exits, slower_than_later


def test_every_exit_is_timed_in_both_layouts(opener: Opener) -> None:
    segments = AnytimeClassifier(opener.bundle, opener())
    prefixes = AnytimeClassifier(opener.bundle, opener("prefixes"), layout="prefixes")
    found = measure_exits(segments, prefixes, opener.bundle.golden().images[:2], warmup=1, repeats=5)
    assert [latency.exit for latency in found] == [1, 2, 3]
    for latency in found:
        assert latency.segments is not None
        assert latency.prefix is not None
        assert latency.segments.repeats == latency.prefix.repeats == 5
        assert latency.ratio == pytest.approx(latency.segments.p50 / latency.prefix.p50)
        assert latency.answer is latency.segments


def test_one_layout_is_timed_alone(opener: Opener) -> None:
    images = opener.bundle.golden().images[:2]
    segments = AnytimeClassifier(opener.bundle, opener())
    prefixes = AnytimeClassifier(opener.bundle, opener("prefixes"), layout="prefixes")
    for latency in measure_exits(segments, None, images, warmup=1, repeats=3):
        assert latency.prefix is latency.ratio is None
        assert latency.answer is latency.segments
    for latency in measure_exits(None, prefixes, images, warmup=1, repeats=3):
        assert latency.segments is latency.ratio is None
        assert latency.answer is latency.prefix


@pytest.mark.parametrize(
    ("times", "marked"),
    [([1, 2, 3], []), ([1, 1, 1], []), ([2, 1, 3], [1]), ([2, 4, 3, 1], [1, 2, 3]), ([5], [])],
)
def test_an_exit_that_took_longer_than_a_later_one_is_named(times: list[float], marked: list[int]) -> None:
    assert slower_than_later(times) == marked
