"""What of TensorRT this machine has, for `edgemate doctor`. Nothing is imported where there is no GPU."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.compat import FLAVOURS, Flavour, is_installed, load_tensorrt
from edgemate.runtime.backends.tensorrt.device import find_device, require_gpu


@dataclass(frozen=True)
class Installed:
    """One TensorRT.

    Attributes:
        name: `TensorRT 10.3.0`.
        problem: why it can do nothing here; None if it can.
        ahead_of_time: whether building for other machines is all it can do here.
        dla_cores: Deep Learning Accelerators that it can use here; None for a version that uses none, and where it
            cannot be asked.
    """

    name: str
    problem: str | None = None
    ahead_of_time: bool = False
    dla_cores: int | None = None


def survey() -> tuple[Installed, ...]:
    """Every TensorRT that is installed, and whether it can be used."""
    return tuple(_look_at(flavour) for flavour in FLAVOURS if is_installed(flavour))


def _look_at(flavour: Flavour) -> Installed:
    name = f"{FLAVOURS[flavour]} {_version(flavour)}"
    try:
        require_gpu(name)
    except BackendError as error:
        if flavour == "tensorrt_rtx" and find_device() is None:
            return Installed(name, ahead_of_time=True)
        return Installed(name, str(error))
    try:
        trt = load_tensorrt(flavour)
        return Installed(trt.name, dla_cores=trt.dla_cores())
    except BackendError as error:
        return Installed(name, str(error))


def _version(flavour: Flavour) -> str:
    distributions = metadata.packages_distributions().get(flavour, ())
    return metadata.version(distributions[0]) if distributions else "of unknown version"
