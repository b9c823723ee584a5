"""`trt-rtx`: a bundle with TensorRT-RTX engines, built ahead of time for named GPUs; no GPU is needed here."""

from __future__ import annotations

from pathlib import Path

from edgemate.errors import UsageError
from edgemate.exporting.package import Exported, ExportOptions
from edgemate.exporting.targets.onnx import export_onnx
from edgemate.exporting.targets.trt import build_options, check_options, with_engines, with_fp16
from edgemate.runs import Run
from edgemate.runtime.backends.tensorrt.compat import load_tensorrt


def export_trt_rtx(run: Run, output: Path, options: ExportOptions) -> Exported:
    """The ONNX bundle and its engines; precision `int8` is `int8+fp16`. Arguments and errors are `export_run`'s.

    Raises:
        UsageError: no compute capability is given, and this machine has no GPU.
        BackendError: TensorRT-RTX is not installed or does not build for that GPU, which leaves no bundle; or it fails
            to build an engine, which leaves the bundle without it.
    """
    trt = load_tensorrt("tensorrt_rtx")
    if trt.device is None and not options.compute_capabilities:
        raise UsageError(
            "target trt-rtx: this machine has no GPU to build for; set compute_capabilities, such as 8.6,8.9"
        )
    check_options(trt, build_options(options))
    return with_engines(export_onnx(run, output, with_fp16(options, trt)), trt, options)
