"""Clocks, governor and thermal throttling of the CPU, from sysfs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgemate.sensors.reading import Reading, read_number, read_text

CPU = Path("sys/devices/system/cpu")
ROOT = Path("/")


def read_clocks(root: Path = ROOT) -> Reading:
    """Lowest and highest allowed clock, and the current clock of every core, in MHz.

    Virtual machines have no cpufreq; the current clocks are then those of /proc/cpuinfo, and the limits are None.
    """
    folders = _cores(root, "cpufreq")
    now = [number for folder in folders if (number := read_number(folder / "scaling_cur_freq")) is not None]
    if now:
        least, most = (
            [number for folder in folders if (number := read_number(folder / name)) is not None]
            for name in ("scaling_min_freq", "scaling_max_freq")
        )
        return Reading(
            {
                "min": min(least) / 1000 if least else None,
                "now": [number / 1000 for number in now],
                "max": max(most) / 1000 if most else None,
            }
        )
    listed = parse_cpuinfo_clocks(read_text(root / "proc/cpuinfo") or "")
    if listed:
        return Reading({"min": None, "now": listed, "max": None})
    return Reading.missing("the kernel reports no clocks here (no cpufreq)")


def parse_cpuinfo_clocks(cpuinfo: str) -> list[float]:
    """The `cpu MHz` of every core in the text of /proc/cpuinfo; empty on ARM, which does not list them."""
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    return [float(value) for key, _, value in pairs if key.strip() == "cpu MHz"]


def read_governors(root: Path = ROOT) -> Reading:
    """The cpufreq governors in use, sorted, such as `['performance']`."""
    names = {read_text(folder / "scaling_governor") for folder in _cores(root, "cpufreq")} - {None}
    return Reading(sorted(str(name) for name in names)) if names else Reading.missing("no cpufreq governor here")


def read_throttling(root: Path = ROOT) -> Reading:
    """Counts and states of throttling, by heat and by the power supply.

    `events`: Intel's count of throttling events since the start of the system, the largest of all cores. `active`:
    cooling devices of the kind that Jetsons name `cpu-throttle-alert`, whose state is not 0. `supply_events`: an Orin's
    count of undervoltages and overcurrents that it throttled for, since the start; there only where they are counted.
    """
    counts = [
        number
        for folder in _cores(root, "thermal_throttle")
        for name in ("core_throttle_count", "package_throttle_count")
        if (number := read_number(folder / name)) is not None
    ]
    alerts = {
        kind: read_number(folder / "cur_state") or 0
        for folder in sorted((root / "sys/class/thermal").glob("cooling_device*"))
        if "throttle" in (kind := read_text(folder / "type") or "")
    }
    current = [
        number
        for path in (root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")
        if (number := read_number(path)) is not None
    ]
    if not counts and not alerts and not current:
        return Reading.missing("the kernel reports no throttling here")
    active = sorted(kind for kind, on in alerts.items() if on)
    found = {"events": max(counts, default=None), "active": active}
    return Reading({**found, "supply_events": sum(current)} if current else found)


def _cores(root: Path, name: str) -> Iterable[Path]:
    found = [path for path in (root / CPU).glob(f"cpu[0-9]*/{name}") if path.is_dir()]
    return sorted(found, key=lambda path: int(path.parent.name.removeprefix("cpu")))
