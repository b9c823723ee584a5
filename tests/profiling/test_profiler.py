from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from edgemate.core.scoring import exit_accuracy, expected_calibration_error
from edgemate.errors import RunError, UsageError
from edgemate.exporting import Exported
from edgemate.profiling import Profile, profile_run
from edgemate.runs import Run

COLUMNS = (
    "curve,kind,name,threshold,exit,accuracy,macs,flops,latency_ms,latency_p50_ms,latency_p99_ms,images,provenance,"
    "split"
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
        assert row["split"] == "test"
        assert int(row["images"]) == (25 if measured else 449)
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["flops"]) == 2 * float(row["macs"])
    for curve in ("accuracy-macs", "accuracy-latency"):
        kinds = [row["kind"] for row in rows if row["curve"] == curve]
        assert kinds.count("full network") == 1
        assert kinds.count("fixed exit") == 2
        assert kinds.count("operating point") == 3
        assert kinds.count("threshold") >= 10


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
