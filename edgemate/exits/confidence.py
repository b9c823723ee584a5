"""Stop when the largest probability is high enough."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from edgemate.exits.policy import Mask
from edgemate.exits.score_policy import ScorePolicy
from edgemate.exits.scores import max_probability


class Confidence(ScorePolicy):
    """Stop when the largest softmax probability is above `threshold`, 0 to 1; at 1 nothing stops early."""

    name = "confidence"
    highest = 1.0

    def thresholds(self, exits: int) -> tuple[float, ...]:
        """The threshold of each of `exits` exits but the last; UsageError when a list has not one number per exit."""
        return self._per_exit("threshold", self.threshold, exits - 1)

    def passes(self, logits: npt.NDArray[Any], threshold: float) -> Mask:
        """Rows whose largest probability is above `threshold`."""
        mask: Mask = max_probability(logits) > threshold
        return mask
