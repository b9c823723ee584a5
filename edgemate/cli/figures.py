"""Figures as tables show them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def engineering(value: float, unit: str = "") -> str:
    """Three significant digits, a prefix and perhaps a unit: 1234567 → `1.23 M`, 4 bytes → `4 B`."""
    for prefix in ("", "k", "M", "G"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}{unit}".rstrip()
        value /= 1000
    return f"{value:.3g} T{unit}"


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as a percentage: 0.9712 → `97.1 %`."""
    return f"{100 * fraction:.1f} %"


def stops_at(policy: str, thresholds: Sequence[float], patience: int | None) -> str:
    """When an operating point stops: `confidence > 0.8, 0.6`, `patience 2`; one threshold for all exits once."""
    if patience is not None:
        return f"{policy} {patience}"
    numbers = [threshold(number) for number in thresholds]
    if len(set(numbers)) == 1:
        numbers = numbers[:1]
    return f"{policy} {'<' if policy == 'entropy' else '>'} {', '.join(numbers)}" if numbers else "the last exit"


def threshold(value: float) -> str:
    """Four significant digits, and close below 1 two that differ from it: 0.82058 → `0.8206`, 0.99999773 → `0.9999977`.

    A confidence that is printed as 1 would read as a threshold that no image passes.
    """
    digits = max(4, 1 - math.floor(math.log10(1 - value))) if 0 < value < 1 else 4
    return f"{value:.{digits}g}"


def milliseconds(value: float) -> str:
    """Three significant digits, no exponent: 0.0714 → `0.0714`, 12.34 → `12.3`."""
    digits = 4 if value < 0.1 else 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


NOT_MONOTONE = "! not monotone: slower than a later exit, so the machine was busy; run again on an idle machine"


def fractions_of(fractions: Sequence[float]) -> str:
    """Fractions in [0, 1] as percentages in one cell, which may wrap between them: `11.1 22.2 66.7`."""
    return " ".join(f"{100 * fraction:.1f}" for fraction in fractions)
