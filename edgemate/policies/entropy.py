"""Stop when the probabilities are concentrated enough (BranchyNet, Teerapittayanon et al. 2016, algorithm 1)."""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from edgemate.policies.score_policy import ScorePolicy
from edgemate.policies.scores import entropy


class Entropy(ScorePolicy):
    """Stop when the entropy of the softmax, in nats, is below `threshold`; at 0 nothing stops early."""

    name = "entropy"
    highest = math.inf
    rises = False
    kind = "entropy"

    @staticmethod
    def score(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The entropy in nats of the softmax of each row of `logits` `(n, C)`: float32 `(n,)`."""
        return entropy(logits)

    @classmethod
    def largest_score(cls, classes: int) -> float:
        """`log(classes)`, where all are equally likely."""
        return math.log(classes)
