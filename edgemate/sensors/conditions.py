"""`Conditions`: what the machine was like at one moment of a measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgemate.sensors.cpu import read_clocks, read_governors, read_throttling
from edgemate.sensors.devfreq import read_gpu_clocks
from edgemate.sensors.load import read_load_average
from edgemate.sensors.nvml import Nvml
from edgemate.sensors.power_mode import read_power_mode
from edgemate.sensors.reading import Reading
from edgemate.sensors.thermal import read_temperatures


@dataclass(frozen=True)
class Conditions:
    """Readings of one moment.

    Attributes:
        clocks_mhz: `{"min", "now", "max"}` of the CPU; see `read_clocks`.
        governors: of the CPU.
        load_average: of 1, 5 and 15 minutes.
        temperatures_c: zone → °C.
        throttling: see `read_throttling`.
        power_mode: of a Jetson.
        gpu: clocks in MHz, temperature in °C and throttling of the first GPU; of a Jetson's only clocks, since its
            temperature and throttling are among those of the machine.
    """

    clocks_mhz: Reading
    governors: Reading
    load_average: Reading
    temperatures_c: Reading
    throttling: Reading
    power_mode: Reading
    gpu: Reading

    @classmethod
    def now(cls, gpu: Nvml | None = None) -> Conditions:
        """Read all of them. `gpu` is None on a machine without one."""
        return cls(
            clocks_mhz=read_clocks(),
            governors=read_governors(),
            load_average=read_load_average(),
            temperatures_c=read_temperatures(),
            throttling=read_throttling(),
            power_mode=read_power_mode(),
            gpu=_gpu(gpu),
        )

    def to_json(self) -> dict[str, Any]:
        """Name → `{"value", "reason"}`."""
        return {name: reading.to_json() for name, reading in vars(self).items()}


def throttling_warning(before: Conditions, after: Conditions) -> str | None:
    """A sentence if the CPU or GPU was throttled between two moments; None if not, or if unknown."""
    there, here = before.throttling.value or {}, after.throttling.value or {}
    found = list(here.get("active", ()))
    if (here.get("events") or 0) > (there.get("events") or 0):
        found.append(f"{here['events'] - (there.get('events') or 0)} throttling events of the CPU")
    supply = (here.get("supply_events") or 0) - (there.get("supply_events") or 0)
    if supply > 0:
        found.append(f"{supply} times for its power supply (undervoltage or overcurrent)")
    found += (after.gpu.value or {}).get("throttling") or ()
    return (
        f"throttled meanwhile ({', '.join(found)}): cool the machine, or choose a lower power mode" if found else None
    )


def _gpu(gpu: Nvml | None) -> Reading:
    clocks = read_gpu_clocks()
    if gpu is None and clocks.value is None:
        return Reading.missing("NVML finds no NVIDIA GPU here, and devfreq none of a Jetson")
    found = None if gpu is None else gpu.clocks_mhz
    if clocks.value is not None and (found is None or found["sm"] is None):
        found = {"sm": clocks.value["now"], "sm_min": clocks.value["min"], "sm_max": clocks.value["max"]}
    return Reading(
        {
            "clocks_mhz": found,
            "temperature_c": None if gpu is None else gpu.celsius,
            "throttling": None if gpu is None else gpu.throttling,
        }
    )
