from __future__ import annotations

import numpy as np
import pytest
from stored_logits import make_stored

from edgemate.calibration import Goal, StoredSplit, simulate
from edgemate.calibration.solvers import eenet as module
from edgemate.calibration.solvers.direct import direct
from edgemate.calibration.solvers.eenet import eenet, scored, train_scores
from edgemate.policies import Learned, scores
from edgemate.policies.learned import features


def test_its_gradients_are_those_of_its_objective() -> None:
    split = StoredSplit(*make_stored(20, 4, 3))
    random = np.random.default_rng(1)
    given = [module._finite_features(split, exit).astype(np.float64) for exit in (1, 2, 3)]
    weights = [random.normal(size=given[0].shape[1] + k) for k in range(3)]
    wrong, costs, price = 1.0 - split.correct, np.array([0.0, 0.3, 0.6, 1.0]), 0.7

    def objective() -> float:
        reach, total, earlier = np.ones(20), np.zeros(20), np.empty((20, 0))
        loss = wrong + price * costs
        for k in range(3):
            inputs = np.column_stack((given[k][:, :-1], earlier, given[k][:, -1]))
            score = 1 / (1 + np.exp(-(inputs @ weights[k])))
            total += reach * score * loss[:, k]
            reach = reach * (1 - score)
            earlier = np.column_stack((earlier, score))
        return float((total + reach * loss[:, 3]).mean())

    slopes, _ = module._gradients(given, weights, wrong, costs, price)
    for k, row in enumerate(weights):
        for i in range(len(row)):
            kept = row[i]
            row[i] = kept + 1e-5
            above = objective()
            row[i] = kept - 1e-5
            below = objective()
            row[i] = kept
            assert slopes[k][i] == pytest.approx((above - below) / 2e-5, abs=1e-6)


def test_the_runtime_policy_scores_as_the_solver_did() -> None:
    logits, labels, costs = make_stored(300, 4, 5)
    logits[::7, 0, 0] = np.nan
    split = StoredSplit(logits, labels, costs, temperatures=(2.0, 1.5, 0.8))
    weights = train_scores(split, split.costs[1])
    problem = scored(split, weights)
    thresholds = tuple(float(threshold) for threshold in np.median(problem.scores, axis=0))
    policy = Learned(thresholds, weights=weights, temperature=split.temperatures)
    found = simulate(split.logits, split.labels, split.costs, policy)
    assert (problem.stops(thresholds) + 1).tolist() == found.exits_taken.tolist()
    assert 0 < found.fractions[0] < 1


def test_it_learns_which_classes_an_exit_can_be_trusted_with() -> None:
    # Exit 1 is equally confident everywhere and right about two classes only: no threshold can separate them.
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 1000)
    predicted = np.where(labels < 2, labels, random.integers(2, 4, 1000))
    logits = np.zeros((1000, 2, 4), np.float32)
    logits[np.arange(1000), 0, predicted] = 3
    logits[np.arange(1000), 1, labels] = 3
    split = StoredSplit(logits, labels, [1.0, 2.0])
    goal = Goal(max_drop=0.0)
    learned = simulate(logits, labels, split.costs, eenet(split, goal))
    plain = simulate(logits, labels, split.costs, direct(split, goal))
    assert learned.accuracy == plain.accuracy == 1
    assert plain.mean_cost == 2
    assert learned.mean_cost < 1.6


def test_features_are_probabilities_their_summary_earlier_scores_and_one() -> None:
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    found = features(logits, np.array([[0.25], [0.75]], np.float32))
    assert found.shape == (2, 3 + 2 + 1 + 1)
    np.testing.assert_allclose(found[:, :3], scores.softmax(logits))
    np.testing.assert_allclose(found[1], [1 / 3, 1 / 3, 1 / 3, 1 / 3, 1, 0.75, 1], rtol=1e-6)
