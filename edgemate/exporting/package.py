"""`export_run`: export a run to a bundle for a target."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout, Precision
from edgemate.exporting.agreement import Agreement
from edgemate.progress import SILENT, Progress
from edgemate.registry import EXPORT_TARGETS
from edgemate.runs import Run
from edgemate.runtime.proof import ExitProof


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export.

    Attributes:
        layouts: the layouts to export, each a way to cut the network into graphs.
        precision: precision of the graphs. All but `fp32` need the run's dataset, for calibration and verification.
            For `trt` and `trt-rtx` `int8` is `int8+fp16`, so that nothing needs to compute in fp32.
        tolerance: replaces the precision's limit on the difference from the network; see `Limits`.
        input: `float32`, or `uint8` for graphs that take pixels (N, H, W, C) and normalize them themselves.
        frame: (height, width) of frames that the graphs resize and crop too; for `uint8`.
        samples: number of golden samples in the bundle.
        engine_batch: smallest, usual and largest batch of the engines; None for the builder's. For `trt`, `trt-rtx`;
            for `triton` the largest is that of its models.
        require_engines: raise an error if no engine can be built here. For `trt`.
        compute_capabilities: GPUs to build for ahead of time, such as `8.6`. For `trt-rtx`.
        platform: what runs the segments in a model repository. For `triton`.
        overwrite: replace an existing bundle.
        progress: receives the steps of the export.
    """

    layouts: tuple[Layout, ...] = ("segments", "prefixes")
    precision: Precision = "fp32"
    tolerance: float | None = None
    input: Literal["float32", "uint8"] = "float32"
    frame: tuple[int, int] | None = None
    samples: int = 16
    engine_batch: tuple[int, int, int] | None = None
    require_engines: bool = False
    compute_capabilities: tuple[str, ...] = ()
    platform: Literal["onnxruntime", "tensorrt"] = "onnxruntime"
    overwrite: bool = False
    progress: Progress = SILENT


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        bundle: the bundle.
        agreement: layout → agreement of its graphs with the network, one entry per exit.
        engines: engine files that were built on this machine.
        no_engines: why the target built no engines; None if it did, or needs none.
        misread: operators that TensorRT 8 misreads; empty unless the target is `trt`.
        repository: Triton's model repository; None unless the target is `triton`.
    """

    bundle: Bundle
    agreement: dict[Layout, tuple[Agreement, ...]]
    engines: tuple[Path, ...] = ()
    proofs: dict[Layout, tuple[ExitProof, ...]] = field(default_factory=dict)
    no_engines: str | None = None
    misread: tuple[str, ...] = ()
    repository: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values; the bundle by its path, proofs with latencies in ms."""
        return {
            "bundle": str(self.bundle.path),
            "agreement": {layout: [asdict(exit) for exit in exits] for layout, exits in self.agreement.items()},
            "engines": [str(path) for path in self.engines],
            "proofs": {layout: [asdict(exit) for exit in exits] for layout, exits in self.proofs.items()},
            "no_engines": self.no_engines,
            "misread": list(self.misread),
            "repository": None if self.repository is None else str(self.repository),
        }


def export_run(run: Run, output: str | Path, *, target: str = "onnx", options: ExportOptions | None = None) -> Exported:
    """Export a finished run to a bundle in folder `output`. If the export fails, no bundle is left there.

    Args:
        run: the run.
        output: the bundle's folder.
        target: name of a registered export target.
        options: options of the export; the defaults if None.

    Raises:
        ExportError: a graph cannot be made or does not agree with the network, or the target is unavailable.
        BundleError: `output` exists and may not be replaced.
        RunError: the run's files cannot be read.
        DataError: the precision is not fp32, and the run's dataset is unavailable.
        BackendError: engines that are required, or for a named GPU, cannot be built here; a bundle may be left.
        UsageError: the target is unknown.
    """
    exported: Exported = EXPORT_TARGETS.get(target)(run, Path(output), options or ExportOptions())
    return exported
