from __future__ import annotations

import ctypes
from typing import Any

import pytest
from recorded_machines import TITAN_RTX_IDLE

from edgemate.sensors.energy.nvidia import NvmlCounter, NvmlPower, find_nvml
from edgemate.sensors.nvml import Nvml, first_visible, throttle_reasons
from edgemate.sensors.reading import Reading

NOT_SUPPORTED = 3


class FakeNvml:
    """The functions of libnvidia-ml that are asked, writing where their last argument points to."""

    def __init__(self, *, energy: int | None = 5_000_000, power: int | None = 71_234) -> None:
        self.energy = energy
        self.power = power

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:  # noqa: N802
        return 0 if index == 0 else NOT_SUPPORTED

    def nvmlDeviceGetTotalEnergyConsumption(self, _: Any, value: Any) -> int:  # noqa: N802
        return self._give(self.energy, value)

    def nvmlDeviceGetPowerUsage(self, _: Any, value: Any) -> int:  # noqa: N802
        return self._give(self.power, value)

    def nvmlDeviceGetClockInfo(self, _: Any, kind: int, value: Any) -> int:  # noqa: N802
        return self._give({1: 1980, 2: 3201}[kind], value)

    def nvmlDeviceGetTemperature(self, _: Any, kind: int, value: Any) -> int:  # noqa: N802
        return self._give(41, value)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, _: Any, value: Any) -> int:  # noqa: N802
        return self._give(0x45, value)

    def nvmlDeviceGetMemoryInfo(self, _: Any, memory: Any) -> int:  # noqa: N802
        memory._obj.total, memory._obj.used = 80 << 30, 3 << 30
        return 0

    def _give(self, number: int | None, value: Any) -> int:
        if number is None:
            return NOT_SUPPORTED
        value._obj.value = number
        return 0


def test_figures_are_asked_of_the_library_and_missing_ones_are_none() -> None:
    gpu = Nvml.open(library=FakeNvml())
    assert gpu is not None
    assert (gpu.millijoules, gpu.milliwatts, gpu.celsius, gpu.used_bytes) == (5_000_000, 71_234, 41, 3 << 30)
    # This library has no nvmlDeviceGetMaxClockInfo, as an older driver lacks functions.
    assert gpu.clocks_mhz == {"sm": 1980, "sm_max": None, "memory": 3201, "memory_max": None}
    assert gpu.throttling == ["software power cap", "hardware thermal slowdown"]


def test_there_is_no_gpu_without_its_index_or_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Nvml.open(1, library=FakeNvml()) is None
    assert Nvml.open(library=object()) is None

    def absent(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert Nvml.open() is None


def test_energy_is_counted_in_millijoules_or_else_power_is_sampled() -> None:
    library = FakeNvml()
    sensor = find_nvml(Nvml.open(library=library))
    assert isinstance(sensor, NvmlCounter)
    with sensor.running() as consumed:
        library.energy = 5_000_000 + TITAN_RTX_IDLE["millijoules"]
    assert consumed.joules / TITAN_RTX_IDLE["seconds"] == pytest.approx(TITAN_RTX_IDLE["watts"], rel=0.02)
    # Pascal and older: nvml.h says of the counter "Volta or newer", and it answers NOT_SUPPORTED.
    older = find_nvml(Nvml.open(library=FakeNvml(energy=None)))
    assert isinstance(older, NvmlPower)
    assert older.watts() == pytest.approx(71.234)
    # Jetson Orin with JetPack 6 and 7 has NVML, which answers NOT_SUPPORTED to both:
    # https://github.com/HazyResearch/intelligence-per-watt/issues/40.
    orin = find_nvml(Nvml.open(library=FakeNvml(energy=None, power=None)))
    assert orin == Reading.missing("NVML: this GPU reports neither energy nor power")
    assert isinstance(find_nvml(None), Reading)


@pytest.mark.parametrize(("given", "index"), [(None, 0), ("", 0), ("2,0", 2), ("GPU-8932f937", 0), ("-1", 0)])
def test_the_gpu_is_the_first_that_cuda_may_use(given: str | None, index: int) -> None:
    assert first_visible({} if given is None else {"CUDA_VISIBLE_DEVICES": given}) == index


@pytest.mark.parametrize(("bits", "count"), [(0x0, 0), (0x1, 0), (0x2, 0), (0x8, 1), (0xE8, 4)])
def test_being_idle_is_not_throttling(bits: int, count: int) -> None:
    assert len(throttle_reasons(bits)) == count
