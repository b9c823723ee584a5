"""MSDNet's budgeted solver (Huang et al. 2018, arXiv 1703.09844, section 4): geometric fractions.

A fraction P_k ∝ q^k of the images is to stop at exit k. At each exit in turn, the remaining images with
the highest scores make up that fraction; the lowest of these scores gives the threshold. Images that tie with it stop
too, as in adaptive_inference.py of github.com/kalviny/MSDNet-PyTorch, which compares with ≥. q is found by bisection on
the mean cost that the thresholds have, not on Σ P_k c_k, which rounding to whole images exceeds slightly. For a goal in
accuracy, which the paper does not have, a range of q is searched.
"""

from __future__ import annotations

import numpy as np

from edgemate.calibration.goals import Goal
from edgemate.calibration.solvers.problem import Array, Problem, Thresholds, policy_thresholds
from edgemate.calibration.stored_split import StoredSplit
from edgemate.policies.confidence import Confidence
from edgemate.policies.policy import Policy
from edgemate.policies.score_policy import ScorePolicy

_WIDEST = 12.0  # of log q: all images at one end, for up to a few dozen exits
_STEPS = 201


def msdnet(split: StoredSplit, goal: Goal, score_policy: type[ScorePolicy] = Confidence) -> Policy:
    """The geometric policy for a goal. Where scores tie, the cost may be below the budget.

    Args:
        split: the stored logits and costs.
        goal: the goal to reach.
        score_policy: the policy whose thresholds are chosen.
    """
    thresholds = geometric_thresholds(Problem.of(split, score_policy), goal)
    return score_policy(policy_thresholds(score_policy, thresholds), temperature=split.temperatures)


def geometric_thresholds(problem: Problem, goal: Goal) -> Thresholds:
    """The thresholds of the geometric policy, `(K-1,)`."""
    if not problem.early:
        return ()
    if goal.max_cost is not None:
        return _within(problem, goal.max_cost)
    if "geometric" not in problem.kept:
        steps = np.linspace(-_WIDEST, _WIDEST, _STEPS)
        problem.kept["geometric"] = [thresholds_for(problem, _fractions(log_q, problem.early + 1)) for log_q in steps]
    candidates: list[Thresholds] = [*problem.kept["geometric"], (problem.never,) * problem.early]
    return min(candidates, key=lambda thresholds: problem.rank(thresholds, goal))


def thresholds_for(problem: Problem, fractions: Array) -> Thresholds:
    """Thresholds `(K-1,)` with which the fraction `fractions[k]` of all images stops at exit k; `fractions` `(K,)`.

    More images stop where scores tie, since no threshold separates them.
    """
    left = np.ones(len(problem.scores), dtype=np.bool_)
    thresholds = []
    for exit in range(problem.early):
        order = problem.order[exit]
        ranked = problem.scores[order[left[order]], exit]
        wanted = min(int(fractions[exit] * len(left)), len(ranked))
        threshold = problem.never
        if wanted:
            lowest = ranked[wanted - 1]
            less_sure = ranked[wanted:][ranked[wanted:] < lowest]
            threshold = problem.between(float(lowest), float(less_sure[0]) if len(less_sure) else -np.inf)
        thresholds.append(threshold)
        left &= ~(problem.scores[:, exit] > np.float32(threshold))
    return tuple(thresholds)


def _fractions(log_q: float, exits: int) -> Array:
    powers = np.arange(exits) * log_q
    fractions: Array = np.exp(powers - powers.max())
    return np.asarray(fractions / fractions.sum())


def _within(problem: Problem, budget: float) -> Thresholds:
    """The thresholds of the largest q within the budget; of the smallest q if none is."""
    low, high = -_WIDEST, _WIDEST
    best = thresholds_for(problem, _fractions(low, problem.early + 1))
    for _ in range(40):
        middle = (low + high) / 2
        thresholds = thresholds_for(problem, _fractions(middle, problem.early + 1))
        if problem.outcome(thresholds)[1] > budget * (1 + 1e-9):
            high = middle
        else:
            low, best = middle, thresholds
    return best
