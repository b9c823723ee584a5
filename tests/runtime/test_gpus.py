from __future__ import annotations

import ctypes
from typing import Any

import pytest

from edgemate.runtime import gpus
from edgemate.runtime.gpus import Gpu, find_gpus


class Driver:
    """As much of libcuda as is asked for: one GPU of compute capability 8.7, 16 multiprocessors and 61 GiB."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = b"Orin"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 7, 16: 16}[attribute]
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:  # noqa: N802
        memory._obj.value = 61 << 30
        return 0


def test_gpus_are_named_by_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus.ctypes, "CDLL", lambda name: Driver())
    assert find_gpus() == (Gpu("Orin", "8.7", 16, 61 << 30),)


def test_a_driver_without_a_device_finds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus.ctypes, "CDLL", lambda name: Driver(status=100))
    assert find_gpus() == ()


def test_no_driver_finds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpus.ctypes, "CDLL", absent)
    assert find_gpus() == ()
