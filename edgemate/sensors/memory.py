"""The most memory that this process has held."""

from __future__ import annotations

import sys
from pathlib import Path

from edgemate.sensors.reading import Reading, read_line


def read_peak_memory(root: Path = Path("/")) -> Reading:
    """Largest resident set of this process since its start or the last `reset_peak_memory`, in bytes."""
    found = parse_high_water(read_line(root / "proc/self/status") or "")
    if found is not None:
        return Reading(found)
    try:
        import resource
    except ImportError:
        return Reading.missing("the system does not report the peak memory of a process")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Reading(peak if sys.platform == "darwin" else peak * 1024)  # macOS counts in bytes, others in KiB


def reset_peak_memory(root: Path = Path("/")) -> bool:
    """Let the peak start again from what is held now; whether the system can do that. Linux can."""
    try:
        (root / "proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5)
    except OSError:
        return False
    return True


def parse_high_water(status: str) -> int | None:
    """`VmHWM` in the text of /proc/self/status, in bytes; None if it is not there."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
