"""What holds of policies whatever the logits."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as hnp
from stored_logits import Stored, stored

from edgemate.calibration import simulate
from edgemate.policies import Learned, Patience


def weights(data: st.DataObject, exits: int, classes: int) -> list[np.ndarray]:
    numbers = st.floats(-5, 5, width=32)
    return [data.draw(hnp.arrays(np.float32, classes + 3 + k, elements=numbers)) for k in range(exits - 1)]


@given(stored(), st.data())
def test_raising_any_threshold_of_a_learned_score_never_costs_less(case: Stored, data: st.DataObject) -> None:
    logits, labels, costs = case
    _, exits, classes = logits.shape
    given_weights = weights(data, exits, classes)
    part = st.lists(st.floats(0, 1), min_size=exits - 1, max_size=exits - 1)
    thresholds, raised = data.draw(part), data.draw(part)
    raised = [max(pair) for pair in zip(thresholds, raised, strict=True)]
    low, high = (
        simulate(logits, labels, costs, Learned(chosen, weights=given_weights)) for chosen in (thresholds, raised)
    )
    assert low.mean_cost <= high.mean_cost
    assert (low.exits_taken <= high.exits_taken).all()


@given(stored(), st.data())
def test_more_patience_never_costs_less(case: Stored, data: st.DataObject) -> None:
    logits, labels, costs = case
    broken = data.draw(hnp.arrays(np.bool_, logits.shape[:2]))
    logits = np.where(broken[..., None], np.float32(np.nan), logits)
    found = [simulate(logits, labels, costs, Patience(times)) for times in (1, 2, 3, 4)]
    assert [one.mean_cost for one in found] == sorted(one.mean_cost for one in found)
    for less, more in itertools.pairwise(found):
        assert (less.exits_taken <= more.exits_taken).all()


@given(stored(), st.integers(1, 3), st.data())
def test_patience_counts_consecutive_exits_that_agree(case: Stored, patience: int, data: st.DataObject) -> None:
    logits, labels, costs = case
    broken = data.draw(hnp.arrays(np.bool_, logits.shape[:2]))
    logits = np.where(broken[..., None], np.float32(np.nan), logits)
    taken = []
    for image, lost in zip(logits, broken, strict=True):
        predicted = [None if no else int(row.argmax()) for row, no in zip(image, lost, strict=True)]
        runs = [predicted[k - patience : k + 1] for k in range(patience, len(predicted) - 1)]
        agreed = [len(set(run)) == 1 and run[0] is not None for run in runs]
        taken.append(agreed.index(True) + patience + 1 if any(agreed) else len(predicted))
    assert simulate(logits, labels, costs, Patience(patience)).exits_taken.tolist() == taken
