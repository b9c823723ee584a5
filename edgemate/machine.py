"""Metadata of the machine, which is stored with every measured time."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from edgemate import __version__
from edgemate.errors import UsageError
from edgemate.limits import THREADS

ROOT = Path("/")
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
PACKAGES = ("numpy", "pillow", "onnxruntime", "onnx", "torch", "torchvision", "lightning", "tensorrt")


def machine_metadata(packages: Sequence[str] = PACKAGES) -> dict[str, str | int]:
    """Versions of edgemate, Python and the installed ones of `packages`; processor, cores, memory, operating system.

    The packages' versions are read from their metadata: nothing is imported.
    """
    described: dict[str, str | int] = {
        "edgemate": __version__,
        "processor": processor(),
        "cores": usable_cores(),
        **({} if (memory := memory_gib()) is None else {"memory_gib": memory}),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for package in packages:
        version = package_version(package)
        if version is not None:
            described[package] = version
    return described


def board(root: Path = ROOT) -> str | None:
    """The board's name as its device tree has it, such as `NVIDIA Jetson AGX Orin Developer Kit`; None without one.

    A PC has no device tree. Docker hides it from containers that are not told otherwise.
    """
    try:
        text = (root / "proc/device-tree/model").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return " ".join(text.replace("\0", " ").split()) or None


def processor(root: Path = ROOT) -> str:
    """The board's name, else the processor's model name, else its architecture.

    The board comes first because processors of different boards share a name: every Jetson Orin has an
    `ARMv8 Processor rev 1 (v8l)`.
    """
    found = board(root)
    if found is not None:
        return found
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def nominal_gib(size: int) -> int:
    """GiB of memory as it is sold: `size` bytes, rounded up to an eighth of the next power of two, and to 1 GiB.

    A kernel keeps some of the memory for itself, more or less of it with each version. So what it reports of 64 GiB,
    61.4 or 62.8, is rounded up to 64.
    """
    gib = max(size, 1) / 2**30
    step = max(1, (1 << math.ceil(math.log2(max(gib, 1)))) // 8)
    return math.ceil(gib / step) * step


def memory_gib() -> int | None:
    """The machine's memory, see `nominal_gib`; None if the system does not say."""
    total = _meminfo("MemTotal:")
    return None if total is None else nominal_gib(total)


def usable_cores() -> int:
    """Cores this process may run on, which in a container is fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: int | None) -> None:
    """Raise UsageError for a number of CPU threads that is below 1 or above the limit; None means all cores."""
    if threads is not None and not 1 <= threads <= THREADS.most:
        raise UsageError(f"threads: must be from 1 to {THREADS.most:,}, not {threads}")


def free_memory() -> int | None:
    """Bytes that this process may still take without the system having to swap; None if the system does not say."""
    found = [_meminfo("MemAvailable:"), _left_in_group("memory.max", "memory.current")]
    found.append(_left_in_group("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
    known = [number for number in found if number is not None]
    return max(0, min(known)) if known else None


def _meminfo(key: str) -> int | None:
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _left_in_group(limit: str, used: str) -> int | None:
    """What the limit of a container leaves; None without one."""
    try:
        return int((CGROUP / limit).read_text(encoding="ascii")) - int((CGROUP / used).read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max" is no limit
        return None


def package_version(package: str) -> str | None:
    """Version of an installed distribution; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
