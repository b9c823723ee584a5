"""What decides how fast a Jetson may be, read from files in the layout of its kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel_tree import write_tree

from edgemate.sensors import conditions, speed
from edgemate.sensors.conditions import Conditions
from edgemate.sensors.devfreq import read_gpu_clocks
from edgemate.sensors.reading import Reading
from edgemate.sensors.speed import read_speed_settings, speed_differences

CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"
# Folders of devfreq: Orin with JetPack 5 and 6, Thor. Beside the GPU there are others.
GPUS = ("17000000.ga10b", "17000000.gpu", "gpu-gpc-0")


def orin(root: Path, gpu: str = "17000000.gpu") -> Path:
    write_tree(
        root / CPUFREQ, {"scaling_cur_freq": "1510400", "scaling_min_freq": "729600", "scaling_max_freq": "1510400"}
    )
    write_tree(root / "sys/class/devfreq/15880000.nvdla0", {"cur_freq": "1", "min_freq": "1", "max_freq": "1"})
    frequencies = {"cur_freq": "306000000", "min_freq": "306000000", "max_freq": "624750000"}
    return write_tree(root / "sys/class/devfreq" / gpu, frequencies)


@pytest.mark.parametrize("gpu", GPUS)
def test_clocks_of_a_jetsons_gpu_are_those_of_devfreq(tmp_path: Path, gpu: str) -> None:
    orin(tmp_path, gpu)
    assert read_gpu_clocks(tmp_path).value == {"min": 306.0, "now": 306.0, "max": 624.75}


def test_without_devfreq_there_is_a_reason(tmp_path: Path) -> None:
    assert "not a Jetson" in str(read_gpu_clocks(tmp_path).reason)


def test_settings_are_the_power_mode_and_the_clocks_it_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orin(tmp_path)
    monkeypatch.setattr(speed, "read_power_mode", lambda: Reading("15W"))
    settings = {"power mode": "15W", "CPU clocks": "729.6 to 1510.4 MHz", "GPU clocks": "306 to 624.75 MHz"}
    assert read_speed_settings(tmp_path) == settings
    monkeypatch.setattr(speed, "read_power_mode", lambda: Reading.missing("none"))
    assert read_speed_settings(tmp_path / "nothing") == {}


def test_differences_are_named_and_what_was_not_recorded_is_not_compared() -> None:
    here = {"power mode": "15W", "GPU clocks": "306 to 918 MHz"}
    assert speed_differences({"processor": "x"}, here) == []
    assert speed_differences({"power mode": "15W", "CPU clocks": "1 to 2 MHz"}, here) == []
    assert speed_differences({"power mode": "MAXN", "GPU clocks": "918 to 918 MHz"}, here) == [
        "power mode MAXN, here 15W",
        "GPU clocks 918 to 918 MHz, here 306 to 918 MHz",
    ]


def test_conditions_have_a_jetsons_gpu_clocks_without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "read_gpu_clocks", lambda: Reading({"min": 306.0, "now": 918.0, "max": 918.0}))
    found = Conditions.now().gpu.value
    assert found["clocks_mhz"] == {"sm": 918.0, "sm_min": 306.0, "sm_max": 918.0}
