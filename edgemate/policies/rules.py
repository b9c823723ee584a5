"""Policies as numbers: what a kernel on the device compares, for those policies that are no more than that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgemate.policies.confidence import Confidence
from edgemate.policies.entropy import Entropy
from edgemate.policies.fixed import FixedExit
from edgemate.policies.margin import Margin
from edgemate.policies.patience import Patience
from edgemate.policies.policy import Policy
from edgemate.policies.score_policy import ScorePolicy

Score = Literal["confidence", "entropy", "margin", "patience"]

_SCORES: dict[type[Policy], Score] = {Confidence: "confidence", Entropy: "entropy", Margin: "margin"}


@dataclass(frozen=True)
class Rule:
    """Where an image stops.

    Attributes:
        score: what is compared; `patience` is how often in a row an exit agreed with the one before it.
        thresholds: of each exit but the last, `(K-1,)`. An image stops above it, with `entropy` below it, and with
            `patience` also at it.
        temperatures: what the logits are divided by first, `(K-1,)`.
    """

    score: Score
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...]


def rule_of(policy: Policy, exits: int) -> Rule | None:
    """The rule of a policy on a network of `exits` exits; None for a policy that is more than a comparison.

    Raises:
        UsageError: the policy does not fit such a network.
    """
    policy.check(exits)
    ones = (1.0,) * (exits - 1)
    # By its very class: a subclass may compute its score in another way.
    score = _SCORES.get(type(policy))
    if score is not None and isinstance(policy, ScorePolicy):
        return Rule(score, policy.thresholds(exits), policy.temperatures(exits))
    if type(policy) is Patience:
        return Rule("patience", (float(policy.patience),) * (exits - 1), ones)
    if type(policy) is FixedExit:
        return Rule("confidence", policy.confidence_thresholds(exits), ones)
    return None
