from __future__ import annotations

import pytest

from edgemate.bundle import Bundle
from edgemate.runtime import AnytimeClassifier, measure_exits


def test_every_exit_is_timed_in_both_layouts(small_bundle: Bundle) -> None:
    with (
        AnytimeClassifier.load(small_bundle.path, threads=1) as segments,
        AnytimeClassifier.load(small_bundle.path, threads=1, layout="prefixes") as prefixes,
    ):
        found = measure_exits(segments, prefixes, small_bundle.golden().images[:2], warmup=1, repeats=5)
    assert [latency.exit for latency in found] == [1, 2, 3]
    for latency in found:
        assert latency.segments.repeats == latency.prefix.repeats == 5
        assert latency.ratio == pytest.approx(latency.segments.p50 / latency.prefix.p50)
