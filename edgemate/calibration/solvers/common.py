"""One threshold for all exits, the best there is.

With a single number to choose, a small calibration split says most reliably what the threshold does on other images.
Let m_k be the highest score of an image up to exit k. It stops at the first k whose m_k is above the threshold, so
accuracy and cost are sums over those m_k that are above it, and one sorted pass gives them for every threshold.
"""

from __future__ import annotations

import numpy as np

from edgemate.calibration.goals import Goal
from edgemate.calibration.solvers.problem import Problem, Thresholds, policy_thresholds
from edgemate.calibration.stored_split import StoredSplit
from edgemate.policies.confidence import Confidence
from edgemate.policies.policy import Policy
from edgemate.policies.score_policy import ScorePolicy


def common(split: StoredSplit, goal: Goal, score_policy: type[ScorePolicy] = Confidence) -> Policy:
    """The policy with the same threshold at every exit that is best for a goal.

    Args:
        split: the stored logits and costs.
        goal: the goal to reach.
        score_policy: the policy whose threshold is chosen.
    """
    thresholds = common_threshold(Problem.of(split, score_policy), goal)
    return score_policy(policy_thresholds(score_policy, thresholds), temperature=split.temperatures)


def common_threshold(problem: Problem, goal: Goal) -> Thresholds:
    """The threshold, `(K-1,)` times the same."""
    if not problem.early:
        return ()
    images = len(problem.scores)
    highest = np.maximum.accumulate(problem.scores, axis=1)
    order = np.argsort(-highest, axis=None, kind="stable")
    values = highest.ravel()[order]
    right = problem.correct.astype(np.int64)
    more_right = (right[:, :-1] - right[:, 1:]).ravel()[order]
    more_cost = np.broadcast_to(problem.costs[:-1] - problem.costs[1:], highest.shape).ravel()[order]
    # Candidate 0 stops no image early; candidate i those above the i-th highest distinct value, it included.
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    last = last[values[last] > np.float32(problem.lowest)]
    hits = right[:, -1].sum() + np.append(0, np.cumsum(more_right)[last])
    costs = problem.costs[-1] + np.append(0.0, np.cumsum(more_cost)[last]) / images
    chosen = goal.best(hits / images, costs, problem.full_accuracy)
    threshold = problem.never
    if chosen:
        place = last[chosen - 1]
        following = float(values[place + 1]) if place + 1 < len(values) else -np.inf
        threshold = problem.between(float(values[place]), following)
    return (threshold,) * problem.early
