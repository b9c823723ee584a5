"""Figures as tables show them."""

from __future__ import annotations

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


def milliseconds(value: float) -> str:
    """Three significant digits, no exponent: 0.0714 → `0.0714`, 12.34 → `12.3`."""
    digits = 4 if value < 0.1 else 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


NOT_MONOTONE = "! not monotone: slower than a later exit, so the machine was busy; run again on an idle machine"


def fractions_of(fractions: Sequence[float]) -> str:
    """Fractions in [0, 1] as percentages in one cell, which may wrap between them: `11.1 22.2 66.7`."""
    return " ".join(f"{100 * fraction:.1f}" for fraction in fractions)
