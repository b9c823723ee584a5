"""Stored statistics of a program against what was calibrated."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike
    from edgemate.monitoring import Statistics


@dataclass(frozen=True)
class StatisticsCheck:
    """Whether statistics are still what was calibrated.

    Attributes:
        statistics: what the classifier counted.
        policy: name of the operating point.
        drift_alerts: one sentence for each fraction or probability that left its calibrated range.
    """

    statistics: Statistics
    policy: str
    drift_alerts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values, in the form of an evaluation without figures."""
        point = {"name": self.policy, "measured": [], "drift_alerts": list(self.drift_alerts)}
        return {"statistics": self.statistics.model_dump(mode="json"), "points": [point]}


def check_statistics(
    statistics: PathLike | Statistics, bundle: BundleLike, policy: str, *, trusted_keys: PathLike | None = None
) -> StatisticsCheck:
    """Compare what a classifier counted with what an operating point was calibrated to do.

    Args:
        statistics: a file that `Statistics.write` stored, or Statistics.
        bundle: a bundle's folder or a Bundle, whose operating points are compared with.
        policy: name of the operating point that the classifier used.
        trusted_keys: a file or folder of public keys; the bundle must be signed by one of them.

    Returns:
        The sentences about what left its range.

    Raises:
        BundleError: the statistics or the bundle cannot be read.
        UsageError: an unknown operating point, or one of another number of exits.

    Example:
        >>> with edgemate.load("bundles/digits", threads=1) as classifier:
        ...     predictions = classifier.classify("image.png", "balanced")
        ...     check = edgemate.api.check_statistics(classifier.statistics(), "bundles/digits", "balanced")
    """
    from edgemate.api.opening import open_bundle
    from edgemate.calibration import read_operating_points
    from edgemate.monitoring import Statistics, drift_alerts, read_statistics

    point = read_operating_points(open_bundle(bundle, trusted_keys=trusted_keys)).get(policy)
    found = statistics if isinstance(statistics, Statistics) else read_statistics(Path(os.fspath(statistics)))
    return StatisticsCheck(found, policy, tuple(drift_alerts(found, point)))
