"""`profile_bundle`: measure a bundle where it runs, without PyTorch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Bundle
from edgemate.calibration import OperatingPoint, read_operating_points
from edgemate.calibration.operating_points import POLICIES_FILE
from edgemate.core.scoring import ensemble_accuracy
from edgemate.errors import BundleError, UsageError
from edgemate.machine import machine_metadata, usable_cores
from edgemate.profiling.assembling import check_numbers, exit_profiles, network_of, stop_table, write_profile
from edgemate.profiling.graph_calls import Loaded, graph_calls, load_libraries
from edgemate.profiling.measuring import measure_cases
from edgemate.profiling.profile_result import Point, Profile
from edgemate.profiling.scored_images import ScoredImages, Split
from edgemate.profiling.timed_points import simulated_latency_points
from edgemate.profiling.tradeoff import MEASURED_THRESHOLDS, measured_points, simulated_points, spread_thresholds
from edgemate.progress import SILENT, Progress
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.labeled import LabeledImages
from edgemate.sensors.memory import reset_peak_memory

Array = npt.NDArray[Any]

LOGITS_BATCH = 16


def profile_bundle(
    bundle: Bundle,
    output: Path,
    *,
    data: LabeledImages | None = None,
    data_name: str | None = None,
    images: int = 500,
    batches: Sequence[int] = (1,),
    threads: int | None = None,
    repeats: int = 100,
    progress: Progress = SILENT,
) -> Profile:
    """Measure a bundle on this machine; write `profile.json` and `tradeoff.csv` into a folder.

    Accuracies are those of the calibration logits that the bundle has, or of `data`. Without images, the curve of
    accuracy against latency is simulated: from those logits, and from the measured times to stop at each exit.

    Args:
        bundle: whose hashes have been checked.
        output: the folder to write to.
        data: labeled images.
        data_name: the folder or file that they are from, for display.
        images: number of `data` to classify for the curve of accuracy against latency.
        batches: batch sizes to time; 1 is always among them.
        threads: CPU threads; all usable cores if None.
        repeats: timed calls per graph.
        progress: receives the steps, and how far each is.

    Raises:
        UsageError: a number is not positive, the images have no labels, or `output` is inside the bundle.
        BundleError: the bundle has no calibration logits, segments or prefixes.
        BackendError: ONNX Runtime is not installed or cannot run the bundle.
        DataError: an image cannot be read.
    """
    batches = check_numbers(batches, images=images, threads=threads, repeats=repeats)
    if output.resolve().is_relative_to(bundle.path.resolve()):
        raise UsageError(f"{output}: is inside the bundle, whose files are listed; name another `output`")
    for layout in ("segments", "prefixes"):
        if layout not in bundle.manifest.graphs:
            raise BundleError(
                f"{bundle.path}: has no {layout}, and a profile times both; export the run with layouts segments and "
                "prefixes"
            )
    threads = threads or usable_cores()
    given = None if data is None else _labels(data, data_name)
    stored = bundle.calibration() if data is None else None
    golden = bundle.golden().images
    reset_peak_memory()
    with contextlib.ExitStack() as stack:
        loaded = load_libraries(bundle, golden[:1], threads, stack)
        segments = loaded.classifiers["onnxruntime", "segments"]
        # Before the times, since an image that cannot be used would be found after minutes.
        scored = None
        if data is not None and given is not None:
            scored = ScoredImages(_logits(segments, data, progress), given, data.images)
        calls = graph_calls(loaded, golden, batches)
        measurement = measure_cases(
            calls, repeats=repeats, loading=loaded.loading, unavailable=loaded.unavailable, progress=progress
        )
        named = _operating_points(bundle)
        split: Split = "calibration"
        if stored is not None:
            logits, labels = stored.logits, stored.labels
            exits = exit_profiles(bundle, measurement, logits, labels)
            timed = simulated_latency_points(logits, labels, exits, stop_table(measurement, repeats), named)
        else:
            assert data is not None
            assert scored is not None
            split, logits, labels = "images", scored.logits, scored.labels
            exits = exit_profiles(bundle, measurement, logits, labels)
            timed = _measure(loaded, data, images, logits, labels, named, progress)
        points = [*simulated_points((logits, labels), bundle.manifest.exits, named), *timed]
    profile = Profile(
        run=bundle.manifest.name,
        machine=machine_metadata(),
        threads=threads,
        ensemble_accuracy=ensemble_accuracy(logits, labels),
        exits=exits,
        points=tuple(points),
        skipped_operators={},
        kind="bundle",
        split=split,
        images=len(labels),
        batches=batches,
        network=network_of(bundle.manifest),
        measurement=measurement,
        data=None if data is None else data_name,
        scored=scored,
    )
    write_profile(profile, output)
    return profile


def _operating_points(bundle: Bundle) -> list[OperatingPoint]:
    """The bundle's own, without `full`, which is the end of the sweep, and without deadlines, which have no MACs."""
    if not bundle.has(POLICIES_FILE):
        return []
    points = read_operating_points(bundle).points
    return [point for point in points if point.name != "full" and point.as_policy().deadline_ms is None]


def _labels(data: LabeledImages, name: str | None) -> npt.NDArray[np.int64]:
    if data.labels is None:
        which = "data" if name is None else f"data {name}"
        why = "" if data.unlabeled is None else f" ({data.unlabeled})"
        raise UsageError(
            f"{which}: has no labels{why}, which accuracy needs; make one folder per class, or leave it out"
        )
    return data.labels


def _logits(classifier: AnytimeClassifier, data: LabeledImages, progress: Progress) -> Array:
    """Logits of every exit on all images: float32 (N, K, C)."""
    preprocessor, found = classifier.preprocessor, []
    progress.step("computing the logits of every exit, image")
    for start in range(0, len(data.images), LOGITS_BATCH):
        progress.advance(start, len(data.images))
        [ready] = preprocessor.batches(list(data.images[start : start + LOGITS_BATCH]), LOGITS_BATCH)
        flow = classifier.backend.begin(ready)
        found.append(np.stack([np.array(flow.advance()) for _ in classifier.exits], axis=1))
    return np.concatenate(found)


def _measure(
    loaded: Loaded,
    data: LabeledImages,
    images: int,
    logits: Array,
    labels: npt.NDArray[np.int64],
    named: Sequence[OperatingPoint],
    progress: Progress,
) -> list[Point]:
    segments, prefixes = (loaded.classifiers["onnxruntime", layout] for layout in ("segments", "prefixes"))
    rows = np.linspace(0, len(data.images) - 1, min(images, len(data.images))).astype(np.intp)
    ready = np.concatenate(list(segments.preprocessor.batches([data.images[row] for row in rows], LOGITS_BATCH)))
    chained = [exit.chained_macs for exit in segments.exits]
    thresholds = spread_thresholds(logits, chained, MEASURED_THRESHOLDS)
    return measured_points(segments, prefixes, ready, labels[rows], thresholds, named, progress)
