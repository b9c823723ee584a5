from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgemate.profiling.efficient import cost_of, efficient_thresholds
from edgemate.profiling.profile_result import Point

FIGURES = st.tuples(st.integers(0, 8), st.integers(1, 8))


def point(accuracy: int, milliseconds: int, kind: str = "threshold") -> Point:
    return Point(
        curve="accuracy-latency",
        kind=kind,  # type: ignore[arg-type]
        accuracy=accuracy / 8,
        macs=1.0,
        flops=2.0,
        latency_ms=float(milliseconds),
        images=8,
        provenance="measured",
    )


@given(st.lists(FIGURES, max_size=12), FIGURES)
def test_they_are_the_pareto_front(swept: list[tuple[int, int]], full: tuple[int, int]) -> None:
    points = [*(point(*figures) for figures in swept), point(*full, kind="full network")]
    found = efficient_thresholds(points)
    assert [cost_of(one) for one in found] == sorted(cost_of(one) for one in found)
    for one in points[:-1]:
        better = [
            other
            for other in points
            if (other.accuracy >= one.accuracy and cost_of(other) < cost_of(one))
            or (other.accuracy > one.accuracy and cost_of(other) <= cost_of(one))
        ]
        assert (one in found) == (not better)


def test_a_threshold_that_is_slower_than_the_full_network_needs_more_accuracy() -> None:
    full, slower = point(7, 4, kind="full network"), point(7, 5)
    assert efficient_thresholds([slower, full]) == []
    assert efficient_thresholds([point(8, 5), full]) == [point(8, 5)]


def test_operating_points_and_fixed_exits_beat_no_threshold() -> None:
    others = [point(8, 1, kind="operating point"), point(8, 1, kind="fixed exit")]
    assert efficient_thresholds([point(5, 2), *others]) == [point(5, 2)]


def test_a_simulated_point_costs_its_macs() -> None:
    assert cost_of(replace(point(1, 1), latency_ms=None, macs=7.0)) == 7
