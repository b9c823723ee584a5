"""`edgemate calibrate BUNDLE`: new operating points in a bundle, on any machine, from what travels in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgemate.bundle import CALIBRATION_FILE, Bundle, replace_file
from edgemate.calibration.calibrator import DEFAULT_REQUESTS, Calibrated, Request, calibrate
from edgemate.calibration.operating_points import POLICIES_FILE
from edgemate.errors import UsageError
from edgemate.latency_tables import LatencyTable, measured_devices, read_latency_table
from edgemate.progress import SILENT, Progress


def calibrate_bundle(
    path: Path,
    *,
    device: str | None = None,
    requests: Sequence[Request] = DEFAULT_REQUESTS,
    solver: str = "direct",
    measure: str | None = None,
    fit_temperatures: bool = True,
    progress: Progress = SILENT,
) -> Calibrated:
    """Write `policies.json` anew, and its hash into the manifest.

    Args:
        path: the bundle's folder.
        device: whose latency table to save time by; if None, that of the only device there is one of, else MACs.
        requests: see `calibrate`, as for the others.
        solver: a registered solver's name.
        measure: the score that thresholds are compared with.
        fit_temperatures: whether to fit them.
        progress: told what is being looked for.

    Raises:
        BundleError: it is no bundle, or its calibration logits are absent or damaged.
        UsageError: the device was not measured, or a request cannot be reached.
    """
    # Only what is used is checked: a calibration that was cut off left a policies.json that this one replaces.
    bundle = Bundle.open(path, verify=False)
    stored = bundle.calibration()
    bundle.check(CALIBRATION_FILE)
    found = calibrate(
        stored.logits,
        stored.labels,
        [exit.chained_macs for exit in bundle.manifest.exits],
        requests=requests,
        latency=_table(bundle, device, requests),
        solver=solver,
        measure=measure,
        fit_temperatures=fit_temperatures,
        progress=progress,
    )
    content = json.dumps(found.points.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(bundle, POLICIES_FILE, content.encode())
    return found


def _table(bundle: Bundle, device: str | None, requests: Sequence[Request]) -> LatencyTable | None:
    known = measured_devices(bundle)
    if device is not None or len(known) == 1:
        return read_latency_table(bundle, device or known[0])
    if any(request.mean_ms is not None for request in requests):
        has = f"measured are {', '.join(known)}" if known else f"there: edgemate bench {bundle.path} --device TAG"
        raise UsageError(f"a mean latency needs the device it is of, --device TAG; {has}")
    return None
