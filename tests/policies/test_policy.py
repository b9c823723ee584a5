from __future__ import annotations

import numpy as np
import pytest

from edgemate.policies import Confidence, Deadline, Entropy, FixedExit, Margin, Patience, Policy

EAGER = [
    Confidence(0.0),
    Entropy(100.0),
    Margin(0.0),
    FixedExit(1),
    Deadline(1e-6, segment_ms=(1.0, 1.0, 1.0)),
]
CLEAR = np.array([[9.0, 0.0, 1.0]] * 4, np.float32)
BROKEN = np.array([[9, 0, 1], [np.nan, 0, 1], [np.inf, 0, 1], [9, 0, -np.inf]], np.float32)


@pytest.mark.parametrize("policy", EAGER, ids=lambda policy: type(policy).__name__)
def test_an_image_with_non_finite_logits_never_stops_and_is_counted(policy: Policy) -> None:
    decider = policy.begin(4, 3)
    assert decider.stop(1, CLEAR, 0.0).tolist() == [True] * 4
    assert decider.non_finite == 0
    assert decider.stop(2, BROKEN, 0.0).tolist() == [True, False, False, False]
    assert decider.non_finite == 3


def test_patience_does_not_stop_on_non_finite_logits() -> None:
    decider = Patience(1).begin(4, 3)
    decider.stop(1, CLEAR, 0.0)
    assert decider.stop(2, BROKEN, 0.0).tolist() == [True, False, False, False]


@pytest.mark.parametrize("policy", [*EAGER, Patience(1)], ids=lambda policy: type(policy).__name__)
def test_an_empty_batch_is_decided(policy: Policy) -> None:
    assert policy.begin(0, 3).stop(1, np.empty((0, 5), np.float32), 0.0).shape == (0,)


def test_deciders_of_one_policy_share_no_state() -> None:
    policy = Patience(1)
    first, second = policy.begin(1, 3), policy.begin(1, 3)
    assert not first.stop(1, CLEAR[:1], 0.0).any()
    assert not second.stop(1, CLEAR[:1], 0.0).any()
    assert first.stop(2, CLEAR[:1], 0.0).all()
