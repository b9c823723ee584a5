from __future__ import annotations

import math

import numpy as np
import pytest

from edgemate.errors import UsageError
from edgemate.policies import Confidence, Entropy, Margin

# Probabilities of 0.9, 0.6 and 0.5 for the first of two classes.
LOGITS = np.log(np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]], np.float32))


@pytest.mark.parametrize(
    ("policy", "stops"),
    [
        (Confidence(0.7), [True, False, False]),
        (Confidence(0.55), [True, True, False]),
        (Confidence(1.0), [False, False, False]),
        (Confidence(0.0), [True, True, True]),
        (Margin(0.5), [True, False, False]),
        (Margin(0.1), [True, True, False]),
        (Margin(1.0), [False, False, False]),
        (Entropy(0.5), [True, False, False]),
        (Entropy(0.68), [True, True, False]),
        (Entropy(0.0), [False, False, False]),
        (Confidence(0.85, temperature=2.0), [False, False, False]),
        (Confidence(0.85, temperature=0.5), [True, False, False]),
    ],
)
def test_it_stops_where_the_score_passes_the_threshold(policy, stops: list[bool]) -> None:
    assert policy.begin(3, 2).stop(1, LOGITS, 0.0).tolist() == stops


@pytest.mark.parametrize(("policy", "certain"), [(Confidence(1.0), 1e4), (Margin(1.0), 1e4), (Entropy(0.0), 1e4)])
def test_the_strictest_threshold_is_passed_by_nothing(policy, certain: float) -> None:
    assert not policy.begin(1, 2).stop(1, np.array([[certain, -certain]], np.float32), 0.0).any()


def test_each_exit_has_its_own_threshold_and_temperature() -> None:
    decider = Confidence([0.95, 0.7], temperature=[1.0, 10.0]).begin(3, 3)
    assert decider.stop(1, LOGITS, 0.0).tolist() == [False, False, False]
    assert decider.stop(2, LOGITS, 0.0).tolist() == [False, False, False]
    assert Confidence([0.95, 0.7]).begin(3, 3).stop(2, LOGITS, 0.0).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Confidence(1.1), "confidence: threshold must be from 0 to 1, not 1.1"),
        (lambda: Confidence([0.5, -0.1]), "confidence: threshold must be from 0 to 1, not -0.1"),
        (lambda: Confidence(math.nan), "not nan"),
        (lambda: Margin(2), "margin: threshold must be from 0 to 1"),
        (lambda: Entropy(-1), "entropy: threshold must be 0 or more"),
        (lambda: Entropy(math.inf), "entropy: threshold must be 0 or more, and finite"),
        (lambda: Confidence(0.5, temperature=0), "confidence: temperature must be from 1e-06 to 1e+06, not 0.0"),
        (lambda: Confidence([0.5]).begin(1, 3), "threshold has 1 number; 3 exits need 2, all but the last"),
        (lambda: Margin(0.5, temperature=[1, 1, 1]).begin(1, 3), "temperature has 3 numbers; 3 exits need 2"),
    ],
)
def test_invalid_parameters_are_named(make, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert problem in str(caught.value)
