"""`profile_run`: measure a run and store its profile."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgemate import files
from edgemate.calibration import read_operating_points
from edgemate.core.class_report import ClassReport
from edgemate.core.scoring import ensemble_accuracy, expected_calibration_error
from edgemate.errors import UsageError
from edgemate.evaluation import trained_model
from edgemate.exporting import ExportOptions, export_run
from edgemate.machine import machine_metadata, usable_cores
from edgemate.models import count_costs
from edgemate.profiling.counting import count_model
from edgemate.profiling.counts import write_counts
from edgemate.profiling.device_spec import read_device_specs
from edgemate.profiling.profile_result import ExitProfile, Point, Profile, points_csv
from edgemate.profiling.pytorch_latency import WARMUP, pytorch_latency
from edgemate.profiling.sampled_images import sample_test_split
from edgemate.profiling.tradeoff import (
    MEASURED_THRESHOLDS,
    measured_points,
    simulated_points,
    spread_thresholds,
)
from edgemate.profiling.tradeoff_plot import tradeoff_png
from edgemate.progress import SILENT, Progress
from edgemate.runs import Run
from edgemate.runtime import AnytimeClassifier, measure_exits


def profile_run(
    run: Run,
    *,
    images: int = 500,
    threads: int | None = None,
    repeats: int = 100,
    layers: bool = False,
    device_specs: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Profile:
    """Measure a finished run on this machine's CPU; write `profile.json`, `tradeoff.csv` and `tradeoff.png` into it.

    Args:
        run: the run. Its dataset must be available.
        images: number of test images to classify for the accuracy-latency curve.
        threads: CPU threads for PyTorch and for ONNX Runtime; all usable cores if None.
        repeats: timed calls per exit.
        layers: write `layers.csv`, one row per layer, and the same into `profile.json`.
        device_specs: shipped names or files of devices whose latency floors are estimated, into `roofline.csv` too.
        progress: receives the steps, and how far each is.

    Raises:
        UsageError: a number is not positive, or a device specification cannot be used.
        DataError: the dataset is missing or damaged.
        ExportError: the network cannot be exported for ONNX Runtime.
        RunError: the run's files cannot be read, or its dataset has changed.
    """
    for name, number in (("images", images), ("threads", threads), ("repeats", repeats)):
        if number is not None and number < 1:
            raise UsageError(f"{name} must be at least 1, not {number}")
    devices = read_device_specs(device_specs)
    threads = threads or usable_cores()
    with progress.unattended():
        progress.step("reading test images")
        inputs, labels = sample_test_split(run, images)
        progress.step("counting the cost of every exit")
        model = trained_model(run)
        costs = count_costs(model, inputs.shape[1:])
        counts = count_model(model.eval(), inputs.shape[1:], devices, list_layers=layers)
        peaks = [count.peak_activation_bytes for count in counts.exits]
    test, metadata = run.read_logits("test"), run.read_metadata()
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_run(run, Path(folder) / run.name, options=ExportOptions(progress=progress)).bundle
        # The sweep ends with `full`.
        named = [point for point in read_operating_points(bundle).points if point.name != "full"]
        progress.step("timing every exit in PyTorch, round")
        in_pytorch = pytorch_latency(model, inputs[:1], threads, repeats, progress)
        with (
            AnytimeClassifier.load(bundle.path, threads=threads) as segments,
            AnytimeClassifier.load(bundle.path, threads=threads, layout="prefixes") as prefixes,
        ):
            progress.step("timing every exit in ONNX Runtime, round")
            in_onnxruntime = measure_exits(
                segments, prefixes, inputs[:1], warmup=WARMUP, repeats=repeats, progress=progress
            )
            chained = [cost.chained_macs for cost in costs.exits]
            thresholds = spread_thresholds(test.logits, chained, MEASURED_THRESHOLDS)
            points: list[Point] = [
                *simulated_points(test, costs.exits, named),
                *measured_points(segments, prefixes, inputs, labels, thresholds, named, progress),
            ]
    report, ece = ClassReport.of(*test, metadata.classes), expected_calibration_error(*test)
    accuracy, top5 = report.top1, report.top5
    profile = Profile(
        run=run.name,
        machine=machine_metadata(),
        threads=threads,
        ensemble_accuracy=ensemble_accuracy(*test),
        exits=tuple(
            ExitProfile(
                exit=cost.exit,
                name=metadata.cuts[k],
                macs=cost.macs,
                flops=2 * cost.macs,
                chained_macs=cost.chained_macs,
                parameters=cost.parameters,
                peak_activation_bytes=peaks[k],
                accuracy=float(accuracy[k]),
                top5=None if top5 is None else float(top5[k]),
                ece=float(ece[k]),
                pytorch=in_pytorch[k],
                onnxruntime_prefix=in_onnxruntime[k].prefix,
                onnxruntime_segments=in_onnxruntime[k].segments,
            )
            for k, cost in enumerate(costs.exits)
        ),
        points=tuple(points),
        skipped_operators=costs.skipped,
        counts=counts,
    )
    files.write_json(run.profile_path, profile.to_json())
    files.write_text(run.tradeoff_csv_path, points_csv(profile.points))
    write_counts(counts, run.path)
    files.write_bytes(run.tradeoff_png_path, tradeoff_png(profile))
    return profile
