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
from recorded_machines import (
    AGX_ORIN,
    AGX_ORIN_FOLDER,
    AGX_ORIN_MILLIWATTS,
    HASWELL,
    INTEL_LAPTOP,
    INTEL_MMIO,
    NANO,
    NANO_FOLDER,
    ORIN_NX,
    ORIN_NX_FOLDER,
    ORIN_NX_MEASURED,
    THREADRIPPER,
)

from edgemate.sensors.energy import Consumed, EnergySensor, find_energy_sensor, measure_energy
from edgemate.sensors.energy.ina3221 import Ina3221, find_ina3221
from edgemate.sensors.energy.per_image import idle_watts
from edgemate.sensors.energy.rapl import Rapl, find_rapl, microjoules
from edgemate.sensors.energy.sensor import PowerSensor, mean_watts
from edgemate.sensors.reading import Reading

RANGE = int(HASWELL["intel-rapl:0/max_energy_range_uj"])


def powercap(root: Path, *machines: dict[str, str]) -> Path:
    return write_tree(root / "sys/class/powercap", {key: value for one in machines for key, value in one.items()})


def rise(folder: Path, machine: dict[str, str], zone: str, microjoules: int) -> None:
    write_tree(folder, {f"{zone}/energy_uj": str(int(machine[f"{zone}/energy_uj"]) + microjoules)})


def test_rapl_is_the_sum_of_packages_and_memory_without_what_is_in_them(tmp_path: Path) -> None:
    folder = powercap(tmp_path, HASWELL)
    sensor = find_rapl(tmp_path)
    assert isinstance(sensor, Rapl)
    assert sensor.scope == "CPU packages and memory"
    with sensor.running() as consumed:
        rise(folder, HASWELL, "intel-rapl:0", 2_000_000)
        rise(folder, HASWELL, "intel-rapl:0:0", 1_700_000)  # in the package's
        rise(folder, HASWELL, "intel-rapl:0:2", 500_000)
    assert consumed.joules == pytest.approx(2.0 + 0.5)


def test_a_laptop_is_measured_by_its_package_alone(tmp_path: Path) -> None:
    folder = powercap(tmp_path, INTEL_LAPTOP, INTEL_MMIO)
    sensor = find_rapl(tmp_path)
    assert isinstance(sensor, Rapl)
    assert sensor.scope == "CPU packages"
    with sensor.running() as consumed:
        for zone, rose in (("intel-rapl:0", 3), ("intel-rapl:0:0", 1), ("intel-rapl:0:1", 1), ("intel-rapl:1", 9)):
            rise(folder, INTEL_LAPTOP, zone, rose * 1_000_000)
        rise(folder, INTEL_MMIO, "intel-rapl-mmio:0", 3_000_000)
    assert consumed.joules == pytest.approx(3.0)


def test_dies_that_share_the_counter_of_their_package_count_once(tmp_path: Path) -> None:
    folder = powercap(tmp_path, THREADRIPPER)
    sensor = find_rapl(tmp_path)
    assert isinstance(sensor, Rapl)
    with sensor.running() as consumed:
        for zone in ("intel-rapl:0", "intel-rapl:1"):
            rise(folder, THREADRIPPER, zone, 68_000_000)
    assert consumed.joules == pytest.approx(68.0)


@pytest.mark.parametrize(
    ("first", "second", "joules"), [(10_360_237_493, 7_000_000_000, 2), (65_532_600_000, 4_000, 1)]
)
def test_dies_with_counters_of_their_own_are_added_and_a_shared_one_may_have_started_again(
    tmp_path: Path, first: int, second: int, joules: int
) -> None:
    machine = {**THREADRIPPER, "intel-rapl:0/energy_uj": str(first), "intel-rapl:1/energy_uj": str(second)}
    folder = powercap(tmp_path, machine)
    sensor = find_rapl(tmp_path)
    assert isinstance(sensor, Rapl)
    before = sensor.counters()
    rise(folder, machine, "intel-rapl:0", 1_000)
    rise(folder, machine, "intel-rapl:1", 1_000)
    assert sensor.joules(before, sensor.counters()) == pytest.approx(joules * 1e-3)


def test_two_sockets_are_two_packages_however_close_their_counters_are(tmp_path: Path) -> None:
    second = {key.replace("intel-rapl:0", "intel-rapl:1"): value for key, value in HASWELL.items()}
    folder = powercap(tmp_path, HASWELL, {**second, "intel-rapl:1/name": "package-1"})
    sensor = find_rapl(tmp_path)
    assert isinstance(sensor, Rapl)
    with sensor.running() as consumed:
        rise(folder, HASWELL, "intel-rapl:0", 2_000_000)
        rise(folder, second, "intel-rapl:1", 2_000_000)
        rise(folder, second, "intel-rapl:1:2", 1_000_000)
    assert consumed.joules == pytest.approx(5.0)


def test_a_rapl_counter_that_has_started_again_is_still_right(tmp_path: Path) -> None:
    folder = powercap(tmp_path, {**HASWELL, "intel-rapl:0/energy_uj": str(RANGE - 1_000_000)})
    sensor = find_rapl(tmp_path)
    assert isinstance(sensor, Rapl)
    with sensor.running() as consumed:
        write_tree(folder, {"intel-rapl:0/energy_uj": "3000000"})
    assert consumed.joules == pytest.approx(4.0)


