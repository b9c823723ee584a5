"""What profiles of runs and of bundles have in common: options, exits, and the files that are written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Manifest
from edgemate.core.class_report import ClassReport
from edgemate.core.scoring import expected_calibration_error
from edgemate.errors import UsageError
from edgemate.latency_tables import LatencyTable
from edgemate.limits import BATCH
from edgemate.machine import check_threads, machine_metadata
from edgemate.profiling.counts import write_counts
from edgemate.profiling.profile_result import ExitProfile, Profile, points_csv
from edgemate.profiling.timings import Measurement

PROFILE_FILE, CSV_FILE = "profile.json", "tradeoff.csv"


def check_numbers(batches: Sequence[int], **numbers: int | None) -> tuple[int, ...]:
    """The batch sizes in ascending order with 1 among them. UsageError if one is too large or not positive."""
    for name, number in (*numbers.items(), *(("batch", batch) for batch in batches)):
        if number is not None and number < 1:
            raise UsageError(f"{name} must be at least 1, not {number}")
    check_threads(numbers.get("threads"))
    if max(batches, default=1) > BATCH.most:
        raise UsageError(f"batch must be at most {BATCH.most:,}, not {max(batches)}")
    return tuple(sorted({1, *batches}))


def exit_profiles(
    bundle: Bundle,
    measurement: Measurement,
    logits: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    peaks: Sequence[int] | None = None,
) -> tuple[ExitProfile, ...]:
    """The exits of a bundle, whose manifest has what was counted at export.

    Args:
        bundle: with segments and prefixes.
        measurement: with all of its exits at batch 1 in ONNX Runtime.
        logits: float32 (N, K, C), to score.
        labels: int64 (N,).
        peaks: most bytes of activations of each prefix; None if unknown.
    """
    manifest = bundle.manifest
    report, ece = ClassReport.of(logits, labels, manifest.classes), expected_calibration_error(logits, labels)
    accuracy, top5 = report.top1, report.top5
    sizes = {
        layout: [manifest.files[graph.file].bytes for graph in manifest.graphs[layout]]
        for layout in ("segments", "prefixes")
    }
    found = []
    for k, metadata in enumerate(manifest.exits):
        prefix = measurement.latency("onnxruntime", "prefix", k + 1)
        segments = measurement.latency("onnxruntime", "segments", k + 1)
        assert prefix is not None, "every prefix is timed in ONNX Runtime"
        assert segments is not None, "every chain of segments is timed in ONNX Runtime"
        found.append(
            ExitProfile(
                exit=metadata.exit,
                name=metadata.name,
                macs=metadata.macs,
                flops=2 * metadata.macs,
                chained_macs=metadata.chained_macs,
                parameters=metadata.parameters,
                peak_activation_bytes=None if peaks is None else peaks[k],
                accuracy=float(accuracy[k]),
                top5=None if top5 is None else float(top5[k]),
                ece=float(ece[k]),
                pytorch=measurement.latency("pytorch-cpu", "prefix", k + 1),
                onnxruntime_prefix=prefix,
                onnxruntime_segments=segments,
                prefix_bytes=sizes["prefixes"][k],
                segments_bytes=sum(sizes["segments"][: k + 1]),
            )
        )
    return tuple(found)


def network_of(manifest: Manifest) -> dict[str, Any]:
    """What two profiles of the same network have in common; see `Profile.network`."""
    return {
        "classes": len(manifest.classes),
        "input": [manifest.input.channels, manifest.input.height, manifest.input.width],
        "exits": [exit.name for exit in manifest.exits],
    }


def stop_table(measurement: Measurement, repeats: int) -> LatencyTable:
    """The measured times to stop at each exit in ONNX Runtime, as a latency table."""
    return LatencyTable(
        device="here",
        machine=machine_metadata(()),
        backend={},
        measured=datetime.now(timezone.utc),
        repeats=repeats,
        exits=measurement.stop_times["onnxruntime"],
    )


def write_profile(profile: Profile, folder: Path) -> tuple[Path, ...]:
    """Write `profile.json`, `tradeoff.csv` and what was counted; their paths."""
    files.write_json(folder / PROFILE_FILE, profile.to_json())
    files.write_text(folder / CSV_FILE, points_csv(profile.points, profile.split))
    written = [folder / PROFILE_FILE, folder / CSV_FILE]
    if profile.counts is not None:
        written += write_counts(profile.counts, folder)
    return tuple(written)
