"""Which NVIDIA GPUs there are, asked of the driver itself: nothing of CUDA need be installed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

# Of cuda.h: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, and CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT.
_COMPUTE_CAPABILITY = (75, 76)
_MULTIPROCESSORS = 16


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: as its driver calls it.
        compute_capability: `major.minor`.
        multiprocessors: streaming multiprocessors that are switched on, which on a Jetson depends on the power mode.
        memory_bytes: of the device; on a Jetson that of the whole module.
    """

    name: str
    compute_capability: str
    multiprocessors: int | None = None
    memory_bytes: int | None = None


def find_gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine; none where there is no driver, or it finds no device it can drive."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_describe(cuda, index) for index in range(count.value))


def _describe(cuda: ctypes.CDLL, index: int) -> Gpu:
    device = ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    major, minor = (_attribute(cuda, attribute, device) or 0 for attribute in _COMPUTE_CAPABILITY)
    memory = ctypes.c_size_t()
    failed = cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(
        name.value.decode(errors="replace"),
        f"{major}.{minor}",
        _attribute(cuda, _MULTIPROCESSORS, device),
        None if failed else memory.value,
    )


def _attribute(cuda: ctypes.CDLL, attribute: int, device: ctypes.c_int) -> int | None:
    value = ctypes.c_int()
    return None if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device) else value.value
