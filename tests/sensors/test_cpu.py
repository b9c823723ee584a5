from __future__ import annotations

from pathlib import Path

from kernel_tree import write_tree

from edgemate.sensors.cpu import read_clocks, read_governors, read_throttling

CPU = "sys/devices/system/cpu"


def test_clocks_and_governors_are_those_of_cpufreq(tmp_path: Path) -> None:
    for core, now in ((0, 1_510_400), (1, 1_190_400), (10, 729_600)):
        write_tree(
            tmp_path / CPU / f"cpu{core}" / "cpufreq",
            {
                "scaling_cur_freq": str(now),
                "scaling_min_freq": "729600",
                "scaling_max_freq": "1510400",
                "scaling_governor": "schedutil",
            },
        )
    write_tree(tmp_path / CPU, {"cpufreq/boost": "1", "online": "0-10"})  # not cores
    assert read_clocks(tmp_path).value == {"min": 729.6, "now": [1510.4, 1190.4, 729.6], "max": 1510.4}
    assert read_governors(tmp_path).value == ["schedutil"]


def test_a_virtual_machine_has_the_clocks_of_cpuinfo(tmp_path: Path) -> None:
    cpuinfo = (
        "processor\t: 0\nmodel name\t: Z80\ncpu MHz\t\t: 2596.142\n\nprocessor\t: 1\ncpu MHz\t\t: 2445.000\nflags:"
    )
    write_tree(tmp_path, {"proc/cpuinfo": cpuinfo})
    assert read_clocks(tmp_path).value == {"min": None, "now": [2596.142, 2445.0], "max": None}
    governors = read_governors(tmp_path)
    assert governors.value is None
    assert "cpufreq" in str(governors.reason)


def test_without_any_of_these_files_there_are_reasons_and_no_errors(tmp_path: Path) -> None:
    for reading in (read_clocks(tmp_path), read_governors(tmp_path), read_throttling(tmp_path)):
        assert reading.value is None
        assert reading.reason


def test_throttling_of_intel_is_counted_and_that_of_jetsons_is_active_or_not(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        {
            f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3",
            f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "5",
            f"{CPU}/cpu1/thermal_throttle/package_throttle_count": "4",
            "sys/class/thermal/cooling_device0/type": "pwm-fan",
            "sys/class/thermal/cooling_device0/cur_state": "2",
            "sys/class/thermal/cooling_device1/type": "cpu-throttle-alert",
            "sys/class/thermal/cooling_device1/cur_state": "1",
            "sys/class/thermal/cooling_device2/type": "gpu-throttle-alert",
            "sys/class/thermal/cooling_device2/cur_state": "0",
        },
    )
    assert read_throttling(tmp_path).value == {"events": 5, "active": ["cpu-throttle-alert"]}


def test_throttling_for_the_power_supply_is_counted_on_a_jetson(tmp_path: Path) -> None:
    """The files of the driver `soctherm_oc` of an Orin: 1 is undervoltage, 2 and 3 are overcurrent."""
    write_tree(
        tmp_path / "sys/class/hwmon",
        {
            "hwmon1/name": "ina3221",
            "hwmon2/name": "soctherm_oc",
            "hwmon2/oc1_event_cnt": "0",
            "hwmon2/oc1_throt_en": "1",
            "hwmon2/oc2_event_cnt": "4",
            "hwmon2/oc3_event_cnt": "3",
        },
    )
    assert read_throttling(tmp_path).value == {"events": None, "active": [], "supply_events": 7}
