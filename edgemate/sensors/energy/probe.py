"""Which energy sensor a machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgemate.sensors.energy.ina3221 import find_ina3221
from edgemate.sensors.energy.nvidia import find_nvml
from edgemate.sensors.energy.rapl import find_rapl
from edgemate.sensors.energy.sensor import EnergySensor
from edgemate.sensors.nvml import Nvml
from edgemate.sensors.reading import Reading

Part = Literal["cpu", "gpu"]
"""What does the work."""


def find_energy_sensor(part: Part, *, gpu: Nvml | None = None, root: Path = Path("/")) -> EnergySensor | Reading:
    """The first sensor that works and includes `part`, or a Reading with the reasons why there is none.

    A Jetson's INA3221 measures CPU and GPU together and comes first; then RAPL for the CPU, NVML for the GPU.
    """
    found = (find_ina3221(root), find_rapl(root) if part == "cpu" else find_nvml(gpu))
    reasons = []
    for one in found:
        if isinstance(one, EnergySensor):
            return one
        reasons.append(one.reason)
    return Reading.missing(f"no sensor here: {'; '.join(map(str, reasons))}")
