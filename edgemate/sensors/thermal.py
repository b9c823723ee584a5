"""Temperatures, from the kernel's thermal zones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgemate.sensors.reading import Reading, read_number, read_text


def read_temperatures(root: Path = Path("/")) -> Reading:
    """Zone → °C, such as `{"cpu-thermal": 47.5}`; zones of the same name are numbered from the second on."""
    found: dict[str, float] = {}
    zones: Counter[str] = Counter()
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        kind, value = read_text(folder / "type"), read_number(folder / "temp")  # a zone that is off cannot be read
        if kind and value is not None:
            zones[kind] += 1
            found[kind if zones[kind] == 1 else f"{kind} {zones[kind]}"] = value / 1000
    return Reading(found) if found else Reading.missing("no temperature sensor here")
