"""The gap between measured and predicted accuracy, and whether chance explains it."""

from __future__ import annotations

import math
from dataclasses import dataclass

NOTABLE = 0.003  # a fraction: 0.3 points
STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class AccuracyGap:
    """A gap between two accuracies found on different images.

    Attributes:
        gap: measured less predicted, as a fraction.
        standard_error: of the gap, as a fraction; None if the number of images predicted from is not known.
    """

    gap: float
    standard_error: float | None

    @property
    def notable(self) -> bool:
        """Whether it is more than 0.3 points."""
        return abs(self.gap) > NOTABLE

    @property
    def beyond_chance(self) -> bool:
        """Whether it is more than two standard errors. One gap in twenty is where only the images differ."""
        return self.standard_error is not None and abs(self.gap) > STANDARD_ERRORS * self.standard_error


def accuracy_gap(predicted: float, predicted_on: int | None, measured: float, measured_on: int) -> AccuracyGap:
    """The gap between an accuracy p found on n images and an accuracy q found on m others.

    Its standard error is √(p(1−p)/n + q(1−q)/m): both splits are draws. That the thresholds were chosen on the first
    makes p slightly optimistic, which the standard error does not include.

    Args:
        predicted: p.
        predicted_on: n; None if not known.
        measured: q.
        measured_on: m, 1 or more.
    """
    error = None
    if predicted_on:
        error = math.sqrt(predicted * (1 - predicted) / predicted_on + measured * (1 - measured) / measured_on)
    return AccuracyGap(measured - predicted, error)
