"""Thresholds as text."""

from __future__ import annotations

import math
from collections.abc import Sequence


def threshold_description(name: str, thresholds: Sequence[float], comparison: str = ">") -> str:
    """`confidence > 0.8, 0.6`; one threshold that all exits share is given once; without any, `the last exit`."""
    numbers = [format_threshold(number) for number in thresholds]
    if len(set(numbers)) == 1:
        numbers = numbers[:1]
    return f"{name} {comparison} {', '.join(numbers)}" if numbers else "the last exit"


def format_threshold(value: float) -> str:
    """Four significant digits, and close below 1 two that differ from it: 0.82058 → `0.8206`, 0.99999773 → `0.9999977`.

    A confidence that is printed as 1 would read as a threshold that no image passes.
    """
    digits = max(4, 1 - math.floor(math.log10(1 - value))) if 0 < value < 1 else 4
    return f"{value:.{digits}g}"
