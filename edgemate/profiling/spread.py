"""Warnings about times that vary too much to be relied on."""

from __future__ import annotations

from collections.abc import Sequence

from edgemate.profiling.timings import Timing
from edgemate.wording import counted

MAX_WIDE_FRACTION = 0.1
"""Single wide timings among many are chance; a warning is given if more than this fraction of them are."""


def spread_warning(timings: Sequence[Timing]) -> str | None:
    """A sentence if the spread of several timings is wide (`Latency.is_wide`), with the widest of them."""
    wide = [timing for timing in timings if timing.latency.is_wide]
    if not wide or len(wide) <= MAX_WIDE_FRACTION * len(timings):
        return None
    widest = max(wide, key=lambda timing: timing.latency.quartile_spread or 0.0)
    latency = widest.latency
    return (
        f"the spread is wide: {len(wide)} of {counted(len(timings), 'timing')}, most of all {widest.case}: its middle "
        f"half extends over {100 * (latency.quartile_spread or 0.0):.0f} % of the median, and a tenth of its calls "
        f"took more than {latency.p90 / latency.p50:.2f} × the median; run again on an idle machine"
    )


def warm_up_warning(rounds: int, stable: bool | None) -> str | None:
    """A sentence if times had not settled when the warm-up ended."""
    if stable is not False:
        return None
    return f"times were still changing after {counted(rounds, 'round')} of warm-up"
