"""`export`: run → bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgemate.api.opening import PathLike, RunLike
    from edgemate.bundle.manifest import Layout, Precision
    from edgemate.exporting import Exported
    from edgemate.runs import Run


def export(
    run: RunLike,
    output: PathLike | None = None,
    *,
    target: str = "onnx",
    layouts: Sequence[Layout] = ("segments", "prefixes"),
    precision: Precision = "fp32",
    tolerance: float | None = None,
    input: Literal["float32", "uint8"] = "float32",
    frame: str | Sequence[int] | None = None,
    batch: str | Sequence[int] | None = None,
    require_engines: bool = False,
    compute_capability: Sequence[str] = (),
    platform: Literal["onnxruntime", "tensorrt"] | None = None,
    overwrite: bool = False,
    allow_plugins: bool = False,
    progress: Progress = SILENT,
) -> Exported:
    """Make the bundle of a run, verified against the network on real images before anything is left on disk.

    Args:
        run: a run's folder or a Run.
        output: the bundle's folder; `bundles/NAME` if None.
        target: what the bundle is for: `onnx`, `triton`, `trt`, `trt-rtx`, or another registered target.
        layouts: how the network is cut into graphs: `segments`, `prefixes`, `conditional`.
        precision: what the graphs compute in: `fp32`, `fp16`, `int8` or `int8+fp16`; for `trt` and `trt-rtx` `int8` is
            `int8+fp16`.
        tolerance: largest difference of a logit from the network's, in units of the exit's largest logit (at least of
            1); what is usual for the precision if None.
        input: `uint8` for graphs that take pixels (N, H, W, C), as decoded, resized and cropped, and normalize them.
        frame: with `uint8`, size of the only images that the graphs take, which they resize and crop too: `WxH`, such
            as `1920x1080`, or (height, width).
        batch: images at a time of the engines, `min:opt:max`; for `trt`, `trt-rtx` and `triton`.
        require_engines: fail where no engine can be built; for `trt`.
        compute_capability: GPUs to build for ahead of time, such as `8.6`; for `trt-rtx`.
        platform: what runs the segments on the server, `onnxruntime`, also if None, or `tensorrt`; for `triton`.
        overwrite: replace a bundle that exists.
        allow_plugins: let the code be imported that the run's recipe names by dotted paths.
        progress: receives the steps and how far each is.

    Returns:
        The bundle, how well its graphs agree with the network, and the engines that were built and proved.

    Raises:
        RunError: the run is missing or has not finished.
        BundleError: `output` exists and may not be replaced.
        ExportError: a graph cannot be made or does not agree with the network.
        DataError: a precision other than fp32 needs the dataset, and it is missing.
        BackendError: engines cannot be built, or do not agree with the network.
        UsageError: an option cannot be used.

    Example:
        >>> exported = edgemate.export("runs/digits", "bundles/digits", overwrite=True)
        >>> exported.bundle.manifest.name
        'digits'
    """
    from typing import get_args

    from edgemate.api.opening import open_run
    from edgemate.api.options import batch_range, check_conditional_batch, check_layouts, check_tolerance, frame_size
    from edgemate.bundle import BundleWriter
    from edgemate.bundle.manifest import Precision
    from edgemate.bundle.model_repository import check_engine_batch
    from edgemate.data import check_data
    from edgemate.errors import UsageError
    from edgemate.registry import EXPORT_TARGETS
    from edgemate.runtime.backends.tensorrt.options import check_compute_capabilities

    # What is wrong and needs no PyTorch to be found comes first: importing it takes seconds.
    if target not in EXPORT_TARGETS and ":" not in target:
        raise UsageError(EXPORT_TARGETS.unknown(target))
    check_tolerance(tolerance, "1e-3")
    if batch is not None and target not in ("trt", "trt-rtx", "triton"):
        raise UsageError(f"batch: is for targets trt, trt-rtx and triton, not {target}")
    if require_engines and target != "trt":
        raise UsageError(f"require_engines: is for target trt, not {target}")
    if compute_capability and target != "trt-rtx":
        raise UsageError(f"compute_capability: is for target trt-rtx, not {target}")
    check_compute_capabilities(compute_capability)
    if platform not in (None, "onnxruntime", "tensorrt"):
        raise UsageError(f"platform {platform!r}: must be onnxruntime or tensorrt")
    if platform is not None and target != "triton":
        raise UsageError(f"platform: is for target triton, not {target}")
    cut = check_layouts(layouts)
    if precision not in get_args(Precision):
        raise UsageError(f"precision {precision!r}: must be one of {', '.join(get_args(Precision))}")
    if input not in ("float32", "uint8"):
        raise UsageError(f"input {input!r}: must be float32 or uint8")
    if frame is not None and input != "uint8":
        raise UsageError("frame: is for input uint8, whose graphs can resize")
    size = frame_size(frame)
    engine_batch = batch_range(batch)
    check_conditional_batch(engine_batch, cut)
    opened = open_run(run, allow_plugins=allow_plugins)
    folder = Path("bundles") / opened.name if output is None else Path(output)
    BundleWriter(folder, overwrite=overwrite).check()
    if size is not None:
        _check_frame(opened, size)
    if target == "triton":
        if platform == "tensorrt" and engine_batch is not None:
            check_engine_batch((engine_batch.min, engine_batch.opt, engine_batch.max))
        _check_repository(folder, cut, platform or "onnxruntime", overwrite)
    if precision != "fp32":  # its ranges are found on the dataset's images
        check_data(opened.read_recipe().data)

    from edgemate.exporting import ExportOptions, export_run

    options = ExportOptions(
        layouts=cut,
        precision=precision,
        tolerance=tolerance,
        input=input,
        frame=size,
        engine_batch=None if engine_batch is None else (engine_batch.min, engine_batch.opt, engine_batch.max),
        require_engines=require_engines,
        compute_capabilities=tuple(compute_capability),
        platform=platform or "onnxruntime",
        overwrite=overwrite,
        progress=progress,
    )
    return export_run(opened, folder, target=target, options=options)


def _check_frame(run: Run, frame: tuple[int, int]) -> None:
    """What would end an export with frames after minutes."""
    from pydantic import ValidationError

    from edgemate.bundle import InputContract
    from edgemate.errors import UsageError

    pixels = {"dtype": "uint8", "layout": "NHWC", "frame": frame}
    try:
        InputContract.model_validate({**run.read_metadata().input, **pixels})
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # else it is the run's own key, which the export names
            raise UsageError(first["msg"].removeprefix("Value error, ")) from error


def _check_repository(folder: Path, layouts: Sequence[Layout], platform: str, overwrite: bool) -> None:
    """What would end an export for Triton after minutes."""
    from edgemate.bundle.model_repository import check_repository, check_segments, repository_of
    from edgemate.errors import BackendError

    check_segments(layouts)
    check_repository(repository_of(folder), overwrite=overwrite)
    if platform == "tensorrt":
        from edgemate.runtime.backends.tensorrt.device import require_gpu

        try:
            require_gpu("platform tensorrt")
        except BackendError as error:
            raise BackendError(f"{error}; platform onnxruntime needs none") from error
