"""What thresholds on the confidence would do on a split, simulated from stored logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy.typing as npt

from edgemate.calibration import simulate
from edgemate.calibration.temperature import find_temperatures
from edgemate.policies import Confidence
from edgemate.profiling.stop_costs import StopCosts

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ThresholdFigures:
    """A confidence policy on a split, simulated.

    Attributes:
        thresholds: one per exit but the last, `(K-1,)`.
        temperatures: what logits are divided by before their confidence is taken, `(K-1,)`.
        images: number of images.
        accuracy: top-1 in [0, 1].
        fractions: of the images that stop at each exit, `(K,)`.
        mean_macs: mean chained MACs per image; None without a profile.
        mean_ms: mean over images of the median latency of the exit taken; None without a profile.
        p99_ms: 99th percentile over images of that latency; None without a profile.
        mean_mj: mean energy per image in millijoules; None where it was not measured.
    """

    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...]
    images: int
    accuracy: float
    fractions: tuple[float, ...]
    mean_macs: float | None = None
    mean_ms: float | None = None
    p99_ms: float | None = None
    mean_mj: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def at_thresholds(
    logits: Array,
    labels: Array,
    thresholds: Sequence[float],
    temperatures: Sequence[float],
    costs: StopCosts | None = None,
) -> ThresholdFigures:
    """Simulate the policy "stop where the confidence is above the exit's threshold".

    Args:
        logits: float32 `(N, K, C)`.
        labels: int `(N,)`.
        thresholds: one per exit but the last, or one for all.
        temperatures: of all exits but the last, `(K-1,)`.
        costs: of stopping at each exit, from a profile.

    Raises:
        UsageError: a threshold is out of range, or there is another number of them.
    """
    exits = logits.shape[1]
    policy = Confidence(thresholds[0] if len(thresholds) == 1 else thresholds, temperature=temperatures)
    found = simulate(logits, labels, [0.0] * exits if costs is None else costs.macs, policy)
    given = policy.thresholds(exits), policy.temperatures(exits), len(labels)
    if costs is None:
        return ThresholdFigures(*given, found.accuracy, found.fractions)
    return ThresholdFigures(
        *given,
        found.accuracy,
        found.fractions,
        mean_macs=costs.mean(costs.macs, found.exits_taken),
        mean_ms=costs.mean(costs.milliseconds, found.exits_taken),
        p99_ms=costs.p99_ms(found.fractions, len(labels)),
        mean_mj=costs.mean(costs.millijoules, found.exits_taken),
    )


def fitted_temperatures(logits: Array, labels: Array) -> tuple[float, ...]:
    """The temperature of every exit but the last that calibration fits to its split, `(K-1,)`.

    Args:
        logits: float32 `(N, K, C)` of the calibration split.
        labels: int `(N,)`.
    """
    return tuple(find_temperatures(logits[:, :-1], labels))
