"""Direct search for the thresholds of all exits together.

For every price of a unit of cost, from nothing to more than any accuracy is worth, coordinate ascent on
accuracy − price × mean cost: with all other thresholds fixed, sorting the images that reach an exit by their sureness
gives the accuracy and cost of every threshold that exit could have, and the best of them is exact. What was passed on
the way, MSDNet's solution and thresholds common to all exits are the candidates; the best of them for the goal is
improved by the same steps, now straight towards the goal. So it is never worse than any of them on the split. Ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from edgemate.calibration.goals import Goal
from edgemate.calibration.solvers.msdnet import geometric_cuts
from edgemate.calibration.solvers.problem import Array, Cuts, Problem, thresholds
from edgemate.calibration.stored_split import StoredSplit
from edgemate.policies.confidence import Confidence
from edgemate.policies.policy import Policy
from edgemate.policies.score_policy import ScorePolicy

PRICES = np.geomspace(1e-3, 10.0, 33)  # in accuracy, for all that lies between the first exit's cost and the last's
COMMON = 65
MAX_SWEEPS = 20

# Of the right answers (n,) and the mean costs (n,) of several candidates: the index of the best.
Choice = Callable[[Array, Array], int]


def direct(split: StoredSplit, goal: Goal, measure: type[ScorePolicy] = Confidence) -> Policy:
    """The policy that direct search finds for a goal."""
    cuts = search(Problem.of(split, measure), goal)
    return measure(thresholds(measure, cuts), temperature=split.temperatures)


def search(problem: Problem, goal: Goal) -> Cuts:
    """The best cuts found for a goal. One that cannot be reached at all is missed by as little as possible."""
    if not problem.early:
        return ()
    candidates = {*_along_prices(problem), *_common(problem), geometric_cuts(problem, goal)}
    ranked = sorted(candidates, key=lambda cuts: (problem.rank(cuts, goal), cuts))

    def best(hits: Array, costs: Array) -> int:
        return goal.best(hits / len(problem.correct), costs, problem.full_accuracy)

    improved = [_ascend(problem, cuts, best) for cuts in ranked[:3]]
    return min((*improved, ranked[0]), key=lambda cuts: problem.rank(cuts, goal))


def _along_prices(problem: Problem) -> Iterator[Cuts]:
    span = float(problem.costs[-1] - problem.costs[0]) or 1.0
    for prices, start in ((PRICES, problem.never), (PRICES[::-1], problem.lowest)):
        cuts: Cuts = (start,) * problem.early
        yield cuts
        for price in prices:
            cuts = _ascend(problem, cuts, _at_price(price * len(problem.correct) / span))
            yield cuts


def _at_price(each: float) -> Choice:
    return lambda hits, costs: int(np.argmax(hits - each * costs))


def _common(problem: Problem) -> Iterator[Cuts]:
    finite = problem.sureness[np.isfinite(problem.sureness)]
    if finite.size:
        for cut in np.quantile(finite, np.linspace(0, 1, COMMON), method="lower").tolist():
            yield (min(max(cut, problem.lowest), problem.never),) * problem.early


def _ascend(problem: Problem, cuts: Cuts, choose: Choice) -> Cuts:
    """Best thresholds in turn, from the last exit to the first, until none changes."""
    current = list(cuts)
    for _ in range(MAX_SWEEPS):
        before = tuple(current)
        for exit in reversed(range(problem.early)):
            current[exit] = _best_cut(problem, current, exit, choose)
        if tuple(current) == before:
            break
    return tuple(current)


def _best_cut(problem: Problem, cuts: list[float], exit: int, choose: Choice) -> float:
    """The best cut of one exit, the others as they are; the one it has where nothing is better."""
    images = np.arange(len(problem.correct))
    without = problem.stops([*cuts[:exit], problem.never, *cuts[exit + 1 :]])
    reach = np.flatnonzero(without >= exit)
    reach = reach[np.argsort(-problem.sureness[reach, exit], kind="stable")]
    sureness = problem.sureness[reach, exit]
    onward = without[reach]
    more_right = problem.correct[reach, exit].astype(np.int64) - problem.correct[reach, onward]
    more_cost = problem.costs[exit] - problem.costs[onward]
    # Candidate 0 stops nobody here; candidate i the surest ones down to the i-th distinct sureness.
    last = np.flatnonzero(np.append(sureness[1:] != sureness[:-1], True)) if len(reach) else np.empty(0, np.intp)
    last = last[sureness[last] > np.float32(problem.lowest)]
    hits = problem.correct[images, without].sum() + np.append(0, np.cumsum(more_right)[last])
    costs = problem.costs[without].mean() + np.append(0.0, np.cumsum(more_cost)[last]) / len(images)
    kept = _kept_candidate(sureness, last, cuts[exit])
    chosen = choose(np.append(hits[kept], hits), np.append(costs[kept], costs)) - 1
    if chosen in (-1, kept):
        return cuts[exit]
    if chosen == 0:
        return problem.never
    place = last[chosen - 1]
    following = float(sureness[place + 1]) if place + 1 < len(sureness) else -np.inf
    return problem.between(float(sureness[place]), following)


def _kept_candidate(sureness: Array, last: npt.NDArray[np.intp], cut: float) -> int:
    """Which candidate the present cut is."""
    stopped = int(np.searchsorted(-sureness, -np.float32(cut), side="left"))
    return int(np.searchsorted(last, stopped, side="left"))
