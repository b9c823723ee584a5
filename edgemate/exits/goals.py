"""What an operating point is to reach."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError

Array = npt.NDArray[Any]
_SLACK = 1e-9  # of rounding in sums


@dataclass(frozen=True)
class Goal:
    """Either the cheapest policy that keeps the accuracy, or the most accurate one that a mean cost allows.

    Attributes:
        max_drop: how far the accuracy may be below the last exit's, as a fraction: 0.005 is half a point.
        max_cost: how much an image may cost on average, in the unit of the costs.

    Raises:
        UsageError: not exactly one is given, or it is out of range.
    """

    max_drop: float | None = None
    max_cost: float | None = None

    def __post_init__(self) -> None:
        if (self.max_drop is None) == (self.max_cost is None):
            raise UsageError("goal: give either max_drop or max_cost")
        if self.max_drop is not None and not 0 <= self.max_drop <= 1:
            raise UsageError(f"max_drop: must be a fraction from 0 to 1, not {self.max_drop}")
        if self.max_cost is not None and not 0 < self.max_cost < math.inf:
            given = f"max_cost (mean_macs, mean_latency_ms): must be above 0 and finite, not {self.max_cost}"
            raise UsageError(given)

    def rank(self, accuracy: Any, cost: Any, full_accuracy: float) -> tuple[Any, ...]:
        """Keys that sort the better of two outcomes first; what misses the goal comes after all that reach it.

        Args:
            accuracy: of one outcome, or of several `(n,)`.
            cost: likewise.
            full_accuracy: the last exit's.
        """
        if self.max_cost is not None:
            return np.maximum(cost - self.max_cost * (1 + _SLACK), 0.0), -accuracy, cost
        least = full_accuracy - (self.max_drop or 0.0) - _SLACK
        return np.maximum(least - accuracy, 0.0), cost, -accuracy

    def reached(self, accuracy: float, cost: float, full_accuracy: float) -> bool:
        """Whether one outcome is what was to be reached."""
        return bool(self.rank(accuracy, cost, full_accuracy)[0] <= 0)

    def best(self, accuracy: Array, cost: Array, full_accuracy: float) -> int:
        """The index of the best of several outcomes; the first of equals."""
        return int(np.lexsort(self.rank(accuracy, cost, full_accuracy)[::-1])[0])
