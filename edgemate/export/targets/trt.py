"""`trt`: TensorRT engines. This version does not build them, and says what to use instead."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from edgemate.errors import ExportError
from edgemate.export.package import ExportOptions
from edgemate.runs import Run


def export_trt(run: Run, output: Path, options: ExportOptions) -> NoReturn:
    """Raises ExportError: no engine can be built yet."""
    raise ExportError(
        f"{output}: --target trt needs an engine builder for TensorRT, which this version of edgemate does not have; "
        f"export with --target onnx: engines are built on the device from that bundle's ONNX graphs"
    )
