"""Shift watch: what a classifier did while it ran, and whether that is still what was calibrated.

Thresholds hold for images like those they were chosen on. Shares of the exits and mean probability need no labels and
move when the images do; that they have not moved proves nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgemate import files
from edgemate.bundle.versioned_json import read_versioned
from edgemate.calibration.operating_points import OperatingPoint
from edgemate.errors import UsageError
from edgemate.wording import counted

FORMAT_VERSION: Literal[1] = 1
# Standard errors: images like the calibrated ones leave such a range once in 16,000 times.
WIDTH = 4.0

Count = Annotated[int, Field(ge=0)]


class Statistics(BaseModel):
    """What became of the images that a classifier was asked about.

    Attributes:
        answers: at each exit, `(K,)`.
        probability_sum: of the probabilities that came with them, where they were numbers.
        non_finite: times an image's logits at some exit held a NaN or an infinity; with layout `conditional` only
            those of the exit that answered are seen.
        deadlines: images that were answered under a deadline.
        late: those of them whose answer came after it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    answers: Annotated[tuple[Count, ...], Field(min_length=1)]
    probability_sum: Annotated[float, Field(ge=0)]
    non_finite: Count = 0
    deadlines: Count = 0
    late: Count = 0

    @property
    def images(self) -> int:
        """All that were answered."""
        return sum(self.answers)

    @property
    def fractions(self) -> tuple[float, ...]:
        """Of the images that stopped at each exit, `(K,)`; all 0 where there were none."""
        return tuple(count / max(self.images, 1) for count in self.answers)

    @property
    def mean_probability(self) -> float:
        """Mean of the answers' probability; 0 where there were none."""
        return self.probability_sum / max(self.images, 1)

    def write(self, path: Path) -> None:
        """Store them as JSON, atomically."""
        files.write_json(path, self.model_dump(mode="json"))


def read_statistics(path: Path) -> Statistics:
    """Stored statistics. Raises BundleError where they cannot be read."""
    return read_versioned(path, Statistics, FORMAT_VERSION)


def departures(statistics: Statistics, point: OperatingPoint) -> list[str]:
    """What has left the range that calibration leads one to expect, one sentence each; none if nothing has.

    A share or mean leaves its range at 4 standard errors, those of so many images here and there taken together.

    Raises:
        UsageError: they are of another number of exits.
    """
    expected = point.expected
    if len(statistics.answers) != len(expected.fractions):
        raise UsageError(
            f"statistics are of {counted(len(statistics.answers), 'exit')}; operating point {point.name!r} of "
            f"{len(expected.fractions)}"
        )
    if not statistics.images:
        return []
    found = []
    calibrated = point.images or statistics.images
    unit = math.sqrt(1 / statistics.images + 1 / max(calibrated, 1))
    pairs = zip(statistics.answers, statistics.fractions, expected.fractions, strict=True)
    for exit, (count, share, was) in enumerate(pairs, start=1):
        # Both together, so that a share of 0 or 1 in one of them has an error all the same.
        pooled = (count + was * calibrated) / (statistics.images + calibrated)
        most = WIDTH * math.sqrt(pooled * (1 - pooled)) * unit
        if abs(share - was) > most:
            found.append(
                f"exit {exit} answers {100 * share:.1f} % of the images; calibrated "
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
