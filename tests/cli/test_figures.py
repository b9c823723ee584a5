from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.cli.figures import engineering, milliseconds, percent, stops_at, threshold


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (12, "12"), (999.4, "999"), (999.6, "1 k"), (1_234_567, "1.23 M"), (5.6e9, "5.6 G"), (2e12, "2 T")],
)
def test_large_numbers_get_a_prefix(value: float, shown: str) -> None:
    assert engineering(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.07142, "0.0714"), (0.5, "0.500"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123")]
)
def test_milliseconds_keep_three_digits(value: float, shown: str) -> None:
    assert milliseconds(value) == shown


def test_shares_are_percent() -> None:
    assert percent(0.97125) == "97.1 %"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.8205827, "0.8206"), (0.99893, "0.9989"), (0.99995, "0.99995"), (0.99999773, "0.9999977"), (1, "1")],
)
def test_thresholds_keep_four_digits_or_those_that_tell_them_from_one(value: float, shown: str) -> None:
    assert threshold(value) == shown


@given(st.floats(0, 1, exclude_max=True, width=32))
def test_a_threshold_that_can_be_passed_is_not_shown_as_one_that_cannot(value: float) -> None:
    shown = float(threshold(value))
    assert shown < 1
    assert abs(shown - value) <= 0.05 * (1 - value) + 0.0005 * value


def test_two_thresholds_close_to_one_are_told_apart() -> None:
    assert stops_at("confidence", (0.99996, 0.99999), None) == "confidence > 0.99996, 0.99999"
