from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kernel_tree import write_tree

from edgemate.sensors.conditions import Conditions, throttling_warning
from edgemate.sensors.memory import parse_high_water
from edgemate.sensors.power_mode import parse_nvpmodel
from edgemate.sensors.reading import Reading
from edgemate.sensors.thermal import read_temperatures

NOTHING = Reading.missing("none")


def conditions(throttling: Reading = NOTHING, gpu: Reading = NOTHING) -> Conditions:
    return Conditions(NOTHING, NOTHING, NOTHING, NOTHING, throttling, NOTHING, gpu)


def test_temperatures_are_in_degrees_by_zone(tmp_path: Path) -> None:
    zones = {
        "thermal_zone0/type": "cpu-thermal",
        "thermal_zone0/temp": "47687",
        "thermal_zone1/type": "acpitz",
        "thermal_zone1/temp": "20000",
        "thermal_zone2/type": "acpitz",
        "thermal_zone2/temp": "-263200",
        "thermal_zone3/type": "cv0-thermal",  # off: reading its temperature fails
        "thermal_zone4/type": "INT3400 Thermal",
        "thermal_zone4/temp": "40000",
        "thermal_zone5/type": "INT3400 Thermal",
        "thermal_zone5/temp": "90000",
    }
    write_tree(tmp_path / "sys/class/thermal", zones)
    assert read_temperatures(tmp_path).value == {
        "cpu-thermal": 47.687,
        "acpitz": 20.0,
        "acpitz 2": -263.2,
        "INT3400 Thermal": 40.0,
        "INT3400 Thermal 2": 90.0,
    }
    assert read_temperatures(tmp_path / "nowhere") == Reading.missing("no temperature sensor here")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: 15W\n0\n", "15W"),
        ("NVPM WARN: power budget is not set\nNV Fan Mode:quiet\nNV Power Mode: MODE_10W\n1\n", "MODE_10W"),
        ("NV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER"),
        ("NVPM ERROR: no permission\n", None),
        ("", None),
    ],
)
def test_the_power_mode_is_what_nvpmodel_prints(text: str, mode: str | None) -> None:
    assert parse_nvpmodel(text) == mode


def test_peak_memory_is_read_from_the_status_of_a_process() -> None:
    assert parse_high_water("Name:\tpython\nVmPeak:\t  99 kB\nVmHWM:\t    1616 kB\nVmRSS:\t 12 kB") == 1616 * 1024
    assert parse_high_water("Name:\tpython") is None


# In a process of its own: one that has run other tests holds and frees memory of theirs meanwhile.
PEAKS = """
from edgemate.sensors.memory import read_peak_memory, reset_peak_memory

reset = reset_peak_memory()
before = read_peak_memory().value
held = bytearray(b"x") * (64 << 20)
assert read_peak_memory().value >= before + (48 << 20)
del held
if reset:
    reset_peak_memory()
    assert read_peak_memory().value < before + (48 << 20)
"""


def test_peak_memory_is_that_of_this_process_and_can_start_again() -> None:
    subprocess.run([sys.executable, "-c", PEAKS], check=True, timeout=60)


def test_throttling_meanwhile_is_a_warning_and_earlier_throttling_is_not() -> None:
    calm = conditions(Reading({"events": 5, "active": []}))
    assert throttling_warning(calm, calm) is None
    assert throttling_warning(conditions(), conditions()) is None
    more = conditions(Reading({"events": 7, "active": ["cpu-throttle-alert"]}))
    found = throttling_warning(calm, more)
    assert found is not None
    assert "cpu-throttle-alert, 2 throttling events" in found
    starved = (conditions(Reading({"events": None, "active": [], "supply_events": n})) for n in (2, 5))
    assert "3 times for its power supply" in str(throttling_warning(*starved))
    slowed = conditions(gpu=Reading({"throttling": ["hardware thermal slowdown"]}))
    assert "hardware thermal slowdown" in str(throttling_warning(conditions(), slowed))


def test_every_reading_of_this_machine_is_a_value_or_a_reason() -> None:
    for name, found in Conditions.now().to_json().items():
        assert (found["value"] is None) == bool(found["reason"]), name
