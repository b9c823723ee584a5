"""Stop when the best class is far enough ahead of the second."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from edgemate.policies.score_policy import ScorePolicy
from edgemate.policies.scores import margin


class Margin(ScorePolicy):
    """Stop when the two largest probabilities differ by more than `threshold`, 0 to 1; at 1 nothing stops early."""

    name = "margin"
    highest = 1.0
    kind = "margin"

    @staticmethod
    def score(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The largest probability less the second largest, per row of `logits` `(n, C)`: float32 `(n,)`."""
        return margin(logits)
