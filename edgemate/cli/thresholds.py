"""Thresholds on the command line."""

from __future__ import annotations


def parse_thresholds(given: str) -> tuple[float, ...]:
    """`0.9,0.8` as numbers. Raises UsageError."""
    from edgemate.errors import UsageError

    try:
        return tuple(float(number) for number in given.split(","))
    except ValueError:
        raise UsageError(
            f"thresholds {given!r}: give comma-separated numbers, one per exit but the last, such as 0.9,0.8"
        ) from None
