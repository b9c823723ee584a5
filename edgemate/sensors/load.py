"""How busy the machine is, and how much of that is other processes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from edgemate.sensors.reading import Reading, read_line

BUSY_OTHERS = 0.1
"""Other processes disturb if they use more than this fraction of all cores."""


def read_load_average() -> Reading:
    """Load averages of 1, 5 and 15 minutes. Those of a machine that has just worked include that work."""
    try:
        return Reading(list(os.getloadavg()))
    except (AttributeError, OSError):
        return Reading.missing("the system reports no load average")


@dataclass(frozen=True)
class CpuTimes:
    """A moment's sums since the start of the system: `busy` of all cores, `own` of this process, in seconds.

    Attributes:
        busy: user and system time of all processes.
        own: user and system time of this process and of its children that have ended.
        cores: cores that `busy` is of: all of the machine, not only those that this process may use.
        at: the moment, in seconds of a monotonic clock.
    """

    busy: float
    own: float
    cores: int
    at: float


def read_cpu_times(root: Path = Path("/")) -> CpuTimes | None:
    """The sums now; None where there is no /proc/stat."""
    parsed = parse_stat(read_line(root / "proc/stat") or "", _ticks())
    if parsed is None:
        return None
    times = os.times()
    return CpuTimes(parsed[0], times.user + times.system + times.children_user + times.children_system, parsed[1],
                    time.monotonic())  # fmt: skip


def parse_stat(text: str, ticks: int) -> tuple[float, int] | None:
    """Busy seconds and the number of cores from the text of /proc/stat, with `ticks` per second.

    Busy are user, nice, system, irq and softirq; not idle, iowait and what other virtual machines stole.
    """
    lines = [line.split() for line in text.splitlines() if line.startswith("cpu")]
    if not lines or len(lines[0]) < 8:
        return None
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in lines[0][1:8])
    return (user + nice + system + irq + softirq) / ticks, max(len(lines) - 1, 1)


def others_cores(before: CpuTimes | None, after: CpuTimes | None) -> Reading:
    """Cores that other processes used between two moments, on average, such as 0.9."""
    if before is None or after is None or after.at <= before.at:
        return Reading.missing("the kernel reports no CPU time of all processes (no /proc/stat)")
    used = (after.busy - before.busy) - (after.own - before.own)
    return Reading(max(used, 0.0) / (after.at - before.at))


def others_warning(used: Reading, cores: int) -> str | None:
    """A sentence if other processes used more than a tenth of all cores; None if not or if unknown."""
    if used.value is None or used.value <= BUSY_OTHERS * cores:
        return None
    return (
        f"other processes used {used.value:.1f} of {cores} cores meanwhile, so times are longer and vary more than "
        "on an idle machine"
    )


def _ticks() -> int:
    return int(os.sysconf("SC_CLK_TCK")) if hasattr(os, "sysconf") else 100
