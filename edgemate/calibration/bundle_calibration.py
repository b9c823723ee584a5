"""Calibration of a bundle, on any machine, from the calibration logits in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgemate.bundle import CALIBRATION_FILE, Bundle, writing_bundle
from edgemate.calibration.calibrator import Calibrated, CalibrationOptions, Request, calibrate
from edgemate.calibration.operating_points import write_operating_points
from edgemate.errors import UsageError
from edgemate.latency_tables import LatencyTable, measured_devices, read_latency_table
from edgemate.progress import SILENT, Progress

_DEFAULTS = CalibrationOptions()


def calibrate_bundle(
    path: Path,
    options: CalibrationOptions = _DEFAULTS,
    *,
    device: str | None = None,
    progress: Progress = SILENT,
) -> Calibrated:
    """Replace the bundle's `policies.json`, and its hash in the manifest: all at once for whoever opens the bundle.

    Args:
        path: the bundle's folder.
        options: what to find and how.
        device: the device whose latency table gives the costs. If None, the only device measured; without one or with
            several, costs are MACs.
        progress: notified of each step.

    Returns:
        What was found. A table of this machine in another power mode, or with other clocks, is among its warnings.

    Raises:
        BundleError: it is not a bundle, its calibration logits are missing or damaged, or another process writes
            into it.
        UsageError: the device was not measured, or a request cannot be reached.
    """
    with writing_bundle(path):
        # Only the files used are checked: a damaged policies.json is replaced by this one.
        bundle = Bundle.open(path, verify=False)
        stored = bundle.calibration()
        bundle.check(CALIBRATION_FILE)
        macs = [exit.chained_macs for exit in bundle.manifest.exits]
        latency = _latency_table(bundle, device, options.requests)
        found = calibrate(stored.logits, stored.labels, macs, options, latency=latency, progress=progress)
        write_operating_points(bundle, found.points)
    changed = [] if latency is None else latency.setting_differences()
    if latency is None or not changed:
        return found
    return replace(found, warnings=(*found.warnings, _other_settings(bundle, latency, changed)))


def _other_settings(bundle: Bundle, latency: LatencyTable, changed: Sequence[str]) -> str:
    return (
        f"the times of {latency.device} were measured on such a machine set otherwise ({'; '.join(changed)}): set it "
        f"as it was, or measure how it is now: edgemate bench {bundle.path} --device {latency.device}"
    )


def _latency_table(bundle: Bundle, device: str | None, requests: Sequence[Request]) -> LatencyTable | None:
    known = measured_devices(bundle)
    if device is not None or len(known) == 1:
        return read_latency_table(bundle, device or known[0])
    if any(request.mean_ms is not None for request in requests):
        command = f"edgemate bench {bundle.path} --device TAG"
        has = f"known: {', '.join(known)}" if known else f"none is measured; there: {command}"
        raise UsageError(f"a mean latency needs the device that it is for; {has}")
    return None
