"""The limits of an axis that shows accuracies."""

from __future__ import annotations

from collections.abc import Iterable

# Fraction of the axis on each side of the accuracies; at the lower end there is a label below the lowest marker.
BELOW, ABOVE = 0.14, 0.06
# Accuracies that come this near 1 get an axis that ends there, so that a flat curve looks flat.
NEAR = 0.02
# Accuracies that are closer together than this get an axis of this span, so that its tick labels differ.
LEAST_SPAN = 0.002


def accuracy_limits(accuracies: Iterable[float]) -> tuple[float, float]:
    """Lower and upper limit of an axis for accuracies: a margin on each side, and never outside of [0, 1].

    Where the highest accuracy is near 1, the axis ends at exactly 1, since no accuracy lies above it.

    Args:
        accuracies: at least one, each in [0, 1].
    """
    shown = list(accuracies)
    lowest, highest = min(shown), max(shown)
    span = max(highest - lowest, LEAST_SPAN)
    high = highest + ABOVE * span
    if highest >= 1 - NEAR or high > 1 - ABOVE * span:
        high = 1.0
    low = max(0.0, min(lowest, highest - LEAST_SPAN) - BELOW * span)
    return low, max(high, low + LEAST_SPAN)
