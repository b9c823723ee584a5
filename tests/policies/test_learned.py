from __future__ import annotations

import numpy as np
import pytest

from edgemate.errors import UsageError
from edgemate.policies import Learned

# Two exits to stop at, two classes: probabilities (2), largest, entropy, earlier scores, constant.
WEIGHTS = [[0, 0, 8, 0, -4], [0, 0, 0, 0, 1, 0]]
LOGITS = np.array([[4.0, 0.0], [0.0, 0.0], [0.0, 4.0]], np.float32)


def test_scores_rise_with_what_is_weighted_and_earlier_ones_are_remembered() -> None:
    decider = Learned([0.9, 0.5], weights=WEIGHTS).begin(3, 3)
    assert decider.stop(1, LOGITS, 0.0).tolist() == [True, False, True]
    decider.keep(np.array([1]))
    # What exit 1 thought of it, a sigmoid of 0, goes through another sigmoid.
    assert decider.stop(2, LOGITS[1:2], 0.0).tolist() == [True]


def test_non_finite_logits_do_not_stop_and_are_counted() -> None:
    decider = Learned([0.0, 0.0], weights=WEIGHTS).begin(2, 3)
    assert decider.stop(1, np.array([[np.nan, 0], [0, 0]], np.float32), 0.0).tolist() == [False, True]
    assert decider.non_finite == 1
    assert Learned([0.0, 0.0], weights=WEIGHTS).begin(0, 3).stop(1, np.empty((0, 2), np.float32), 0.0).shape == (0,)


def test_an_exit_with_non_finite_logits_scores_zero() -> None:
    # Exit 2 stops what exit 1 scored above 0.5: zeros in place of non-finite logits would score far higher.
    decider = Learned([1.0, 0.5], weights=[[0, 0, 0, 0, 9], [0, 0, 0, 0, 8, -4]]).begin(2, 3)
    decider.stop(1, np.array([[np.nan, 0], [1, 0]], np.float32), 0.0)
    assert decider.stop(2, LOGITS[:2], 0.0).tolist() == [False, True]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Learned([1.5, 0], weights=WEIGHTS), "threshold must be from 0 to 1, not 1.5"),
        (lambda: Learned([0.5], weights=WEIGHTS), "as many thresholds"),
        (lambda: Learned([0.5, 0.5], weights=WEIGHTS, temperature=[1.0]), "as many thresholds"),
        (
            lambda: Learned([0.5, 0.5], weights=WEIGHTS, temperature=[0.0, 1.0]),
            "temperature must be from 1e-06 to 1e+06",
        ),
        (lambda: Learned([0.5], weights=[[[1.0], [2.0]]]), "weights must be one row of numbers per exit but the last"),
        (lambda: Learned([0.5, 0.5], weights=[[0.0] * 5, [0.0] * 5]), "one weight more"),
        (lambda: Learned([0.5, 0.5], weights=WEIGHTS).begin(1, 4), "is for 3 exits; this network has 4"),
        (
            lambda: Learned([0.5, 0.5], weights=WEIGHTS).begin(1, 3).stop(1, np.zeros((1, 3), np.float32), 0.0),
            "5 weights given for exit 1; 3 classes need 6",
        ),
    ],
)
def test_invalid_parameters_are_named(make, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert problem in str(caught.value)
