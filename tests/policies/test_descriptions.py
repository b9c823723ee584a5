from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.policies.descriptions import format_threshold, threshold_description


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.8205827, "0.8206"), (0.99893, "0.9989"), (0.99995, "0.99995"), (0.99999773, "0.9999977"), (1, "1")],
)
def test_thresholds_keep_four_digits_or_those_that_distinguish_them_from_one(value: float, shown: str) -> None:
    assert format_threshold(value) == shown


@given(st.floats(0, 1, exclude_max=True, width=32))
def test_a_threshold_that_can_be_passed_is_not_shown_as_one_that_cannot(value: float) -> None:
    shown = float(format_threshold(value))
    assert shown < 1
    assert abs(shown - value) <= 0.05 * (1 - value) + 0.0005 * value


def test_two_thresholds_close_to_one_are_distinguished() -> None:
    assert threshold_description("confidence", (0.99996, 0.99999)) == "confidence > 0.99996, 0.99999"
