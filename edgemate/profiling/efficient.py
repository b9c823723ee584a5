"""Which thresholds of a sweep are worth choosing."""

from __future__ import annotations

from collections.abc import Sequence

from edgemate.profiling.profile_result import Point


def efficient_thresholds(points: Sequence[Point]) -> list[Point]:
    """The thresholds that nothing beats: the Pareto front of accuracy and cost.

    A threshold is beaten by another threshold or by the full network if that is at least as accurate and costs at most
    as much, and is better in one of the two. With chained segments, thresholds that let most images reach the last
    exit cost more than the full network, which is one graph; they are worth choosing only if they are more accurate.

    Args:
        points: those of one curve.

    Returns:
        The thresholds, by cost, ascending.
    """
    rivals = [point for point in points if point.kind in ("threshold", "full network")]
    found = [point for point in rivals if point.kind == "threshold" and not any(_beats(one, point) for one in rivals)]
    return sorted(found, key=cost_of)


def cost_of(point: Point) -> float:
    """The cost on the point's curve: mean ms if it was timed, else mean MACs."""
    return point.macs if point.latency_ms is None else point.latency_ms


def _beats(one: Point, other: Point) -> bool:
    better = one.accuracy > other.accuracy or cost_of(one) < cost_of(other)
    return better and one.accuracy >= other.accuracy and cost_of(one) <= cost_of(other)
