"""Direct search for the thresholds of all exits together.

For every price of a unit of cost, from nothing to more than any accuracy is worth, coordinate ascent on
accuracy − price × mean cost: with all other thresholds fixed, sorting the images that reach an exit by their score
gives the accuracy and cost of every threshold that exit could have, and the best of them is exact. The intermediate
solutions, MSDNet's solution and thresholds common to all exits are the candidates. The best three for the goal are
improved by the same steps, now towards the goal itself, so the result is never worse than any candidate on the split.
The method is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from edgemate.calibration.goals import Goal
from edgemate.calibration.solvers.msdnet import geometric_thresholds
from edgemate.calibration.solvers.problem import Array, Problem, Thresholds, policy_thresholds
from edgemate.calibration.stored_split import StoredSplit
from edgemate.policies.confidence import Confidence
from edgemate.policies.policy import Policy
from edgemate.policies.score_policy import ScorePolicy

PRICES = np.geomspace(1e-3, 10.0, 33)  # of the cost between the first exit and the last, in accuracy
COMMON = 65
MAX_SWEEPS = 20

# From the numbers of correct images (n,) and the mean costs (n,) of several candidates: the index of the best.
Choice = Callable[[Array, Array], int]


def direct(split: StoredSplit, goal: Goal, score_policy: type[ScorePolicy] = Confidence) -> Policy:
    """The policy that direct search finds for a goal.

    Args:
        split: the stored logits and costs.
        goal: the goal to reach.
        score_policy: the policy whose thresholds are searched.
    """
    thresholds = search(Problem.of(split, score_policy), goal)
    return score_policy(policy_thresholds(score_policy, thresholds), temperature=split.temperatures)


def search(problem: Problem, goal: Goal) -> Thresholds:
    """The best thresholds found for a goal. A goal that cannot be reached is missed by as little as possible."""
    if not problem.early:
        return ()
    if "candidates" not in problem.kept:
        problem.kept["candidates"] = {*_along_prices(problem), *_common(problem)}
    candidates = {*problem.kept["candidates"], geometric_thresholds(problem, goal)}
    ranked = sorted(candidates, key=lambda thresholds: (problem.rank(thresholds, goal), thresholds))

    def best(hits: Array, costs: Array) -> int:
        return goal.best(hits / len(problem.correct), costs, problem.full_accuracy)

    improved = [_ascend(problem, thresholds, best) for thresholds in ranked[:3]]
    return min((*improved, ranked[0]), key=lambda thresholds: problem.rank(thresholds, goal))


def _along_prices(problem: Problem) -> Iterator[Thresholds]:
    span = float(problem.costs[-1] - problem.costs[0]) or 1.0
    for prices, start in ((PRICES, problem.never), (PRICES[::-1], problem.lowest)):
        thresholds: Thresholds = (start,) * problem.early
        yield thresholds
        for price in prices:
            thresholds = _ascend(problem, thresholds, _at_price(price * len(problem.correct) / span))
            yield thresholds


def _at_price(each: float) -> Choice:
    return lambda hits, costs: int(np.argmax(hits - each * costs))


def _common(problem: Problem) -> Iterator[Thresholds]:
    finite = problem.scores[np.isfinite(problem.scores)]
    if finite.size:
        for threshold in np.quantile(finite, np.linspace(0, 1, COMMON), method="lower").tolist():
            yield (min(max(threshold, problem.lowest), problem.never),) * problem.early


def _ascend(problem: Problem, thresholds: Thresholds, choose: Choice) -> Thresholds:
    """Optimize the thresholds one by one, from the last exit to the first, until none changes."""
    current = list(thresholds)
    for _ in range(MAX_SWEEPS):
        before = tuple(current)
        for exit in reversed(range(problem.early)):
            current[exit] = _best_threshold(problem, current, exit, choose)
        if tuple(current) == before:
            break
    return tuple(current)


def _best_threshold(problem: Problem, thresholds: list[float], exit: int, choose: Choice) -> float:
    """The best threshold of one exit with the others fixed; the present one if none is better."""
    images = np.arange(len(problem.correct))
    without = problem.stops([*thresholds[:exit], problem.never, *thresholds[exit + 1 :]])
    order = problem.order[exit]
    reach = order[(without >= exit)[order]]
    scores = problem.scores[reach, exit]
    onward = without[reach]
    more_right = problem.correct[reach, exit].astype(np.int64) - problem.correct[reach, onward]
    more_cost = problem.costs[exit] - problem.costs[onward]
    # Candidate 0 stops no image here; candidate i those with the i highest distinct scores.
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(reach) else np.empty(0, np.intp)
    last = last[scores[last] > np.float32(problem.lowest)]
    hits = problem.correct[images, without].sum() + np.append(0, np.cumsum(more_right)[last])
    costs = problem.costs[without].mean() + np.append(0.0, np.cumsum(more_cost)[last]) / len(images)
    kept = _kept_candidate(scores, last, thresholds[exit])
    chosen = choose(np.append(hits[kept], hits), np.append(costs[kept], costs)) - 1
    if chosen in (-1, kept):
        return thresholds[exit]
    if chosen == 0:
        return problem.never
    place = last[chosen - 1]
    following = float(scores[place + 1]) if place + 1 < len(scores) else -np.inf
    return problem.between(float(scores[place]), following)


def _kept_candidate(scores: Array, last: npt.NDArray[np.intp], threshold: float) -> int:
    """The index of the candidate that the present threshold is."""
    stopped = int(np.searchsorted(-scores, -np.float32(threshold), side="left"))
    return int(np.searchsorted(last, stopped, side="left"))
