from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from stored_logits import Stored, make_stored, stored

from edgemate.calibration import Goal, StoredSplit, simulate
from edgemate.calibration.solvers.direct import direct, search
from edgemate.calibration.solvers.msdnet import geometric_thresholds, msdnet, thresholds_for
from edgemate.calibration.solvers.problem import Problem, policy_thresholds
from edgemate.policies import Confidence, Entropy, Margin, ScorePolicy
from edgemate.registry import SOLVERS

SCORE_POLICIES = st.sampled_from([Confidence, Entropy, Margin])
FEW = settings(max_examples=60)


@FEW
@given(stored(), SCORE_POLICIES, st.data())
def test_cuts_do_what_the_policy_they_stand_for_does(
    case: Stored, score_policy: type[ScorePolicy], data: st.DataObject
) -> None:
    split = StoredSplit(*case)
    problem = Problem.of(split, score_policy)
    threshold = (
        st.floats(problem.lowest, problem.never, width=32)
        if score_policy is not Entropy
        else st.floats(-2, 0, width=32)
    )
    thresholds = data.draw(st.lists(threshold, min_size=problem.early, max_size=problem.early))
    found = simulate(*case, score_policy(policy_thresholds(score_policy, thresholds)))
    assert (problem.stops(thresholds) + 1).tolist() == found.exits_taken.tolist()
    assert problem.outcome(thresholds) == pytest.approx((found.accuracy, found.mean_cost))


@FEW
@given(stored(), SCORE_POLICIES, st.data())
def test_raising_any_cut_never_costs_less(case: Stored, score_policy: type[ScorePolicy], data: st.DataObject) -> None:
    problem = Problem.of(StoredSplit(*case), score_policy)
    thresholds = data.draw(st.lists(st.floats(-2, 1, width=32), min_size=problem.early, max_size=problem.early))
    raised = [threshold + data.draw(st.floats(0, 1)) for threshold in thresholds]
    assert problem.outcome(raised)[1] >= problem.outcome(thresholds)[1] - 1e-9


@FEW
@given(stored(), SCORE_POLICIES, st.floats(0, 1.2))
def test_it_is_never_worse_than_msdnet_at_equal_cost(
    case: Stored, score_policy: type[ScorePolicy], part: float
) -> None:
    logits, labels, costs = case
    problem = Problem.of(StoredSplit(logits, labels, costs), score_policy)
    budget = costs[0] + part * (costs[-1] - costs[0])
    goal = Goal(max_cost=budget)
    accuracy, cost = problem.outcome(geometric_thresholds(problem, goal))
    found, spent = problem.outcome(search(problem, goal))
    assert spent <= max(cost, budget) + 1e-6
    if cost <= budget + 1e-9:  # it does, unless ties leave it no choice
        assert found >= accuracy - 1e-9


@pytest.mark.parametrize("score_policy", [Confidence, Entropy, Margin])
def test_nor_at_the_cost_that_msdnet_really_has(score_policy: type[ScorePolicy]) -> None:
    problem = Problem.of(StoredSplit(*make_stored(500, 4, 10)), score_policy)
    for budget in np.linspace(problem.costs[0] * 1.01, problem.costs[-1], 9).tolist():
        accuracy, cost = problem.outcome(geometric_thresholds(problem, Goal(max_cost=budget)))
        assert cost <= budget + 1e-9
        found, spent = problem.outcome(search(problem, Goal(max_cost=cost)))
        assert spent <= cost + 1e-9
        assert found >= accuracy


@FEW
@given(stored(), SCORE_POLICIES, st.sampled_from([0.0, 0.05, 0.2, 1.0]))
def test_no_threshold_common_to_all_exits_is_cheaper_and_as_accurate(
    case: Stored, score_policy: type[ScorePolicy], max_drop: float
) -> None:
    problem = Problem.of(StoredSplit(*case), score_policy)
    accuracy, cost = problem.outcome(search(problem, Goal(max_drop=max_drop)))
    assert accuracy >= problem.full_accuracy - max_drop - 1e-9
    for common in {problem.lowest, problem.never, *problem.scores[:, :1].ravel().tolist()}:
        outcome = problem.outcome((common,) * problem.early)
        if outcome[0] >= problem.full_accuracy - max_drop:
            assert cost <= outcome[1] + 1e-6


def test_it_beats_msdnet_where_exits_are_unequally_sure() -> None:
    # Exit 1 is right where it is confident; exit 2 is confident and half wrong, so no image should stop there.
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 2000)
    logits = np.zeros((2000, 3, 4), np.float32)
    easy = random.random(2000) < 0.5
    logits[np.arange(2000), 0, labels] = np.where(easy, 6, 0.1)
    logits[np.arange(2000), 1, np.where(random.random(2000) < 0.5, labels, (labels + 1) % 4)] = random.uniform(
        2, 6, 2000
    )
    logits[np.arange(2000), 2, labels] = 3
    problem = Problem.of(StoredSplit(logits, labels, [1.0, 2.0, 3.0]), Confidence)
    goal = Goal(max_cost=2.0)
    ours, theirs = problem.outcome(search(problem, goal)), problem.outcome(geometric_thresholds(problem, goal))
    assert ours[0] == 1.0
    assert theirs[0] < 0.9


def test_more_accuracy_given_up_and_less_money_never_cost_more() -> None:
    problem = Problem.of(StoredSplit(*make_stored(400, 4, 10)), Confidence)
    costs = [problem.outcome(search(problem, Goal(max_drop=drop)))[1] for drop in (0.0, 0.005, 0.02, 0.1, 0.5)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]
    budgets = np.linspace(problem.costs[0], problem.costs[-1], 7)
    accuracies = [problem.outcome(search(problem, Goal(max_cost=float(budget))))[0] for budget in budgets]
    assert accuracies == sorted(accuracies)


