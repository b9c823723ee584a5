"""Drift monitor: whether a running classifier still behaves as it did on the calibration split.

Thresholds hold for images like those they were chosen on. The fractions of images that stop at each exit and the mean
probability need no labels and change when the images do. That they have not changed proves nothing.
"""

from __future__ import annotations

import math

from edgemate.calibration import OperatingPoint
from edgemate.errors import UsageError
from edgemate.monitoring.statistics import Statistics
from edgemate.wording import counted

# Standard errors: images like those of the calibration split leave this range once in 16,000 times.
WIDTH = 4.0


def drift_alerts(statistics: Statistics, point: OperatingPoint) -> list[str]:
    """One sentence for each fraction or mean that is outside its expected range; empty if none is.

    A range is 4 standard errors wide on each side, of both samples together.

    Args:
        statistics: of a running classifier.
        point: the operating point that it runs.

    Raises:
        UsageError: the numbers of exits differ.
    """
    expected = point.expected
    if len(statistics.answers) != len(expected.fractions):
        raise UsageError(
            f"statistics are for {counted(len(statistics.answers), 'exit')}; operating point {point.name!r} is for "
            f"{len(expected.fractions)}"
        )
    if not statistics.images:
        return []
    found = []
    calibrated = point.images or statistics.images
    unit = math.sqrt(1 / statistics.images + 1 / max(calibrated, 1))
    pairs = zip(statistics.answers, statistics.fractions, expected.fractions, strict=True)
    for exit, (count, fraction, was) in enumerate(pairs, start=1):
        # Pooled, so that a fraction of 0 or 1 in one of them has a standard error too.
        pooled = (count + was * calibrated) / (statistics.images + calibrated)
        most = WIDTH * math.sqrt(pooled * (1 - pooled)) * unit
        if abs(fraction - was) > most:
            found.append(
                f"exit {exit} answers {100 * fraction:.1f} % of the images; calibrated "
                f"{100 * max(was - most, 0):.1f} to {100 * min(was + most, 1):.1f} %"
            )
    spread = expected.probability
    if spread is not None:
        most = WIDTH * spread.deviation * unit
        if abs(statistics.mean_probability - spread.mean) > most + 1e-6:
            found.append(
                f"mean probability {statistics.mean_probability:.3f}; calibrated {max(spread.mean - most, 0):.3f} to "
                f"{min(spread.mean + most, 1):.3f}"
            )
    return found
