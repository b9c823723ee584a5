"""Figures as tables show them."""

from __future__ import annotations

from collections.abc import Sequence

from edgemate.wording import engineering, milliseconds, percent

__all__ = ["NOT_MONOTONE", "engineering", "fractions_of", "milliseconds", "percent"]


NOT_MONOTONE = "! not monotone: slower than a later exit, so the machine was busy; run again on an idle machine"


def fractions_of(fractions: Sequence[float]) -> str:
    """Fractions in [0, 1] as percentages in one cell, which may wrap between them: `11.1 22.2 66.7`."""
    return " ".join(f"{100 * fraction:.1f}" for fraction in fractions)