def test_no_image_stands_on_a_threshold() -> None:
    split = StoredSplit(*make_stored(300, 3, 5))
    policy = direct(split, Goal(max_drop=0.02))
    assert isinstance(policy, Confidence)
    taken = simulate(split.logits, split.labels, split.costs, policy).exits_taken
    for change in (-1e-6, 1e-6):
        nearby = Confidence([min(max(value + change, 0), 1) for value in policy.thresholds(3)])
        assert simulate(split.logits, split.labels, split.costs, nearby).exits_taken.tolist() == taken.tolist()


def test_an_exit_whose_logits_are_no_numbers_is_never_counted_on() -> None:
    logits, labels, costs = make_stored(200, 3, 5)
    logits[:, 0, 0] = np.nan
    for solver in ("direct", "msdnet", "eenet", "patience"):
        policy = SOLVERS.get(solver)(StoredSplit(logits, labels, costs), Goal(max_drop=1.0))
        assert simulate(logits, labels, costs, policy).fractions[0] == 0


@pytest.mark.parametrize("solver", ["direct", "msdnet", "eenet", "patience"])
@pytest.mark.parametrize(("images", "exits", "classes"), [(1, 1, 1), (1, 3, 4), (7, 3, 1), (5, 1, 3), (5, 2, 2)])
def test_every_solver_bears_little_to_choose_from(solver: str, images: int, exits: int, classes: int) -> None:
    logits, labels, costs = make_stored(images, exits, classes)
    for goal in (Goal(max_drop=0.0), Goal(max_cost=costs[0])):
        found = simulate(logits, labels, costs, SOLVERS.get(solver)(StoredSplit(logits, labels, costs), goal))
        assert sum(found.fractions) == pytest.approx(1)


def test_msdnet_spends_its_budget() -> None:
    split = StoredSplit(*make_stored(2000, 4, 10))
    for part in (0.2, 0.5, 0.9):
        budget = split.costs[0] + part * (split.costs[-1] - split.costs[0])
        policy = msdnet(split, Goal(max_cost=budget))
        assert simulate(split.logits, split.labels, split.costs, policy).mean_cost == pytest.approx(budget, rel=0.01)


@pytest.mark.parametrize("score_policy", [Confidence, Entropy, Margin])
def test_msdnet_stops_the_images_that_tie_with_the_last_it_wants(score_policy: type[ScorePolicy]) -> None:
    logits, labels, costs = make_stored(100, 3, 5)
    logits[:, :2] *= 0.01
    logits[:40, :2, 0] = 500  # a probability of 1 in float32
    problem = Problem.of(StoredSplit(logits, labels, costs), score_policy)
    thresholds = thresholds_for(problem, np.array([0.2, 0.3, 0.5]))
    # The twentieth ties with the fortieth; exit 2 then takes the thirty highest scores of the rest.
    assert np.bincount(problem.stops(thresholds), minlength=3).tolist() == [40, 30, 30]


@FEW
@given(stored(), SCORE_POLICIES, st.data())
def test_msdnet_stops_as_its_pytorch_code_does(
    case: Stored, score_policy: type[ScorePolicy], data: st.DataObject
) -> None:
    problem = Problem.of(StoredSplit(*case), score_policy)
    given_fractions = data.draw(st.lists(st.integers(1, 9), min_size=problem.early + 1, max_size=problem.early + 1))
    fractions = np.array(given_fractions) / sum(given_fractions)
    stops = problem.stops(thresholds_for(problem, fractions))
    left = np.ones(len(stops), bool)
    for exit in range(problem.early):
        scores = problem.scores[:, exit]
        ranked = np.sort(scores[left])[::-1]
        wanted = min(int(fractions[exit] * len(stops)), len(ranked))
        # No threshold stops an image with the lowest score there is, such as a margin of 0.
        taken = left & (scores >= ranked[wanted - 1]) & (scores > problem.lowest) if wanted else ~left & False
        assert (stops == exit).tolist() == taken.tolist()
        left &= ~taken


@FEW
@given(stored(), SCORE_POLICIES, st.lists(st.integers(1, 3), min_size=4, max_size=4), st.floats(0, 1.2))
def test_direct_is_never_worse_than_msdnet_where_scores_and_costs_tie(
    case: Stored, score_policy: type[ScorePolicy], steps: list[int], part: float
) -> None:
    logits, labels, _ = case
    logits = np.round(np.clip(logits, -2, 2))  # few scores, many ties
    costs = [float(steps[0])]
    for step in steps[1 : logits.shape[1]]:
        costs.append(costs[-1] + step - 1)  # an exit may cost no more than the one before it
    problem = Problem.of(StoredSplit(logits, labels, costs), score_policy)
    for goal in (Goal(max_cost=costs[0] + part * (costs[-1] - costs[0])), Goal(max_drop=part / 10)):
        ours, theirs = search(problem, goal), geometric_thresholds(problem, goal)
        assert problem.rank(ours, goal) <= problem.rank(theirs, goal)


def test_temperatures_scale_what_is_compared() -> None:
    logits, labels, costs = make_stored(300, 3, 5)
    scaled = logits.copy()
    scaled[:, :2] /= np.array([2.0, 0.5], np.float32)[:, None]
    goal = Goal(max_drop=0.02)
    warm = direct(StoredSplit(logits, labels, costs, (2.0, 0.5)), goal)
    plain = direct(StoredSplit(scaled, labels, costs), goal)
    assert isinstance(warm, Confidence)
    assert isinstance(plain, Confidence)
    assert (warm.threshold, warm.temperature) == (plain.threshold, (2.0, 0.5))
