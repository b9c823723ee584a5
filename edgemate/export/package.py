"""`export_run`: from a run to a bundle for some target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.export.agreement import Agreement, Limits
from edgemate.registry import EXPORT_TARGETS
from edgemate.runs import Run


def _quiet(step: str) -> None: ...


@dataclass(frozen=True)
class ExportOptions:
    """How a bundle is made.

    Attributes:
        layouts: how the network is cut into graphs.
        limits: how far a graph may be from the network.
        samples: golden samples that go into the bundle.
        overwrite: replace a bundle that is already there.
        tell: called with what is being done, for progress.
    """

    layouts: tuple[Layout, ...] = ("segments", "prefixes")
    limits: Limits = field(default_factory=Limits)
    samples: int = 16
    overwrite: bool = False
    tell: Callable[[str], None] = _quiet


@dataclass(frozen=True)
class Exported:
    """A bundle, and how well its graphs agree with the network: layout → one entry per exit."""

    bundle: Bundle
    agreement: dict[Layout, tuple[Agreement, ...]]


def export_run(run: Run, output: str | Path, *, target: str = "onnx", options: ExportOptions | None = None) -> Exported:
    """Make the bundle of a finished run in folder `output`. When anything fails, no bundle is left there.

    Args:
        run: the run.
        output: the bundle's folder.
        target: registered export target.
        options: how; the defaults if None.

    Raises:
        ExportError: a graph cannot be made or does not agree with the network, or the target is not to be had.
        BundleError: `output` exists and may not be replaced.
        RunError: the run's files cannot be read.
        UsageError: the target is unknown.
    """
    exported: Exported = EXPORT_TARGETS.get(target)(run, Path(output), options or ExportOptions())
    return exported
