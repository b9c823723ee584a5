from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from stored_logits import Stored, make_stored, stored

from edgemate.calibration import simulate
from edgemate.errors import UsageError
from edgemate.policies import Confidence, Deadline, Entropy, FixedExit, Margin, Patience, scores

THRESHOLDS = st.floats(0, 1, width=32)


@given(stored(), THRESHOLDS)
def test_simulating_is_what_one_image_at_a_time_would_do(case: Stored, threshold: float) -> None:
    logits, labels, costs = case
    taken = []
    for image in logits:
        confident = [k for k, row in enumerate(image[:-1], 1) if scores.max_probability(row[None])[0] > threshold]
        taken.append(confident[0] if confident else len(image))
    found = simulate(logits, labels, costs, Confidence(threshold))
    assert found.exits_taken.tolist() == taken
    hits = [image[exit - 1].argmax() == label for image, exit, label in zip(logits, taken, labels, strict=True)]
    assert found.accuracy == pytest.approx(np.mean(hits))
    assert found.mean_cost == pytest.approx(np.mean([costs[exit - 1] for exit in taken]))


@given(stored(), st.sampled_from([Confidence(0.6), Entropy(0.5), Margin(0.2), Patience(1), FixedExit(1)]))
def test_fractions_sum_to_one(case: Stored, policy) -> None:
    found = simulate(*case, policy)
    assert sum(found.fractions) == pytest.approx(1)
    assert len(found.fractions) == case[0].shape[1]


@given(stored(), THRESHOLDS, THRESHOLDS)
def test_a_higher_threshold_never_costs_less(case: Stored, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert simulate(*case, Confidence(low)).mean_cost <= simulate(*case, Confidence(high)).mean_cost
    assert simulate(*case, Entropy(high)).mean_cost <= simulate(*case, Entropy(low)).mean_cost


@given(stored())
def test_a_threshold_of_one_is_the_full_network(case: Stored) -> None:
    logits, labels, costs = case
    found = simulate(logits, labels, costs, Confidence(1.0))
    assert found.mean_cost == pytest.approx(costs[-1])
    assert found.accuracy == pytest.approx(np.mean(logits[:, -1].argmax(axis=1) == labels))


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda x, y, c: simulate(x, y, c, Deadline(1.0)), "a deadline can only be measured"),
        (lambda x, y, c: simulate(x, y[:-1], c, FixedExit(1)), "need labels (5,) and 3 costs, not (4,) and 3"),
        (lambda x, y, c: simulate(x, y, c[:-1], FixedExit(1)), "and 3 costs, not (5,) and 2"),
        (lambda x, y, c: simulate(x[0], y, c, FixedExit(1)), "must be (images, exits, classes)"),
        (lambda x, y, c: simulate(x[:0], y[:0], c, FixedExit(1)), "not empty"),
    ],
)
def test_invalid_parameters_are_named(call, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(*make_stored(5, 3, 4))
    assert problem in str(caught.value)
