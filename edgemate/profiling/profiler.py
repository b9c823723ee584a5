"""`profile_run`: measure a run and store its profile."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgemate.calibration import read_operating_points
from edgemate.core.scoring import ensemble_accuracy
from edgemate.evaluation import trained_model
from edgemate.exporting import ExportOptions, export_run
from edgemate.machine import machine_metadata, usable_cores
from edgemate.models import count_costs
from edgemate.profiling.assembling import check_numbers, exit_profiles, network_of, write_profile
from edgemate.profiling.counting import count_model
from edgemate.profiling.device_spec import read_device_specs
from edgemate.profiling.graph_calls import graph_calls, load_libraries
from edgemate.profiling.measuring import measure_cases
from edgemate.profiling.profile_result import Point, Profile
from edgemate.profiling.pytorch_latency import cuda_peak, inference, pytorch_calls
from edgemate.profiling.sampled_images import sample_test_split
from edgemate.profiling.tradeoff import MEASURED_THRESHOLDS, measured_points, simulated_points, spread_thresholds
from edgemate.progress import SILENT, Progress
from edgemate.runs import Run
from edgemate.sensors.memory import reset_peak_memory


def profile_run(
    run: Run,
    output: Path | None = None,
    *,
    images: int = 500,
    batches: Sequence[int] = (1,),
    threads: int | None = None,
    repeats: int = 100,
    layers: bool = False,
    device_specs: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Profile:
    """Measure a finished run on this machine; write `profile.json` and `tradeoff.csv` into its folder.

    Args:
        run: the run. Its dataset must be available.
        output: the folder to write to instead.
        images: number of test images to classify for the accuracy-latency curve.
        batches: batch sizes to time; 1 is always among them.
        threads: CPU threads for PyTorch and for ONNX Runtime; all usable cores if None.
        repeats: timed calls per graph.
        layers: write `layers.csv`, one row per layer, and the same into `profile.json`.
        device_specs: shipped names or files of devices whose latency floors are estimated, into `roofline.csv` too.
        progress: receives the steps, and how far each is.

    Raises:
        UsageError: a number is not positive, or a device specification cannot be used.
        DataError: the dataset is missing or damaged.
        ExportError: the network cannot be exported for ONNX Runtime.
        RunError: the run's files cannot be read, or its dataset has changed.
    """
    batches = check_numbers(batches, images=images, threads=threads, repeats=repeats)
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
    test = run.read_logits("test")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        bundle = export_run(run, Path(folder) / run.name, options=ExportOptions(progress=progress)).bundle
        # The sweep ends with `full`.
        named = [point for point in read_operating_points(bundle).points if point.name != "full"]
        reset_peak_memory()  # what counting and exporting took is not part of running the network
        loaded = load_libraries(bundle, inputs[:1], threads, stack)
        with inference(threads):
            calls, pytorch_loading = pytorch_calls(model, inputs, batches)
            calls.update(graph_calls(loaded, inputs, batches))
            measurement = measure_cases(
                calls,
                repeats=repeats,
                loading=(*pytorch_loading, *loaded.loading),
                unavailable=loaded.unavailable,
                device_peak=cuda_peak,
                progress=progress,
            )
        chained = [cost.chained_macs for cost in costs.exits]
        thresholds = spread_thresholds(test.logits, chained, MEASURED_THRESHOLDS)
        segments, prefixes = (loaded.classifiers["onnxruntime", layout] for layout in ("segments", "prefixes"))
        points: list[Point] = [
            *simulated_points(test, costs.exits, named),
            *measured_points(segments, prefixes, inputs, labels, thresholds, named, progress),
        ]
    profile = Profile(
        run=run.name,
        machine=machine_metadata(),
        threads=threads,
        ensemble_accuracy=ensemble_accuracy(*test),
        exits=exit_profiles(bundle, measurement, *test, peaks=peaks),
        points=tuple(points),
        skipped_operators=costs.skipped,
        kind="run",
        split="test",
        images=len(test.labels),
        batches=batches,
        network=network_of(bundle.manifest),
        measurement=measurement,
        counts=counts,
    )
    write_profile(profile, run.path if output is None else output)
    return profile
