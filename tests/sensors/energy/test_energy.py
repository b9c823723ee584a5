from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_tree import write_tree

from edgemate.sensors.energy import Consumed, EnergySensor, find_energy_sensor, measure_energy
from edgemate.sensors.energy.ina3221 import Ina3221, find_ina3221
from edgemate.sensors.energy.per_image import idle_watts
from edgemate.sensors.energy.rapl import Rapl, find_rapl, microjoules
from edgemate.sensors.energy.sensor import PowerSensor, mean_watts
from edgemate.sensors.reading import Reading

RANGE = 262_143_328_850
POWERCAP = {
    "intel-rapl/enabled": "1",
    "intel-rapl:0/name": "package-0",
    "intel-rapl:0/energy_uj": "71205936213",
    "intel-rapl:0/max_energy_range_uj": str(RANGE),
    "intel-rapl:0/enabled": "1",
    "intel-rapl:0/constraint_0_name": "long_term",
    "intel-rapl:0:0/name": "core",
    "intel-rapl:0:0/energy_uj": "40000000000",
    "intel-rapl:0:0/max_energy_range_uj": str(RANGE),
    "intel-rapl:0:1/name": "dram",
    "intel-rapl:0:1/energy_uj": "9000000000",
    "intel-rapl:0:1/max_energy_range_uj": "65712999613",
    "intel-rapl:1/name": "psys",
    "intel-rapl:1/energy_uj": "99000000000",
    "intel-rapl:1/max_energy_range_uj": str(RANGE),
    "intel-rapl-mmio:0/name": "package-0",
    "intel-rapl-mmio:0/energy_uj": "71205936213",
    "intel-rapl-mmio:0/max_energy_range_uj": str(RANGE),
}

# The layout of the kernel's ina3221 driver on a Jetson Orin Nano: three channels with labels, their shunt voltages in
# microvolts, and the sum of these.
HWMON = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
ORIN_NANO = {
    "name": "ina3221",
    "in1_label": "VDD_IN",
    "in1_input": "5064",
    "curr1_input": "984",
    "in2_label": "VDD_CPU_GPU_CV",
    "in2_input": "5056",
    "curr2_input": "136",
    "in3_label": "VDD_SOC",
    "in3_input": "5056",
    "curr3_input": "288",
    "in4_input": "4920",
    "in5_input": "680",
    "in6_input": "1440",
    "in7_label": "sum of shunt voltages",
    "in7_input": "7040",
    "curr4_input": "1408",
}
AGX_ORIN = {
    "1-0040/hwmon/hwmon3/in1_label": "VDD_GPU_SOC",
    "1-0040/hwmon/hwmon3/in1_input": "19152",
    "1-0040/hwmon/hwmon3/curr1_input": "96",
    "1-0040/hwmon/hwmon3/in2_label": "VDD_CPU_CV",
    "1-0040/hwmon/hwmon3/in2_input": "19152",
    "1-0040/hwmon/hwmon3/curr2_input": "24",
    "1-0040/hwmon/hwmon3/in3_label": "VIN_SYS_5V0",
    "1-0040/hwmon/hwmon3/in3_input": "4984",
    "1-0040/hwmon/hwmon3/curr3_input": "728",
    "1-0041/hwmon/hwmon4/in1_label": "NC",
    "1-0041/hwmon/hwmon4/in1_input": "0",
    "1-0041/hwmon/hwmon4/curr1_input": "0",
}


def test_rapl_is_the_sum_of_packages_and_memory_without_what_is_in_them(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "sys/class/powercap", POWERCAP)
    sensor = find_rapl(tmp_path)
    assert isinstance(sensor, Rapl)
    assert sensor.scope == "CPU packages and memory"
    with sensor.running() as consumed:
        write_tree(folder, {"intel-rapl:0/energy_uj": "71207936213", "intel-rapl:0:1/energy_uj": "9000500000"})
    assert consumed.joules == pytest.approx(2.0 + 0.5)


def test_a_rapl_counter_that_has_started_again_is_still_right(tmp_path: Path) -> None:
    start = {**POWERCAP, "intel-rapl:0/energy_uj": str(RANGE - 1_000_000)}
    folder = write_tree(tmp_path / "sys/class/powercap", start)
    sensor = find_rapl(tmp_path)
    assert isinstance(sensor, Rapl)
    with sensor.running() as consumed:
        write_tree(folder, {"intel-rapl:0/energy_uj": "3000000"})
    assert consumed.joules == pytest.approx(4.0)


@given(st.integers(0, RANGE - 1), st.integers(0, RANGE - 1))
def test_less_than_one_round_of_a_counter_is_found_wherever_it_starts(before: int, used: int) -> None:
    assert microjoules(before, (before + used) % RANGE, RANGE) == used


