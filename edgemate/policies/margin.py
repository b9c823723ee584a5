"""Stop when the best class is far enough ahead of the second."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from edgemate.policies.score_policy import ScorePolicy
from edgemate.policies.scores import margin


class Margin(ScorePolicy):
    """Stop when the two largest probabilities are more than `threshold` apart, 0 to 1; at 1 nothing stops early."""

    name = "margin"
    highest = 1.0

    @staticmethod
    def score(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """How far the two largest probabilities are apart."""
        return margin(logits)
