"""`trt`: a bundle for TensorRT, with engines where this machine can build them; elsewhere the device builds its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgemate.bundle import writing_bundle
from edgemate.errors import BackendError
from edgemate.exporting.package import Exported, ExportOptions
from edgemate.exporting.targets.onnx import export_onnx
from edgemate.exporting.tensorrt_forms import misread_in
from edgemate.runs import Run
from edgemate.runtime.backends.tensorrt.compat import TensorRT, load_tensorrt
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions
from edgemate.runtime.backends.tensorrt.proving import build_proved_engines


def export_trt(run: Run, output: Path, options: ExportOptions) -> Exported:
    """The ONNX bundle, and its engines if this machine has TensorRT and a GPU. Arguments and errors are `export_run`'s.

    Precision `int8` is `int8+fp16` here, see `with_fp16`.

    Raises:
        BackendError: no engine can be built here and `options.require_engines` is set, which leaves no bundle; or
            TensorRT fails to build one, which leaves the bundle without it.
    """
    trt: TensorRT | None = None
    problem = None
    try:
        trt = load_tensorrt("tensorrt")
        check_options(trt, build_options(options))
    except BackendError as error:
        if trt is not None:  # an unsupported option, which is not the lack of a GPU
            raise
        if options.require_engines:
            raise BackendError(f"{output}: require_engines: {error}") from error
        problem = str(error)
    exported = export_onnx(run, output, with_fp16(options, trt))
    exported = replace(exported, misread=misread_in(exported.bundle))
    if trt is None:
        return replace(exported, no_engines=problem)
    return with_engines(exported, trt, options)


def with_fp16(options: ExportOptions, trt: TensorRT | None) -> ExportOptions:
    """`int8` as these targets mean it: what is not INT8 computes in fp16.

    TensorRT 8 cannot read such a graph. Where it is the one that is here, the graph is `int8`, and its builder has a
    flag for the rest.
    """
    if options.precision != "int8" or (trt is not None and not trt.is_strongly_typed(BuildOptions())):
        return options
    return replace(options, precision="int8+fp16")


def build_options(options: ExportOptions) -> BuildOptions:
    """The options of the engine builder."""
    batch = BatchRange() if options.engine_batch is None else BatchRange(*options.engine_batch)
    return BuildOptions(batch=batch, compute_capabilities=options.compute_capabilities)


def check_options(trt: TensorRT, options: BuildOptions) -> None:
    """Raise BackendError if TensorRT does not support the options, before any graph is exported."""
    builder = trt.create_builder(options)
    trt.apply(builder.create_builder_config(), options, builder)


def with_engines(exported: Exported, trt: TensorRT, options: ExportOptions) -> Exported:
    """Build the engines of all exported layouts into the bundle, proved on its golden samples where they run here."""
    with writing_bundle(exported.bundle.path):
        built = build_proved_engines(
            exported.bundle, trt, build_options(options), layouts=options.layouts, progress=options.progress
        )
    return replace(exported, engines=tuple(engine.path for engine in built.engines), proofs=built.proofs)
