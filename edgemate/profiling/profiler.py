"""`profile_run`: measure a run and store its profile."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from edgemate import files
from edgemate.calibration import read_operating_points
from edgemate.core.class_report import ClassReport
from edgemate.core.scoring import ensemble_accuracy, expected_calibration_error
from edgemate.errors import UsageError
from edgemate.evaluation import trained_model
from edgemate.exporting import ExportOptions, export_run
from edgemate.machine import machine_metadata, usable_cores
from edgemate.models import Prefix, count_costs
from edgemate.models.activations import peak_activation_bytes
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
    progress: Progress = SILENT,
) -> Profile:
    """Measure a finished run on this machine's CPU; write `profile.json`, `tradeoff.csv` and `tradeoff.png` into it.

    Args:
        run: the run. Its dataset must be available.
        images: number of test images to classify for the accuracy-latency curve.
        threads: CPU threads for PyTorch and for ONNX Runtime; all usable cores if None.
        repeats: timed calls per exit.
        progress: receives the steps, and how far each is.

    Raises:
        UsageError: a number is not positive.
        DataError: the dataset is missing or damaged.
        ExportError: the network cannot be exported for ONNX Runtime.
        RunError: the run's files cannot be read, or its dataset has changed.
    """
    for name, number in (("images", images), ("threads", threads), ("repeats", repeats)):
        if number is not None and number < 1:
            raise UsageError(f"{name} must be at least 1, not {number}")
    threads = threads or usable_cores()
    with progress.unattended():
        progress.step("reading test images")
        inputs, labels = sample_test_split(run, images)
        progress.step("counting the cost of every exit")
        model = trained_model(run)
        costs = count_costs(model, inputs.shape[1:])
        image = torch.from_numpy(inputs[:1])
        peaks = [peak_activation_bytes(Prefix(model.eval(), cost.exit), image) for cost in costs.exits]
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
    )
    files.write_json(run.profile_path, profile.to_json())
    files.write_text(run.tradeoff_csv_path, points_csv(profile.points))
    files.write_bytes(run.tradeoff_png_path, tradeoff_png(profile))
    return profile
