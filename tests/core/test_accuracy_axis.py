from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgemate.core.accuracy_axis import accuracy_limits

ACCURACIES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(ACCURACIES)
def test_every_accuracy_is_within_limits_that_an_accuracy_can_reach(accuracies: list[float]) -> None:
    low, high = accuracy_limits(accuracies)
    assert 0 <= low <= min(accuracies) <= max(accuracies) <= high <= 1
    assert high - low > 0.001


@given(ACCURACIES)
def test_the_limits_fit_the_accuracies(accuracies: list[float]) -> None:
    low, high = accuracy_limits(accuracies)
    span = max(accuracies) - min(accuracies)
    assert high - low <= 1.3 * max(span, 0.002) + 0.023
    if max(accuracies) >= 0.98:
        assert high == 1
