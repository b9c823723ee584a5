"""Is there a GPU? Asked before anything of TensorRT is touched, which without one ends the whole process."""

from __future__ import annotations

import ctypes
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from edgemate.errors import BackendError
from edgemate.machine import nominal_gib, processor
from edgemate.runtime.backends.tensorrt.cuda_libraries import find_cudart
from edgemate.runtime.gpus import find_gpus

_LONGEST = 60  # characters of a board's name in a tag; file systems allow 255 for the whole


@dataclass(frozen=True)
class Device:
    """What an engine is tied to, beside the library's version.

    The GPU of every Jetson Orin is called `Orin` and has compute capability 8.7. So a device is also known by its
    board, its multiprocessors and its memory.

    Attributes:
        name: the GPU, as its driver calls it.
        compute_capability: `major.minor`.
        driver: its version where the system says, and the newest CUDA it serves.
        system: operating system and processor architecture.
        board: its name in the device tree, else the processor's; None if unknown.
        multiprocessors: of the GPU; None if unknown.
        memory_gib: of the GPU, which on a Jetson is that of the module, see `nominal_gib`; None if unknown.
    """

    name: str
    compute_capability: str
    driver: str
    system: str
    board: str | None = None
    multiprocessors: int | None = None
    memory_gib: int | None = None

    @property
    def tag(self) -> str:
        """`nvidia-jetson-agx-orin-developer-kit_orin_sm87_16sm_64gib`: fit for a folder's name."""
        parts = [*([_word(self.board)[:_LONGEST].strip("-")] if self.board else []), _word(self.name) or "gpu"]
        parts.append(sm(self.compute_capability))
        if self.multiprocessors is not None:
            parts.append(f"{self.multiprocessors}sm")
        if self.memory_gib is not None:
            parts.append(f"{self.memory_gib}gib")
        return "_".join(part for part in parts if part)

    def metadata(self) -> dict[str, str]:
        """What of it bears on times, as in the metadata of a backend; what is unknown is left out."""
        found = {"gpu": self.name, "multiprocessors": self.multiprocessors, "gpu memory": self.memory_gib}
        units = {"gpu memory": " GiB"}
        return {key: f"{value}{units.get(key, '')}" for key, value in found.items() if value is not None}


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def sm(compute_capability: str) -> str:
    """`8.6` → `sm86`."""
    return "sm" + compute_capability.replace(".", "")


def this_system() -> str:
    """Operating system and processor architecture, `Linux aarch64`."""
    return f"{platform.system()} {platform.machine()}"


def find_device() -> Device | None:
    """The GPU that CUDA takes when it is not told otherwise (CUDA_VISIBLE_DEVICES chooses), or None."""
    gpus = find_gpus()
    if not gpus:
        return None
    gpu = gpus[0]
    memory = None if gpu.memory_bytes is None else nominal_gib(gpu.memory_bytes)
    return Device(gpu.name, gpu.compute_capability, _driver(), this_system(), processor(), gpu.multiprocessors, memory)


def require_gpu(wanted_by: str) -> Device:
    """The GPU, for something that cannot go on without one.

    Args:
        wanted_by: what that is, for the message.

    Raises:
        BackendError: there is none, or no CUDA runtime here works with its driver.
    """
    device = find_device()
    if device is None:
        raise BackendError(
            f"{wanted_by} needs an NVIDIA GPU and its driver, and none is found on this machine; "
            f"run this on the device (onnxruntime runs the bundle here)"
        )
    problem = _runtime_problem()
    if problem:
        raise BackendError(f"{wanted_by} cannot use {device.name}: {problem}")
    return device


def _runtime_problem() -> str | None:
    # A driver that answers may still be too old for the CUDA runtime, which is what kills the process then.
    try:
        find_cudart()
    except BackendError as error:
        return str(error)
    return None


def _driver() -> str:
    try:
        found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", Path("/proc/driver/nvidia/version").read_text(encoding="utf-8"))
    except OSError:  # a Jetson's driver is part of its kernel
        found = None
    version = ctypes.c_int()
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return found.group(1) if found else "unknown"
    cuda = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    return f"{found.group(1)}, {cuda}" if found else cuda
