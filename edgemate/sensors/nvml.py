"""NVIDIA's management library, asked by ctypes: nothing need be installed but the driver."""

from __future__ import annotations

import ctypes
from typing import Any

# Of nvml.h.
_OK = 0
_CLOCK_SM, _CLOCK_MEM, _TEMPERATURE_GPU = 1, 2, 0
_REASONS = {
    0x0004: "software power cap",
    0x0008: "hardware slowdown",
    0x0020: "software thermal slowdown",
    0x0040: "hardware thermal slowdown",
    0x0080: "hardware power brake",
}


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Nvml:
    """One GPU. Every figure is None if this GPU or driver does not give it.

    Args:
        library: libnvidia-ml, initialized.
        handle: the GPU's.
    """

    def __init__(self, library: Any, handle: ctypes.c_void_p) -> None:
        self._library = library
        self._handle = handle

    @classmethod
    def open(cls, index: int = 0, library: Any = None) -> Nvml | None:
        """The GPU of this index; None without a driver or a GPU. `library` is for tests."""
        if library is None:
            try:
                library = ctypes.CDLL("libnvidia-ml.so.1")
            except OSError:
                return None
        handle = ctypes.c_void_p()
        try:
            if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
                return None
        except AttributeError:  # a driver older than these functions
            return None
        return cls(library, handle)

    @property
    def millijoules(self) -> int | None:
        """Energy since the driver was loaded; Volta and later."""
        return self._number("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong)

    @property
    def milliwatts(self) -> int | None:
        """Power now, averaged by the driver over up to a second."""
        return self._number("nvmlDeviceGetPowerUsage", ctypes.c_uint)

    @property
    def used_bytes(self) -> int | None:
        """Memory of the GPU that all processes use together."""
        memory = _Memory()
        return int(memory.used) if self._ask("nvmlDeviceGetMemoryInfo", ctypes.byref(memory)) else None

    @property
    def clocks_mhz(self) -> dict[str, int | None]:
        """Clocks of the multiprocessors and of the memory: now, and the highest."""
        return {
            f"{name}{ending}": self._number(function, ctypes.c_uint, kind)
            for name, kind in (("sm", _CLOCK_SM), ("memory", _CLOCK_MEM))
            for ending, function in (("", "nvmlDeviceGetClockInfo"), ("_max", "nvmlDeviceGetMaxClockInfo"))
        }

    @property
    def celsius(self) -> int | None:
        """Temperature of the GPU."""
        return self._number("nvmlDeviceGetTemperature", ctypes.c_uint, _TEMPERATURE_GPU)

    @property
    def throttling(self) -> list[str] | None:
        """Why the clocks are lower now than asked for; empty if they are not."""
        bits = self._number("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong)
        return None if bits is None else throttle_reasons(bits)

    def _number(self, function: str, kind: Any, *arguments: int) -> int | None:
        value = kind()
        return int(value.value) if self._ask(function, *arguments, ctypes.byref(value)) else None

    def _ask(self, function: str, *arguments: Any) -> bool:
        try:
            return bool(getattr(self._library, function)(self._handle, *arguments) == _OK)
        except AttributeError:
            return False


def throttle_reasons(bits: int) -> list[str]:
    """The reasons in NVML's bit mask that slow a GPU down; idle and clocks set by a user are not among them."""
    return [reason for bit, reason in _REASONS.items() if bits & bit]
