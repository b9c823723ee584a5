"""What the user sets that decides how fast the machine may be: power mode, and the clocks it allows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgemate.sensors.cpu import read_clocks
from edgemate.sensors.devfreq import read_gpu_clocks
from edgemate.sensors.power_mode import read_power_mode
from edgemate.wording import shortened

POWER_MODE = "power mode"
CPU_CLOCKS = "CPU clocks"
GPU_CLOCKS = "GPU clocks"


def read_speed_settings(root: Path = Path("/")) -> dict[str, str]:
    """`power mode`, such as `MAXN`, `CPU clocks` and `GPU clocks`, such as `729.6 to 1510.4 MHz`.

    Clocks are the lowest and highest that are allowed, which `jetson_clocks` and the power mode set; the current ones
    change all the time. What the machine does not say is left out.
    """
    found: dict[str, str] = {}
    mode = read_power_mode().value
    if mode is not None:
        found[POWER_MODE] = mode
    for key, clocks in ((CPU_CLOCKS, read_clocks(root).value), (GPU_CLOCKS, read_gpu_clocks(root).value)):
        if clocks is not None and clocks["min"] is not None and clocks["max"] is not None:
            found[key] = f"{clocks['min']:g} to {clocks['max']:g} MHz"
    return found


def speed_differences(there: Mapping[str, Any], here: Mapping[str, str]) -> list[str]:
    """How settings differ from those recorded `there`, such as `power mode MAXN, here 15W`.

    What was not recorded is not compared, and neither is what this machine does not say.
    """
    return [
        f"{key} {shortened(str(there[key]))}, here {here[key]}"
        for key in (POWER_MODE, CPU_CLOCKS, GPU_CLOCKS)
        if key in there and key in here and there[key] != here[key]
    ]
