from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.calibration import simulate
from edgemate.policies import Confidence
from edgemate.profiling.bounds import bound_at, oracle_exit, random_exit

Case = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], list[float]]


@st.composite
def stored(draw: st.DrawFn) -> Case:
    images, exits, classes = draw(st.integers(1, 40)), draw(st.integers(1, 4)), draw(st.integers(2, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = (random.standard_normal((images, exits, classes)) * 3).astype(np.float32)
    costs = np.cumsum(random.integers(1, 1000, exits)).astype(float).tolist()
    return logits, random.integers(0, classes, images), costs


def correct_of(case: Case) -> npt.NDArray[np.bool_]:
    logits, labels, _ = case
    correct: npt.NDArray[np.bool_] = logits.argmax(-1) == labels[:, None]
    return correct


@given(stored(), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_no_policy_is_above_the_oracle(case: Case, thresholds: list[float]) -> None:
    logits, labels, costs = case
    found = simulate(logits, labels, costs, Confidence(thresholds[: len(costs) - 1]))
    oracle = oracle_exit(correct_of(case), costs)
    assert found.accuracy <= bound_at(oracle, [found.mean_cost])[0] + 1e-9


@given(stored(), st.integers(0, 2**32 - 1))
def test_no_choice_of_exits_at_all_is_above_the_oracle(case: Case, seed: int) -> None:
    correct, costs = correct_of(case), np.array(case[2])
    exits = np.random.default_rng(seed).integers(0, len(costs), len(correct))
    accuracy = correct[np.arange(len(correct)), exits].mean()
    assert accuracy <= bound_at(oracle_exit(correct, case[2]), [costs[exits].mean()])[0] + 1e-9


@given(stored(), st.lists(st.integers(0, 100), min_size=4, max_size=4).filter(any))
def test_random_exits_are_the_best_mixture(case: Case, weights: list[int]) -> None:
    accuracies, costs = correct_of(case).mean(0), np.array(case[2])
    hull = random_exit(accuracies.tolist(), case[2])
    drawn = np.array(weights[: len(costs)], dtype=float)
    drawn = np.full(len(costs), 1 / len(costs)) if not drawn.any() else drawn / drawn.sum()
    assert drawn @ accuracies <= bound_at(hull, [drawn @ costs])[0] + 1e-9
    # Each corner is an exit's own point, so the bound is reached.
    for corner in hull:
        assert (corner.accuracy, corner.cost) == (accuracies[corner.exit - 1], costs[corner.exit - 1])


@given(stored())
def test_the_oracle_is_never_below_the_random_exits(case: Case) -> None:
    correct, costs = correct_of(case), case[2]
    at = np.linspace(costs[0], costs[-1], 7)
    random = random_exit(correct.mean(0).tolist(), costs)
    assert (bound_at(oracle_exit(correct, costs), at) >= bound_at(random, at) - 1e-9).all()


def test_the_oracle_by_hand() -> None:
    correct = np.array([[1, 1], [0, 1], [0, 0], [1, 0]], dtype=bool)
    first, second = oracle_exit(correct, [10.0, 30.0])
    assert (first.exit, first.accuracy, first.cost) == (1, 0.5, 10.0)
    assert (second.exit, second.accuracy, second.cost) == (2, 0.75, pytest.approx(15.0))


def test_random_exits_leave_out_an_exit_below_the_line() -> None:
    assert [point.exit for point in random_exit([0.5, 0.55, 0.9], [1.0, 2.0, 3.0])] == [1, 3]
    assert [point.exit for point in random_exit([0.5, 0.8, 0.9], [1.0, 2.0, 3.0])] == [1, 2, 3]
    # An exit that is less accurate and costs more is never drawn.
    assert [point.exit for point in random_exit([0.5, 0.8, 0.7], [1.0, 2.0, 3.0])] == [1, 2]
