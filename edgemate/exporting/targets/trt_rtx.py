"""`trt-rtx`: a bundle with TensorRT-RTX engines, built ahead of time for named GPUs; no GPU is needed here."""

from __future__ import annotations

from pathlib import Path

from edgemate.errors import UsageError
from edgemate.exporting.package import Exported, ExportOptions
from edgemate.exporting.targets.onnx import export_onnx
from edgemate.exporting.targets.trt import build_options, check_options, with_engines
from edgemate.runs import Run
from edgemate.runtime.backends.tensorrt.compat import load_tensorrt


def export_trt_rtx(run: Run, output: Path, options: ExportOptions) -> Exported:
    """The ONNX bundle and its engines. Arguments and errors are `export_run`'s.

    Raises:
        UsageError: no compute capability is named, and there is no GPU here to take it from.
        BackendError: TensorRT-RTX is not installed or does not build for that GPU, which leaves no bundle; or it fails
            at a graph, which leaves the bundle without that engine.
    """
    trt = load_tensorrt("tensorrt_rtx")
    if trt.device is None and not options.compute_capabilities:
        raise UsageError(
            "compute_capability: this machine has no GPU to build trt-rtx engines for; name some, such as 8.6,8.9"
        )
    check_options(trt, build_options(options))
    return with_engines(export_onnx(run, output, options), trt, options)
