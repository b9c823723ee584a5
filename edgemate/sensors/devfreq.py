"""Clocks of a Jetson's GPU, by the kernel's devfreq: NVML does not report them there."""

from __future__ import annotations

from pathlib import Path

from edgemate.sensors.reading import Reading, read_number

DEVFREQ = Path("sys/class/devfreq")
# Nano, TX2, Xavier and Orin with JetPack 5, Orin with JetPack 6: `17000000.ga10b`; Thor: `gpu-gpc-0`.
_ENDINGS = (".gpu", ".gp10b", ".gv11b", ".ga10b")
_BEGINNING = "gpu-gpc"


def read_gpu_clocks(root: Path = Path("/")) -> Reading:
    """Lowest and highest allowed clock, and the current clock, of the GPU in MHz: `{"min", "now", "max"}`."""
    names = sorted(path.name for path in (root / DEVFREQ).glob("*"))
    for name in names:
        if name.endswith(_ENDINGS) or name.startswith(_BEGINNING):
            files = {"min": "min_freq", "now": "cur_freq", "max": "max_freq"}
            hertz = {key: read_number(root / DEVFREQ / name / file) for key, file in files.items()}
            if hertz["now"] is not None:
                return Reading({key: None if value is None else value / 1e6 for key, value in hertz.items()})
    return Reading.missing("no clocks of a GPU in devfreq, so not a Jetson")
