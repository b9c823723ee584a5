"""`inspect`: what a bundle or a run holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike, RunLike
    from edgemate.bundle import Bundle
    from edgemate.bundle.manifest import Manifest
    from edgemate.calibration import OperatingPoint
    from edgemate.config import Recipe
    from edgemate.runs import Run, RunMetadata


@dataclass(frozen=True)
class BundleReport:
    """What a bundle holds.

    Attributes:
        path: its folder.
        manifest: `bundle.json`: exits, graphs, input, classes, files and where they came from.
        operating_points: its operating points; none where it has no `policies.json`.
        engines: names of the folders of engines that were built in it.
    """

    path: Path
    manifest: Manifest
    operating_points: tuple[OperatingPoint, ...]
    engines: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values, with `kind` bundle."""
        return {
            "kind": "bundle",
            "path": str(self.path),
            **self.manifest.model_dump(mode="json"),
            "operating_points": [
                {**point.model_dump(mode="json"), "stops_at": point.as_policy().description}
                for point in self.operating_points
            ],
            "engines": list(self.engines),
        }


@dataclass(frozen=True)
class RunReport:
    """What a run holds.

    Attributes:
        path: its folder.
        name: of the run.
        finished: whether training has ended.
        metadata: dataset, input, classes, exits and images per split; None before they are known.
        metrics: final figures; None before training has ended.
        recipe: the resolved recipe.
    """

    path: Path
    name: str
    finished: bool
    metadata: RunMetadata | None
    metrics: dict[str, Any] | None
    recipe: Recipe

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values, with `kind` run; `metadata` and `metrics` only where they are known."""
        found: dict[str, Any] = {"kind": "run", "path": str(self.path), "name": self.name, "finished": self.finished}
        if self.metadata is not None:
            found["metadata"] = asdict(self.metadata)
        if self.metrics is not None:
            found["metrics"] = self.metrics
        return {**found, "recipe": self.recipe.model_dump(mode="json")}


def inspect(
    path: BundleLike | RunLike, *, trusted_keys: PathLike | None = None, allow_plugins: bool = False
) -> BundleReport | RunReport:
    """Report what a bundle or a run holds. A bundle's files are checked against their SHA-256; a run records none.

    Args:
        path: a bundle's or a run's folder, a Bundle or a Run.
        trusted_keys: of a bundle: a file or folder of public keys; it must be signed by one of them.
        allow_plugins: of a run: let the code be imported that its recipe names by dotted paths.

    Returns:
        A BundleReport or a RunReport.

    Raises:
        BundleError: the bundle is damaged.
        RunError: a file of the run cannot be read.
        UsageError: the folder is neither.

    Example:
        >>> report = edgemate.inspect("bundles/digits")
        >>> [exit.name for exit in report.manifest.exits]
        ['stage1', 'stage2', 'stage3']
    """
    from edgemate.api.opening import open_bundle, open_either
    from edgemate.bundle import Bundle

    opened = open_either(path, verify=False, finished=False, trusted_keys=trusted_keys, allow_plugins=allow_plugins)
    if isinstance(opened, Bundle):
        return _bundle(open_bundle(opened.path, trusted_keys=trusted_keys))
    return _run(opened)


def _bundle(bundle: Bundle) -> BundleReport:
    from edgemate.calibration import read_operating_points
    from edgemate.calibration.operating_points import POLICIES_FILE

    points = read_operating_points(bundle).points if bundle.has(POLICIES_FILE) else ()
    return BundleReport(bundle.path, bundle.manifest, points, tuple(bundle.engine_folders()))


def _run(run: Run) -> RunReport:
    return RunReport(
        path=run.path,
        name=run.name,
        finished=run.finished,
        metadata=run.read_metadata() if run.metadata_path.is_file() else None,
        metrics=run.read_metrics() if run.metrics_path.is_file() else None,
        recipe=run.read_recipe(),
    )
