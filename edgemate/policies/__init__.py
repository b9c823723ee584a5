"""Exit policies: after each exit, which images stop there. In numpy alone."""

from edgemate.policies.confidence import Confidence
from edgemate.policies.deadline import Deadline
from edgemate.policies.entropy import Entropy
from edgemate.policies.fixed import FixedExit
from edgemate.policies.learned import Learned
from edgemate.policies.margin import Margin
from edgemate.policies.patience import Patience
from edgemate.policies.policy import Decider, Policy
from edgemate.policies.score_policy import ScorePolicy
from edgemate.policies.single import SingleDecider, StopRule

__all__ = [
    "Confidence",
    "Deadline",
    "Decider",
    "Entropy",
    "FixedExit",
    "Learned",
    "Margin",
    "Patience",
    "Policy",
    "ScorePolicy",
    "SingleDecider",
    "StopRule",
]
