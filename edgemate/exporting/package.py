"""`export_run`: from a run to a bundle for some target."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout, Precision
from edgemate.exporting.agreement import Agreement
from edgemate.progress import SILENT, Progress
from edgemate.registry import EXPORT_TARGETS
from edgemate.runs import Run
from edgemate.runtime.proof import ExitProof


@dataclass(frozen=True)
class ExportOptions:
    """How a bundle is made.

    Attributes:
        layouts: how the network is cut into graphs.
        precision: what the graphs compute in. All but `fp32` need the run's dataset, to set and check it on.
        tolerance: how far a graph may be from the network, in place of what is usual for the precision; see `Limits`.
        samples: golden samples that go into the bundle.
        engine_batch: smallest, usual and largest batch of the engines; the builder's own if None. For `trt`, `trt-rtx`.
        require_engines: having no engine built here is an error. For `trt`.
        compute_capabilities: GPUs to build for ahead of time, such as `8.6`. For `trt-rtx`.
        overwrite: replace a bundle that is already there.
        progress: told what is being done.
    """

    layouts: tuple[Layout, ...] = ("segments", "prefixes")
    precision: Precision = "fp32"
    tolerance: float | None = None
    samples: int = 16
    engine_batch: tuple[int, int, int] | None = None
    require_engines: bool = False
    compute_capabilities: tuple[str, ...] = ()
    overwrite: bool = False
    progress: Progress = SILENT


@dataclass(frozen=True)
class Exported:
    """A bundle, and how its making went.

    Attributes:
        bundle: the bundle.
        agreement: how well its graphs agree with the network: layout → one entry per exit.
        engines: engine files that were built here.
        proofs: how well the engines agree with the network: layout → one entry per exit. Empty where none was built or
            they were built ahead of time for other GPUs.
        no_engines: why none was, where engines were wanted.
    """

    bundle: Bundle
    agreement: dict[Layout, tuple[Agreement, ...]]
    engines: tuple[Path, ...] = ()
    proofs: dict[Layout, tuple[ExitProof, ...]] = field(default_factory=dict)
    no_engines: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values; the bundle by its path, proofs with latencies in ms."""
        return {
            "bundle": str(self.bundle.path),
            "agreement": {layout: [asdict(exit) for exit in exits] for layout, exits in self.agreement.items()},
            "engines": [str(path) for path in self.engines],
            "proofs": {layout: [asdict(exit) for exit in exits] for layout, exits in self.proofs.items()},
            "no_engines": self.no_engines,
        }


def export_run(run: Run, output: str | Path, *, target: str = "onnx", options: ExportOptions | None = None) -> Exported:
    """Make the bundle of a finished run in folder `output`. When anything fails, no bundle is left there.

    Args:
        run: the run.
        output: the bundle's folder.
        target: registered export target.
        options: how; the defaults if None.

    Raises:
        ExportError: a graph cannot be made or does not agree with the network, or the target is unavailable.
        BundleError: `output` exists and may not be replaced.
        RunError: the run's files cannot be read.
        DataError: a precision other than fp32 is wanted, and the run's dataset is not at hand.
        BackendError: engines are required, or for a certain GPU, and cannot be built here; a bundle may be left then.
        UsageError: the target is unknown.
    """
    exported: Exported = EXPORT_TARGETS.get(target)(run, Path(output), options or ExportOptions())
    return exported
