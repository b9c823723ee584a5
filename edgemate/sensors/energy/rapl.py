"""RAPL: energy counters of Intel and AMD processors, by the kernel's powercap files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemate.sensors.energy.sensor import CounterSensor
from edgemate.sensors.reading import Reading, read_number, read_text

POWERCAP = Path("sys/class/powercap")
SAME_UJ = 2_000_000
"""Counters of two dies that are closer than this are one: 300 W for 7 ms."""


@dataclass(frozen=True)
class Zone:
    """One counter.

    Attributes:
        folder: of the zone.
        name: such as `package-0` or `dram`.
        range_uj: the counter starts again at 0 after this many microjoules.
    """

    folder: Path
    name: str
    range_uj: int


class Rapl(CounterSensor):
    """The sum of all processor packages and of the memory beside them, where that has a counter."""

    name = "RAPL"

    def __init__(self, zones: Sequence[Zone]) -> None:
        self._zones = tuple(zones)
        memory = any(zone.name == "dram" for zone in zones)
        self.scope = "CPU packages and memory" if memory else "CPU packages"

    def counters(self) -> list[int]:
        """Microjoules of every zone."""
        found = []
        for zone in self._zones:
            value = read_number(zone.folder / "energy_uj")
            if value is None:
                raise OSError(f"{zone.folder / 'energy_uj'}: cannot be read")
            found.append(value)
        return found

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        """The energy between two readings that are less than one round of a counter apart, about a minute or more."""
        pairs = zip(self._zones, before, after, strict=True)
        return sum(microjoules(then, now, zone.range_uj) for zone, then, now in pairs) * 1e-6


def microjoules(before: int, after: int, range_uj: int) -> int:
    """What a counter rose by; one that has started again since is below what it was.

    Raises:
        OSError: it has started again, and its range is not known (0).
    """
    if after < before and range_uj <= 0:
        raise OSError("RAPL: a counter started again, and its max_energy_range_uj cannot be read")
    return after - before if after >= before else after + range_uj - before


def find_rapl(root: Path = Path("/")) -> Rapl | Reading:
    """The sensor, or why there is none.

    `intel-rapl:0` is a package, also on AMD processors; `intel-rapl:0:0` is a part of it. Of the parts only `dram` is
    not in the package's own counter. `psys`, the whole platform, is left out, as it includes packages. So is
    `intel-rapl-mmio`, which counts the same package once more, and a die that has the counter of its whole package.
    """
    folders = sorted((root / POWERCAP).glob("intel-rapl:*"))
    named = [(folder, read_text(folder / "name") or "") for folder in folders]
    wanted = [(folder, name) for folder, name in named if name.startswith("package") or name == "dram"]
    if not any(name.startswith("package") for _, name in wanted):
        return Reading.missing("no RAPL (no /sys/class/powercap/intel-rapl:0)")
    zones = [Zone(folder, name, read_number(folder / "max_energy_range_uj") or 0) for folder, name in wanted]
    for zone in zones:
        counter = zone.folder / "energy_uj"
        if read_number(counter) is None:
            if counter.exists() and not os.access(counter, os.R_OK):
                return Reading.missing(f"RAPL: {counter} is readable by root only: run as root, or chmod a+r it")
            return Reading.missing(f"RAPL: {counter} cannot be read")
    return Rapl(_without_mirrors(zones))


def _without_mirrors(zones: Sequence[Zone]) -> list[Zone]:
    """Leave out dies whose counter is that of a die before them.

    The kernel names a zone per die `package-0-die-1`. On AMD processors of several dies each has the counter of the
    whole socket; on Intel's each has its own. Counters that are read within milliseconds and differ by a joule or two
    of tens of kilojoules are the same.
    """
    kept: list[tuple[Zone, int]] = []
    for zone in zones:
        package, die, _ = zone.name.partition("-die-")
        value = read_number(zone.folder / "energy_uj") or 0
        same = (abs(value - other) for one, other in kept if die and one.name.startswith(f"{package}-die-"))
        if all(SAME_UJ < distance < zone.range_uj - SAME_UJ for distance in same):
            kept.append((zone, value))
    return [zone for zone, _ in kept]
