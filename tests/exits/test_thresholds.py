from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from stored_logits import Stored, make_stored, stored

from edgemate.errors import UsageError
from edgemate.exits import (
    Confidence,
    Deadline,
    Entropy,
    FixedExit,
    Margin,
    Patience,
    choose_confidence,
    operating_points,
    scores,
    simulate,
)

THRESHOLDS = st.floats(0, 1, width=32)


@given(stored(), THRESHOLDS)
def test_simulating_is_what_one_picture_at_a_time_would_do(case: Stored, threshold: float) -> None:
    logits, labels, costs = case
    taken = []
    for picture in logits:
        confident = [k for k, row in enumerate(picture[:-1], 1) if scores.max_probability(row[None])[0] > threshold]
        taken.append(confident[0] if confident else len(picture))
    found = simulate(logits, labels, costs, Confidence(threshold))
    assert found.exits_taken.tolist() == taken
    hits = [picture[exit - 1].argmax() == label for picture, exit, label in zip(logits, taken, labels, strict=True)]
    assert found.accuracy == pytest.approx(np.mean(hits))
    assert found.mean_cost == pytest.approx(np.mean([costs[exit - 1] for exit in taken]))


@given(stored(), st.sampled_from([Confidence(0.6), Entropy(0.5), Margin(0.2), Patience(1), FixedExit(1)]))
def test_shares_are_of_a_whole(case: Stored, policy) -> None:
    found = simulate(*case, policy)
    assert sum(found.shares) == pytest.approx(1)
    assert len(found.shares) == case[0].shape[1]


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


@settings(deadline=None)
@given(stored(), st.sampled_from([0.0, 0.05, 0.2, 1.0]))
def test_no_other_threshold_is_cheaper_and_as_accurate(case: Stored, max_drop: float) -> None:
    logits, labels, costs = case
    chosen = simulate(logits, labels, costs, Confidence(choose_confidence(logits, labels, costs, max_drop)))
    full = simulate(logits, labels, costs, Confidence(1.0))
    assert chosen.accuracy >= full.accuracy - max_drop - 1e-9
    for threshold in {0.0, 1.0, *scores.max_probability(logits.reshape(-1, logits.shape[2])).tolist()}:
        other = simulate(logits, labels, costs, Confidence(threshold))
        if other.accuracy >= full.accuracy - max_drop - 1e-9:
            assert chosen.mean_cost <= other.mean_cost + 1e-9


def test_more_accuracy_given_up_never_costs_more() -> None:
    logits, labels, costs = make_stored(400, 4, 10)
    drops = [0.0, 0.005, 0.02, 0.1, 0.5]
    found = [
        simulate(logits, labels, costs, Confidence(choose_confidence(logits, labels, costs, drop))).mean_cost
        for drop in drops
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]


def test_temperatures_scale_the_logits_the_choice_is_made_on() -> None:
    logits, labels, costs = make_stored(300, 3, 5)
    scaled = logits.copy()
    scaled[:, :2] /= np.array([2.0, 0.5], np.float32)[:, None]
    assert choose_confidence(logits, labels, costs, 0.02, temperatures=[2.0, 0.5]) == choose_confidence(
        scaled, labels, costs, 0.02
    )


def test_no_picture_stands_on_the_threshold() -> None:
    logits, labels, costs = make_stored(300, 3, 5)
    threshold = choose_confidence(logits, labels, costs, 0.02)
    confidences = scores.max_probability(logits.reshape(-1, 5))
    assert np.abs(confidences - threshold).min() > 1e-6
    taken = simulate(logits, labels, costs, Confidence(threshold)).exits_taken
    for nearby in (threshold - 1e-6, threshold + 1e-6):
        np.testing.assert_array_equal(simulate(logits, labels, costs, Confidence(nearby)).exits_taken, taken)


def test_an_exit_whose_logits_are_no_numbers_is_never_counted_on() -> None:
    logits, labels, costs = make_stored(200, 3, 5)
    logits[:, 0, 0] = np.nan
    threshold = choose_confidence(logits, labels, costs, 1.0)
    assert simulate(logits, labels, costs, Confidence(threshold)).shares[0] == 0


def test_the_default_points_keep_their_promises_on_the_split_they_were_chosen_on() -> None:
    logits, labels, costs = make_stored(500, 4, 10)
    points = operating_points(logits, labels, costs)
    assert points.names() == ["fast", "balanced", "accurate", "full"]
    full = np.mean(logits[:, -1].argmax(axis=1) == labels)
    for name, drop in (("fast", 0.02), ("balanced", 0.005), ("accurate", 0.0), ("full", 0.0)):
        point = points.get(name)
        found = simulate(logits, labels, costs, point.as_policy())
        assert point.expected.accuracy == pytest.approx(found.accuracy)
        assert point.expected.mean_macs == pytest.approx(found.mean_cost)
        assert found.accuracy >= full - drop - 1e-9
    assert points.get("full").expected.shares == (0, 0, 0, 1)
    assert points.get("fast").expected.mean_macs < points.get("full").expected.mean_macs


def test_ten_thousand_pictures_are_chosen_from_at_once() -> None:
    logits, labels, costs = make_stored(10_000, 4, 10)
    assert 0 <= choose_confidence(logits, labels, costs, 0.005) <= 1


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda x, y, c: simulate(x, y, c, Deadline(1.0)), "a deadline can only be measured"),
        (lambda x, y, c: simulate(x, y[:-1], c, FixedExit(1)), "need labels (5,) and 3 costs, not (4,) and 3"),
        (lambda x, y, c: simulate(x, y, c[:-1], FixedExit(1)), "and 3 costs, not (5,) and 2"),
        (lambda x, y, c: simulate(x[0], y, c, FixedExit(1)), "must be (pictures, exits, classes)"),
        (lambda x, y, c: simulate(x[:0], y[:0], c, FixedExit(1)), "not empty"),
        (lambda x, y, c: choose_confidence(x, y, c, 5), "max_drop: must be a fraction from 0 to 1, not 5"),
        (lambda x, y, c: choose_confidence(x, y, c, 0, temperatures=[1]), "temperatures: 1 given; 3 exits need 2"),
    ],
)
def test_what_cannot_be_used_is_named(call, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(*make_stored(5, 3, 4))
    assert problem in str(caught.value)
