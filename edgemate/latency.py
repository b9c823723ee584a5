"""`Latency`: the summary of the times of repeated calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Student's t at 97.5 % for 1 to 9 degrees of freedom: `time_blocks` makes ten blocks at most.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)

WIDE_QUARTILES = 0.15
"""A spread is wide if the middle half of the times extends over more than this fraction of the median,"""
WIDE_P90 = 1.3
"""or if a tenth of the times is above this multiple of the median."""


@dataclass(frozen=True)
class Latency:
    """Percentiles and mean of `repeats` calls, in milliseconds.

    Attributes:
        p50: median.
        p90: 90th percentile.
        p99: 99th percentile.
        mean: mean.
        repeats: number of calls.
        min: the fastest call; None if not recorded, as the three below.
        p25: lower quartile.
        p75: upper quartile.
        mean_interval: 95 % confidence interval of the mean; None for calls that were not timed in blocks. It is a t
            interval over the means of the blocks (the method of batch means), not over the calls, since successive
            calls correlate and an interval over them would be too narrow.
        p50_interval: the same of the median, over the medians of the blocks, whose mean is near `p50` but not equal.
    """

    p50: float
    p90: float
    p99: float
    mean: float
    repeats: int
    min: float | None = None
    p25: float | None = None
    p75: float | None = None
    mean_interval: tuple[float, float] | None = None
    p50_interval: tuple[float, float] | None = None

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency:
        """The summary of single calls' milliseconds, (repeats,)."""
        p25, p50, p75, p90, p99 = np.percentile(milliseconds, (25, 50, 75, 90, 99)).tolist()
        mean, least = float(np.mean(milliseconds)), float(np.min(milliseconds))
        return cls(p50, p90, p99, mean, len(milliseconds), least, p25, p75)

    @classmethod
    def of_blocks(cls, blocks: Sequence[Sequence[float]]) -> Latency:
        """The summary of the milliseconds of calls that were timed in blocks, as `time_blocks` returns them."""
        all_of = cls.of([one for block in blocks for one in block])
        means, medians = ([float(of(block)) for block in blocks] for of in (np.mean, np.median))
        return cls(
            *(all_of.p50, all_of.p90, all_of.p99, all_of.mean, all_of.repeats, all_of.min, all_of.p25, all_of.p75),
            mean_interval=_interval(all_of.mean, means),
            p50_interval=_interval(all_of.p50, medians),
        )

    @property
    def quartile_spread(self) -> float | None:
        """(p75 − p25) / p50; None if quartiles are not recorded."""
        if self.p25 is None or self.p75 is None or self.p50 <= 0:
            return None
        return (self.p75 - self.p25) / self.p50

    @property
    def is_wide(self) -> bool:
        """Whether the spread is wide: the times are not those of an idle machine."""
        spread = self.quartile_spread
        return (spread is not None and spread > WIDE_QUARTILES) or self.p90 > WIDE_P90 * self.p50


def _interval(center: float, blocks: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % t interval around `center` from the same figure of each block; None for a single block."""
    if len(blocks) < 2:
        return None
    t = _T[min(len(blocks) - 1, len(_T)) - 1]
    half = t * float(np.std(blocks, ddof=1)) / math.sqrt(len(blocks))
    return center - half, center + half
