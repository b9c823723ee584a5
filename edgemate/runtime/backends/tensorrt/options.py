"""How an engine is built; the names are those of trtexec and Polygraphy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from edgemate.errors import UsageError
from edgemate.limits import BATCH
from edgemate.wording import shortened

ProfilingVerbosity = Literal["layer_names_only", "detailed", "none"]
HardwareCompatibilityLevel = Literal["none", "ampere_plus", "same_compute_capability"]
# Options that the choice of kernels depends on, or where they run. Times of different ones are not comparable.
_SPEED = (
    "dla_core",
    "allow_gpu_fallback",
    "tf32",
    "sparsity",
    "builder_optimization_level",
    "workspace_mib",
    "version_compatible",
    "hardware_compatibility_level",
)


@dataclass(frozen=True)
class BatchRange:
    """Images at a time: the engine takes `min` to `max` and is tuned for `opt`."""

    min: int = 1
    opt: int = 1
    max: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise UsageError(f"batch {self}: must rise from 1 or more, such as 1:1:8")
        if self.max > BATCH.most:
            raise UsageError(f"batch {self}: {BATCH.exceeded(self.max)}")

    @classmethod
    def parse(cls, text: str) -> BatchRange:
        """`min:opt:max`, or one number for all three.

        Raises:
            UsageError: it is neither, or does not rise.
        """
        found = re.fullmatch(r"(\d{1,9})(?::(\d{1,9}):(\d{1,9}))?", text.strip(), flags=re.ASCII)
        if not found:
            raise UsageError(f"batch {shortened(text)!r}: give min:opt:max, such as 1:1:8, or one number")
        least, best, most = (int(number or found[1]) for number in found.groups())
        return cls(least, best, most)

    def __str__(self) -> str:
        return f"{self.min}:{self.opt}:{self.max}"


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built. What is None is left to TensorRT.

    Attributes:
        batch: the optimization profile.
        workspace_mib: memory that a layer may use while it runs, at most, in MiB.
        builder_optimization_level: 0 builds fastest, 5 searches longest; TensorRT's default is 3.
        timing_cache: folder of the timing caches, one file per device and TensorRT version; the user's cache if None.
        profiling_verbosity: what the engine tells of its layers; their precision can be read back from `detailed`.
        version_compatible: later versions can run it too.
        hardware_compatibility_level: other GPUs can run it too: `ampere_plus` those from compute capability 8.0 on,
            `same_compute_capability` those of this one.
        strip_weights: leave the weights out of the engine; they are put back from the ONNX file when it is loaded.
        dla_core: run on this DLA core, counted from 0.
        allow_gpu_fallback: layers that the DLA cannot run go to the GPU.
        tf32: fp32 layers may compute in TF32.
        sparsity: use kernels for 2:4 structured sparsity where weights have it.
        compute_capabilities: TensorRT-RTX: build ahead of time for these, such as `8.6`; no GPU is needed then.
    """

    batch: BatchRange = field(default_factory=BatchRange)
    workspace_mib: int | None = None
    builder_optimization_level: int | None = None
    timing_cache: Path | None = None
    profiling_verbosity: ProfilingVerbosity = "detailed"
    version_compatible: bool = False
    hardware_compatibility_level: HardwareCompatibilityLevel = "none"
    strip_weights: bool = False
    dla_core: int | None = None
    allow_gpu_fallback: bool = False
    tf32: bool = True
    sparsity: bool = False
    compute_capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise UsageError(f"workspace {self.workspace_mib}: must be 1 MiB or more")
        level = self.builder_optimization_level
        if level is not None and not 0 <= level <= 5:
            raise UsageError(f"builder_optimization_level {level}: must be 0 to 5")
        _one_of("profiling_verbosity", self.profiling_verbosity, get_args(ProfilingVerbosity))
        _one_of("hardware_compatibility_level", self.hardware_compatibility_level, get_args(HardwareCompatibilityLevel))
        if self.allow_gpu_fallback and self.dla_core is None:
            raise UsageError("allow_gpu_fallback: means something only with use_dla_core")
        if self.dla_core is not None:
            if self.dla_core < 0:
                raise UsageError(f"use_dla_core {self.dla_core}: cores are counted from 0")
            if self.batch.min != self.batch.max:
                raise UsageError(f"batch {self.batch}: a DLA takes one batch size only; give one number")
        check_compute_capabilities(self.compute_capabilities)

    def metadata(self) -> dict[str, Any]:
        """What bears on the engine, ready for JSON: all but where the timing cache lies."""
        found = asdict(self) | {"batch": str(self.batch), "compute_capabilities": list(self.compute_capabilities)}
        del found["timing_cache"]
        return found


def speed_options(recorded: Mapping[str, Any]) -> str:
    """What bears on speed of an engine's recorded options, where it is not the default: `dla_core 0, tf32 false`.

    `default` where nothing is. The batch, which always says something, is not among them.
    """
    usual = BuildOptions().metadata()
    found = {name: recorded.get(name, usual[name]) for name in _SPEED}
    return ", ".join(f"{name} {value}".lower() for name, value in found.items() if value != usual[name]) or "default"


def check_compute_capabilities(given: Sequence[str]) -> None:
    """UsageError for what is no compute capability."""
    for capability in given:
        if not re.fullmatch(r"\d{1,2}\.\d", capability, flags=re.ASCII):
            raise UsageError(f"compute_capability {shortened(capability)!r}: give major.minor, such as 8.6")


def _one_of(option: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UsageError(f"{option} {given!r}: must be one of {', '.join(known)}")
