"""What five machines say about themselves: their files, and what CUDA says of their GPU.

The models are the content of /proc/device-tree/model in public logs: of AGX Orin in issue 864 and AGX Thor in issue 711
of https://github.com/rbonghi/jetson_stats, of Orin Nano in its issue 400, and of Orin NX with JetPack 5 in
https://github.com/ultralytics/ultralytics/pull/9876. `model name` of Orins is that of
https://github.com/lix19937/tensorrt-insight/issues/26. Multiprocessors and memory of the AGX Orin's GPU are those of
https://github.com/tmcdonell/cuda/issues/77; of the other GPUs, the cores and the memory of NVIDIA's data sheets, less
what a kernel keeps, which is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgemate.runtime.gpus import Gpu

GIB = 1 << 30
_ORIN_CPU = "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nBogoMIPS\t: 62.50"


@dataclass(frozen=True)
class RecordedBoard:
    """One machine: path below `/` → text, and its GPU; `system` as edgemate names it."""

    files: dict[str, str]
    gpu: Gpu
    system: str = "Linux aarch64"


BOARDS = {
    "agx-orin": RecordedBoard(
        {
            "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
            "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0",
            "proc/cpuinfo": _ORIN_CPU,
        },
        Gpu("Orin", "8.7", 16, 61 * GIB),
    ),
    "orin-nx": RecordedBoard(
        {"proc/device-tree/model": "NVIDIA Orin NX Developer Kit\0", "proc/cpuinfo": _ORIN_CPU},
        Gpu("Orin", "8.7", 8, int(15.3 * GIB)),
    ),
    "orin-nano": RecordedBoard(
        {
            "proc/device-tree/model": "NVIDIA Orin Nano Developer Kit\0",
            "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0003\0nvidia,p3767-0003\0nvidia,tegra234\0",
            "proc/cpuinfo": _ORIN_CPU,
        },
        Gpu("Orin", "8.7", 8, int(7.4 * GIB)),
    ),
    "thor": RecordedBoard(
        {
            "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
            "proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
            "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 2000.00\nCPU part\t: 0xd83",
        },
        Gpu("NVIDIA Thor", "11.0", 20, int(122.8 * GIB)),
    ),
    "desktop": RecordedBoard(
        {"proc/cpuinfo": "processor\t: 0\nmodel name\t: 13th Gen Intel(R) Core(TM) i9-13900K"},
        Gpu("NVIDIA GeForce RTX 4090", "8.9", 128, int(23.6 * GIB)),
        "Linux x86_64",
    ),
}