def test_counters_for_root_only_are_one_line_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path / "sys/class/powercap", POWERCAP)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").chmod(0o400)

    def denied(path: Path) -> int | None:
        return None if path.name == "energy_uj" else RANGE

    monkeypatch.setattr("edgemate.sensors.energy.rapl.read_number", denied)  # root may read everything
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = find_rapl(tmp_path)
    assert isinstance(found, Reading)
    assert "readable by root only" in str(found.reason)
    assert "\n" not in str(found.reason)


def test_a_jetson_with_a_rail_for_the_module_is_measured_by_that(tmp_path: Path) -> None:
    write_tree(tmp_path / HWMON, ORIN_NANO)
    sensor = find_ina3221(tmp_path)
    assert isinstance(sensor, Ina3221)
    assert sensor.scope == "the module (VDD_IN)"
    assert sensor.watts() == pytest.approx(5.064 * 0.984)


def test_a_jetson_without_one_is_measured_by_the_sum_of_its_rails(tmp_path: Path) -> None:
    write_tree(tmp_path / "sys/bus/i2c/drivers/ina3221", AGX_ORIN)
    sensor = find_ina3221(tmp_path)
    assert isinstance(sensor, Ina3221)
    assert sensor.scope == "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    assert sensor.watts() == pytest.approx(19.152 * 0.096 + 19.152 * 0.024 + 4.984 * 0.728)


def test_the_files_of_jetpack_4_are_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    write_tree(
        folder,
        {
            "rail_name_0": "POM_5V_IN",
            "in_voltage0_input": "5072",
            "in_current0_input": "360",
            "in_power0_input": "1825",
            "rail_name_1": "POM_5V_GPU",
            "in_voltage1_input": "5072",
            "in_current1_input": "16",
        },
    )
    sensor = find_ina3221(tmp_path)
    assert isinstance(sensor, Ina3221)
    assert sensor.watts() == pytest.approx(5.072 * 0.360)


def test_a_rail_that_can_no_longer_be_read_is_an_error_of_the_system(tmp_path: Path) -> None:
    write_tree(tmp_path / HWMON, ORIN_NANO)
    sensor = find_ina3221(tmp_path)
    assert isinstance(sensor, Ina3221)
    with pytest.raises(OSError, match="curr1_input"), sensor.running():  # noqa: PT012
        (tmp_path / HWMON / "curr1_input").unlink()
        time.sleep(0.02)


def test_no_sensor_is_a_result(tmp_path: Path) -> None:
    for part in ("cpu", "gpu"):
        found = find_energy_sensor(part, root=tmp_path)  # type: ignore[arg-type]
        assert isinstance(found, Reading)
        assert str(found.reason).startswith("no sensor here: no INA3221")


def test_a_jetson_comes_before_a_workstation_and_serves_cpu_and_gpu(tmp_path: Path) -> None:
    write_tree(tmp_path / "sys/class/powercap", POWERCAP)
    assert isinstance(find_energy_sensor("cpu", root=tmp_path), Rapl)
    assert isinstance(find_energy_sensor("gpu", root=tmp_path), Reading)
    write_tree(tmp_path / HWMON, ORIN_NANO)
    assert isinstance(find_energy_sensor("cpu", root=tmp_path), Ina3221)
    assert isinstance(find_energy_sensor("gpu", root=tmp_path), Ina3221)


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=20), st.floats(0.1, 50))
def test_constant_power_is_its_own_mean_and_any_other_is_between_its_extremes(watts: list[float], level: float) -> None:
    at = [float(i * i) for i in range(len(watts))]
    assert mean_watts(at, [level] * len(watts)) == pytest.approx(level)
    assert min(watts) - 1e-9 <= mean_watts(at, watts) <= max(watts) + 1e-9


def test_sampled_power_is_integrated_over_the_block() -> None:
    class Constant(PowerSensor):
        name = scope = "test"

        def watts(self) -> float:
            return 4.0

    with Constant().running() as consumed:
        time.sleep(0.05)
    assert consumed.seconds >= 0.05
    assert consumed.joules == pytest.approx(4.0 * consumed.seconds)


class Metered(EnergySensor):
    """3 J for each call made while it runs, and 2 W besides."""

    name = scope = "test"

    def __init__(self) -> None:
        self.calls = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[Consumed]:
        before, found, started = self.calls, Consumed(), time.perf_counter()
        yield found
        found.seconds = time.perf_counter() - started
        found.joules = 3.0 * (self.calls - before) + 2.0 * found.seconds


def test_energy_per_image_is_that_of_a_call_shared_by_its_images() -> None:
    sensor = Metered()

    def call() -> None:
        sensor.calls += 1
        time.sleep(0.002)

    idle = idle_watts(sensor, seconds=0.01)
    assert idle == pytest.approx(2.0)
    found = measure_energy(sensor, call, 4, idle=idle, seconds=0.02)
    assert found.images == 4 * sensor.calls
    assert found.millijoules - found.idle_millijoules == pytest.approx(3000 / 4)
