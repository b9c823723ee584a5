"""Options that are fractions: `5%` or `0.05`."""

from __future__ import annotations

import math

from edgemate.errors import UsageError


def parse_fraction(option: str, text: str) -> float:
    """`5%`, `5 %` and `0.05` are all 0.05. UsageError names the option if it is not such a number, or is negative."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if rest or not math.isfinite(value) or value < 0:
        raise UsageError(f"{option} {text!r}: must be a percentage or a fraction, such as 5% or 0.05")
    return value
