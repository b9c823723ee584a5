"""`triton`: a bundle, and beside it a model repository for NVIDIA's Triton Inference Server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgemate.bundle.model_repository import check_engine_batch, check_repository, check_segments, repository_of
from edgemate.exporting.package import Exported, ExportOptions
from edgemate.exporting.targets.onnx import export_onnx
from edgemate.exporting.targets.trt import build_options, export_trt
from edgemate.exporting.triton import write_repository
from edgemate.runs import Run


def export_triton(run: Run, output: Path, options: ExportOptions) -> Exported:
    """The bundle in `output`, and the repository in `<output>-triton`. Arguments and errors are `export_run`'s.

    Raises:
        BackendError: the platform is `tensorrt` and no engine can be built here, which leaves no bundle.
        UsageError: the layouts are without `segments`; or the platform is `tensorrt` and the batches without 1.
    """
    check_segments(options.layouts)
    batch = build_options(options).batch
    if options.platform == "tensorrt":
        check_engine_batch((batch.min, batch.opt, batch.max))
    folder = repository_of(output)
    check_repository(folder, overwrite=options.overwrite)
    if options.platform == "tensorrt":
        exported = export_trt(run, output, replace(options, require_engines=True))
    else:
        exported = export_onnx(run, output, options)
    engines = [path for path in exported.engines if path.name.startswith("segment_")]
    repository = write_repository(
        exported.bundle,
        folder,
        platform=options.platform,
        engines=engines,
        max_batch=batch.max,
        overwrite=options.overwrite,
    )
    return replace(exported, repository=repository)
