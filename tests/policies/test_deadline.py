from __future__ import annotations

import math

import numpy as np
import pytest

from edgemate.errors import UsageError
from edgemate.policies import Confidence, Deadline, Learned, Patience

UNSURE = np.zeros((2, 3), np.float32)
SURE = np.array([[9, 0, 0], [0, 0, 0]], np.float32)


def test_it_stops_when_the_next_segment_does_not_fit() -> None:
    decider = Deadline(10.0, segment_ms=(1.0, 4.0, 4.0)).begin(2, 3)
    assert not decider.stop(1, UNSURE, 5.9).any()
    assert decider.stop(1, UNSURE, 6.1).all()


def test_the_inner_policy_may_stop_earlier() -> None:
    decider = Deadline(10.0, segment_ms=(1.0, 4.0, 4.0), inner=Confidence(0.9)).begin(2, 3)
    assert decider.stop(1, SURE, 0.0).tolist() == [True, False]
    assert decider.stop(1, SURE, 9.0).tolist() == [True, True]


def test_the_inner_policy_forgets_the_images_that_left() -> None:
    decider = Deadline(10.0, segment_ms=(1.0, 1.0, 1.0, 1.0), inner=Patience(1)).begin(2, 4)
    decider.stop(1, np.eye(3, dtype=np.float32)[[0, 1]], 0.0)
    decider.keep(np.array([1]))
    assert decider.stop(2, np.eye(3, dtype=np.float32)[[1]], 0.0).tolist() == [True]


def test_once_over_it_stays_over_and_the_inner_policy_is_not_asked_again() -> None:
    learned = Learned([1.0, 1.0, 1.0], weights=[[0.0] * (6 + k) for k in range(3)])
    for inner in (learned, Patience(9), None):
        decider = Deadline(10.0, segment_ms=(1.0, 9.0, 0.0, 0.0), inner=inner).begin(2, 4)
        logits = np.array([[np.nan, 0, 0], [0, 0, 0]], np.float32)
        assert decider.stop(1, logits, 2.0).tolist() == [False, True]
        decider.keep(np.array([0]))
        # Segments that take no time would fit again, but the first finite prediction is already late.
        assert decider.stop(2, np.zeros((1, 3), np.float32), 9.0).tolist() == [True]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Deadline(0), "deadline: must be above 0 ms and finite, not 0"),
        (lambda: Deadline(math.nan), "not nan"),
        (lambda: Deadline(1, segment_ms=(-1,)), "segment_ms must be 0 or more"),
        (lambda: Deadline(1, inner=Deadline(1)), "give the shorter one alone"),
        (lambda: Deadline(1).begin(1, 3), "needs segment_ms"),
        (lambda: Deadline(1, segment_ms=(1, 1)).begin(1, 3), "2 segment times given; 3 exits need 3"),
    ],
)
def test_invalid_parameters_are_named(make, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert problem in str(caught.value)


def test_a_table_of_times_can_be_filled_in() -> None:
    inner = Confidence(0.5)
    filled = Deadline(7.0, inner=inner).with_segment_ms([1, 2])
    assert (filled.ms, filled.segment_ms, filled.inner) == (7.0, (1, 2), inner)
