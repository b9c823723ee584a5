"""The curve of accuracy against latency without images: stored logits, and the measured times to stop at each exit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from edgemate.calibration import OperatingPoint, StoredSplit, simulate_split
from edgemate.core.scoring import exit_accuracy
from edgemate.latency_tables import LatencyTable
from edgemate.policies import Confidence, Policy
from edgemate.profiling.profile_result import ExitProfile, Kind, Point
from edgemate.profiling.tradeoff import SIMULATED_THRESHOLDS, kind_of_exit, single_threshold, spread_thresholds

Array = npt.NDArray[Any]


def simulated_latency_points(
    logits: Array,
    labels: Array,
    exits: Sequence[ExitProfile],
    table: LatencyTable,
    operating_points: Sequence[OperatingPoint],
) -> list[Point]:
    """Points of accuracy against latency, simulated.

    Args:
        logits: float32 (N, K, C).
        labels: int64 (N,).
        exits: with the latency of each prefix, which is what a fixed exit takes.
        table: the measured times to stop at each exit.
        operating_points: to simulate beside the sweep.
    """
    chained = [float(exit.chained_macs) for exit in exits]
    split = StoredSplit(logits, labels, chained)

    def by_policy(kind: Kind, policy: Policy, threshold: float | None, name: str = "") -> Point:
        found = simulate_split(split, policy)
        mean_ms, p99_ms = table.mean_ms(found.fractions), table.p99_ms(found.fractions)
        return point(kind, found.accuracy, found.mean_cost, mean_ms, p99_ms, threshold=threshold, name=name)

    def point(kind: Kind, accuracy: float, macs: float, mean_ms: float, p99_ms: float, **which: Any) -> Point:
        return Point(
            curve="accuracy-latency",
            kind=kind,
            accuracy=accuracy,
            macs=macs,
            flops=2 * macs,
            latency_ms=mean_ms,
            latency_p99_ms=p99_ms,
            images=len(labels),
            provenance="simulated",
            **which,
        )

    sweep = spread_thresholds(logits, chained, SIMULATED_THRESHOLDS)
    found = [by_policy("threshold", Confidence(threshold), threshold) for threshold in sweep]
    for named in operating_points:
        policy = named.as_policy()
        if policy.deadline_ms is None:  # which depends on the clock and cannot be simulated
            found.append(by_policy("operating point", policy, single_threshold(named), named.name))
    for exit, accuracy in zip(exits, exit_accuracy(logits, labels), strict=True):
        latency, kind = exit.onnxruntime_prefix, kind_of_exit(exit.exit, len(exits))
        found.append(point(kind, float(accuracy), float(exit.macs), latency.mean, latency.p99, exit=exit.exit))
    return found