def test_a_counter_of_unknown_range_that_starts_again_is_an_error_and_no_negative_energy(tmp_path: Path) -> None:
    folder = powercap(tmp_path, INTEL_LAPTOP)
    (folder / "intel-rapl:0/max_energy_range_uj").unlink()
    sensor = find_rapl(tmp_path)
    assert isinstance(sensor, Rapl)
    with pytest.raises(OSError, match="max_energy_range_uj"), sensor.running():
        write_tree(folder, {"intel-rapl:0/energy_uj": "3000000"})


@given(st.integers(0, RANGE - 1), st.integers(0, RANGE - 1))
def test_less_than_one_round_of_a_counter_is_found_wherever_it_starts(before: int, used: int) -> None:
    assert microjoules(before, (before + used) % RANGE, RANGE) == used


def test_counters_for_root_only_are_one_line_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    powercap(tmp_path, HASWELL)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").chmod(0o400)

    def denied(path: Path) -> int | None:
        return None if path.name == "energy_uj" else RANGE

    monkeypatch.setattr("edgemate.sensors.energy.rapl.read_number", denied)  # root may read everything
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = find_rapl(tmp_path)
    assert isinstance(found, Reading)
    assert "readable by root only" in str(found.reason)
    assert "\n" not in str(found.reason)


@pytest.mark.parametrize(("millivolts", "milliamperes", "watts"), ORIN_NX_MEASURED)
def test_a_jetson_with_a_rail_for_the_module_is_measured_by_that(
    tmp_path: Path, millivolts: int, milliamperes: int, watts: float
) -> None:
    measured = {"in1_input": str(millivolts), "curr1_input": str(milliamperes)}
    write_tree(tmp_path / ORIN_NX_FOLDER, {**ORIN_NX, **measured})
    sensor = find_ina3221(tmp_path)
    assert isinstance(sensor, Ina3221)
    assert sensor.scope == "the module (VDD_IN)"
    assert sensor.watts() == pytest.approx(watts, abs=0.06)


def test_a_jetson_without_one_is_measured_by_the_sum_of_its_rails_each_once(tmp_path: Path) -> None:
    write_tree(tmp_path / AGX_ORIN_FOLDER, AGX_ORIN)
    sensor = find_ina3221(tmp_path)
    assert isinstance(sensor, Ina3221)
    assert sensor.scope == "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    milliwatts = sum(power for name, power in AGX_ORIN_MILLIWATTS.items() if name != "VDDQ_VDD2_1V8AO")
    assert sensor.watts() == pytest.approx(milliwatts / 1000, abs=0.005)


def test_a_channel_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    # Without labels, as mainline's driver has them for channels that are not connected, and one that is not enabled.
    tree = {key: value for key, value in AGX_ORIN.items() if value != "NC"}
    del tree["1-0040/hwmon/hwmon1/curr1_input"]
    write_tree(tmp_path / AGX_ORIN_FOLDER, {**tree, "1-0040/hwmon/hwmon1/curr1_input/unreadable": ""})
    sensor = find_ina3221(tmp_path)
    assert isinstance(sensor, Ina3221)
    assert sensor.scope == "VDD_CPU_CV + VIN_SYS_5V0"


def test_the_files_of_jetpack_4_are_read_too(tmp_path: Path) -> None:
    write_tree(tmp_path / NANO_FOLDER, NANO)
    sensor = find_ina3221(tmp_path)
    assert isinstance(sensor, Ina3221)
    assert sensor.scope == "the module (POM_5V_IN)"
    assert 1e3 * sensor.watts() == pytest.approx(int(NANO["in_power0_input"]), abs=1)


def test_a_rail_that_can_no_longer_be_read_is_an_error_of_the_system(tmp_path: Path) -> None:
    write_tree(tmp_path / ORIN_NX_FOLDER, ORIN_NX)
    sensor = find_ina3221(tmp_path)
    assert isinstance(sensor, Ina3221)
    with pytest.raises(OSError, match="curr1_input"), sensor.running():  # noqa: PT012
        (tmp_path / ORIN_NX_FOLDER / "curr1_input").unlink()
        time.sleep(0.02)


def test_no_sensor_is_a_result(tmp_path: Path) -> None:
    for part in ("cpu", "gpu"):
        found = find_energy_sensor(part, root=tmp_path)  # type: ignore[arg-type]
        assert isinstance(found, Reading)
        assert str(found.reason).startswith("no sensor here: no INA3221")


def test_a_jetson_comes_before_a_workstation_and_serves_cpu_and_gpu(tmp_path: Path) -> None:
    powercap(tmp_path, HASWELL)
    assert isinstance(find_energy_sensor("cpu", root=tmp_path), Rapl)
    assert isinstance(find_energy_sensor("gpu", root=tmp_path), Reading)
    write_tree(tmp_path / ORIN_NX_FOLDER, ORIN_NX)
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
