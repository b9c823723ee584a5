"""`calibrate`: temperatures and operating points from the logits of the calibration split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike, RunLike
    from edgemate.calibration import OperatingPoints, Request


@dataclass(frozen=True)
class Calibration:
    """New operating points of a bundle or run.

    Attributes:
        path: the `policies.json` that was written.
        points: the operating points and temperatures.
        required_samples: guaranteed point that could not be certified → images that it takes; None if unknown.
        warnings: a sentence for each exit whose temperature is doubtful, and one where a signature is not valid now.
    """

    path: Path
    points: OperatingPoints
    required_samples: dict[str, int | None]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What `policies.json` holds, with `required_samples` and `warnings`."""
        found = {"required_samples": self.required_samples, "warnings": list(self.warnings)}
        return {**self.points.model_dump(mode="json"), **found}


def calibrate(
    path: BundleLike | RunLike,
    *,
    max_accuracy_drop: float | None = None,
    mean_latency_ms: float | None = None,
    mean_macs: float | None = None,
    risk: float | None = None,
    delta: float | None = None,
    thresholds: Sequence[float] | None = None,
    device: str | None = None,
    solver: str = "direct",
    score: str | None = None,
    temperatures: bool = True,
    trusted_keys: PathLike | None = None,
    allow_plugins: bool = False,
    progress: Progress = SILENT,
) -> Calibration:
    """Choose when to stop, and write `policies.json` into the run or bundle.

    It holds the operating points fast, balanced and accurate, which lose at most 2, 0.5 and 0 points of accuracy on
    the calibration split, full, which is the whole network, and one more for each goal given: drop, latency, macs,
    guaranteed, custom. Points of an earlier call are not kept.

    Args:
        path: a bundle's or a run's folder, a Bundle or a Run.
        max_accuracy_drop: a point that loses at most this many points of accuracy on the split.
        mean_latency_ms: a point that takes at most this many milliseconds per image on average; bundles only.
        mean_macs: a point that takes at most this many chained MACs per image on average.
        risk: a point guaranteed to lose at most this much accuracy, as a fraction.
        delta: probability, over random splits, that `risk` may be exceeded; 0.05 if not given. Only with `risk`.
        thresholds: a point that stops above these values of the score, below those of entropy; one per exit but the
            last, or one for all.
        device: the device whose measured latency is saved; bundles only.
        solver: `direct`, `common`, `msdnet`, `eenet` or `patience`.
        score: what thresholds are compared with: `confidence` if None, `entropy` or `margin`.
        temperatures: fit a temperature per exit. The layout `conditional` works only without.
        trusted_keys: of a bundle: a file or folder of public keys; it must be signed by one of them.
        allow_plugins: of a run: let the code be imported that its recipe names by dotted paths.
        progress: receives the steps.

    Returns:
        The operating points and what is to be known of them.

    Raises:
        BundleError: the bundle cannot be used or has no calibration logits.
        RunError: the run cannot be used.
        UsageError: the path is neither, the device was not measured, or a goal cannot be reached.

    Example:
        >>> calibration = edgemate.calibrate("bundles/digits", max_accuracy_drop=1.0)
        >>> calibration.points.get("drop").goal
        'at most 1 point less accuracy'
    """
    from edgemate import files
    from edgemate.api.opening import open_either
    from edgemate.bundle import Bundle
    from edgemate.bundle.manifest import SIGNATURE_FILE
    from edgemate.calibration import CalibrationOptions, calibrate_bundle
    from edgemate.calibration.operating_points import POLICIES_FILE
    from edgemate.errors import UsageError

    requests = _requests(max_accuracy_drop, mean_latency_ms, mean_macs, risk, delta, thresholds)
    options = CalibrationOptions(requests, solver, score, temperatures)
    # The hashes are not checked: a damaged policies.json is replaced by this one.
    opened = open_either(path, verify=False, trusted_keys=trusted_keys, allow_plugins=allow_plugins)
    if isinstance(opened, Bundle):
        found = calibrate_bundle(opened.path, options, device=device, progress=progress)
        written = opened.path / POLICIES_FILE
        if opened.folder.has(SIGNATURE_FILE):
            found = replace(found, warnings=(*found.warnings, _not_signed(opened.path)))
    else:
        if device is not None:
            raise UsageError(f"device: {opened.path} is a run; devices are measured with its bundle")
        files.check_folder(opened.path)

        from edgemate.profiling import calibrate_run

        found = calibrate_run(opened, options, progress=progress)
        written = opened.policies_path
    return Calibration(written, found.points, found.required_samples, found.warnings)


def _not_signed(bundle: Path) -> str:
    return (
        f"{bundle} was signed, and its signature is not valid any more, since calibrating changes signed files; "
        f"sign it again: edgemate bundle sign {bundle} --key KEY"
    )


def _requests(
    max_accuracy_drop: float | None,
    mean_latency_ms: float | None,
    mean_macs: float | None,
    risk: float | None,
    delta: float | None,
    thresholds: Sequence[float] | None,
) -> list[Request]:
    from edgemate.calibration import DEFAULT_REQUESTS, Request
    from edgemate.errors import UsageError

    if max_accuracy_drop is not None and not 0 <= max_accuracy_drop <= 100:
        raise UsageError(f"max_accuracy_drop: must be from 0 to 100 points, not {max_accuracy_drop:g}")
    for name, most in (("mean_latency_ms", mean_latency_ms), ("mean_macs", mean_macs)):
        if most is not None and not 0 < most < math.inf:
            raise UsageError(f"{name}: must be above 0 and finite, not {most:g}")
    for name, fraction in (("risk", risk), ("delta", delta)):
        if fraction is not None and not 0 < fraction < 1:
            raise UsageError(f"{name}: must lie between 0 and 1, not {fraction:g}")
    if delta is not None and risk is None:
        raise UsageError(f"delta: {delta:g} is how often risk may be exceeded; give risk too, such as 0.01")
    if thresholds is not None and not all(map(math.isfinite, thresholds)):
        raise UsageError("thresholds: must be finite numbers")
    requests: list[Request] = list(DEFAULT_REQUESTS)
    if max_accuracy_drop is not None:
        requests.append(Request("drop", max_drop=max_accuracy_drop / 100))
    if mean_latency_ms is not None:
        requests.append(Request("latency", mean_ms=mean_latency_ms))
    if mean_macs is not None:
        requests.append(Request("macs", mean_macs=mean_macs))
    if risk is not None:
        requests.append(Request("guaranteed", risk=risk, delta=Request.delta if delta is None else delta))
    if thresholds is not None:
        requests.append(Request("custom", thresholds=tuple(thresholds)))
    return requests
