"""Differences between two methods, seed by seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences over seeds, and its standard error; the error of one seed is None."""

    mean: float
    error: float | None

    def in_points(self) -> str:
        """In percentage points, such as `−0.57 ± 0.39`."""
        text = f"{100 * self.mean:+.2f}".replace("-", "−")
        return text if self.error is None else f"{text} ± {100 * self.error:.2f}"


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Ours minus theirs; equal places belong to equal seeds, whose first weights and order of images are the same.

    Raises:
        ValueError: the lengths differ.
    """
    each = [one - other for one, other in zip(ours, theirs, strict=True)]
    error = statistics.stdev(each) / len(each) ** 0.5 if len(each) > 1 else None
    return Difference(statistics.fmean(each), error)
