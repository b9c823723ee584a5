from __future__ import annotations

import pytest

from edgemate.cli.figures import engineering, milliseconds, percent


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


def test_fractions_are_percent() -> None:
    assert percent(0.97125) == "97.1 %"
