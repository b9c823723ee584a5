from __future__ import annotations

import numpy as np
import pytest

from edgemate.errors import UsageError
from edgemate.policies import Deadline, Patience


def predicting(*classes: int) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[list(classes)]


def test_it_stops_when_exits_agree_often_enough_in_a_row() -> None:
    decider = Patience(2).begin(3, 6)
    assert decider.stop(1, predicting(0, 1, 2), 0.0).tolist() == [False, False, False]
    assert decider.stop(2, predicting(0, 1, 3), 0.0).tolist() == [False, False, False]
    assert decider.stop(3, predicting(0, 2, 3), 0.0).tolist() == [True, False, False]
    decider.keep(np.array([1, 2]))
    assert decider.stop(4, predicting(2, 3), 0.0).tolist() == [False, True]
    decider.keep(np.array([0]))
    assert decider.stop(5, predicting(2), 0.0).tolist() == [True]


NOTHING = np.full((1, 4), np.nan, np.float32)


@pytest.mark.parametrize(
    "wrap", [lambda policy: policy, lambda policy: Deadline(9.0, segment_ms=[1] * 5, inner=policy)]
)
@pytest.mark.parametrize("broken", [(1,), (2,), (1, 2), (3,)])
@pytest.mark.parametrize("predicted", [0, 2])
def test_non_finite_logits_agree_with_nothing(wrap, broken: tuple[int, ...], predicted: int) -> None:
    # Two exits in a row must agree: with one that names a class, not with one that names none, and not across it.
    decider = wrap(Patience(1)).begin(1, 5)
    stops = [bool(decider.stop(k, NOTHING if k in broken else predicting(predicted), 0.0)[0]) for k in range(1, 5)]
    assert stops == [k > 1 and not {k - 1, k} & set(broken) for k in range(1, 5)]


def test_agreement_restarts_after_an_exit_without_a_prediction() -> None:
    decider = Patience(2).begin(1, 7)
    logits = (predicting(1), predicting(1), NOTHING, predicting(1), predicting(1), predicting(1))
    assert [bool(decider.stop(k, row, 0.0)[0]) for k, row in enumerate(logits, 1)] == [False] * 5 + [True]


def test_patience_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="patience: must be 1 or more, not 0"):
        Patience(0)
