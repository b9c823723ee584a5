"""The power mode of a Jetson, from `nvpmodel -q`."""

from __future__ import annotations

import shutil
import subprocess

from edgemate.sensors.reading import Reading

SECONDS = 5


def read_power_mode() -> Reading:
    """Name of the mode, such as `MAXN` or `15W`."""
    tool = shutil.which("nvpmodel") or shutil.which("nvpmodel", path="/usr/sbin")
    if tool is None:
        return Reading.missing("no nvpmodel here, so not a Jetson")
    try:
        done = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Reading.missing(f"nvpmodel -q: {error}")
    mode = parse_nvpmodel(done.stdout)
    return Reading(mode) if mode else Reading.missing("nvpmodel -q names no mode")


def parse_nvpmodel(text: str) -> str | None:
    """The mode in what `nvpmodel -q` prints; None if there is none. Older versions print further lines."""
    for line in text.splitlines():
        key, found, value = line.partition(":")
        if found and key.strip() == "NV Power Mode":
            return value.strip() or None
    return None
