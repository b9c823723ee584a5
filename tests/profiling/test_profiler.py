from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from figures import drawn_axes, shown_labels
from PIL import Image

from edgemate.core.scoring import exit_accuracy, expected_calibration_error
from edgemate.errors import RunError, UsageError
from edgemate.exporting import Exported
from edgemate.profiling import Profile, profile_run, tradeoff_plot
from edgemate.runs import Run

COLUMNS = (
    "curve,kind,name,threshold,exit,accuracy,macs,flops,latency_ms,latency_p50_ms,latency_p99_ms,images,provenance"
)


@pytest.fixture(scope="module")
def run(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(Path(shutil.copytree(finished_run.path, tmp_path_factory.mktemp("profiled") / "tiny")))


@pytest.fixture(scope="module")
def profile(run: Run, exported: Exported) -> Profile:
    def ready(run: Run, output: Path, **options: Any) -> Exported:
        return exported

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgemate.profiling.profiler.export_run", ready)
        return profile_run(run, images=25, threads=1, repeats=5)


def test_every_exit_is_counted_scored_and_timed(profile: Profile, run: Run, exported: Exported) -> None:
    test = run.read_logits("test")
    assert [exit.name for exit in profile.exits] == ["stage1", "stage2", "stage3"]
    assert [exit.accuracy for exit in profile.exits] == pytest.approx(exit_accuracy(*test).tolist())
    assert [exit.ece for exit in profile.exits] == pytest.approx(expected_calibration_error(*test).tolist())
    for exit, metadata in zip(profile.exits, exported.bundle.manifest.exits, strict=True):
        assert (exit.macs, exit.chained_macs, exit.parameters) == (
            metadata.macs,
            metadata.chained_macs,
            metadata.parameters,
        )
        assert exit.flops == 2 * exit.macs
        assert exit.peak_activation_bytes > 8 * 8 * 4
        for latency in (exit.pytorch, exit.onnxruntime_prefix, exit.onnxruntime_segments):
            assert 0 < latency.p50 <= latency.p90 <= latency.p99
            assert latency.repeats == 5
    assert profile.threads == 1
    assert profile.machine["processor"]
    assert profile.skipped_operators == {"aten::add": 3, "aten::mean": 1}


def test_the_json_is_the_profile(profile: Profile, run: Run) -> None:
    assert json.loads(run.profile_path.read_text()) == json.loads(json.dumps(profile.to_json()))


def test_the_csv_has_every_point_with_its_provenance(profile: Profile, run: Run) -> None:
    lines = run.tradeoff_csv_path.read_text().splitlines()
    assert lines[0] == COLUMNS
    rows = list(csv.DictReader(lines))
    assert len(rows) == len(profile.points)
    for row in rows:
        measured = row["curve"] == "accuracy-latency"
        assert row["provenance"] == ("measured" if measured else "simulated")
        assert (row["latency_ms"] != "") == measured
        assert int(row["images"]) == (25 if measured else 449)
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["flops"]) == 2 * float(row["macs"])
    for curve in ("accuracy-macs", "accuracy-latency"):
        kinds = [row["kind"] for row in rows if row["curve"] == curve]
        assert kinds.count("full network") == 1
        assert kinds.count("fixed exit") == 2
        assert kinds.count("operating point") == 3
        assert kinds.count("threshold") >= 10


def test_the_tradeoff_plot_is_drawn(profile: Profile, run: Run) -> None:
    with Image.open(run.tradeoff_png_path) as figure:
        figure.load()
        assert figure.size == (1650, 720)
        assert len(np.unique(np.asarray(figure.convert("L")))) > 20


@pytest.mark.parametrize("spread", [0.0022, 0.011, 0.06, 0.4])
def test_the_accuracies_at_the_axis_differ(profile: Profile, spread: float) -> None:
    points = [replace(point, accuracy=0.99 - spread * (i % 3) / 2) for i, point in enumerate(profile.points)]
    axes = drawn_axes(tradeoff_plot, lambda: tradeoff_plot.tradeoff_png(replace(profile, points=tuple(points))))
    assert len(axes) == 2
    for each in axes:
        labels = shown_labels(each, "y")
        assert len(labels) == len(set(labels)) >= 3


@pytest.mark.parametrize(("lowest", "highest"), [(0.93, 0.995), (0.99, 1.0), (1.0, 1.0), (0.2, 0.31), (0.0, 1.0)])
def test_the_accuracy_axis_ends_at_100_percent_and_shows_every_point(
    profile: Profile, lowest: float, highest: float
) -> None:
    points = [replace(point, accuracy=(lowest, highest)[i % 2]) for i, point in enumerate(profile.points)]
    axes = drawn_axes(tradeoff_plot, lambda: tradeoff_plot.tradeoff_png(replace(profile, points=tuple(points))))
    for each in axes:
        low, high = each.get_ylim()
        assert 0 <= low <= lowest <= highest <= high <= 1
        # The lower end fits the points: they take most of the axis, unless they are all the same.
        assert highest - lowest >= 0.7 * (high - low) or highest == lowest
        if highest >= 0.99:
            assert high == 1
            assert "100" in shown_labels(each, "y")[-1]


def test_threads_are_given_back(profile: Profile) -> None:
    assert profile.threads == 1
    assert torch.get_num_threads() >= 1


@pytest.mark.parametrize("option", ["images", "threads", "repeats"])
def test_numbers_must_be_positive(finished_run: Run, option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} must be at least 1, not 0"):
        profile_run(finished_run, **{option: 0})  # type: ignore[arg-type]


def test_a_dataset_that_has_changed_is_noticed(finished_run: Run, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(finished_run.path, tmp_path / "run")))
    logits, labels = run.read_logits("test")
    run.write_logits("test", logits, labels[::-1].copy())
    with pytest.raises(RunError, match="was not tested on the test images that dataset digits now has"):
        profile_run(run)
