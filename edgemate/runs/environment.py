"""The environment of a training: machine, package versions and the command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgemate.machine import PACKAGES, machine_metadata

_PACKAGES = (*PACKAGES, "onnxscript", "safetensors", "scikit-learn", "pydantic", "fvcore")


def environment_metadata(world: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Machine, package versions and the command line; torch's threads and GPUs where torch is already imported.

    The command is stored without the paths of its program, the data root, the current folder and the home folder,
    since runs are shared.

    Args:
        world: the processes of a training, where there are several.
    """
    metadata: dict[str, Any] = dict(machine_metadata(_PACKAGES))
    torch = sys.modules.get("torch")
    if torch is not None:
        metadata["torch_threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            metadata["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
            metadata["cuda"] = torch.version.cuda
            metadata["cudnn"] = torch.backends.cudnn.version()
            metadata["driver"] = _driver()
    if world:
        metadata["distributed"] = dict(world)
    metadata["command"] = [Path(sys.argv[0]).name, *(_shareable(argument) for argument in sys.argv[1:])]
    return metadata


def _driver() -> str | None:
    """The NVIDIA driver's version from nvidia-smi; None if that is not installed or fails."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return output.split("\n")[0].strip()


def _shareable(argument: str) -> str:
    """An argument without the folders that only this machine has."""
    known = {str(Path.cwd()): ".", str(Path.home()): "~"}
    root = os.environ.get("EDGEMATE_DATA")
    if root:
        known = {str(Path(root).absolute()): "$EDGEMATE_DATA", str(Path(root)): "$EDGEMATE_DATA", **known}
    for folder, name in sorted(known.items(), key=lambda pair: -len(pair[0])):  # the innermost first
        if folder not in ("", ".", "/"):
            argument = re.sub(rf"(?<![\w./-]){re.escape(folder)}(?![\w.-])", name, argument)
    return argument
