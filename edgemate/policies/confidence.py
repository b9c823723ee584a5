"""Stop when the largest probability is high enough."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from edgemate.policies.score_policy import ScorePolicy
from edgemate.policies.scores import max_probability


class Confidence(ScorePolicy):
    """Stop when the largest softmax probability is above `threshold`, 0 to 1; at 1 nothing stops early."""

    name = "confidence"
    highest = 1.0
    kind = "confidence"

    @staticmethod
    def score(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The largest probability of each row of `logits` `(n, C)`: float32 `(n,)`."""
        return max_probability(logits)

    def confidence_thresholds(self, exits: int) -> tuple[float, ...] | None:
        """Its thresholds `(K-1,)`; None with a temperature other than 1."""
        return self.thresholds(exits) if set(self.temperatures(exits)) <= {1.0} else None
