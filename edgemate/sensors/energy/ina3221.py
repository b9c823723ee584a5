"""INA3221: the power monitors on the supply rails of a Jetson, by sysfs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemate.sensors.energy.sensor import PowerSensor
from edgemate.sensors.reading import Reading, read_number, read_text

DRIVERS = Path("sys/bus/i2c/drivers")
INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that supply the whole module, of which all others are parts."""
PARTS = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
"""Rails whose power is included in that of another: AGX Orin's, by NVIDIA's Jetson Linux Developer Guide."""


@dataclass(frozen=True)
class Rail:
    """One channel of a monitor.

    Attributes:
        name: of the rail, such as `VDD_IN`.
        millivolts: file of the bus voltage.
        milliamperes: file of the current.
    """

    name: str
    millivolts: Path
    milliamperes: Path


class Ina3221(PowerSensor):
    """The rail that supplies the module, or else the sum of all rails that are no part of another."""

    name = "INA3221"

    def __init__(self, rails: Sequence[Rail]) -> None:
        whole = [rail for rail in rails if rail.name in INPUTS]
        names = {rail.name for rail in rails}
        self.rails = tuple(whole[:1] or (rail for rail in rails if PARTS.get(rail.name) not in names))
        self.scope = f"the module ({whole[0].name})" if whole else " + ".join(rail.name for rail in self.rails)

    def watts(self) -> float:
        """Power now: millivolts times milliamperes are microwatts."""
        total = 0
        for rail in self.rails:
            volts, amperes = read_number(rail.millivolts), read_number(rail.milliamperes)
            if volts is None or amperes is None:
                raise OSError(f"{rail.milliamperes}: cannot be read")
            total += volts * amperes
        return total * 1e-6


def find_ina3221(root: Path = Path("/")) -> Ina3221 | Reading:
    """The sensor, or why there is none.

    JetPack 5 and later have the driver `ina3221`, which gives `in1_label`, `in1_input` and `curr1_input` to
    `in3_label` … below `hwmon`; further channels are shunt voltages and sums. JetPack 4 has `ina3221x`, with
    `rail_name_0`, `in_voltage0_input` and `in_current0_input` below `iio:device0`. Channels that are not connected or
    not enabled cannot be read and are left out.
    """
    rails = [*_hwmon(root), *_iio(root)]
    if not rails:
        return Reading.missing("no INA3221, so not a Jetson")
    readable = [rail for rail in rails if None not in (read_number(rail.millivolts), read_number(rail.milliamperes))]
    if not readable:
        return Reading.missing(f"INA3221: {rails[0].milliamperes}: cannot be read")
    return Ina3221(readable)


def _hwmon(root: Path) -> list[Rail]:
    rails = []
    for folder in sorted((root / DRIVERS / "ina3221").glob("*/hwmon/hwmon*")):
        for channel in (1, 2, 3):
            name = read_text(folder / f"in{channel}_label")
            volts, amperes = folder / f"in{channel}_input", folder / f"curr{channel}_input"
            if name and name != "NC" and volts.exists() and amperes.exists():
                rails.append(Rail(name, volts, amperes))
    return rails


def _iio(root: Path) -> list[Rail]:
    rails = []
    for folder in sorted((root / DRIVERS / "ina3221x").glob("*/iio:device*")):
        for channel in (0, 1, 2):
            name = read_text(folder / f"rail_name_{channel}")
            volts, amperes = folder / f"in_voltage{channel}_input", folder / f"in_current{channel}_input"
            if name and volts.exists() and amperes.exists():
                rails.append(Rail(name, volts, amperes))
    return rails
