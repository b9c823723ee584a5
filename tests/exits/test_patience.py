from __future__ import annotations

import numpy as np
import pytest

from edgemate.errors import UsageError
from edgemate.exits import Patience


def named(*classes: int) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[list(classes)]


def test_it_stops_when_exits_agree_often_enough_in_a_row() -> None:
    decider = Patience(2).begin(3, 6)
    assert decider.stop(1, named(0, 1, 2), 0.0).tolist() == [False, False, False]
    assert decider.stop(2, named(0, 1, 3), 0.0).tolist() == [False, False, False]
    assert decider.stop(3, named(0, 2, 3), 0.0).tolist() == [True, False, False]
    decider.keep(np.array([1, 2]))
    assert decider.stop(4, named(2, 3), 0.0).tolist() == [False, True]
    decider.keep(np.array([0]))
    assert decider.stop(5, named(2), 0.0).tolist() == [True]


def test_patience_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="patience: must be 1 or more, not 0"):
        Patience(0)
