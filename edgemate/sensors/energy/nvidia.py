"""Energy of an NVIDIA GPU, from NVML."""

from __future__ import annotations

from collections.abc import Sequence

from edgemate.sensors.energy.sensor import CounterSensor, PowerSensor
from edgemate.sensors.nvml import Nvml
from edgemate.sensors.reading import Reading


class NvmlCounter(CounterSensor):
    """The GPU's own energy counter, in millijoules: Volta and later."""

    name, scope = "NVML", "GPU board"

    def __init__(self, gpu: Nvml) -> None:
        self._gpu = gpu

    def counters(self) -> list[int]:
        """Millijoules since the driver was loaded."""
        value = self._gpu.millijoules
        if value is None:
            raise OSError("NVML: the GPU's energy counter cannot be read")
        return [value]

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        """The difference; the 64 bit counter does not start again."""
        return (after[0] - before[0]) * 1e-3


class NvmlPower(PowerSensor):
    """The power of older GPUs, sampled."""

    name, scope = "NVML", "GPU board"

    def __init__(self, gpu: Nvml) -> None:
        self._gpu = gpu

    def watts(self) -> float:
        """Power now, as the driver averages it."""
        value = self._gpu.milliwatts
        if value is None:
            raise OSError("NVML: the GPU's power cannot be read")
        return value * 1e-3


def find_nvml(gpu: Nvml | None) -> NvmlCounter | NvmlPower | Reading:
    """The sensor of a GPU, or why there is none."""
    if gpu is None:
        return Reading.missing("NVML finds no NVIDIA GPU")
    if gpu.millijoules is not None:
        return NvmlCounter(gpu)
    if gpu.milliwatts is not None:
        return NvmlPower(gpu)
    return Reading.missing("NVML: this GPU reports neither energy nor power")
