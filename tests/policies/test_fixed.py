from __future__ import annotations

import numpy as np
import pytest

from edgemate.errors import UsageError
from edgemate.policies import FixedExit

LOGITS = np.zeros((2, 3), np.float32)


def test_every_image_stops_there_and_none_before() -> None:
    decider = FixedExit(2).begin(2, 3)
    assert decider.stop(1, LOGITS, 0.0).tolist() == [False, False]
    assert decider.stop(2, LOGITS, 0.0).tolist() == [True, True]


def test_an_exit_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="exit: counts from 1, not 0"):
        FixedExit(0)
    with pytest.raises(UsageError, match="exit: 4 asked for; this network has exits 1 to 3"):
        FixedExit(4).begin(1, 3)
