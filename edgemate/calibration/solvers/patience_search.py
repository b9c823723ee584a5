"""Search for the patience: how many times in a row the exits must agree."""

from __future__ import annotations

from edgemate.calibration.goals import Goal
from edgemate.calibration.simulation import simulate_split
from edgemate.calibration.stored_split import StoredSplit
from edgemate.policies.fixed import FixedExit
from edgemate.policies.patience import Patience
from edgemate.policies.policy import Policy


def patience(split: StoredSplit, goal: Goal) -> Policy:
    """The patience, 1 to K-2, that reaches the goal best; the whole network if that is better.

    Args:
        split: the stored logits and costs.
        goal: the goal to reach.
    """
    policies: list[Policy] = [Patience(times) for times in range(1, split.exits - 1)]
    full = float(split.correct[:, -1].mean())

    def rank(policy: Policy) -> tuple[float, ...]:
        found = simulate_split(split, policy)
        return goal.rank(found.accuracy, found.mean_cost, full)

    return min([*policies, FixedExit(split.exits)], key=rank)
