"""Logits that are no numbers, through the whole classifier."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from scripted_backend import StoredBackend

from edgemate.bundle import Bundle
from edgemate.calibration import simulate
from edgemate.policies import Confidence, Deadline, Entropy, FixedExit, Learned, Margin, Patience, Policy
from edgemate.runtime import AnytimeClassifier

CLASSES, EXITS = 4, 3
WEIGHTS = [np.linspace(-1, 1, CLASSES + 3), np.linspace(2, -1, CLASSES + 4)]
POLICIES: list[Policy] = [
    Confidence(0.0),
    Confidence(0.6),
    Margin(0.0),
    Margin(0.3),
    Entropy(9.0),
    Entropy(0.9),
    Patience(1),
    Learned([0.0, 0.0], weights=WEIGHTS),
    Learned([0.5, 0.6], weights=WEIGHTS, temperature=[2.0, 0.5]),
    FixedExit(1),
    FixedExit(2),
]
NO_NUMBERS = st.sampled_from([math.nan, math.inf, -math.inf])


@settings(max_examples=40)
@given(
    logits=hnp.arrays(np.float32, (6, EXITS, CLASSES), elements=st.integers(-3, 3).map(float)),
    places=st.dictionaries(
        st.tuples(st.integers(0, 5), st.integers(0, EXITS - 1), st.integers(0, CLASSES - 1)), NO_NUMBERS
    ),
)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
@pytest.mark.parametrize("deadline_ms", [None, 1e-6, 1e6])
def test_nothing_stops_at_them_and_each_is_counted_once(
    small_bundle: Bundle,
    policy: Policy,
    deadline_ms: float | None,
    logits: np.ndarray,
    places: dict[tuple[int, int, int], float],
) -> None:
    for place, value in places.items():
        logits[place] = value
    broken = ~np.isfinite(logits).all(axis=2)
    chosen = policy if deadline_ms is None else Deadline(deadline_ms, segment_ms=(1, 1, 1), inner=policy)
    classifier = AnytimeClassifier(small_bundle, StoredBackend(logits))
    answers = classifier.classify(np.zeros((6, 3, 8, 8), np.float32), chosen)
    taken = np.array([answer.exit for answer in answers])
    assert not broken[np.arange(6), taken - 1][taken < EXITS].any()
    assert classifier.non_finite == sum(int(broken[i, :exit].sum()) for i, exit in enumerate(taken.tolist()))
    assert [math.isnan(answer.probability) for answer in answers] == broken[np.arange(6), taken - 1].tolist()
    if deadline_ms == 1e-6:  # over before exit 1 has answered: the first exit that can is the one
        assert taken.tolist() == [next((k for k in (1, 2) if not row[k - 1]), EXITS) for row in broken]
    else:
        assert taken.tolist() == simulate(logits, np.zeros(6, int), [1, 2, 3], policy).exits_taken.tolist()
    assert classifier.statistics().images == 6
