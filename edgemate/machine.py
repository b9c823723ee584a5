"""What a figure was measured on: the metadata that belongs beside every time in milliseconds."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from edgemate import __version__

PACKAGES = ("numpy", "pillow", "onnxruntime", "onnx", "torch", "torchvision", "lightning", "tensorrt")


def machine_metadata(packages: Sequence[str] = PACKAGES) -> dict[str, str | int]:
    """Versions of edgemate, Python and those of `packages` that are here; processor, usable cores, operating system.

    The packages' versions are read from their metadata: nothing is imported.
    """
    described: dict[str, str | int] = {
        "edgemate": __version__,
        "processor": processor(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for package in packages:
        version = package_version(package)
        if version is not None:
            described[package] = version
    return described


def processor() -> str:
    """The processor as its maker calls it, or its architecture where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    try:  # boards such as the Jetson name themselves here
        return Path("/proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may run on, which in a container is fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def package_version(package: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
