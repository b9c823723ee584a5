"""MSDNet's budgeted solver (Huang et al. 2018, arXiv 1703.09844, section 4): geometric fractions.

A fraction P_k ∝ q^k of the images is to stop at exit k. At each exit in turn, the surest of the images that are
left make up that fraction, and its last one gives the threshold; images that are just as sure stop with it, as in
adaptive_inference.py of github.com/kalviny/MSDNet-PyTorch, which compares with ≥. q is found by bisection, on the mean
cost that the thresholds really have and not on Σ P_k c_k, which rounding to whole images exceeds a little. For a goal
in accuracy, which the paper has not, a range of q is tried.
"""

from __future__ import annotations

import numpy as np

from edgemate.calibration.goals import Goal
from edgemate.calibration.solvers.problem import Array, Cuts, Problem, thresholds
from edgemate.calibration.stored_split import StoredSplit
from edgemate.policies.confidence import Confidence
from edgemate.policies.policy import Policy
from edgemate.policies.score_policy import ScorePolicy

_WIDEST = 12.0  # of log q: all images at one end, for up to a few dozen exits
_TRIED = 201


def msdnet(split: StoredSplit, goal: Goal, measure: type[ScorePolicy] = Confidence) -> Policy:
    """The geometric policy for a goal. Where scores tie, less may be spent than a budget allows."""
    cuts = geometric_cuts(Problem.of(split, measure), goal)
    return measure(thresholds(measure, cuts), temperature=split.temperatures)


def geometric_cuts(problem: Problem, goal: Goal) -> Cuts:
    """The same, as cuts."""
    if not problem.early:
        return ()
    if goal.max_cost is not None:
        return _within(problem, goal.max_cost)
    tried = [cuts_for(problem, _shares(log_q, problem.early + 1)) for log_q in np.linspace(-_WIDEST, _WIDEST, _TRIED)]
    tried.append((problem.never,) * problem.early)
    return min(tried, key=lambda cuts: problem.rank(cuts, goal))


def cuts_for(problem: Problem, fractions: Array) -> Cuts:
    """Cuts with which the fraction `fractions[k]` of all images stops at each exit k: `fractions` `(K,)`.

    More where images tie with the last of them: no cut can part these.
    """
    left = np.ones(len(problem.sureness), dtype=np.bool_)
    cuts = []
    for exit in range(problem.early):
        ranked = -np.sort(-problem.sureness[left, exit])
        wanted = min(int(fractions[exit] * len(left)), len(ranked))
        cut = problem.never
        if wanted:
            lowest = ranked[wanted - 1]
            less_sure = ranked[ranked < lowest]
            cut = problem.between(float(lowest), float(less_sure[0]) if len(less_sure) else -np.inf)
        cuts.append(cut)
        left &= ~(problem.sureness[:, exit] > np.float32(cut))
    return tuple(cuts)


def _shares(log_q: float, exits: int) -> Array:
    powers = np.arange(exits) * log_q
    fractions: Array = np.exp(powers - powers.max())
    return np.asarray(fractions / fractions.sum())


def _within(problem: Problem, budget: float) -> Cuts:
    """The cuts of the largest q that keeps the budget; of the smallest where none does."""
    low, high = -_WIDEST, _WIDEST
    best = cuts_for(problem, _shares(low, problem.early + 1))
    for _ in range(40):
        middle = (low + high) / 2
        cuts = cuts_for(problem, _shares(middle, problem.early + 1))
        if problem.outcome(cuts)[1] > budget * (1 + 1e-9):
            high = middle
        else:
            low, best = middle, cuts
    return best
