from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from stored_logits import Stored, make_stored, stored

from edgemate.calibration import Goal, StoredSplit, simulate
from edgemate.calibration.solvers.common import common, common_threshold
from edgemate.calibration.solvers.problem import Problem
from edgemate.policies import Confidence, Entropy, Margin, ScorePolicy
from edgemate.registry import SOLVERS

SCORE_POLICIES = st.sampled_from([Confidence, Entropy, Margin])
GOALS = st.one_of(
    st.sampled_from([0.0, 0.02, 0.1, 1.0]).map(lambda drop: Goal(max_drop=drop)),
    st.floats(0.1, 10).map(lambda cost: Goal(max_cost=cost)),
)


@settings(max_examples=60)
@given(stored(), SCORE_POLICIES, GOALS)
def test_no_other_common_threshold_is_better(case: Stored, score_policy: type[ScorePolicy], goal: Goal) -> None:
    problem = Problem.of(StoredSplit(*case), score_policy)
    found = common_threshold(problem, goal)
    assert len(set(found)) <= 1
    # Each score as a threshold, and one below all of them: whatever a threshold can do, one of these does.
    finite = problem.scores[np.isfinite(problem.scores)].tolist()
    candidates = [problem.never, problem.lowest, *(min(max(one, problem.lowest), problem.never) for one in finite)]
    best = min(problem.rank((one,) * problem.early, goal) for one in candidates)
    assert problem.rank(found, goal) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("score_policy", [Confidence, Entropy, Margin])
def test_the_policy_does_what_was_found(score_policy: type[ScorePolicy]) -> None:
    case = make_stored(400, 4, 10)
    split, goal = StoredSplit(*case), Goal(max_drop=0.01)
    policy = common(split, goal, score_policy)
    assert isinstance(policy, score_policy)
    problem = Problem.of(split, score_policy)
    found = simulate(*case, policy)
    expected = problem.outcome(common_threshold(problem, goal))
    assert (found.accuracy, found.mean_cost) == pytest.approx(expected)
    assert found.accuracy >= problem.full_accuracy - 0.01 - 1e-9


def test_it_has_a_name() -> None:
    assert SOLVERS.get("common") is common
